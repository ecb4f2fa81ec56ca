"""Whoever waits for a file to be read: told how far it is, shown what there is already, and able to stop it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ftstudio.core.errors import Stopped
from ftstudio.data.dataset import Cancel, Dataset, Progress

Show = Callable[[Callable[[], Dataset]], None]  # takes a function that makes a dataset of the rows found so far


@dataclass(frozen=True)
class Watch:
    """`progress` (done, total) and `cancel` as everywhere; `show` is given once, when rows begin to be found."""

    progress: Progress | None = None
    cancel: Cancel | None = None
    show: Show | None = None

    def at(self, done: int, total: int) -> None:
        """DONE of TOTAL (bytes or rows) are read. Raises Stopped where the person wants no more."""
        if self.cancel is not None and self.cancel():
            raise Stopped("Stopped while reading the file.")
        if self.progress is not None:
            self.progress(done, total)

    def found(self, snapshot: Callable[[], Dataset]) -> None:
        """SNAPSHOT makes, from now on and from any thread, a dataset of the rows found by then."""
        if self.show is not None:
            self.show(snapshot)

    @property
    def quiet(self) -> Watch:
        """The same without words: it can only be stopped."""
        return Watch(cancel=self.cancel)


NOBODY = Watch()
