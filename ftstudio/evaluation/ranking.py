"""Search by vectors: at which rank the text that belongs to another was found, and what that is worth."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

SCORED = ("similar_low", "dissimilar_high", "rank_inversion", "length_bias", "anisotropy")
"""Error categories of cosines that are held against scores."""
SEARCHED = ("not_found", "hub", "length_bias", "anisotropy")
"""Error categories of texts that search their partner."""
CUT = 10

METRICS: Mapping[str, Callable[[int], float]] = {
    f"mrr@{CUT}": lambda rank: 1 / rank if rank <= CUT else 0.0,
    f"recall@{CUT}": lambda rank: float(rank <= CUT),
}
"""What a rank (from 1) is worth: its reciprocal, and whether it is among the first ten."""


def told(cosines: Sequence[float], pool: Sequence[str], own: str, cosine: float) -> dict[str, Any]:
    """What the COSINES of a text with each of POOL say where its partner OWN has COSINE: the partner's `rank` from 1,
    the `best` text and its cosine `best_cosine`, and `others`, the mean cosine with texts that aren't its partner."""
    others = [value for text, value in zip(pool, cosines, strict=True) if text != own]
    rank = 1 + sum(value > cosine for value in others)
    place = max(range(len(pool)), key=cosines.__getitem__, default=None)
    best, highest = own, cosine
    if rank > 1 and place is not None:
        best, highest = pool[place], cosines[place]
    found: dict[str, Any] = {"rank": rank, "best": best, "best_cosine": round(highest, 6)}
    if others:
        found["others"] = round(sum(others) / len(others), 6)
    return found
