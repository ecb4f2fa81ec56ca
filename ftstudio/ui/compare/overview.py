"""The list view of a comparison: verdict, metrics, categories in brief, and the rows, sorted and filtered."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical
from textual.message import Message

from ftstudio.ui.compare import summary
from ftstudio.ui.compare.arms import Arms
from ftstudio.ui.compare.judged import headline as judged
from ftstudio.ui.compare.rows import COLUMNS, Choice, Rows
from ftstudio.ui.compare.sources import brief
from ftstudio.ui.text.lines import Line
from ftstudio.ui.text.said import Said, fitting
from ftstudio.ui.text.table import Cells, Table

BESIDE = 108  # cells of the screen from which the categories stand beside the metrics
HUGE = 140  # and from which the metrics are WIDE


class Overview(Vertical):
    """`choice` says which rows are listed, `row` is the one under the cursor."""

    DEFAULT_CSS = """
    Overview { height: 1fr; }
    Overview #compare-head { height: 2; }
    Overview #compare-figures { height: auto; }
    Overview #compare-metrics { width: 1fr; }
    Overview #compare-changes { width: 1fr; margin-left: 3; }
    Overview #compare-notes { height: 1; }
    Overview #compare-choice { height: 1; }
    """

    @dataclass
    class Opened(Message):
        """Enter on the row `row`."""

        row: int

    def __init__(self) -> None:
        super().__init__()
        self.arms: Arms | None = None
        self.choice = Choice()
        self.rows = Rows()
        self.row: int | None = None
        self._held = False  # a person put the cursor on the row: it stays there, however the rows are sorted anew

    def compose(self) -> ComposeResult:
        yield Said(id="compare-head", grow=True)
        with Horizontal(id="compare-figures"):
            yield Said(id="compare-metrics", grow=True)
            yield Said(id="compare-changes", grow=True)
        yield Said(id="compare-notes")
        yield Said(id="compare-choice")
        yield Table(COLUMNS, self._cells, empty="no rows here", id="compare-rows")

    @property
    def table(self) -> Table:
        """The list of rows."""
        return self.query_one("#compare-rows", Table)

    # -- showing -----------------------------------------------------------------------------------------------------
    def begin(self) -> None:
        """Forget what was chosen: another run is looked at."""
        self.arms, self.choice, self.row, self._held = None, Choice(), None, False

    def show(self, arms: Arms, status: Sequence[Line], *, hold: bool = False) -> None:
        """Bring everything up to date; STATUS stands below the verdict. HOLD keeps the row, though it be gone."""
        self.arms = arms
        self.rows.arrange(arms, self.choice)
        screen = self.app.size.width
        self.query_one("#compare-head", Said).say(summary.headline(arms, screen - 3), *status)
        width = summary.WIDE if screen >= HUGE else min(summary.NARROW, screen - 3)
        lines = summary.metric_lines(arms, width)
        metrics, changes = self.query_one("#compare-metrics", Said), self.query_one("#compare-changes", Said)
        metrics.styles.width = width + 1 if screen >= BESIDE else "1fr"
        metrics.say(*lines)
        changes.display = screen >= BESIDE
        changes.say(*summary.change_lines(arms, len(lines) - 1))
        sources = brief(arms)
        notes = [sources] if sources is not None else []
        for text, ink in summary.notes(arms, screen - 3):
            notes.append((f" · {text}" if notes and not text.startswith(" · ") else text, ink))
        if (judge := judged(arms)) is not None:
            notes.append((f"{' · ' if notes else ''}{judge[0]}", judge[1]))
        self.query_one("#compare-notes", Said).say(fitting(notes, screen - 3))
        self._show_rows(hold)

    def _show_rows(self, hold: bool = False) -> None:
        numbers, table = self.rows.numbers, self.table
        table.layout_columns = self.rows.columns()
        held = hold or self._held
        place = numbers.index(self.row) if held and self.row in numbers else None if held else 0
        table.show(len(numbers), place)
        if numbers and not hold:
            self.row = numbers[table.cursor]
        text = [("rows  ", "title"), (self.choice.text(self.rows.measured), "strong"), (f" · {len(numbers):,}", "dim")]
        if self.choice.narrowed:
            text.append(("   esc all rows", "dim"))
        if self.choice.category:
            text.append((" · f fixed, broke …", "dim"))
        self.query_one("#compare-choice", Said).say(fitting(text, self.app.size.width - 3))

    def _cells(self, index: int) -> Cells:
        return self.rows.cells(self.arms, self.rows.numbers[index]) if self.arms is not None else ("",)

    # -- moving ------------------------------------------------------------------------------------------------------
    def choose(self, choice: Choice) -> None:
        """List the rows of CHOICE from now on, from the first."""
        self.choice, self.row, self._held = choice, None, False
        if self.arms is not None:
            self.rows.arrange(self.arms, choice)
            self._show_rows()

    def step(self, by: int) -> bool:
        """Move the cursor BY rows; whether it is on another row now."""
        numbers = self.rows.numbers
        if not numbers:
            return False
        here = numbers.index(self.row) if self.row in numbers else 0
        row = numbers[max(0, min(here + by, len(numbers) - 1))]
        if row == self.row:
            return False
        self.row, self._held = row, True
        self.table.show(len(numbers), numbers.index(row))
        return True

    @property
    def place(self) -> str:
        """Where the row stands among those listed."""
        numbers = self.rows.numbers
        return f"{numbers.index(self.row) + 1} of {len(numbers)}" if self.row in numbers else "no longer one of those"

    def on_table_moved(self, event: Table.Moved) -> None:
        event.stop()
        self.row, self._held = self.rows.numbers[event.index], True

    def on_table_chosen(self, event: Table.Chosen) -> None:
        event.stop()
        if self.rows.numbers:
            self.row, self._held = self.rows.numbers[event.index], True
            self.post_message(self.Opened(self.row))
