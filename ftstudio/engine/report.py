"""Step events at a bounded rate: what a tiny model does a thousand times a second is told twenty times a second."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from ftstudio.core.folder import JobFolder

# seconds between two step events at least; steps slower than that are all told
INTERVAL = 0.05


class StepReport:
    """Emits `step` events, at most one every `INTERVAL` seconds. What was held back comes with `flush`.

    `flush` is called before every other event of the run, so that the last step before an evaluation, a checkpoint,
    a pause or the end is always told.
    """

    def __init__(self, folder: JobFolder, clock: Callable[[], float] = time.monotonic) -> None:
        self._folder = folder
        self._clock = clock
        self._last = float("-inf")
        self._held: Callable[[], dict[str, Any]] | None = None

    def step(self, fields: Callable[[], dict[str, Any]]) -> None:
        """Tell of a step, now or later. FIELDS makes the event's fields when it is told."""
        self._held = fields
        if self._clock() - self._last >= INTERVAL:
            self.flush()

    def flush(self) -> None:
        """Tell the step that was held back, if any."""
        held, self._held = self._held, None
        if held is not None:
            self._last = self._clock()
            self._folder.emit("step", **held())
