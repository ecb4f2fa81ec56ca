"""How often each value of a column occurs in the rows in view."""

from __future__ import annotations

from ftstudio.core.text import one_line
from ftstudio.data.frequency import Frequencies
from ftstudio.data.personal import masked
from ftstudio.ui.text.lines import Line
from ftstudio.ui.text.table import Column, Table

BAR = 24
ROWS, SHARE, TIMES = (Column(name, wide, "right") for name, wide in (("rows", 11), ("of rows", 8), ("times", 11)))
REST = (Column("", BAR, least=99), Column("value"))
COLUMNS, OF_LISTS = (ROWS, SHARE, *REST), (ROWS, SHARE, TIMES, *REST)


class FrequencyTable(Table):
    """A line a value, the most frequent first; enter shows its rows."""

    def __init__(self, id: str | None = None) -> None:
        super().__init__(COLUMNS, self._cells, empty="No rows, no values.", id=id)
        self.found: Frequencies | None = None
        self.bare = False

    def fill(self, found: Frequencies) -> None:
        """List FOUND."""
        self.found = found
        self.layout_columns = OF_LISTS if found.times else COLUMNS
        self.show(len(found.counts), 0)
        self.again()

    def show_bare(self, bare: bool) -> None:
        """Show personal data and secrets as they are, or masked."""
        self.bare = bare
        self.again()

    @property
    def at_hand(self) -> str | None:
        """The value under the cursor."""
        return self.found.counts[self.cursor][0] if self.found is not None and self.found.counts else None

    def about(self) -> Line:
        """What is counted, in words."""
        found = self.found
        if found is None:
            return ()
        more = f", {found.uncounted:,} rows with further values aren't counted" if found.uncounted else ""
        count = "1 value" if len(found.counts) == 1 else f"{len(found.counts):,} values"
        rows = f" in {found.rows:,} rows{more}"
        return ((one_line(found.column, 40), "title"), (f"  {count}", "strong"), (rows, "dim"))

    def _cells(self, index: int) -> tuple[str | tuple[str, str], ...]:
        assert self.found is not None
        value, count = self.found.counts[index]
        bar = "█" * max(1, round(BAR * count / self.found.counts[0][1]))
        shown = value if self.bare else masked(value)
        text = (one_line(shown, 400), "") if value.strip() else ("(empty)", "dim")
        times = (f"{self.found.times[index]:,}",) if self.found.times else ()
        return f"{count:,}", f"{100 * count / max(1, self.found.rows):.1f} %", *times, (bar, "key"), text
