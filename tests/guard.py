"""A work that must end: not how fast it is (`tests/benchmarks` measures that), but that it doesn't go on for ever.

What takes a second at most would, with a pattern that explodes or a loop within a loop over a megabyte, take hours: a
minute tells the two apart on every machine, however busy.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

MINUTE = 60.0


@contextmanager
def ends(seconds: float = MINUTE) -> Iterator[None]:
    """Fail with an `AssertionError` inside the work itself if it goes on for `seconds`."""

    def over(_signal: int, _frame: FrameType | None) -> None:
        raise AssertionError(f"it goes on after {seconds:g} s")

    before = signal.signal(signal.SIGALRM, over)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
