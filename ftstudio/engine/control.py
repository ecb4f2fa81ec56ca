"""What others ask of a running job: requests appended to its control.jsonl, read between steps."""

from __future__ import annotations

import time
from typing import Any

from ftstudio.core.files import LineReader

# how often the file is looked at, seconds: a stat a step would be cheap too, but not on a network file system
EVERY = 0.1


class Request(str):
    """What was asked, with what was said beside it: `value` of learning_rate and steps."""

    value: Any = None

    @classmethod
    def of(cls, row: dict[str, Any]) -> Request:
        """The request in a ROW of control.jsonl."""
        found = cls(row["request"])
        found.value = row.get("value")
        return found


class Stops:
    """The worker's own way to ask for a stop (quit, SIGTERM), without the file, which a full disk has no room for.

    `count`: how often; asked once more means more. A plain number, so that a handler of signals may ask.
    """

    count = 0

    def ask(self) -> None:
        """Once, or once more."""
        self.count += 1


class Control:
    """Reads requests as they come. `poll()` is cheap and answers each request once; `stopping` stays true once asked.

    ASKED are the stops that need no file.
    """

    def __init__(self, reader: LineReader, asked: Stops | None = None) -> None:
        self._reader = reader
        self._asked, self._heard = asked if asked is not None else Stops(), 0
        self._next = 0.0
        self._waiting: list[Request] = []
        self.stopping = False

    def poll(self, *, now: bool = False) -> list[Request]:
        """The requests that came since the last call, in order; with NOW without the pause between looks."""
        self._look(now)
        found, self._waiting = self._waiting, []
        return found

    def _look(self, now: bool) -> None:
        while self._heard < self._asked.count:
            self._heard, self.stopping = self._heard + 1, True
            self._waiting.append(Request("stop"))
        time_now = time.monotonic()
        if not now and time_now < self._next:
            return
        self._next = time_now + EVERY
        for row in self._reader.poll():
            request = row.get("request")
            if not isinstance(request, str):
                continue
            self.stopping = self.stopping or request == "stop"
            self._waiting.append(Request.of(row))

    def should_stop(self) -> bool:
        """Whether a stop was asked for. Other requests stay waiting for `poll`."""
        self._look(False)
        return self.stopping

    def heed(self) -> None:
        """A stop that cut something short is answered by that: asked for once, it doesn't count twice."""
        self._waiting = [request for request in self._waiting if request != "stop"]

    def wait(self, seconds: float) -> None:
        """Sleep till what is asked for is worth another look."""
        time.sleep(seconds)
