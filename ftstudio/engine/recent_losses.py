"""The last losses of a run that goes on, from its events: what a spike is judged by, else unknown for many steps."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path

from ftstudio.core.folder import OFTEN

BLOCK = 1 << 16  # bytes


def losses(events: Path, step: int, count: int) -> list[float]:
    """The last COUNT losses of steps up to STEP that the file EVENTS tells, in their order; finite ones alone.

    Steps that were lost, by a crash or a rollback, are left out. The file is read from its end, so far as is needed.
    """
    found: list[float] = []
    limit = step
    for line in _backwards(events):
        if len(found) >= count or limit < 1:
            break
        often = line.startswith(OFTEN[0])
        if not often and not line.startswith(b'{"kind":"start"'):
            continue
        try:
            event = json.loads(line)
        except ValueError:
            continue
        if not often:  # what was written before it beyond the step that it went on from is lost
            begins = event.get("resumed_from")
            limit = min(limit, begins if isinstance(begins, int) else 0)
            continue
        at, loss = event.get("step"), event.get("loss")
        if isinstance(at, int) and at <= limit:
            limit = at - 1
            if isinstance(loss, (int, float)) and math.isfinite(loss):
                found.append(float(loss))
    return found[::-1]


def _backwards(path: Path) -> Iterator[bytes]:
    """The lines of the file PATH, the last one first."""
    try:
        with open(path, "rb") as file:
            end, rest = file.seek(0, 2), b""
            while end:
                start = max(0, end - BLOCK)
                file.seek(start)
                first, *lines = (file.read(end - start) + rest).split(b"\n")
                yield from reversed(lines)
                end, rest = start, first
            yield rest
    except OSError:
        return
