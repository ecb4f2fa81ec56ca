"""The table of rows: asks the dataset only for the rows in view, so it is as quick with 100,000 as with ten."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rich.cells import cell_len
from textual import events
from textual.binding import Binding
from textual.message import Message

from ftstudio.core.text import one_line
from ftstudio.data.personal import masked
from ftstudio.ui.data.cells import cell, widths
from ftstudio.ui.data.sheet import Search, Sheet
from ftstudio.ui.text.lines import Line, Lines, Part, fit

SAMPLE = 48  # rows looked at to size the columns
KEPT = 512  # rows whose cells are kept ready
WORD = 8  # cells of the column that says what became of a row; it is there where any row was repaired


class Grid(Lines):
    """Rows and columns of a sheet, with a row under the cursor and a column at hand."""

    BINDINGS = [
        Binding("up", "move(-1)", "up", show=False),
        Binding("down", "move(1)", "down", show=False),
        Binding("pageup", "page(-1)", "page up", show=False),
        Binding("pagedown,space", "page(1)", "page down", show=False),
        Binding("home", "edge(0)", "first", show=False),
        Binding("end", "edge(1)", "last", show=False),
        Binding("left", "column(-1)", "column left", show=False),
        Binding("right", "column(1)", "column right", show=False),
        Binding("enter", "choose", "open", show=False),
    ]

    @dataclass
    class Moved(Message):
        """Another row or column is at hand."""

        grid: Grid

    @dataclass
    class Chosen(Message):
        """Enter, or a second click, on row `place` of the sheet."""

        grid: Grid
        place: int

    def __init__(self, id: str | None = None) -> None:
        super().__init__(id=id)
        self.sheet: Sheet | None = None
        self.fixed = 2
        self.cursor = 0
        self.column = 0
        self.first = 0  # the leftmost column in view
        self.roles: Mapping[str, str] = {}  # column → the part it plays
        self.bare = False  # whether personal data and secrets are shown
        self.hits: Search | None = None  # what a search found
        self._natural: list[int] = []
        self._widths: list[int] = []
        self._cells: OrderedDict[int, list[str]] = OrderedDict()

    # -- what is shown ---------------------------------------------------------------------------------------------
    def show(self, sheet: Sheet | None, roles: Mapping[str, str] | None = None, *, cursor: int = 0) -> None:
        """Show SHEET from row CURSOR on; ROLES names the part each mapped column plays."""
        self.sheet = sheet
        self.roles = dict(roles or {})
        self.cursor = self.top = 0
        self.column = self.first = 0
        self.hits = None
        self._cells.clear()
        self._measure()
        self.refill(cursor)

    def refill(self, cursor: int | None = None) -> None:
        """The sheet's rows changed: draw what did."""
        self.total = len(self.sheet) if self.sheet else 0
        if cursor is not None:
            self.cursor = cursor
        self.cursor = max(0, min(self.cursor, self.total - 1))
        self._follow()
        self.again()

    def grow(self) -> None:
        """More rows were found for the sheet, or more hits for the search."""
        self.total = len(self.sheet) if self.sheet else 0
        self.cursor = max(0, min(self.cursor, self.total - 1))
        self.paint()

    def renew(self) -> None:
        """Rows were changed, dropped or added."""
        self._cells.clear()
        if self.sheet is not None and len(self.sheet.names) != len(self._natural):
            self._measure()
            self.column = min(self.column, max(0, len(self.sheet.names) - 1))
        self.refill()

    def mark_roles(self, roles: Mapping[str, str]) -> None:
        """The mapping changed."""
        self.roles = dict(roles)
        self._measure()
        self.again()

    @property
    def column_name(self) -> str | None:
        """The column at hand."""
        return self.sheet.names[self.column] if self.sheet and self.sheet.names else None

    @property
    def row_number(self) -> int | None:
        """The dataset's number of the row under the cursor; None where nothing is shown."""
        return self.sheet.rows[self.cursor] if self.sheet and self.cursor < len(self.sheet) else None

    def _measure(self) -> None:
        """What each column would like to be wide, from the first rows."""
        if self.sheet is None:
            self._natural = []
            return
        names = self.sheet.names
        sample = [self._row(place) for place in range(min(SAMPLE, len(self.sheet)))]
        self._natural = []
        for index, name in enumerate(names):
            lengths = sorted(cell_len(cells[index][:160]) for cells in sample)
            usual = lengths[int(0.9 * (len(lengths) - 1))] if lengths else 0
            self._natural.append(max(usual, len(one_line(name, 24)), len(self._role(name)), 4))

    def _row(self, place: int) -> list[str]:
        """The cells of the row shown at PLACE."""
        assert self.sheet is not None
        number = self.sheet.rows[place]
        found = self._cells.get(number)
        if found is None:
            row = self.sheet.read(number)
            found = self._cells[number] = [self._cell(row.get(name)) for name in self.sheet.names]
            if len(self._cells) > KEPT:
                self._cells.popitem(last=False)
        return found

    def _cell(self, value: Any) -> str:
        text = cell(value)
        return text if self.bare or not isinstance(value, (str, list, dict)) else masked(text)

    def show_bare(self, bare: bool) -> None:
        """Show personal data and secrets as they are, or masked."""
        self.bare = bare
        self._cells.clear()
        self.again()

    # -- laying out ------------------------------------------------------------------------------------------------
    @property
    def number_width(self) -> int:
        """Cells that the row's number takes."""
        return max(3, len(f"{len(self.sheet.dataset):,}")) if self.sheet else 3

    @property
    def _side(self) -> int:
        """Cells before the first column: the number, what became of the row, the cursor's sign."""
        return self.number_width + 3 + (WORD if self.sheet is not None and self.sheet.marks else 0)

    def lay_out(self) -> None:
        room = self.columns - self._side
        self._widths = widths(self._natural, room)
        spare = room - sum(self._widths) - 2 * (len(self._widths) - 1)
        if spare > 0 and self._widths:  # what is left goes to the column with most to say
            place = max(range(len(self._natural)), key=self._natural.__getitem__)
            self._widths[place] += min(spare, 80)
        self._follow()

    def _follow(self) -> None:
        if self.room:
            self.top = max(min(self.top, self.cursor), self.cursor - self.room + 1)
        if not self._widths:
            return
        self.first = min(self.first, self.column)
        room = self.columns - self._side
        if room < 4:  # not in view: nothing fits, which says nothing of later
            return

        def needed(first: int, last: int) -> int:
            return sum(self._widths[first : last + 1]) + 2 * (last - first)

        while self.first < self.column and needed(self.first, self.column) > room:
            self.first += 1
        end = len(self._widths) - 1
        while self.first and needed(self.first - 1, end) <= room:  # no room is left empty at the right
            self.first -= 1

    def _fitting(self) -> list[tuple[int, int]]:
        """(column, cells wide) of those in view; the last may be cut at the edge."""
        left = self.columns - self._side
        shown = []
        for index in range(self.first, len(self._widths)):
            if left < 4:
                break
            shown.append((index, min(self._widths[index], left)))
            left -= self._widths[index] + 2
        return shown

    def _role(self, name: str) -> str:
        return f"▸{self.roles[name]}" if name in self.roles else ""

    def heading(self, y: int) -> Line:
        if self.sheet is None:
            return ()
        shown = self._fitting()
        more = "›" if shown and shown[-1][0] < len(self._widths) - 1 else " "
        before = "‹" if self.first else " "
        parts: list[Part] = [(" " * (self._side - 3) + f" {before} ", "rule")] if y == 0 else [(" " * self._side, "")]
        for order, (index, width) in enumerate(shown):
            column = self.sheet.dataset.columns[index]
            if order:
                parts.append(("  ", ""))
            if y == 0:
                name = one_line(column.name, width)
                parts.append((name, "mark" if index == self.column else "title"))
                parts.append((" " * max(0, width - cell_len(name)), ""))
            else:
                role = self._role(column.name)
                parts.append((fit(role, width), "good") if role else (fit(column.type, width), "rule"))
        return (*parts, (more, "rule")) if y == 0 else tuple(parts)

    def line(self, index: int) -> Line:
        assert self.sheet is not None
        number = self.sheet.rows[index]
        cells = self._row(index)
        here = index == self.cursor
        word, changed = self.sheet.marks.word(number), self.sheet.marks.changed.get(number, ())
        gutter = fit(f"{number:,}", self.number_width, "right")
        hit = self.hits is not None and self.hits.rank(index) is not None
        sign = "▸" if here else "*" if hit else " "
        parts: list[Part] = [(gutter, "dim"), (" ", ""), (sign, "mark" if hit else "key")]
        parts.append(("+", "key") if number in self.sheet.selected else (" ", ""))
        if self.sheet.marks:
            parts.append((f"{word:{WORD}}", "warn"))
        ink = "del" if word == "dropped" else "strong" if here else ""
        for order, (column, width) in enumerate(self._fitting()):
            if order:
                parts.append(("  ", ""))
            if self.sheet.names[column] in changed and word != "dropped":
                parts.append((fit(f"~{cells[column]}", width), "ins"))
            else:
                parts.append((fit(cells[column], width), ink))
        return tuple(parts)

    def ground(self, index: int) -> str:
        return "" if index != self.cursor else "cursor" if self.has_focus else "resting"

    # -- moving ----------------------------------------------------------------------------------------------------
    def go(self, place: int) -> None:
        """Put the cursor on the row shown at PLACE."""
        place = max(0, min(place, self.total - 1))
        if place != self.cursor:
            self.cursor = place
            if not self.top - self.room <= place <= self.top + 2 * self.room:  # a leap: with something around it
                self.top = place - self.room // 3
            self._follow()
            self.paint()
            self.post_message(self.Moved(self))

    def action_move(self, by: int) -> None:
        """One row up or down."""
        self.go(self.cursor + by)

    def action_page(self, by: int) -> None:
        """A screenful up or down."""
        self.go(self.cursor + by * max(1, self.room - 1))

    def action_edge(self, last: int) -> None:
        """The first or the last row."""
        self.go(self.total - 1 if last else 0)

    def action_column(self, by: int) -> None:
        """Another column; the table scrolls sideways where it doesn't fit."""
        if self.sheet is None:
            return
        column = max(0, min(self.column + by, len(self.sheet.names) - 1))
        if column != self.column:
            self.column = column
            self._follow()
            self.again()
            self.post_message(self.Moved(self))

    def action_choose(self) -> None:
        """Open the row under the cursor."""
        if self.total:
            self.post_message(self.Chosen(self, self.cursor))

    def on_click(self, event: events.Click) -> None:
        index = self.top + event.y - self.fixed
        if event.y >= self.fixed and index < self.total:
            if index == self.cursor:
                self.action_choose()
            self.go(index)
