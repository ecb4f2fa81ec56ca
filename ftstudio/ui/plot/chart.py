"""The chart: draws curves as rows of cells and sends to the terminal only the rows that changed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rich.cells import cell_len
from rich.segment import Segment
from textual.content import Content
from textual.geometry import Region
from textual.strip import Strip
from textual.widget import Widget

from ftstudio.core.text import number
from ftstudio.ui.plot import figure, scale
from ftstudio.ui.plot.curve import SMALLEST, Curve
from ftstudio.ui.plot.window import stride
from ftstudio.ui.text.inks import Inks

MOST_POINTS = 400  # of a curve, after thinning: what plotext draws in a few milliseconds
INKS = {
    "axis": "$foreground 55%", "dim": "$secondary 65%", "bold": "bold $accent", "mark": "bold $warning",
    "other": "$success", "third": "$error", "fourth": "$primary", "cursor": "bold $foreground",
    "text": "$foreground 75%",
}  # fmt: skip
BORDER = 6  # cells of a border line that its text leaves
CURSOR = -2  # the number of the curve that the cursor's line stands under
MARKED = -3  # and that a mark stands under
MARK = "▴"  # on the axis, where something was changed

Run = tuple[str, str]  # a piece of a row and its ink


@dataclass(frozen=True)
class Series:
    """One curve: POINTS (x, y) with x rising, appended to in place while the run goes on.

    MARKER is `braille` or a character, INK one of `INKS`, LINE joins the points, BETA smooths them. SHOWN is what the
    legend says; empty: not in the legend. LAST: behind the others in the legend.
    """

    shown: str
    points: Sequence[tuple[float, float]]
    marker: str = figure.BRAILLE
    ink: str = "bold"
    line: bool = True
    beta: float = 0.0
    last: bool = False

    @property
    def legend(self) -> str:
        """The marker as it stands in the legend."""
        if self.marker != figure.BRAILLE:
            return self.marker
        return "━" if self.line else "⠔"


class LinePlot(Widget, can_focus=False):
    """Curves over steps. `show` may be called as often as one likes: without news nothing is written."""

    DEFAULT_CSS = """
    LinePlot { border: round $primary 50%; border-title-color: $foreground; border-subtitle-color: $foreground;
               background: $background; }
    """

    def __init__(self, *, id: str | None = None, classes: str | None = None) -> None:
        super().__init__(id=id, classes=classes)
        self._inks = Inks(self, INKS)
        self._title = self._titled = ""
        self._series: tuple[Series, ...] = ()
        self._right: float | None = None
        self._left = 0.0
        self._window: tuple[float, float] | None = None
        self._cursor: float | None = None
        self._said = self._legend = ""
        self._below = True
        self._marks: tuple[tuple[float, str], ...] = ()
        self._marked = ""
        self.readout = ""  # what the curves are at the cursor
        self._log = False
        self._message = ""
        self._curves: dict[tuple[int, float], Curve] = {}
        self._scales: dict[tuple[str, float, float], scale.Sticky] = {}
        self._key: object = None
        self._rows: list[tuple[Run, ...]] = []

    def show(
        self,
        title: str,
        series: Sequence[Series],
        *,
        right: float | None = None,
        window: tuple[float, float] | None = None,
        cursor: float | None = None,
        log: bool = False,
        message: str = "",
        below: bool = True,
        marks: Sequence[tuple[float, str]] = (),
        marked: str = "",
    ) -> None:
        """Show SERIES over steps 0 to RIGHT (None: nobody knows yet), or over a WINDOW of them. Without any point
        MESSAGE stands in the middle. MARKS (step, text) stand on the axis, MARKED says in the legend what they are.

        LOG makes the vertical axis logarithmic; values that aren't above zero are left out there. At the step CURSOR
        stands a line; `readout`, and BELOW the chart a line, tells what the curves are there.
        """
        self._series, self._right, self._log, self._message = tuple(series), right, log, message
        self._window, self._left, self._cursor = window, window[0] if window else 0.0, cursor
        self._below, self._marks, self._marked = below, tuple(marks), marked
        if title != self._title:
            self._curves.clear()
        self._set_title(title)
        self._draw()

    def _set_title(self, title: str) -> None:
        told = sorted((one for one in self._series if one.shown and one.points), key=lambda one: one.last)
        text, below = f"{title}{' · log' if self._log else ''}", ""
        pieces = [f"{one.legend} {one.shown}" for one in told]
        if self._marks and any(one.points for one in self._series):
            pieces.append(f"{MARK} {self._marked}")
        for piece in pieces:  # what has no room above stands below
            if not below and cell_len(text) + cell_len(piece) + 4 <= self.size.width - BORDER:
                text = f"{text} ── {piece}"
            else:
                below = f"{below} ── {piece}" if below else piece
        if text != self._titled:
            self._titled = text
            self.border_title = Content(text)
        self._title, self._legend = title, below

    # -- drawing ---------------------------------------------------------------------------------------------------
    def on_resize(self) -> None:
        self._key = None
        self._set_title(self._title)
        self._draw()

    def _draw(self) -> None:
        width, height = self.content_size
        if width < 12 or height < 4:
            return
        right = self._end()
        bins = min(MOST_POINTS // 2, max(1, (width - scale.LABEL - 1) * 2))
        curves = []
        for index, series in enumerate(self._series):
            curve = self._curves.setdefault((index, series.beta), Curve(series.beta))
            curve.update(series.points, right, bins, self._left)
            curves.append(curve)
        drawn = [
            (series.marker, series.line, series.ink, curve.version)
            for series, curve in zip(self._series, curves, strict=True)
        ]
        texts = (self._title, self._legend, self._message)
        key = (width, height, self._left, right, self._cursor, self._log, drawn, texts, self._marks)
        if key == self._key:
            return
        self._key = key
        self._replace(self._compose_rows(width, height, right, curves))
        self._say_cursor(curves)

    def _say_cursor(self, curves: list[Curve]) -> None:
        text = ""
        if self._cursor is not None:
            parts = [f"step {self._cursor:.0f}"]
            for series, curve in reversed(list(zip(self._series, curves, strict=True))):  # what is in front first
                value = curve.at(self._cursor)
                if value is not None and (series.shown or len(self._series) == 1):
                    away = "" if value[0] == self._cursor else f" at {value[0]:.0f}"
                    parts.append(f"{series.shown.removesuffix(f' {series.beta:g}')} {number(value[1])}{away}".strip())
            reach = stride(self._left, self._end()) / 2  # the cursor can't stand on every step
            for step, told in self._marks:
                if abs(step - self._cursor) <= reach:
                    parts.append(f"{MARK} {told}{'' if step == self._cursor else f' at {step:.0f}'}")
            text = " · ".join(parts)
        self.readout = text
        below = text if text and self._below else self._legend
        if below != self._said:
            self._said = below
            self.border_subtitle = Content(below)

    def _end(self) -> float:
        last = max((series.points[-1][0] for series in self._series if series.points), default=0)
        if self._window is not None:
            return self._window[1]
        if self._right and self._right >= last:
            return float(self._right)
        return scale.room(last)

    def _compose_rows(self, width: int, height: int, right: float, curves: list[Curve]) -> list[tuple[Run, ...]]:
        found = [limits for curve in curves if (limits := curve.limits(self._log))]
        if not found:
            return _in_the_middle(self._message, width, height)
        low, high = min(pair[0] for pair in found), max(pair[1] for pair in found)
        part = (self._title, self._left, right)
        ends = self._scales.setdefault(part, scale.Sticky()).fit(low, high, self._log)
        cells = figure.grid(
            width,
            height,
            scale.horizontal(right, width, self._left),
            scale.vertical(*ends, height - 2, self._log),
            [
                figure.Drawn(self._drawable(curve), series.marker, series.line)
                for series, curve in zip(self._series, curves, strict=True)
            ],
        )
        span = max(1e-9, right - self._left)
        for step, _ in self._marks:
            if self._left <= step <= right:
                cells[-2][_column(cells, (step - self._left) / span)] = (MARK, MARKED)
        if self._cursor is not None:
            _draw_cursor(cells, (self._cursor - self._left) / span)
        return [self._runs(row) for row in cells]

    def _drawable(self, curve: Curve) -> list[tuple[float, float]]:
        """The points of CURVE that the axis takes."""
        return [point for point in curve.points() if point[1] > SMALLEST or not self._log]

    def _runs(self, row: list[figure.Cell]) -> tuple[Run, ...]:
        """ROW as few pieces as possible: blanks take the ink beside them, so that fewer colours are sent."""
        runs: list[list[str]] = []
        for mark, curve in row:
            ink = self._series[curve].ink if 0 <= curve < len(self._series) else "axis"
            ink = "cursor" if curve == CURSOR else "text" if curve == MARKED else ink
            if runs and (mark == " " or runs[-1][1] == ink):
                runs[-1][0] += mark
            else:
                runs.append([mark, ink])
        return tuple((text, ink) for text, ink in runs)

    def _replace(self, rows: list[tuple[Run, ...]]) -> None:
        before, self._rows = self._rows, rows
        if len(before) != len(rows):
            self.refresh()
            return
        changed = [
            Region(0, y, width, 1)  # Textual writes a row from the widget's left edge to the end of the region
            for y, (old, new) in enumerate(zip(before, rows, strict=True))
            if old != new and (width := _until(old, new))
        ]
        if changed:
            self.refresh(*changed)

    def notify_style_update(self) -> None:
        super().notify_style_update()
        self._inks.forget()

    def render_line(self, y: int) -> Strip:
        """Row Y of the content."""
        width, base = self.content_size.width, self.rich_style
        if y >= len(self._rows):
            return Strip.blank(width, base)
        segments = [Segment(text, self._inks[ink]) for text, ink in self._rows[y]]
        return Strip(segments).adjust_cell_length(width, base).apply_style(base)

    def text(self) -> str:
        """The chart as plain text, as it stands."""
        return "\n".join("".join(text for text, _ in row) for row in self._rows)


def _until(old: tuple[Run, ...], new: tuple[Run, ...]) -> int:
    """How many cells from the left hold every difference of two rows."""
    before = [(mark, ink) for text, ink in old for mark in text]
    after = [(mark, ink) for text, ink in new for mark in text]
    if len(before) != len(after):
        return max(len(before), len(after))
    differing = [
        x
        for x, (one, two) in enumerate(zip(before, after, strict=True))
        if one != two and not (one[0] == two[0] == " ")
    ]
    return differing[-1] + 1 if differing else 0


def _draw_cursor(cells: list[list[figure.Cell]], share: float) -> None:
    """A line down the empty cells of the column at SHARE (0 to 1) of the width that the axes leave."""
    column = _column(cells, share)
    for row in cells[:-2]:  # not through axis and labels
        if column < len(row) and row[column][0] == " ":
            row[column] = ("│", CURSOR)


def _column(cells: list[list[figure.Cell]], share: float) -> int:
    """The column at SHARE (0 to 1) of the width that the axes leave."""
    axis = next((x for x, (mark, curve) in enumerate(cells[0]) if curve < 0 and mark in "│┤"), 0)
    return axis + 1 + round(min(1.0, max(0.0, share)) * (len(cells[0]) - axis - 2))


def _in_the_middle(message: str, width: int, height: int) -> list[tuple[Run, ...]]:
    lines = [line[:width] for line in message.split("\n")][:height] if message else []
    first = (height - len(lines)) // 2
    rows: list[tuple[Run, ...]] = [((" " * width, "axis"),)] * height
    for offset, line in enumerate(lines):
        pad = max(0, width - cell_len(line)) // 2
        text = " " * pad + line
        rows[first + offset] = ((text + " " * max(0, width - cell_len(text)), "text"),)
    return rows
