"""The Data screen: open, look, search, see the tokens, see what is wrong."""

from __future__ import annotations

from typing import Any, ClassVar

from textual import events
from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical
from textual.widget import Widget
from textual.widgets import Input

from ftstudio import tasks
from ftstudio.core.errors import StudioError
from ftstudio.core.text import one_line
from ftstudio.ui.common.background import Background, Ended, Ticked, Work
from ftstudio.ui.common.pathfield import PathField, PathInput
from ftstudio.ui.data import actions, recent
from ftstudio.ui.data.cells import row_text
from ftstudio.ui.data.checks_page import ChecksTable, ProblemsPage
from ftstudio.ui.data.finding import Finder
from ftstudio.ui.data.grid import Grid
from ftstudio.ui.data.histogram import LengthsPage
from ftstudio.ui.data.lens import lens_key, roles_of
from ftstudio.ui.data.looking import Looking
from ftstudio.ui.data.mapping import ColumnsDialog
from ftstudio.ui.data.model import Opened, absolute, explain, open_source, with_data
from ftstudio.ui.data.opening import OpenPanel
from ftstudio.ui.data.query import QueryLine
from ftstudio.ui.data.row_page import RowPage
from ftstudio.ui.data.stats_page import StatsPage
from ftstudio.ui.data.token_page import TokenPage
from ftstudio.ui.shell.actions import Action, bindings
from ftstudio.ui.text.copying import copy
from ftstudio.ui.text.lines import Line
from ftstudio.ui.text.said import Said


