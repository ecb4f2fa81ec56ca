"""How far a person is with going through rows, and how long the rest takes at their own pace."""

from __future__ import annotations

import statistics
from collections.abc import Iterable

from ftstudio.evaluation.tags import Tag

BREAK = 300.0  # seconds from which a pause was no looking at a row
FEWEST = 3  # gaps between two rows from which there is a pace


def seconds_a_row(history: Iterable[Tag]) -> float | None:
    """The median of the seconds between decisions on one row and on the next, breaks left out; None with too few."""
    gaps: list[float] = []
    before: Tag | None = None
    for tag in history:
        if tag.note == "undo":
            continue
        if before is not None and tag.row != before.row and 0 < tag.time - before.time <= BREAK:
            gaps.append(tag.time - before.time)
        before = tag
    return statistics.median(gaps) if len(gaps) >= FEWEST else None


def progress(done: int, total: int, pace: float | None) -> str:
    """`reviewed 12 of 100 ✎ · about 4 min left`: DONE of TOTAL rows at PACE seconds a row; empty before the first."""
    if not done:
        return ""
    text = f"reviewed {done:,} of {total:,} ✎"
    if pace is None or done >= total:
        return text
    minutes = pace * (total - done) / 60
    if minutes < 1:
        return f"{text} · under 1 min left"
    return f"{text} · about {f'{minutes:.0f} min' if minutes < 90 else f'{minutes / 60:.0f} h'} left"
