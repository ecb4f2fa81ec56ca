"""Whether whoever tells labels knows enough to be heard where it doubts those that are given.

What one that guesses doubts would be most of the rows; what one doubts that tells the most frequent label always, every
row of any other.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Hashable, Sequence

# to be heard at all, it must spare this share of the mistakes that telling the most frequent label always makes …
SKILL = 0.25
SURE = 2.0  # … and be right more often than that by so many standard errors


def commonest(labels: Sequence[Hashable]) -> float:
    """The share of LABELS, of which there are some, that is the most frequent one: how often telling that is right."""
    return max(Counter(labels).values()) / len(labels)


def telling(accuracy: float, labels: Sequence[Hashable]) -> bool:
    """Whether a classifier, right with ACCURACY on LABELS, knows enough to be heard: clearly more often than one that
    tells the most frequent label always."""
    share = commonest(labels)
    error = math.sqrt(share * (1 - share) / len(labels))
    return accuracy >= share + max(SKILL * (1 - share), SURE * error)


def unheard(who: str, accuracy: float, labels: Sequence[Hashable]) -> str:
    """Why nothing is said of what WHO, right with ACCURACY on LABELS, doubts, in a clause; empty where it is heard."""
    if telling(accuracy, labels):
        return ""
    always = f"telling the most frequent label always would be right in {commonest(labels):.0%}"
    return f"{who} is right in {accuracy:.0%} of the rows, {always}: it knows too little to doubt a label"
