"""A run's story in short: its figures from its events, most of which are passed over unparsed."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

from ftstudio.core.files import LineReader
from ftstudio.core.folder import OFTEN
from ftstudio.core.run import Story

# LineWriter puts `kind` and `time` first, so that what a line is and when it was written is known without parsing it
STEP = OFTEN[0]
PASSED = (*OFTEN, b'{"kind":"sample","time":')  # nearly all of a run's lines
KIND, START = b'{"kind":"', b'{"kind":"start",'
BLOCK = 1 << 18  # bytes that are looked through at once, backwards


class Skimmed:
    """Follows the events in the file at PATH at a small part of the cost of a `Story` fed with all of them.

    `story` tells the same step, steps planned, losses, times, state, start and failure; of its curves it has those of
    the evaluations, but hardly a point of the steps', and no samples or readings to speak of.
    """

    def __init__(self, path: Path) -> None:
        self.story = Story()
        self._reader = LineReader(path)
        self._passed: list[bytes] = []  # lines passed over since the last one that was fed

    def read(self) -> Story:
        """`story`, with what came since the last call."""
        while True:
            before = self._reader.offset
            lines = self._reader.lines()
            if self._reader.restarted:
                self.story = Story()
            elif self._reader.offset == before:
                return self.story
            self._take(lines)

    def _take(self, lines: list[bytes]) -> None:
        latest = self._moment()
        for line in lines:
            if line.startswith(PASSED) and line.endswith(b"}"):
                at = len(STEP) if line.startswith(STEP) else line.find(b":", 8) + 1
                try:
                    moment = float(line[at : line.find(b",", at)])
                except ValueError:
                    moment = None
                if moment is not None and moment >= latest:
                    latest = moment
                    self._passed.append(line)
                    continue
            # what a clock that was set back takes away can only be told by the lines around that
            self._feed_passed()
            self._feed(line)
            latest = self._moment()
        self._feed_passed()

    def _moment(self) -> float:
        """When the last event was written that was fed; before the first one no line is passed over."""
        last = self.story.last_time
        return float("inf") if last is None else last

    def _feed(self, line: bytes) -> None:
        event = _event(line)
        if event is None:
            return
        kept = event.get("resumed_from")
        if event.get("kind") == "start" and isinstance(kept, int) and 0 < kept < self.story.step:
            self._recall(kept)
        self.story.feed([event])

    def _feed_passed(self) -> None:
        """Of the lines passed over those that tell how far the run is and how long it took: the last step and the last
        of each kind after it. From one to the next no clock was set back, so that the ends are enough."""
        found: list[dict[str, Any]] = []
        told: set[bytes] = set()
        for line in reversed(self._passed):
            kind = next(one for one in PASSED if line.startswith(one))
            event = None if kind in told else _event(line)
            if event is None:
                continue
            found.append(event)
            told.add(kind)
            if kind == STEP:
                break
        self._passed.clear()
        self.story.feed(reversed(found))

    def _recall(self, kept: int) -> None:
        """The loss after step KEPT, which the run goes on from: that step was passed over. What an earlier session told
        of steps that were taken again doesn't count."""
        end, rest = self._reader.offset, b""
        with contextlib.suppress(OSError), open(self._reader.path, "rb") as file:
            while end > 0:
                begin = max(0, end - BLOCK)
                file.seek(begin)
                lines = (file.read(end - begin) + rest).split(b"\n")
                for line in reversed(lines[1 if begin else 0 :]):
                    known = line.startswith(KIND) and not line.startswith((STEP, START))
                    event = None if known else _event(line)
                    if event is None or event.get("kind") not in ("step", "start"):
                        continue
                    if event["kind"] == "start":
                        before = event.get("resumed_from")
                        kept = min(kept, before) if isinstance(before, int) else 0
                        continue
                    step, loss = event.get("step"), event.get("loss")
                    if isinstance(step, int) and step <= kept and isinstance(loss, (int, float)):
                        self.story.curves.setdefault("loss", []).append((step, float(loss)))
                        return
                end, rest = begin, lines[0]


def _event(line: bytes) -> dict[str, Any] | None:
    try:
        value = json.loads(line)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None
