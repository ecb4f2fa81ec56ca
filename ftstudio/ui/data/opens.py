"""Opening a dataset on the Data screen: asked for by name, shown as it is read, followed when the recipe changes."""

from __future__ import annotations

from ftstudio.core.errors import StudioError
from ftstudio.core.text import one_line
from ftstudio.ui.common.background import Work
from ftstudio.ui.common.pathfield import PathField
from ftstudio.ui.data import recent
from ftstudio.ui.data.lens import lens_key, roles_of
from ftstudio.ui.data.live import Seen, read_live
from ftstudio.ui.data.model import Opened, absolute, explain
from ftstudio.ui.data.opening import OpenPanel
from ftstudio.ui.data.versioning import Versioning
from ftstudio.ui.text.table import Table


class Opens(Versioning):
    """What is opened, and when."""

    asked: str | None

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
            self._take_rows(self.opened)

    def _take_rows(self, opened: Opened) -> None:
        """Show only the rows that another screen asked for."""
        wanted = self.session.data_rows
        if wanted is None or opened.reading == "now" or opened.source != self.session.data_source:
            return
        self.session.data_rows = None
        try:
            wanted.check(opened.base, whole=not opened.reading)
        except StudioError as error:
            self.studio.show_error(error)
            return
        at = [] if wanted.at is None else [wanted.at]
        there, here = wanted.rows, at
        if opened.state is not None:
            there, here = opened.state.base_places(there), opened.state.base_places(here)
        opened.sheet.layers.clear()
        self.finder.only(opened, wanted.label, there)
        if here:
            self.grid.go(opened.sheet.place_of(here[0]))
        self.back_to_table()

    def action_open_source(self) -> None:
        """Ask for another dataset."""
        self.show_view("open")
        self._ask_source()

    def _ask_source(self, value: str = "", fault: str = "") -> None:
        panel = self.query_one(OpenPanel)
        feed = self.session.feed
        panel.begin(recent.offers(self.session.workspace, feed.run if feed is not None else None), value)
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

    def open_named(self, source: str) -> None:
        self._open(source)

    def _open(self, source: str) -> None:
        """Open SOURCE off the thread; the table shows as soon as it is read."""
        self.asked = source
        if self.opened is not None and self.opened.reading == "now":
            self.opened.reading = "stopped"
        recipe, workspace = self.at_hand(source), self.session.workspace
        self.query_one(OpenPanel).fault("")

        def run(work: Work) -> Opened:
            opened = read_live(source, recipe, workspace, work)
            recent.remember(workspace, source, opened.note)
            return opened

        self.background.start("open", f"reading {one_line(source, 60)}", run, self._opened, self._not_opened)
        self.tell()

    def on_seen(self, event: Seen) -> None:
        """More of the rows that are being read."""
        event.stop()
        if event.work.stopped or self.background.running.get("open") is not event.work:
            return
        opened = self.opened
        if opened is None or opened is not event.opened:
            self._show_opened(event.opened)
            return
        width = self.grid.number_width
        if opened.dataset.names == event.dataset.names:
            opened.grow(event.dataset, event.progress)
            self.grid.grow()
            if self.grid.number_width != width:
                self.grid.again()
        self.tell()

    def _opened(self, whole: Opened) -> None:
        opened = self.opened
        if opened is None or opened.reading != "now" or opened.source != whole.source:
            self._show_opened(whole)
            self._take_rows(whole)
            return
        if opened.finish(whole):
            self.grid.show(opened.sheet, roles_of(opened.shape), cursor=self.grid.cursor)
        else:
            self.grid.grow()
            self.grid.mark_roles(roles_of(opened.shape))
        if opened.state is not None and opened.state.rebased:
            self.ask_rebased(opened)
        self._take_rows(opened)
        self.tell()

    def _stop_reading(self) -> bool:
        """Read no more; the rows found stay. False where nothing was being read."""
        if not self.background.stop("open"):
            return False
        if self.opened is not None and self.opened.reading:
            self.opened.reading = "stopped"
        self.tell()
        return True

    def _show_opened(self, opened: Opened) -> None:
        for group in ("find", "count"):
            self.background.stop(group)
        self.opened = opened
        self.asked = self.session.data_source = opened.source
        self.finder.reset()
        self.step_log = None
        self.grid.show(opened.sheet, roles_of(opened.shape))
        self.back_to_table()
        if opened.state is not None and opened.state.rebased:
            self.ask_rebased(opened)
        if opened.unmapped and opened.columns:
            self.studio.tell(opened.unmapped, "warning")

    def adopt_source(self, opened: Opened) -> None:
        self.asked = self.session.data_source = opened.source
        self.back_to_table()

    def enter_table(self, table: Table) -> None:
        if table.id == "pending":
            self.action_pending_rows()
        elif table.id == "versions":
            self.action_open_version()
        elif table.id == "frequency":
            self.action_value_rows()
        else:
            self.action_check_rows()

    def _not_opened(self, error: BaseException) -> None:
        if self.opened is not None and self.opened.reading == "now":
            self.opened.reading = "stopped"
        if self.view != "open":
            self.show_view("open")
        source = self.query_one(OpenPanel).field.value or (self.asked or "")
        self._ask_source(source, explain(error))

    def _follow_recipe(self, opened: Opened) -> None:
        """The recipe may have changed on another screen: its mapping and model count here too."""
        recipe = self.at_hand(opened.source)
        if recipe is not None and recipe.data.train == opened.source:
            wanted = {k: v for k, v in (recipe.data.columns.model_dump() if recipe.data.columns else {}).items() if v}
            if wanted != opened.columns or recipe.task != opened.task:
                opened.task = recipe.task
                self._map(opened, wanted, "recipe")
        elif opened.task is not None and (recipe is None or recipe.data.train not in opened.known_as):
            opened.task = None
            self._map(opened, opened.columns, opened.whose)
        if opened.lens is not None and opened.lens_key != lens_key(recipe):
            opened.look_through(None)
            if self.view != "table":
                self.trail = ["table"]
                self._show_view()
