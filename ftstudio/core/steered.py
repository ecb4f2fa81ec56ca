"""What was changed of a run while it trained: its `steer` events, which of them still count, and how they are told."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ftstudio.core.text import one_line

LONGER = "trained on"  # why the length of a run is steered that had ended


def standing(events: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Those of EVENTS that change something which still counts, by step."""
    found: list[dict[str, Any]] = []
    for event in events:
        step, value, what = event.get("step"), event.get("value"), str(event.get("what"))
        if event.get("kind") != "steer" or not isinstance(step, int) or not isinstance(value, (int, float)):
            continue
        # of steps that were lost, by a crash or a rollback, the same was asked for anew; a length isn't lost by that
        found = [one for one in found if one["step"] <= step or str(one.get("what")) != what]
        found.append(event)
    return sorted(found, key=lambda event: int(event["step"]))  # stable: of one step the later


def what(event: dict[str, Any]) -> str:
    """What a `steer` EVENT changes, and why: `learning rate 0.0001 (as asked)`; empty where it tells no number."""
    value, why = event.get("value"), one_line(event.get("why") or "", 60)
    if not isinstance(value, (int, float)):
        return ""
    found = f"ends at step {value:,.0f}" if event.get("what") == "steps" else f"learning rate {value:g}"
    return found + (f" ({why})" if why else "")


def told(event: dict[str, Any]) -> str:
    """The same with the step from which on it counts."""
    return f"step {event.get('step')}: {what(event)}"
