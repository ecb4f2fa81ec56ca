"""How many rows it would take to tell, in words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ftstudio.evaluation.statistics import UNCLEAR, needed


def more_rows(entry: Mapping[str, Any]) -> int | None:
    """About how many more rows would tell the difference ENTRY of a report from none; None: too alike to tell.

    At least one where the interval already excludes zero, but the correction over many doesn't.
    """
    more = entry.get("needed")
    if more is None and "needed" not in entry:
        more = needed(float(entry["difference"]), float(entry["low"]), float(entry["high"]), int(entry["n"]))
    if more == 0:
        more = max(1, int(entry["n"]) // 10)
    return more


def words(entry: Mapping[str, Any]) -> str:
    """The verdict on a difference ENTRY of a report, in words: what can't be told says how many rows are missing."""
    word = str(entry.get("verdict") or "")
    if word != UNCLEAR:
        return word
    more = more_rows(entry)
    if more is None:
        return "can't tell: as good as no difference"
    return f"can't tell: need about {rounded(more):,} more rows"


def rounded(count: int) -> int:
    """COUNT to two digits: an estimate has no more."""
    size = 10 ** max(0, len(str(count)) - 2)
    return -(-count // size) * size
