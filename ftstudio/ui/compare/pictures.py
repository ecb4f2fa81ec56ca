"""Pictures in characters: how the per-row differences lie, and how many rows were won, tied and lost."""

from __future__ import annotations

from collections.abc import Sequence

from ftstudio.ui.compare.views import NEAR
from ftstudio.ui.text.lines import Line, Part, fit

BARS = " ▁▂▃▄▅▆▇█"
WIN, TIE, LOSS = "█", "·", "▒"  # told apart without colours, too


def win_tie_loss(differences: Sequence[float]) -> tuple[int, int, int]:
    """How many of DIFFERENCES (b minus a, higher is better) were won, tied and lost."""
    won = sum(step > NEAR for step in differences)
    lost = sum(step < -NEAR for step in differences)
    return won, len(differences) - won - lost, lost


def shares(title: str, counts: tuple[int, int, int], width: int) -> Line:
    """COUNTS of wins, ties and losses as one bar that is full at all rows, within WIDTH cells."""
    total = sum(counts)
    said = " ".join(f"{mark} {count:,}" for mark, count in zip(("won", "tie", "lost"), counts, strict=True))
    room = max(10, width - 13 - len(said) - 2)
    cells = _apportioned(counts, room) if total else (0, 0, 0)
    parts: list[Part] = [(fit(title, 11) + "  ", "")]
    for sign, ink, wide in zip((WIN, TIE, LOSS), ("good", "dim", "bad"), cells, strict=True):
        parts.append((sign * wide, ink))
    return (*parts, ("  " + said, "dim"))


def _apportioned(counts: tuple[int, int, int], room: int) -> tuple[int, int, int]:
    """COUNTS as cells that fill ROOM; what isn't zero gets one at least."""
    total = sum(counts)
    cells = [max(1, round(room * count / total)) if count else 0 for count in counts]
    widest = max(range(3), key=lambda place: cells[place])
    cells[widest] += room - sum(cells)
    return cells[0], cells[1], cells[2]


def histogram(
    differences: Sequence[float], width: int, height: int, higher_is_better: bool | None = True
) -> list[Line]:
    """DIFFERENCES by size as upright bars of HEIGHT lines: what fell left of the middle (hatched), what rose right.

    The middle bar holds those that are none. Below stands the scale. HIGHER_IS_BETTER None: neither way is.
    """
    if not differences:
        return [(("no row has this metric in both", "dim"),)]
    most = max(abs(step) for step in differences) or 1.0
    side = max(5, min(30, (width - 10) // 4))  # bars on either side, two cells each
    counts = [0] * (2 * side + 1)
    for step in differences:
        place = 0 if abs(step) <= NEAR else min(side, 1 + int(abs(step) / most * side * 0.999999))
        counts[side + (place if step > 0 else -place)] += 1
    top = max(counts)
    inks = {True: ("bad", "good"), False: ("good", "bad"), None: ("key", "key")}[higher_is_better]
    lines: list[Line] = []
    for level in range(height - 1, -1, -1):
        label = f"{top:,}" if level == height - 1 else "0" if level == 0 else ""
        parts: list[Part] = [(f"{label:>6} ", "dim")]
        for first, last, ink in ((0, side, inks[0]), (side, side + 1, "strong"), (side + 1, len(counts), inks[1])):
            text = "".join(_block(count, top, level, height, place < side) * 2 for place, count in
                           enumerate(counts[first:last], first))  # fmt: skip
            parts.append((text, ink))
        lines.append(tuple(parts))
    words = {True: ("worse", "better"), False: ("better", "worse"), None: ("smaller", "greater")}[higher_is_better]
    left, right = f"−{most:.2f} {words[0]}", f"{words[1]} +{most:.2f}"
    half = 2 * side
    scale = f"{fit(left, half)}0{fit(right, half + 1, 'right')}"
    return [*lines, ((" " * 7 + scale, "dim"),)]


def _block(count: int, top: int, level: int, height: int, loss: bool) -> str:
    """The cell of a bar of COUNT at LEVEL; whatever isn't zero shows at least a trace. Losses are hatched."""
    eighths = max(1, round(count / top * height * 8)) if count else 0
    part = max(0, min(8, eighths - 8 * level))
    return LOSS if loss and part == 8 else BARS[part]
