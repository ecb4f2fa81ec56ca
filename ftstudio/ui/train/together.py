"""How the sweep goes that a run is of: told beside each of its runs that has ended."""

from __future__ import annotations

import os
from pathlib import Path

from ftstudio.core.run import RunFolder
from ftstudio.core.text import one_line
from ftstudio.core.turn import FILE
from ftstudio.engine.sweep import Waiting, by_text, outcome, siblings, unbegun
from ftstudio.ui.shell.session import Session
from ftstudio.ui.text.following import waits

ENDED = ("done", "failed", "stopped", "interrupted")


def key(run: RunFolder) -> tuple[object, ...]:
    """What changes when a run of the sweep that RUN is of does: begun again, ended, waiting, deleted, judged anew."""
    return (run.path, *((one.name, *map(_stamp, _files(one))) for one in siblings(run)))


def _files(run: RunFolder) -> tuple[Path, ...]:
    return run.events_path, run.owner_path, run.path / FILE


def _stamp(path: Path) -> tuple[int, int] | None:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_ino, found.st_size


def told(session: Session, run: RunFolder) -> tuple[str, bool]:
    """(what to say of the sweep that RUN is of: how many have ended, in the end which is best; else empty, whether that
    stays so)."""
    runs = siblings(run)
    if len(runs) < 2:
        return "", True
    ended = sum(one.state() in ENDED and waits(session, one) is None for one in runs)
    if ended < len(runs):
        return f"{ended} of the sweep's {len(runs)} runs have ended", False
    found = outcome([Waiting(one.name, one) for one in runs])
    failed = sum(row["state"] == "failed" for row in found["runs"])
    more = f", {failed} failed" if failed else ""
    never = unbegun(run)
    more += f", {never} never began" if never else ""
    if found["best"] is None:
        why = f": {found['why']}" if found["why"] else ""
        return f"the sweep's {len(runs)} runs have ended{more}{why}", True
    return f"best of the sweep's {len(runs)} by {by_text(found['by'])}{more}: {one_line(found['best'], 60)}", True
