"""Axes that seldom move: round ends, few ticks, labels of the same width."""

from __future__ import annotations

import math

from ftstudio.ui.plot.figure import Axis

MOST = 6  # ticks of a vertical axis
LABEL = 5  # cells of most labels on the vertical axis: the curve must not jump sideways when the labels change


class Sticky:
    """The ends of a vertical axis. They stay until the values leave them, or fill less than a quarter of them."""

    def __init__(self) -> None:
        self._ends: tuple[float, float] | None = None
        self._log = False

    def fit(self, low: float, high: float, log: bool = False) -> tuple[float, float]:
        """Round ends around LOW to HIGH (above zero where LOG)."""
        ends = self._ends
        # Ends of a log axis may lie a millionth inside the values (`_log_ends`): that is no reason to move them.
        slack = 1e-6 if log else 0.0
        if ends is not None and log == self._log and ends[0] <= low * (1 + slack) and high <= ends[1] * (1 + slack):
            filled = _span(low, high, log) / _span(*ends, log)
            if filled >= 0.25 or _span(low, high, log) == 0:
                return ends
        self._log = log
        self._ends = _log_ends(low, high) if log else _linear_ends(low, high)
        return self._ends


def _span(low: float, high: float, log: bool) -> float:
    return math.log10(high) - math.log10(low) if log else high - low


def _linear_ends(low: float, high: float) -> tuple[float, float]:
    step = _step(low, high, parts=6)
    while True:
        bottom, top = math.floor(low / step) * step, math.ceil(high / step) * step
        if bottom == top:
            bottom, top = bottom - step, top + step
        if low >= 0:
            bottom = max(0.0, bottom)
        told = [label(value) for value in _linear_ticks(bottom, top, MOST)]
        if len(set(told)) == len(told):
            return bottom, top
        step = _step(
            0.0, 1.9 * step, 1
        )  # the values differ less than labels can tell: a wider axis shows them as level as they are


def _step(low: float, high: float, parts: int = 4) -> float:
    """A round step that makes about PARTS of LOW to HIGH: 1, 2, 2.5 or 5 times a power of ten."""
    span = high - low
    if span <= abs(high) * 1e-9 or span <= 0:
        span = abs(high) or 1.0
    rough = span / parts
    power = 10.0 ** math.floor(math.log10(rough)) if rough > 0 else 1.0
    return next((nice * power for nice in (1, 2, 2.5, 5) if nice * power >= rough * 0.999), 10 * power)


_MANTISSAS = (1.0, 2.0, 5.0, 10.0)


def _log_ends(low: float, high: float) -> tuple[float, float]:
    below, above = 10.0 ** math.floor(math.log10(low)), 10.0 ** math.floor(math.log10(high))
    bottom = max(part * below for part in _MANTISSAS if part * below <= low * 1.000001)
    top = min(part * above for part in _MANTISSAS if part * above >= high * 0.999999)
    return (bottom, top) if bottom < top else (bottom / 2, top * 2)


def vertical(low: float, high: float, height: int, log: bool = False) -> Axis:
    """The vertical axis from LOW to HIGH with as many ticks as HEIGHT rows carry."""
    most = max(2, min(MOST, height // 2))
    values = _log_ticks(low, high, most) if log else _linear_ticks(low, high, most)
    return Axis(low, high, tuple((value, label(value).rjust(LABEL)) for value in values), log)


def _linear_ticks(low: float, high: float, most: int) -> list[float]:
    step = _step(low, high)
    first = math.ceil(low / step - 1e-9)
    values = [index * step for index in range(first, math.floor(high / step + 1e-9) + 1)]
    while len(values) > most:
        values = values[:: 2 if len(values) % 2 else len(values) - 1]
    return values or [low, high]


def _log_ticks(low: float, high: float, most: int) -> list[float]:
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for parts in ((1.0, 2.0, 5.0), (1.0,)):
        values = [part * 10.0**power for power in decades for part in parts]
        values = [value for value in values if low * 0.999 <= value <= high * 1.001]
        if 2 <= len(values) <= most:
            return values
    inner = [10.0**power for power in decades if low * 0.999 <= 10.0**power <= high * 1.001]
    every = max(1, math.ceil(len(inner) / most))
    return inner[::every] if len(inner[::every]) > 1 else [low, high]


def horizontal(right: float, width: int, left: float = 0.0) -> Axis:
    """The axis of steps from LEFT to RIGHT with round ticks as WIDTH cells carry them, and its end where there is room.

    The end of a whole run is its number of steps: worth a label. Of a part of it only the round ones are.
    """
    cells, span = max(1, width - LABEL - 2), max(1e-9, right - left)
    step = _whole_step(span / max(2, min(6, cells // (LABEL + 3))))
    first = math.ceil(left / step - 1e-9)
    values = [float(index * step) for index in range(first, math.floor(right / step + 1e-9) + 1)]
    last = values[-1] if values else left - span
    apart = len(label(last)) / 2 + len(label(right)) + 2  # cells: the end's label stands left of its tick
    if not left and right > last and (right - last) / span * cells >= apart:
        values.append(right)
    return Axis(left, right, tuple((value, label(value)) for value in values))


def _whole_step(least: float) -> int:
    """The smallest round number of steps that is at least LEAST: 1, 2, 5, 10, 20, 25, 50, 100, …"""
    power = 10 ** max(0, math.floor(math.log10(max(1.0, least))))
    return next(int(nice * power) for nice in (1, 2, 2.5, 5, 10) if nice * power >= least and nice * power % 1 == 0)


def label(value: float) -> str:
    """VALUE in at most six characters, five where that tells two digits: `0.25`, `1200`, `18k`, `2e-4`, `1.5e-4`."""
    if value == 0:
        return "0"
    for width, least in ((LABEL, 2), (LABEL + 1, 1)):
        for digits in range(4, least - 1, -1):
            text = _written(float(f"{value:.{digits}g}"), digits)
            if len(text) <= width:
                return text
    return f"{value:.0e}".replace("e+", "e").replace("e-0", "e-")


def _written(value: float, digits: int) -> str:
    size = abs(value)
    for low, high, unit, name in ((1e-3, 1e4, 1.0, ""), (1e4, 1e6, 1e3, "k"), (1e6, 1e9, 1e6, "M")):
        if low <= size < high:
            return f"{value / unit:.4g}{name}"
    mantissa, _, power = f"{value:.{digits - 1}e}".partition("e")
    return f"{mantissa.rstrip('0').rstrip('.') if '.' in mantissa else mantissa}e{int(power)}"


def room(right: float) -> float:
    """A round end for steps up to RIGHT where nobody knows how many there will be; it grows by doublings."""
    end = 50.0
    while end < right:
        end *= 2
    return end
