"""All runs of a workspace in short, kept up to date at little cost: hundreds of runs, read once each."""

from __future__ import annotations

import os
import threading
import time
from dataclasses import dataclass
from typing import Any

from ftstudio.core import steered
from ftstudio.core.run import RunFolder, state_word
from ftstudio.core.skimmed import Skimmed
from ftstudio.core.text import one_line
from ftstudio.core.workspace import Workspace

LIVE = ("running", "paused")
LARGE = 1 << 22  # bytes of events that take longer than a look may


@dataclass(frozen=True)
class Summary:
    """A run in one line. `state` is empty while the run hasn't been read yet."""

    run: RunFolder
    state: str = ""
    task: str = ""
    method: str = ""
    model: str = ""
    step: int = 0
    total_steps: int | None = None
    loss: float | None = None
    eval_loss: float | None = None
    started: float | None = None
    seconds: float | None = None
    eta: float | None = None
    failure: str = ""
    collapsed: bool = False
    steered: tuple[str, ...] = ()
    """What was changed while it ran: from which step on, and why."""

    @property
    def word(self) -> str:
        """Its state as it is shown."""
        return state_word(self.state, self.collapsed)

    @property
    def name(self) -> str:
        """The run's name."""
        return self.run.name

    def matches(self, words: list[str]) -> bool:
        """Whether every one of WORDS (in lower case) stands somewhere in it."""
        text = f"{self.name} {self.word} {self.task} {self.method} {self.model}".lower()
        return all(word in text for word in words)


class Follower:
    """Follows one run by the same figures that `RunFolder.summary` tells."""

    def __init__(self, run: RunFolder) -> None:
        self.run = run
        self._skimmed = Skimmed(run.events_path)
        self._planned: dict[str, str] | None = None

    def summary(self) -> Summary:
        """As it is now."""
        story = self._skimmed.read()
        start = story.start
        if not start:
            start = self._planned = self.run.planned() if self._planned is None else self._planned
        return Summary(
            self.run,
            self.run.state(story.last_state or {}),  # all was read: where none tells it, none does
            _word(start.get("task")),
            _word(start.get("method")),
            _word(start.get("model")),
            story.step,
            story.total_steps,
            story.loss,
            story.eval_loss,
            story.started,
            story.seconds,
            story.eta,
            one_line((story.failure or {}).get("text"), 300),
            story.collapsed,
            tuple(steered.told(event) for event in steered.standing(story.steers)),
        )


def _word(value: Any) -> str:
    if isinstance(value, dict):
        value = value.get("name")
    return one_line(value, 80) if value is not None else ""


class Catalogue:
    """The summaries of all runs, the newest first. `scan` may be called from any one thread at a time.

    `rows` is replaced whole, so that a reader in another thread never sees half a list; `version` tells that it was.
    """

    def __init__(self, workspace: Workspace) -> None:
        self.workspace = workspace
        self.rows: tuple[Summary, ...] = ()
        self.version = 0
        self.read = 0  # runs read so far, for the benchmark and the tests
        self._known: dict[str, tuple[Any, Summary]] = {}
        self._live: dict[str, Follower] = {}
        self._lock = threading.Lock()

    def scan(self, budget: float | None = None) -> bool:
        """Look at every run again; read only those that changed. True when through.

        With BUDGET seconds, stops there, and leaves out the large ones: runs not read stand in `rows` by their name.
        """
        end = None if budget is None else time.monotonic() + budget
        with self._lock:
            runs = self.workspace.runs()
            names = {run.name for run in runs}
            self._known = {name: known for name, known in self._known.items() if name in names}
            self._live = {name: live for name, live in self._live.items() if name in names}
            through, fresh = True, 0
            for run in runs:
                if end is not None and time.monotonic() > end:
                    through = False
                    break
                if end is not None and _size(run) > LARGE:
                    through = False
                    continue
                fresh += self._look(run)
                if fresh >= 40:  # let the screen show what there is
                    fresh = 0
                    self._publish(runs)
            self._publish(runs)
        return through

    def follow(self) -> None:
        """Bring only the live runs up to date."""
        with self._lock:
            for name, live in list(self._live.items()):
                summary = live.summary()
                self._known[name] = (None if summary.state not in LIVE else self._known[name][0], summary)
                if summary.state not in LIVE:
                    del self._live[name]
            self._publish([row.run for row in self.rows])

    def _look(self, run: RunFolder) -> bool:
        """Bring RUN's summary up to date. True where its events were read from the beginning."""
        key, known = _key(run), self._known.get(run.name)
        live = self._live.get(run.name)
        if live is None and known is not None and known[0] == key:
            return False
        first = live is None
        if live is None:
            self.read += 1
            live = Follower(run)
        summary = live.summary()
        if summary.state in LIVE:
            self._live[run.name] = live
        else:
            self._live.pop(run.name, None)
        self._known[run.name] = (key, summary)
        return first

    def _publish(self, runs: list[RunFolder]) -> None:
        rows = tuple(self._known[run.name][1] if run.name in self._known else Summary(run) for run in runs)
        if rows != self.rows:
            self.rows = rows
            self.version += 1

    def forget(self, run: RunFolder) -> None:
        """RUN is gone: don't show it until the next scan says so too."""
        self.rows = tuple(row for row in self.rows if row.run.path != run.path)
        self.version += 1


def _size(run: RunFolder) -> int:
    """Bytes of RUN's events."""
    try:
        return os.stat(run.events_path).st_size
    except OSError:
        return 0


def _key(run: RunFolder) -> tuple[Any, ...]:
    """What changes when a run does: its events, and whether somebody claims to own it."""
    try:
        found = os.stat(run.events_path)
        events: tuple[int, ...] = (found.st_size, found.st_mtime_ns)
    except OSError:
        events = ()
    return (*events, os.path.exists(run.owner_path))
