"""Choosing training rows by hand: the examples that an arm is shown before every question."""

from __future__ import annotations

from collections.abc import Callable

from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Vertical
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Static

from ftstudio.core.arm import MOST_SHOTS
from ftstudio.core.text import one_line
from ftstudio.ui.text.table import Cells, Column, Table

Shown = tuple[int, str, str] | None  # row number, prompt, answer; None for a row that can't be an example
COLUMNS = (Column("", 3), Column("row", 7, "right"), Column("prompt", 0), Column("answer", 26))


class ShotsDialog(ModalScreen[tuple[int, ...] | None]):
    """COUNT training rows to tick, read by READ as they come into view; gives back the numbers of those ticked in that
    order, or None for escape."""

    BINDINGS = [Binding("escape,q", "dismiss(None)", "back"), Binding("space", "tick", "tick")]
    DEFAULT_CSS = "ShotsDialog Table { height: 12; background: $surface; }"

    def __init__(self, count: int, read: Callable[[int], Shown]) -> None:
        super().__init__()
        self.count, self.read = count, read
        self.ticked: list[int] = []  # row numbers

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog"):
            yield Static(Content("Which training rows are the examples?"), classes="dialog-title")
            yield Table(COLUMNS, self._cells, empty="there are no training rows")
            yield Static("", classes="dialog-hint", id="shots-hint")

    def on_mount(self) -> None:
        table = self.query_one(Table)
        table.show(self.count, 0)
        table.focus()
        self._say()

    def _cells(self, index: int) -> Cells:
        found = self.read(index)
        if found is None:
            return ("", "", ("has no prompt and answer", "dim"), "")
        row, prompt, answer = found
        place = self.ticked.index(row) + 1 if row in self.ticked else 0
        mark = (f"{place:>2}", "good") if place else ("[ ]", "dim")
        return (mark, (f"{row:,}", "dim"), (one_line(prompt, 300), "strong" if place else ""), one_line(answer, 60))

    def action_tick(self) -> None:
        """Take the row at hand in or out."""
        table = self.query_one(Table)
        found = self.read(table.cursor) if self.count else None
        if found is None:
            return
        row = found[0]
        if row in self.ticked:
            self.ticked.remove(row)
        elif len(self.ticked) < MOST_SHOTS:
            self.ticked.append(row)
        table.show(self.count)
        self._say()

    def _say(self) -> None:
        chosen = f"{len(self.ticked)} chosen, shown in this order" if self.ticked else "none chosen"
        text = f"{chosen}\nspace ticks · enter takes them · esc goes back"
        self.query_one("#shots-hint", Static).update(Content(text))

    def on_table_chosen(self, event: Table.Chosen) -> None:
        event.stop()
        self.dismiss(tuple(self.ticked) or None)
