"""How the weights of a comparison's arms, or of a model that answers, are stored, in words: `stored` of an arm, see
`engine.compare`, or of an `Answer` job's start.

A base that is quantised answers otherwise than the base as it was published: figures of the one aren't the other's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ftstudio.core.text import one_line


def quantised(arm: Mapping[str, Any]) -> str:
    """What the weights of ARM (or of an `Answer` job's start) are quantised to (`nf4`, `fp4`, `int8`); "" where they
    aren't, or nothing is told."""
    found = arm.get("stored")
    if not isinstance(found, Mapping) or found.get("weights") == found.get("computes"):
        return ""
    return one_line(found.get("weights"), 12)


def stored_text(arm: Mapping[str, Any]) -> str:
    """`weights in nf4, computing in float32`, or `weights in float32`; "" where ARM tells nothing."""
    found = arm.get("stored")
    if not isinstance(found, Mapping):
        return ""
    text = f"weights in {one_line(found.get('weights'), 12)}"
    return f"{text}, computing in {one_line(found.get('computes'), 12)}" if quantised(arm) else text


def differently_stored(arms: Sequence[Mapping[str, Any]], reference: str) -> list[str]:
    """A sentence for each of ARMS whose weights are stored otherwise than those of REFERENCE, which it is held against:
    what sets them apart isn't the tuning alone."""
    held = next((arm for arm in arms if arm.get("name") == reference), None)
    if held is None or not stored_text(held):
        return []
    return [
        f"{one_line(arm['name'], 40)} has its {stored_text(arm)}, {one_line(reference, 40)} its {stored_text(held)}: "
        "a part of their difference comes from that."
        for arm in arms
        if stored_text(arm) and arm["stored"] != held["stored"]
    ]
