"""A run once more, as it came: its events at a chosen speed. No widgets here."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from typing import Any

from ftstudio.core.files import LineReader
from ftstudio.core.run import RunFolder, Story
from ftstudio.core.text import duration

PIECE = 1 << 18  # bytes of events that are read at once
LONGEST = 30.0  # seconds between two events that are kept; a night between two sessions is not waited for
WHOLE = 20.0  # seconds in which the whole run passes at first
FASTEST = 4096
SPENT = 0.05  # seconds a look may take


class Replay:
    """Feeds `story` with RUN's events, SPEED seconds of the run a second. CLOCK is for tests."""

    def __init__(self, run: RunFolder, seconds: float | None, clock: Callable[[], float] = time.monotonic) -> None:
        self.run = run
        self.story = Story()
        self.state = "replay"
        self.speed = 1
        while self.speed < FASTEST and (seconds or 0) / self.speed > WHOLE:
            self.speed *= 2
        self.resting = False
        self.at = 0.0  # seconds of the run that have passed
        self._clock = clock
        self._looked = clock()
        self._reader = LineReader(run.events_path)
        self._waiting: deque[dict[str, Any]] = deque()
        self._passed: float | None = None  # the time of the last event fed
        self._due = 0.0  # when it was due
        self.ended = False

    def faster(self, factor: float) -> None:
        """FACTOR times as fast."""
        self.poll()
        self.speed = int(min(FASTEST, max(1, self.speed * factor)))

    def rest(self) -> None:
        """Stand still, or go on."""
        self.poll()
        self.resting = not self.resting

    def poll(self) -> bool:
        """Take in what is due. True where anything was."""
        now = self._clock()
        if not self.resting:
            self.at += (now - self._looked) * self.speed
        self._looked = now
        due: list[dict[str, Any]] = []
        end = time.monotonic() + SPENT
        while time.monotonic() < end:
            if not self._waiting:
                self._waiting.extend(self._reader.poll(PIECE))
                if not self._waiting:
                    self.ended = True
                    break
            event = self._waiting[0]
            moment = event.get("time")
            moment = float(moment) if isinstance(moment, (int, float)) else self._passed or 0.0
            gap = 0.0 if self._passed is None else min(LONGEST, max(0.0, moment - self._passed))
            if self._due + gap > self.at:
                break
            self._due, self._passed = self._due + gap, moment
            due.append(self._waiting.popleft())
        self.story.feed(due)
        return bool(due)

    @property
    def told(self) -> str:
        """How far it is and which keys there are."""
        how = "at its end" if self.ended else "standing still" if self.resting else f"{self.speed} times as fast"
        at = min(self.at, self._due) if self.ended else self.at  # its clock goes on: a live run brings more
        turn = "goes on" if self.resting else "halts"
        return f"replay {how}, {duration(at)} in · space {turn} · [ ] speed · esc ends it"
