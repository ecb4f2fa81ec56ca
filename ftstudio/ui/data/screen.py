"""The Data screen: open, look, search, see the tokens, see what is wrong."""

from __future__ import annotations

from collections import deque
from typing import Any, ClassVar

from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical
from textual.widget import Widget

from ftstudio.core.errors import StudioError
from ftstudio.core.text import one_line
from ftstudio.ui.common.background import Background, Ended, Ticked
from ftstudio.ui.common.pathfield import PathInput
from ftstudio.ui.data import actions
from ftstudio.ui.data.checks_page import ChecksTable, ProblemsPage
from ftstudio.ui.data.finding import Finder
from ftstudio.ui.data.frequency_page import FrequencyTable
from ftstudio.ui.data.grid import Grid
from ftstudio.ui.data.histogram import LengthsPage
from ftstudio.ui.data.model import Opened, explain
from ftstudio.ui.data.opening import OpenPanel
from ftstudio.ui.data.opens import Opens
from ftstudio.ui.data.pending_page import PendingTable
from ftstudio.ui.data.query import QueryLine
from ftstudio.ui.data.row_page import RowPage
from ftstudio.ui.data.stats_page import StatsPage
from ftstudio.ui.data.steps_page import StepsPage
from ftstudio.ui.data.token_page import TokenPage
from ftstudio.ui.data.versions_page import DifferencePage, VersionsTable
from ftstudio.ui.shell.actions import Action, bindings
from ftstudio.ui.text.lines import Line
from ftstudio.ui.text.recipes import Recipes
from ftstudio.ui.text.said import Said


class DataScreen(Opens):
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
    DataScreen #preview.beside { display: block; }
    DataScreen #grid { width: 3fr; }
    """

    def __init__(self) -> None:
        super().__init__()
        self.opened: Opened | None = None
        self.recipes = Recipes()
        self.asked: str | None = None  # the source that was asked for last
        self.trail: list[str] = ["open"]  # the views from the first to the present one
        self.background = Background(self)
        self._waiting = deque()
        self.grid = Grid(id="grid")
        self.finder = Finder(
            self.grid, self.background, self.failed, self.note, lambda text: self.studio.tell(text, "warning")
        )

    def compose_body(self) -> ComposeResult:
        yield Said(id="data-head")
        with Vertical(id="data-views"):
            yield OpenPanel(id="open")
            with Horizontal(id="table"):
                yield self.grid
                yield RowPage(id="preview")
            yield from (RowPage("row"), TokenPage("tokens"), StatsPage("stats"), LengthsPage("lengths"),
                         ChecksTable("checks"), ProblemsPage("problems"), PendingTable("pending"),
                         VersionsTable("versions"), DifferencePage("difference"), FrequencyTable("frequency"),
                         StepsPage("steps"),)  # fmt: skip
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
            found = actions.BY_VIEW[self.view]
            if self.view == "table" and self.opened is not None and self.opened.state and self.opened.state.edits:
                rest = (known for known in found[3:] if known not in actions.FIRST)
                found = (found[0], *actions.FIRST, *found[1:3], *rest)
            return found
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
            if self.opened is not None and not self.finder.pop(self.opened):
                self._stop_reading()
            self.tell()
        elif self.view == "open":
            if self.opened is None or self.opened.reading != "now":  # what is shown already is read on
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
            self.query_one("#data-head", Said).say(*opened.head(self.app.size.width - 3))
        if self.view == "checks" and "count" not in self.background.running:
            self.query_one("#data-status", Said).say(*self.query_one(ChecksTable).about(max(20, self.size.width - 4)))
        else:
            self.query_one("#data-status", Said).say(self._status())

    def _status(self) -> Line:
        groups = ("count",) if self.opened is not None and self.opened.reading == "now" else ("open", "count")
        doing = next((self.background.running[group].text for group in groups if group in self.background.running), "")
        if doing:
            return (("▶ ", "good"), (doing, "strong"), ("  esc stops", "dim"))
        opened = self.opened
        if (work := self.background.running.get("edit")) is not None and work.total:
            return (("▶ ", "good"), (work.text, "strong"))
        if opened is None or self.view == "open":
            return ()
        if self.view == "frequency":
            return self.query_one(FrequencyTable).about()
        if self.view not in ("table", "row", "tokens"):
            return ()
        said = self.finder.said(opened, max(20, self.size.width - 44))
        if opened.reading == "now":
            said = (*said, ("  ▶ reading", "good"), ("  esc stops", "dim"))
        if not len(opened.sheet):
            empty = ("  nothing to show", "warn"), ("  esc takes it back", "dim")
            return (*said, *empty) if opened.sheet.layers else (("no rows", "warn"),)
        place = f"{self.grid.cursor + 1:,} of {len(opened.sheet):,} · row {self.grid.row_number}"
        alone = self.view == "table" and not opened.sheet.layers and self.finder.search is None
        column = f" · column {one_line(self.grid.column_name or '', 24)}" if alone else ""
        word = opened.sheet.marks.word(self.grid.row_number or 0)
        if word == "changed":
            word = f"changed: {one_line(', '.join(opened.sheet.marks.changed[self.grid.row_number or 0]), 30)}"
        picked = f"  + {len(opened.sheet.selected):,} selected" if len(opened.sheet.selected) else ""
        return ((f"{place}{column}", "dim"), (picked, "key"), (f"  {word}", "warn"), ("   ", ""), *said)

    def on_unmount(self) -> None:
        self.background.stop_all()