class DataScreen(Looking):
    """One dataset, looked at in several views; `esc` always leads one step back."""

    MODE = "data"
    TITLE_TEXT = "Data"
    HELP = actions.HELP
    ACTIONS = actions.TABLE
    BINDINGS: ClassVar[list[Any]] = bindings(*actions.EVERY)
    DEFAULT_CSS = """
    DataScreen #data-head { height: 2; }
    DataScreen #data-views { height: 1fr; }
    DataScreen #preview { display: none; width: 2fr; margin-left: 2; }
    DataScreen.-huge #preview.beside { display: block; }
    DataScreen #grid { width: 3fr; }
    """

    def __init__(self) -> None:
        super().__init__()
        self.opened: Opened | None = None
        self.asked: str | None = None  # the source that was asked for last
        self.trail: list[str] = ["open"]  # the views from the first to the present one
        self.background = Background(self)
        self.grid = Grid(id="grid")
        self.finder = Finder(self.grid, self.background, self.failed)

    def compose_body(self) -> ComposeResult:
        yield Said(id="data-head")
        with Vertical(id="data-views"):
            yield OpenPanel(id="open")
            with Horizontal(id="table"):
                yield self.grid
                yield RowPage(id="preview")
            yield from (RowPage("row"), TokenPage("tokens"), StatsPage("stats"), LengthsPage("lengths"),
                         ChecksTable("checks"), ProblemsPage("problems"),)  # fmt: skip
        yield QueryLine()
        yield Said(grow=True, id="data-status")

    def on_mount(self) -> None:
        self.query_one("#preview", RowPage).can_focus = False
        self._show_view()

    # -- views -------------------------------------------------------------------------------------------------------
    def current_actions(self) -> tuple[Action, ...]:
        asking = self.query_one(QueryLine).asking
        if asking:
            return actions.ASKING[asking]
        if self.view != "open":
            return actions.BY_VIEW[self.view]
        back = (actions.BACK,) if self.opened is not None else ()
        if isinstance(self.focused, PathInput):
            return (actions.OPEN_TYPED, actions.COMPLETE, *(back or (actions.LEAVE,)))
        return (actions.NAME, *back)

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Only the keys of the view shown work; none of them while a line is being typed."""
        if action in actions.NAMES:
            return action in {actions.name_of(known.run) for known in self.current_actions()}
        return super().check_action(action, parameters)

    def show_view(self, view: str) -> None:
        """Show VIEW; going back leads here."""
        if self.view != view:
            self.trail = [*(known for known in self.trail if known != view), view]
        self._show_view()

    def back_to_table(self) -> None:
        self.trail = ["table"]
        self._show_view()
        self._preview()

    def _show_view(self) -> None:
        for child in self.query_one("#data-views").children:
            child.display = child.id == self.view
        self.query_one("#data-head").display = self.view != "open"
        if self.view == "open":
            self.query_one(OpenPanel).field.input.focus()
        else:
            self._widget(self.view).focus()
        self.tell()
        self.refresh_shell()

    def _widget(self, view: str) -> Widget:
        return self.grid if view == "table" else self.query_one(f"#{view}")

    def action_back(self) -> None:
        """One step back; in the table, take back the last filter, sort or search."""
        if self.query_one(QueryLine).asking:
            self._close_query()
        elif self.view == "table":
            if self.opened is not None:
                self.finder.pop(self.opened)
                self.tell()
        elif self.view == "open":
            self.background.stop("open")
            if self.opened is not None:
                self.asked = self.opened.source
                self.trail = ["table"]
                self._show_view()
            else:
                self.set_focus(None)  # out of the line, where every key is a letter
                self.refresh_shell()
        else:
            self.background.stop("count")
            self.trail.pop()
            self._show_view()

    # -- opening -----------------------------------------------------------------------------------------------------
    def on_screen_resume(self) -> None:
        source = self.session.data_source
        if source is not None and source != self.asked:
            self._open(source)
        elif self.opened is None and self.view == "open" and not self.background.is_running("open"):
            panel = self.query_one(OpenPanel)
            if not panel.field.value:  # what was typed already, be it just now, stays
                self._ask_source()
            panel.field.input.focus()
        elif self.opened is not None:
            self._follow_recipe(self.opened)

    def action_open_source(self) -> None:
        """Ask for another dataset."""
        self.show_view("open")
        self._ask_source()

    def _ask_source(self, value: str = "", fault: str = "") -> None:
        panel = self.query_one(OpenPanel)
        panel.begin(recent.offers(self.session.workspace), value)
        panel.fault(fault)
        self.tell()

    def action_open_typed(self) -> None:
        """Open what the line names."""
        if typed := self.query_one(OpenPanel).field.value:
            self._open(absolute(typed))

    def action_complete(self) -> None:
        """Complete the path in the line."""
        self.query_one(OpenPanel).field.input.action_complete()

    def on_path_field_chosen(self, event: PathField.Chosen) -> None:
        event.stop()
        if event.value:
            self._open(absolute(event.value))

    def _open(self, source: str) -> None:
        """Open SOURCE off the thread; the table shows as soon as it is read."""
        self.asked = source
        recipe, workspace = self.session.recipe, self.session.workspace
        self.query_one(OpenPanel).fault("")

        def run(work: Work) -> Opened:
            opened = open_source(source, recipe, progress=work.progress, cancel=work.cancel)
            recent.remember(workspace, source, opened.note)
            return opened

        self.background.start("open", f"reading {one_line(source, 60)}", run, self._opened, self._not_opened)
        self.tell()

    def _opened(self, opened: Opened) -> None:
        self.background.stop_all()
        self.opened = opened
        self.asked = self.session.data_source = opened.source
        self.finder.reset()
        self.grid.show(opened.sheet, roles_of(opened.shape))
        self.back_to_table()
        if opened.unmapped and opened.columns:
            self.studio.tell(opened.unmapped, "warning")

    def _not_opened(self, error: BaseException) -> None:
        if self.view != "open":
            self.show_view("open")
        source = self.query_one(OpenPanel).field.value or (self.asked or "")
        self._ask_source(source, explain(error))

    def _follow_recipe(self, opened: Opened) -> None:
        """The recipe may have changed on another screen: its mapping and model count here too."""
        recipe = self.session.recipe
        if recipe is not None and recipe.data.train == opened.source:
            wanted = {k: v for k, v in (recipe.data.columns.model_dump() if recipe.data.columns else {}).items() if v}
            if wanted != opened.columns:
                self._map(opened, wanted, "recipe")
        if opened.lens is not None and opened.lens_key != lens_key(recipe):
            opened.look_through(None)
            if self.view != "table":
                self.trail = ["table"]
                self._show_view()

    # -- the table ---------------------------------------------------------------------------------------------------
    def on_grid_moved(self, event: Grid.Moved) -> None:
        event.stop()
        self._preview()
        self.tell()

    def on_grid_chosen(self, event: Grid.Chosen) -> None:
        event.stop()
        self.action_row()

    def _row(self) -> dict[str, Any]:
        number = self.grid.row_number
        return self.opened.dataset[number] if self.opened is not None and number is not None else {}

    def _preview(self) -> None:
        """The row at hand beside the table, where there is room."""
        page = self.query_one("#preview", RowPage)
        beside = self.opened is not None and self.has_class("-huge") and len(self.opened.dataset.names) > 0
        page.set_class(beside, "beside")
        if beside and self.opened is not None:
            page.show(self._row(), self.opened.dataset.names, roles_of(self.opened.shape))

    def on_resize(self, event: events.Resize) -> None:
        self.call_after_refresh(self._preview)

    def action_row(self) -> None:
        """The row at hand, whole."""
        if self.opened is not None and len(self.opened.sheet):
            self.query_one("#row", RowPage).show(self._row(), self.opened.dataset.names, roles_of(self.opened.shape))
            self.show_view("row")

    def action_step_row(self, by: int) -> None:
        """The next or previous row of the table, in the view shown."""
        self.grid.go(self.grid.cursor + by)
        if self.view == "row":
            self.action_row()
        elif self.view == "tokens":
            self._tokens(stay=False)
        self.tell()

    def action_sort(self) -> None:
        """Sort by the column at hand."""
        if self.opened is not None:
            self.finder.sort(self.opened)
            self.tell()

    def action_copy(self) -> None:
        """Copy the row at hand as JSON."""
        if self.opened is None or self.grid.row_number is None:
            return
        try:
            copy(self.studio, row_text(self._row()), self.session.workspace.path)
        except StudioError as error:
            self.studio.show_error(error)

    def action_recipe(self) -> None:
        """A recipe for this data, in the wizard."""
        if self.opened is None:
            return
        try:
            self.session.recipe = with_data(self.session.recipe, self.opened.source, self.opened.columns)
        except StudioError as error:
            self.studio.show_error(error)
            return
        self.studio.action_go("recipe")

    # -- search and filter -------------------------------------------------------------------------------------------
    def action_search(self) -> None:
        """Ask what to look for."""
        self._ask_query("search")

    def action_filter(self) -> None:
        """Ask which rows to keep."""
        self._ask_query("filter")

    def _ask_query(self, what: str) -> None:
        self.query_one(QueryLine).ask(what)
        self.refresh_shell()

    def _close_query(self) -> None:
        self.query_one(QueryLine).close()
        self._show_view()

    async def action_entered(self) -> None:
        """Take the line as it is."""
        await self.query_one(QueryLine).query_one(Input).action_submit()

    def on_query_line_entered(self, event: QueryLine.Entered) -> None:
        event.stop()
        opened = self.opened
        try:
            if opened is not None and event.text.strip():
                (self.finder.look_for if event.what == "search" else self.finder.narrow)(opened, event.text)
        except StudioError as error:
            self.query_one(QueryLine).fault(str(error))
            return
        self._close_query()

    def action_hit(self, by: int) -> None:
        """The next or previous hit."""
        self.finder.hit(by)
        self.tell()

    # -- columns -----------------------------------------------------------------------------------------------------
    def action_columns(self) -> None:
        """Change which column plays which part."""
        opened = self.opened
        if opened is None:
            return
        chosen = opened.columns or (dict(opened.shape.columns) if opened.shape else {})

        def done(columns: dict[str, str] | None) -> None:
            if columns is None:
                return
            guessed = dict(opened.shape.columns) if opened.shape and not opened.columns else None
            if columns != guessed:
                self._map(opened, columns, "you")
                self._keep_columns(opened)
            if self.view == "row":
                self.action_row()
            elif self.view == "tokens":
                self.action_tokens()

        roles = tasks.get(lens_key(self.session.recipe)[0]).roles
        self.studio.push_screen(ColumnsDialog(opened.dataset, self.grid.row_number or 0, roles, chosen), done)

    def _map(self, opened: Opened, columns: dict[str, str], whose: str) -> None:
        opened.map_columns(columns, whose)
        self.background.stop("count")
        self.grid.mark_roles(roles_of(opened.shape))
        self._preview()
        self.tell()

    def _keep_columns(self, opened: Opened) -> None:
        """The mapping belongs to the recipe, where there is one for this data."""
        recipe = self.session.recipe
        if recipe is not None and recipe.data.train == opened.source:
            try:
                self.session.recipe = with_data(recipe, opened.source, opened.columns)
            except StudioError as error:
                self.studio.show_error(error)

    # -- what is told ------------------------------------------------------------------------------------------------
    def on_ticked(self, event: Ticked) -> None:
        event.stop()
        if event.work.group == "find":
            self.finder.tick()
        self.tell()

    def on_ended(self, event: Ended) -> None:
        event.stop()
        self.background.ended(event)
        self.tell()

    def failed(self, error: BaseException) -> None:
        if isinstance(error, StudioError):
            self.studio.show_error(error)
        else:
            self.studio.tell(explain(error), "error")

    def tell(self) -> None:
        """Bring the lines above and below up to date."""
        opened = self.opened
        if opened is not None:
            self.query_one("#data-head", Said).say(*opened.head())
        if self.view == "checks" and "count" not in self.background.running:
            self.query_one("#data-status", Said).say(*self.query_one(ChecksTable).about(max(20, self.size.width - 4)))
        else:
            self.query_one("#data-status", Said).say(self._status())

    def _status(self) -> Line:
        doing = next(
            (self.background.running[group].text for group in ("open", "count") if group in self.background.running), ""
        )
        if doing:
            return (("▶ ", "good"), (doing, "strong"), ("  esc stops", "dim"))
        opened = self.opened
        if opened is None or self.view == "open":
            return ()
        if self.view not in ("table", "row", "tokens"):
            return ()
        said = self.finder.said(opened, max(20, self.size.width - 44))
        if not len(opened.sheet):
            empty = ("  nothing to show", "warn"), ("  esc takes it back", "dim")
            return (*said, *empty) if opened.sheet.layers else (("no rows", "warn"),)
        place = f"{self.grid.cursor + 1:,} of {len(opened.sheet):,} · row {self.grid.row_number}"
        alone = self.view == "table" and not opened.sheet.layers and self.finder.search is None
        column = f" · column {one_line(self.grid.column_name or '', 24)}" if alone else ""
        return ((f"{place}{column}", "dim"), ("   ", ""), *said)

    def on_unmount(self) -> None:
        self.background.stop_all()
