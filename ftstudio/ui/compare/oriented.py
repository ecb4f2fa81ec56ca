"""A pair of arms seen from the other side: what a report says of b against a, said of a against b."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_TURNED = {"better": "worse", "worse": "better", "greater": "smaller", "smaller": "greater"}
_SWAPPED = (("a", "b"), ("count_a", "count_b"), ("fixed", "broke"))


def oriented(entry: Mapping[str, Any], a: str, b: str) -> dict[str, Any] | None:
    """ENTRY (a difference or a category of a report) as B against A; None where it is of other arms."""
    arms = entry.get("arms")
    of_category = isinstance(arms, list)
    pair = tuple(arms) if isinstance(arms, list) else (entry.get("a"), entry.get("b"))
    if pair == (a, b):
        return dict(entry)
    if pair != (b, a):
        return None
    turned = dict(entry)
    for one, other in _SWAPPED:
        if one in entry and other in entry:
            turned[one], turned[other] = entry[other], entry[one]
    if of_category:
        turned["arms"] = [a, b]
    for key, other in (("difference", "difference"), ("low", "high"), ("high", "low")):
        value = entry.get(other)
        turned[key] = -value if isinstance(value, int | float) else value
    turned["verdict"] = _TURNED.get(str(entry.get("verdict")), entry.get("verdict"))
    return turned
