"""The one place that knows plotext: curves in, a grid of characters and curve numbers out.

Uses plotext's private figure class, because the public module has a single global figure. plotext 5.3 has it; the
test of this file fails where a later version moves it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

Point = tuple[float, float]
Cell = tuple[str, int]  # a character, and the number of the curve that drew it; -1 for axes and empty places
BRAILLE = "braille"


@dataclass(frozen=True)
class Drawn:
    """A curve ready to be drawn: MARKER is `braille` (dots, eight to a cell) or a character; LINE joins the points."""

    points: Sequence[Point]
    marker: str
    line: bool


@dataclass(frozen=True)
class Axis:
    """LOW to HIGH with labelled TICKS; LOG for a logarithmic scale (both ends above zero)."""

    low: float
    high: float
    ticks: tuple[tuple[float, str], ...]
    log: bool = False


_figure: Any = None


def grid(width: int, height: int, x: Axis, y: Axis, curves: Sequence[Drawn]) -> list[list[Cell]]:
    """HEIGHT rows of WIDTH cells, from the top: CURVES over the axes, later ones in front."""
    global _figure
    if _figure is None:
        from plotext._figure import _figure_class  # here, so that screens without a chart don't pay for it

        _figure = _figure_class()
    figure = _figure
    figure.clear_figure()
    figure._set_terminal_size(10_000, 10_000)  # the size is ours to choose; plotext would keep below the terminal's
    figure.plot_size(width, height)
    figure.theme("clear")
    figure.xaxes(True, False)
    figure.yaxes(True, False)
    for index, curve in enumerate(curves, 1):
        if curve.points:
            across, up = [point[0] for point in curve.points], [point[1] for point in curve.points]
            draw = figure.plot if curve.line and len(across) > 1 else figure.scatter
            draw(across, up, marker=curve.marker, color=index)
    if not any(curve.points for curve in curves):  # without data plotext draws no axes either
        figure.scatter([x.low], [y.low], marker=" ")
    figure.xlim(x.low, x.high)
    if y.log:
        figure.yscale("log")
    figure.ylim(_ends(y.low, y.log), _ends(y.high, y.log))
    figure.xticks([tick for tick, _ in x.ticks], [label for _, label in x.ticks])
    figure.yticks([tick for tick, _ in y.ticks], [label for _, label in y.ticks])
    figure._set_sizes()
    figure._build_matrix()
    matrix = figure.monitor.matrix
    return [
        [(mark, colour - 1 if isinstance(colour, int) else -1) for mark, colour in zip(marks, colours, strict=True)]
        for marks, colours in zip(reversed(matrix.marker), reversed(matrix.fullground), strict=True)
    ]


def _ends(value: float, log: bool) -> float:
    """plotext wants the ends of a logarithmic axis as exponents, but its ticks as values."""
    import math

    return math.log10(value) if log else value
