"""A table that asks only for the rows in view: as quick with 100,000 rows as with ten."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from textual import events
from textual.binding import Binding
from textual.message import Message

from ftstudio.ui.text.lines import Line, Lines, Part, fit

Cells = Sequence[str | Part]


AMPLE = 26  # cells of a column that takes what is left


@dataclass(frozen=True)
class Column:
    """A column: its title, cells wide (0: what is left), `left`, `right` or `ends` (see `fit`), from which width on
    it is shown, and how many cells it takes where what is left is more than `AMPLE`."""

    title: str
    width: int = 0
    align: str = "left"
    least: int = 0
    most: int = 0


class Table(Lines):
    """Rows under a heading, with a cursor. Cells are text, or (text, ink), safe to show and on one line."""

    BINDINGS = [
        Binding("up,k", "move(-1)", "up", show=False),
        Binding("down,j", "move(1)", "down", show=False),
        Binding("pageup", "page(-1)", "page up", show=False),
        Binding("pagedown", "page(1)", "page down", show=False),
        Binding("home", "edge(0)", "first", show=False),
        Binding("end", "edge(1)", "last", show=False),
        Binding("enter", "choose", "open", show=False),
    ]

    @dataclass
    class Moved(Message):
        """The cursor came to row `index`."""

        table: Table
        index: int

        @property
        def control(self) -> Table:
            """The table."""
            return self.table

    @dataclass
    class Chosen(Message):
        """Enter (or a second click) on row `index`."""

        table: Table
        index: int

        @property
        def control(self) -> Table:
            """The table."""
            return self.table

    def __init__(
        self,
        columns: Sequence[Column],
        cells: Callable[[int], Cells],
        *,
        empty: str = "",
        id: str | None = None,
        classes: str | None = None,
    ) -> None:
        super().__init__(id=id, classes=classes)
        self.layout_columns = tuple(columns)
        self.cells = cells
        self.empty = empty
        self.cursor = 0
        self.count = 0
        self.fixed = 1

    def show(self, count: int, cursor: int | None = None) -> None:
        """There are COUNT rows now; draws what changed. CURSOR moves there without telling anyone."""
        self.count = count
        self.total = count or (1 if self.empty else 0)
        if cursor is not None:
            self.cursor = cursor
        self.cursor = max(0, min(self.cursor, count - 1))
        self._follow()
        self.paint()

    def _follow(self) -> None:
        if self.room:
            self.top = max(min(self.top, self.cursor), self.cursor - self.room + 1)

    def lay_out(self) -> None:
        self._follow()

    def _fitting(self) -> list[tuple[int, Column, int]]:
        """The columns that fit: (place among the cells, column, cells wide)."""
        width = self.columns - 2
        shown = [(place, column) for place, column in enumerate(self.layout_columns) if column.least <= self.size.width]
        taken = sum(column.width + 2 for _, column in shown if column.width)
        free = [column for _, column in shown if not column.width]
        rest = max(4, (width - taken - 2 * (len(free) - 1)) // len(free)) if free else 0
        found = []
        for place, column in shown:
            more = max(0, min(column.most - column.width, rest - AMPLE))
            rest -= more
            found.append((place, column, column.width + more))
        return [(place, column, wide or rest) for place, column, wide in found]

    def heading(self, y: int) -> Line:
        parts: list[Part] = [("  ", "")]
        for place, (_, column, width) in enumerate(self._fitting()):
            parts.append((("  " if place else "") + fit(column.title, width, column.align), "title"))
        return tuple(parts)

    def line(self, index: int) -> Line:
        if index >= self.count:
            return ((f"  {self.empty}", "dim"),)
        cells = self.cells(index)
        here = index == self.cursor
        parts: list[Part] = [("▸ " if here else "  ", "key" if here and self.has_focus else "")]
        used = 2
        for order, (place, column, width) in enumerate(self._fitting()):
            cell = cells[place]
            text, ink = (cell, "") if isinstance(cell, str) else cell
            if order:
                parts.append(("  ", ""))
                used += 2
            if place == len(cells) - 1 and len(cells) < len(self.layout_columns):  # the last of few spans the rest
                parts.append((fit(text, self.columns - used), ink))
                break
            used += width
            parts.append((fit(text, width, column.align), ink or ("strong" if here and self.has_focus else "")))
        return tuple(parts)

    def ground(self, index: int) -> str:
        if index != self.cursor or not self.count:
            return ""
        return "cursor" if self.has_focus else "resting"

    # -- moving ----------------------------------------------------------------------------------------------------
    def _go(self, index: int) -> None:
        index = max(0, min(index, self.count - 1))
        if index != self.cursor:
            self.cursor = index
            self._follow()
            self.paint()
            self.post_message(self.Moved(self, index))

    def action_move(self, by: int) -> None:
        """One row up or down."""
        self._go(self.cursor + by)

    def action_page(self, by: int) -> None:
        """A screenful up or down."""
        self._go(self.cursor + by * max(1, self.room - 1))

    def action_edge(self, last: int) -> None:
        """The first or the last row."""
        self._go(self.count - 1 if last else 0)

    def action_choose(self) -> None:
        """Open the row under the cursor."""
        if self.count:
            self.post_message(self.Chosen(self, self.cursor))

    def on_click(self, event: events.Click) -> None:
        index = self.top + event.y - self.fixed
        if event.y >= self.fixed and index < self.count:
            if index == self.cursor:
                self.action_choose()
            self._go(index)
