"""Short work off the screen's thread: named, with progress, stoppable; its result comes back as a message."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from textual.message import Message
from textual.widget import Widget

from ftstudio.core.errors import Stopped

TICK = 0.08  # seconds between two tellings that there is something new to show


@dataclass(eq=False)
class Work:
    """One piece of work. The function that does it may call `progress` and ask `cancel`, as the data layer's do."""

    group: str
    phase: str
    owner: Widget
    done: int = 0
    total: int = 0
    stopped: bool = False
    began: float = field(default_factory=time.monotonic)
    _told: float = 0.0

    def progress(self, done: int, total: int) -> None:
        """DONE of TOTAL; tells the screen at most a dozen times a second."""
        self.done, self.total = done, total
        self.tell()

    def tell(self, *, now: bool = False) -> None:
        """There is something new to show."""
        moment = time.monotonic()
        if not self.stopped and (now or moment - self._told >= TICK):
            self._told = moment
            self.owner.post_message(Ticked(self))

    def cancel(self) -> bool:
        """Whether nobody wants the result any more."""
        return self.stopped

    @property
    def text(self) -> str:
        """What is being done, and how far."""
        return f"{self.phase} … {100 * self.done // self.total} %" if self.total else f"{self.phase} …"


@dataclass
class Ticked(Message):
    """WORK has got further."""

    work: Work


@dataclass
class Ended(Message):
    """WORK is over: with `result`, or `error`. Not sent for work that was stopped."""

    work: Work
    result: Any = None
    error: BaseException | None = None


class Background:
    """For a screen: runs functions in threads of our own, one at a time in each group; a new one stops the old one."""

    def __init__(self, owner: Widget) -> None:
        self.owner = owner
        self.running: dict[str, Work] = {}
        self._then: dict[int, tuple[Callable[[Any], None], Callable[[BaseException], None]]] = {}

    def start(
        self,
        group: str,
        phase: str,
        function: Callable[[Work], Any],
        then: Callable[[Any], None],
        failed: Callable[[BaseException], None],
    ) -> Work:
        """Run FUNCTION(work) off the thread; THEN(result) or FAILED(error) is called in the screen's thread."""
        self.stop(group)
        work = Work(group, phase, self.owner)
        self.running[group] = work
        self._then[id(work)] = (then, failed)

        def run() -> None:
            try:
                message = Ended(work, function(work))
            except Stopped:
                return
            except BaseException as error:
                message = Ended(work, None, error)
            if not work.stopped:
                self.owner.post_message(message)

        threading.Thread(target=run, name=f"screen-{group}", daemon=True).start()
        return work

    def stop(self, group: str) -> bool:
        """Stop what runs in GROUP; True where something did."""
        work = self.running.pop(group, None)
        if work is None:
            return False
        work.stopped = True
        self._then.pop(id(work), None)
        return True

    def stop_all(self) -> None:
        """Nobody wants any of it any more."""
        for group in list(self.running):
            self.stop(group)

    def ended(self, message: Ended) -> None:
        """Hand a result to who waits for it; one that was superseded meanwhile goes nowhere."""
        work = message.work
        if work.stopped or self.running.get(work.group) is not work:
            return
        del self.running[work.group]
        then, failed = self._then.pop(id(work))
        if message.error is not None:
            failed(message.error)
        else:
            then(message.result)

    def is_running(self, group: str) -> bool:
        """Whether something runs in GROUP."""
        return group in self.running

    @property
    def text(self) -> str:
        """What is going on, in words; empty where nothing is."""
        return "  ".join(work.text for work in self.running.values())
