"""Right before and after: which rows a tuning fixed and which it broke."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any

from ftstudio.evaluation.categories import every

# metrics of a row that say right (1) or wrong (0)
DECIDING = ("exact_match", "correct", "numeric_match", "accuracy")
KINDS = ("fixed", "broken", "still right", "still wrong")


def decider(rows: Iterable[Mapping[str, Mapping[str, Any]]]) -> str:
    """The metric that says right or wrong in ROWS (scores by arm); empty where the error categories must."""
    found = list(rows)
    for name in DECIDING:
        if any(isinstance(scores.get(name), int | float) for row in found for scores in row.values()):
            return name
    return ""


@cache
def _hints() -> frozenset[str]:
    """The error categories that only point at rows to look at."""
    return frozenset(name for name, known in every().items() if known.category.hint)


def right(scores: Mapping[str, Any], by: str) -> bool | None:
    """Whether an answer with SCORES is right: by the metric BY, else where no error category (but hints) fired.

    None where that isn't known.
    """
    if by:
        value = scores.get(by)
        return value >= 0.5 if isinstance(value, int | float) else None
    found = scores.get("categories")
    if found is None:
        return None
    return _hints().issuperset(found)


def flip(before: bool | None, after: bool | None) -> str:
    """One of KINDS; empty where one of the two isn't known."""
    if before is None or after is None:
        return ""
    return KINDS[2 * (before == after) + (not after)]
