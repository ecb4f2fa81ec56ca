"""How this process ends: as every other, or at once where a library's goodbye would abort it or wait forever.

After an assertion on a GPU every call to it fails, those of its libraries at exit too; a group of processes that lost
one waits for it.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable

abrupt = False  # set by whoever finds out
before: list[Callable[[], None]] = []
"""What is done all the same before it ends at once: short, and it never raises."""


def end(status: int) -> int:
    """STATUS, to exit with; where it must be abrupt, this doesn't return. To be called when all else is done."""
    if abrupt:
        for last in before:
            last()
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError, ValueError):
                stream.flush()
        os._exit(status)
    return status
