"""All columns in figures, and the commonest values of the one at hand."""

from __future__ import annotations

from collections.abc import Sequence

from ftstudio.core.text import number, one_line
from ftstudio.data.mixture import Mixture
from ftstudio.data.personal import masked
from ftstudio.data.profile import ColumnStats
from ftstudio.ui.data.page import Page
from ftstudio.ui.text.lines import Line, Part, fit

HEADS = ("column", "type", "empty", "distinct", "shortest", "mean", "longest")


class StatsPage(Page):
    """A line a column; ← → chooses the one whose values are listed below."""

    def __init__(self, id: str | None = None) -> None:
        super().__init__(id)
        self.stats: Sequence[ColumnStats] = ()
        self.column = 0
        self.mixture = Mixture()
        self.fixed = 1

    def show(self, stats: Sequence[ColumnStats], column: int, mixture: Mixture | None = None) -> None:
        """Show STATS with COLUMN at hand, and what the rows are made of."""
        self.mixture = mixture or Mixture()
        self.stats, self.column = stats, max(0, min(column, len(stats) - 1))
        self.fresh()

    def choose(self, by: int) -> None:
        """Another column."""
        self.column = max(0, min(self.column + by, len(self.stats) - 1))
        self.top = min(self.top, self.column)
        self.fresh(stay=True)

    def _width(self) -> int:
        return max(8, min(30, self.columns - 62))

    def heading(self, y: int) -> Line:
        width = self._width()
        return (("  ", ""), (fit(HEADS[0], width) + "  " + fit(HEADS[1], 8), "title"),
                *(((" " + fit(head, 9, "right")), "title") for head in HEADS[2:]))  # fmt: skip

    def compose_lines(self, width: int) -> list[Line]:
        lines = [self._line(index, stats) for index, stats in enumerate(self.stats)]
        if self.stats:
            lines += [*mixed(self.mixture, width), (), *self._values(self.stats[self.column], width)]
        return lines

    def _line(self, index: int, stats: ColumnStats) -> Line:
        here = index == self.column
        name = fit(one_line(stats.name, 60), self._width())
        figures = (f"{stats.empty:,}", f"{stats.unique:,}", f"{stats.min_length:,}", f"{stats.mean_length:,.0f}",
                   f"{stats.max_length:,}")  # fmt: skip
        parts: list[Part] = [("▸ " if here else "  ", "key"), (name, "strong" if here else ""), ("  ", "")]
        parts.append((fit(stats.type, 8), "dim"))
        for place, figure in enumerate(figures):
            ink = "warn" if place == 0 and stats.empty else ""
            parts.append((" " + fit(figure, 9, "right"), ink))
        return tuple(parts)

    def _values(self, stats: ColumnStats, width: int) -> list[Line]:
        filled = stats.rows - stats.empty
        lines: list[Line] = [
            ((one_line(stats.name, 40), "title"),
             (f"  {filled:,} of {stats.rows:,} rows filled, {stats.unique:,} distinct; lengths in characters", "dim"))
        ]  # fmt: skip
        if stats.low is not None:
            figures = f"from {number(stats.low)} over {number(stats.mean_value)} (mean) to {number(stats.high)}"
            lines.append((("  numbers ", "dim"), (figures, "")))
        if not stats.top:
            lines.append((("  no value of up to 120 characters comes twice", "dim"),))
        most = max((count for _, count in stats.top), default=1)
        for value, count in stats.top:
            bar = "█" * max(1, round(12 * count / most))
            text = one_line(self.safe(value), max(10, width - 36))
            lines.append(
                ((f"  {count:>9,} {100 * count / max(1, stats.rows):>5.1f} % ", ""), (fit(bar, 13), "key"), (text, ""))
            )
        return lines


def mixed(mixture: Mixture, width: int) -> list[Line]:
    """The languages of prompts and answers, and how evenly labels occur."""
    lines: list[Line] = []
    for side, mix in mixture.languages.items():
        total = max(1, sum(mix.values()))
        parts = ", ".join(f"{one_line(code, 8)} {100 * count / total:.0f} %" for code, count in list(mix.items())[:8])
        text = f"{parts}  (of {total:,} rows, evenly spread)"
        lines.append(((f"  {side + 's in':<12} ", "title"), (one_line(text, max(10, width - 16)), "")))
    evenness = mixture.evenness
    if evenness is not None:
        counts = list(mixture.labels.values())
        even = sum(counts) / len(counts)
        rare = min(mixture.labels.items(), key=lambda item: item[1])
        text = f"{len(counts):,}, even to {100 * evenness:.0f} %: rarest {one_line(masked(rare[0]), 24)} with "
        text += f"{rare[1]:,}, an even share would be {even:,.0f}"
        lines.append(((f"  {'labels':<12} ", "title"), (one_line(text, max(10, width - 16)), "")))
    if mixture.missing:
        lines.append(((f"  {one_line(mixture.missing, width - 4)}", "dim"),))
    return [(), *lines] if lines else []
