"""The clock of a run: training time apart from evaluation, saving and pauses; tokens; time to the end."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence

WARM = 2  # steps that don't count
ENOUGH = 8  # steps from which constant and slope can be told apart
FADES = (
    0.98  # what an earlier step counts against the next: a machine that others use, too, is faster or slower at times
)
LATELY = 4  # evaluations, checkpoints … that tell what the next will take


class Meter:
    """Counts tokens that are not padding over training wall time (evaluation, saving and pauses left out).

    `seconds` and `tokens` go on from an earlier part of the run where it was resumed, and TOOK (what `lately` gave)
    from what other work took there. CLOCK is for tests.
    """

    def __init__(
        self,
        seconds: float = 0.0,
        tokens: int = 0,
        clock: Callable[[], float] = time.perf_counter,
        took: Mapping[str, Sequence[float]] | None = None,
    ) -> None:
        self._clock = clock
        self._before = seconds
        self._began = clock()
        self._away = 0.0  # seconds spent on other things since the start
        # of these, what each kind of work took, every time
        self._took = {kind: list(times) for kind, times in (took or {}).items()}
        self._once = 0.0  # of the work that is done now, what won't be done again
        self._depth = 0
        self._left = 0.0
        self.tokens = tokens
        self._window = self._stepped = (seconds, tokens)
        self._steps = 0
        # of the steps so far, fading: how many, tokens, seconds, tokens squared, tokens times seconds
        self._sums = [0.0] * 5

    def start(self) -> None:
        """The first step is next: what it took to read the weights and states it goes on from is no training time."""
        self._began, self._away = self._clock(), 0.0

    @property
    def seconds(self) -> float:
        """Training time so far, seconds."""
        now = self._left if self._depth else self._clock()
        return self._before + now - self._began - self._away

    @contextlib.contextmanager
    def away(self, kind: str = "") -> Iterator[None]:
        """Time inside is not training time; KIND of work that comes again. May be nested: the outermost counts."""
        if not self._depth:
            self._left = self._clock()
        self._depth += 1
        began = self._clock()
        try:
            yield
        finally:
            self._depth -= 1
            now = self._clock()
            if kind:
                self._took.setdefault(kind, []).append(now - began - self._once)
                self._once = 0.0
            if not self._depth:
                self._away += now - self._left

    @contextlib.contextmanager
    def once(self) -> Iterator[None]:
        """Inside `away`: work that isn't done again the next time, such as asking the base."""
        began = self._clock()
        try:
            yield
        finally:
            self._once += self._clock() - began

    def lately(self) -> dict[str, list[float]]:
        """Seconds that each kind of work took the last times."""
        return {kind: times[-LATELY:] for kind, times in self._took.items()}

    def last(self, kind: str) -> float:
        """Seconds that work of this KIND took the last time; 0 where it wasn't done yet."""
        return (self._took.get(kind) or [0.0])[-1]

    def rate(self) -> float | None:
        """Tokens a second since the last call; None where no time passed."""
        seconds, tokens = self.seconds, self.tokens
        span, count = seconds - self._window[0], tokens - self._window[1]
        self._window = (seconds, tokens)
        return count / span if span > 0 else None

    def step(self) -> None:
        """A step is through: what it took, and how many tokens it had, tell what the others will take."""
        seconds, tokens = self.seconds, self.tokens
        span, count = seconds - self._stepped[0], tokens - self._stepped[1]
        self._stepped = (seconds, tokens)
        self._steps += 1
        if self._steps == WARM + 1:
            self._sums = [0.0] * 5  # the first steps choose kernels and make the optimiser's states
        for place, value in enumerate((1.0, count, span, count * count, count * span)):
            self._sums[place] = FADES * self._sums[place] + value

    def eta(self, steps: int, tokens: float, ahead: Mapping[str, float]) -> float | None:
        """Seconds to the end: STEPS more of TOKENS each on average, and AHEAD how often which other work comes.

        A step takes a constant and so much a token, both by least squares over the steps lately: batches of like
        length differ in size, and the longest comes first.
        """
        number, x, y, xx, xy = self._sums
        if not number:
            return None
        spread = number * xx - x * x
        slope = (number * xy - x * y) / spread if spread > 1e-3 * x * x else 0.0
        constant = (y - slope * x) / number
        if self._steps - WARM < ENOUGH or slope <= 0 or constant < 0:
            slope, constant = (y / x, 0.0) if x else (0.0, y / number)
        left = steps * (constant + slope * tokens)
        for kind, times in ahead.items():
            took = self._took.get(kind) or [0.0]
            some = (took[1:] or took)[-LATELY:]  # the first evaluation answers for the base too
            left += times * sum(some) / len(some)
        return left
