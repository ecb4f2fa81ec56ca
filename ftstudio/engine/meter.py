"""The clock of a run: training time apart from evaluation, saving and pauses; tokens; time to the end."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator


class Meter:
    """Counts tokens that are not padding over training wall time (evaluation, saving and pauses left out).

    `seconds` and `tokens` go on from an earlier part of the run where it was resumed. CLOCK is for tests.
    """

    def __init__(self, seconds: float = 0.0, tokens: int = 0, clock: Callable[[], float] = time.perf_counter) -> None:
        self._clock = clock
        self._before = seconds
        self._began = self._last = clock()
        self._away = 0.0  # seconds spent on other things since the start
        self._paused = 0.0  # of these, the pauses: they don't count for the time to the end
        self._depth = 0
        self._left = 0.0
        self.tokens = tokens
        self._window = (seconds, tokens)

    @property
    def seconds(self) -> float:
        """Training time so far, seconds."""
        now = self._left if self._depth else self._clock()
        return self._before + now - self._began - self._away

    @contextlib.contextmanager
    def away(self, *, pause: bool = False) -> Iterator[None]:
        """Time inside is not training time. May be nested: the outermost counts."""
        if not self._depth:
            self._left = self._clock()
        self._depth += 1
        began = self._clock()
        try:
            yield
        finally:
            self._depth -= 1
            now = self._clock()
            if pause:
                self._paused += now - began
            if not self._depth:
                self._away += now - self._left

    def rate(self) -> float | None:
        """Tokens a second since the last call; None where no time passed."""
        seconds, tokens = self.seconds, self.tokens
        span, count = seconds - self._window[0], tokens - self._window[1]
        self._window = (seconds, tokens)
        return count / span if span > 0 else None

    def eta(self, done: int, total: int) -> float | None:
        """Seconds to the end after DONE of TOTAL steps of this session, at its pace with evaluation and saving."""
        if done <= 0:
            return None
        span = self._clock() - self._began - self._paused
        return span / done * (total - done)
