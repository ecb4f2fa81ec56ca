"""Events that found no room on the disk: kept in memory, in their order and with their own times, until there is."""

from __future__ import annotations

from collections import deque
from typing import Any

MOST = 4000  # events of THINNED kinds that are kept
THINNED = frozenset(("step", "telemetry", "progress", "sample"))  # of more than that every second one goes
STATE_KINDS = ("phase", "failed", "done", "stopped")
"""The kinds of events a state is read from."""


class Backlog:
    """What is to be written yet, the oldest first. States, evaluations, checkpoints and alerts are all kept."""

    def __init__(self) -> None:
        self._events: deque[dict[str, Any]] = deque()
        self._thinned = 0

    def __len__(self) -> int:
        return len(self._events)

    def add(self, event: dict[str, Any]) -> None:
        """Keep EVENT."""
        self._events.append(event)
        if event["kind"] in THINNED:
            self._thinned += 1
            if self._thinned > MOST:
                self._thin()

    def _thin(self) -> None:
        kept: deque[dict[str, Any]] = deque()
        seen: dict[str, int] = {}
        for event in reversed(self._events):  # so that the last one of each kind stays
            kind = event["kind"]
            if kind in THINNED:
                seen[kind] = seen.get(kind, 0) + 1
                if seen[kind] % 2 == 0:
                    continue
            kept.appendleft(event)
        self._events = kept
        self._thinned = sum(event["kind"] in THINNED for event in kept)

    def waiting(self) -> list[dict[str, Any]]:
        """All of them, the oldest first."""
        return [dict(event) for event in self._events]

    @property
    def first(self) -> dict[str, Any]:
        """The one to be written next."""
        return self._events[0]

    def written(self) -> None:
        """The first one is."""
        if self._events.popleft()["kind"] in THINNED:
            self._thinned -= 1

    @property
    def state(self) -> dict[str, Any] | None:
        """The last event among them that a state is read from."""
        return next((event for event in reversed(self._events) if event["kind"] in STATE_KINDS), None)

    def told(self, why: str) -> dict[str, Any]:
        """In short, for who watches: WHY nothing is written, since when (seconds since 1970), the last state and step
        among what waits."""
        state = self.state
        step = next((event.get("step") for event in reversed(self._events) if event["kind"] == "step"), None)
        short: dict[str, Any] | None = None
        if state is not None:
            short = {key: state[key] for key in ("kind", "phase", "time") if key in state}
            why_failed = ("text", "hint") if state["kind"] == "failed" else ()
            short |= {key: str(state.get(key) or "")[:200] for key in why_failed}
        return {"why": why[:200], "since": self.first["time"], "state": short, "step": step}
