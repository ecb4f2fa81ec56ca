"""A dataset that is looked at while it is still being read: the first rows at once, the rest from a thread."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ftstudio.core.errors import StudioError
from ftstudio.data.dataset import Dataset
from ftstudio.data.read import open_dataset
from ftstudio.data.watch import Watch


class Opening:
    """SOURCE being read by a thread of its own, as `open_dataset` does with the same settings.

    `now` gives the rows found so far as an immutable dataset: the same row numbers as in the end, more of them each
    time. Ask it a few times a second. `done` tells that all is read; then `result` gives the whole, or raises what
    went wrong. `stop` ends it.
    """

    def __init__(self, source: str | Path, **settings: Any) -> None:
        self.progress: tuple[int, int] = (0, 1)  # done, total: bytes or rows
        self._stopped = threading.Event()
        self._ready = threading.Event()
        self._done = threading.Event()
        self._found: Callable[[], Dataset] | None = None
        self._last: Dataset | None = None
        self._whole: Dataset | None = None
        self._error: BaseException | None = None
        self._watch = Watch(self._tell, self._stopped.is_set, self._show)
        self._thread = threading.Thread(
            target=self._run, args=(source, settings), name="ftstudio-reading", daemon=True
        )  # fmt: skip
        self._thread.start()

    def _run(self, source: str | Path, settings: dict[str, Any]) -> None:
        try:
            self._whole = open_dataset(source, watch=self._watch, **settings)
        except BaseException as error:
            self._error = error
        finally:
            self._done.set()
            self._ready.set()

    def _tell(self, done: int, total: int) -> None:
        self.progress = (done, total)

    def _show(self, found: Callable[[], Dataset]) -> None:
        self._found = found
        self._ready.set()

    @property
    def done(self) -> bool:
        """Whether reading is over, well or not."""
        return self._done.is_set()

    def now(self) -> Dataset | None:
        """The rows found so far; None before the first."""
        if self._whole is not None:
            return self._whole
        if self._found is not None:
            newest = self._found()
            if len(newest) and (self._last is None or len(newest) >= len(self._last)):
                self._last = newest
        return self._last

    def first(self, timeout: float | None = None) -> Dataset | None:
        """`now`, but waits for the first rows, TIMEOUT seconds at most. Raises what went wrong before them."""
        end = None if timeout is None else time.monotonic() + timeout
        self._ready.wait(timeout)
        while (found := self.now()) is None and not self.done and (end is None or time.monotonic() < end):
            self._done.wait(0.005)  # the reader is there, its first row is not yet
        if found is None and self._error is not None:
            raise self._error
        return found

    def result(self, timeout: float | None = None) -> Dataset:
        """The whole, waited for TIMEOUT seconds at most. Raises StudioError: what went wrong, or not read yet."""
        if not self._done.wait(timeout):
            raise StudioError("The file is still being read.", "Wait a little.")
        if self._error is not None:
            raise self._error
        assert self._whole is not None
        return self._whole

    def stop(self) -> None:
        """Read no more. What was found so far can still be looked at."""
        self._stopped.set()
