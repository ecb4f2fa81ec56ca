"""How many rows it would take to tell."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

_CONFIDENCE = 1.959963984540054  # of 95 %
_POWER = 0.8416212335729143  # of 80 %
FARTHEST = 100_000  # rows beyond which the difference is none that anybody would look for


def more_rows(difference: float, low: float, high: float, n: int) -> int | None:
    """About how many more rows than N it takes until a 95 % interval excludes zero in 8 of 10 cases, were DIFFERENCE,
    whose interval is now LOW to HIGH, the true one.

    The usual n = ((z of 95 % + z of 80 %) · sd / difference)² of a paired comparison (Card et al. 2020, "With little
    power comes great responsibility"), the sd read off the interval. 0 where N does already; None where there is no
    difference to be found, or none in 100,000 rows.
    """
    error = (high - low) / (2 * _CONFIDENCE)
    if n < 1 or difference == 0 or not math.isfinite(error):
        return None
    if error == 0:
        return 0
    needed = math.ceil(n * ((_CONFIDENCE + _POWER) * error / difference) ** 2)
    return None if needed > FARTHEST else max(0, needed - n)


def words(entry: Mapping[str, Any]) -> str:
    """The verdict on a difference ENTRY of a report, in words: what can't be told says how many rows are missing."""
    word = str(entry.get("verdict") or "")
    if word != "no clear difference":
        return word
    more = missing(entry)
    return "can't tell: as good as no difference" if more is None else f"can't tell: need about {more:,} more rows"


def missing(entry: Mapping[str, Any]) -> int | None:
    """About how many more rows would tell the unclear difference ENTRY, to two digits; None: too alike to tell.

    At least some where the interval already excludes zero: it is the correction over many that doesn't allow it.
    """
    more = more_rows(float(entry["difference"]), float(entry["low"]), float(entry["high"]), int(entry["n"]))
    return None if more is None else rounded(more or max(1, int(entry["n"]) // 10))


def rounded(count: int) -> int:
    """COUNT to two digits: an estimate has no more."""
    size = 10 ** max(0, len(str(count)) - 2)
    return -(-count // size) * size
