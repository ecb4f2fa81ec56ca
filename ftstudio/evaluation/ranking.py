"""Search by vectors: at which rank the text that belongs to another was found, and what that is worth."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

SCORED = ("similar_low", "dissimilar_high", "rank_inversion", "length_bias", "anisotropy")
"""Error categories of cosines that are held against scores."""
SEARCHED = ("not_found", "hub", "length_bias", "anisotropy")
"""Error categories of texts that search their partner."""
CUT = 10
TIE = 1e-6
"""Cosines that differ by no more are one: texts that are cut to the same tokens differ by what rounding makes of it."""

METRICS: Mapping[str, Callable[[int], float]] = {
    f"mrr@{CUT}": lambda rank: 1 / rank if rank <= CUT else 0.0,
    f"recall@{CUT}": lambda rank: float(rank <= CUT),
}
"""What a rank (from 1) is worth: its reciprocal, and whether it is among the first ten."""


def beats(cosine: float, other: float) -> bool:
    """Whether COSINE is higher than OTHER by more than rounding. What is no number beats nothing."""
    return not math.isnan(cosine) and (math.isnan(other) or cosine - other > TIE)


def told(cosines: Sequence[float], pool: Sequence[str], own: str, cosine: float) -> dict[str, Any]:
    """What the COSINES of a text with each of POOL say where its partner OWN has COSINE: the partner's `rank` from 1,
    the `best` text and its cosine `best_cosine`, and `others`, the mean cosine with texts that aren't its partner.

    Where POOL holds OWN its cosine is the one there, made as those of the others are. A partner ranks below all that
    it ties with: the pessimistic rank (Berrendorf et al. 2020, arXiv 2002.06914), since a model to which all texts are
    alike finds none. One whose cosine is no number is last.
    """
    others, mine = [], cosine
    for text, value in zip(pool, cosines, strict=True):
        if text == own:
            mine = value
        else:
            others.append((text, value))
    before = [(text, value) for text, value in others if not beats(mine, value)]
    best, highest = max(before, key=lambda one: sortable(one[1]), default=(own, mine))
    found: dict[str, Any] = {"rank": 1 + len(before), "best": best, "best_cosine": round(highest, 6)}
    numbers = [value for _, value in others if not math.isnan(value)]
    if numbers:
        found["others"] = round(sum(numbers) / len(numbers), 6)
    return found


def sortable(cosine: float) -> float:
    """COSINE; where it is no number what is below all cosines."""
    return -math.inf if math.isnan(cosine) else cosine
