"""How the sweep goes that a run is of: told beside each of its runs that has ended."""

from __future__ import annotations

from ftstudio.core.run import RunFolder
from ftstudio.core.text import one_line
from ftstudio.engine.sweep import Waiting, by_text, outcome, siblings
from ftstudio.ui.shell.session import Session
from ftstudio.ui.text.following import waits

ENDED = ("done", "failed", "stopped", "interrupted")


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
    if found["best"] is None:
        why = f": {found['why']}" if found["why"] else ""
        return f"the sweep's {len(runs)} runs have ended{more}{why}", True
    return f"best of the sweep's {len(runs)} by {by_text(found['by'])}{more}: {one_line(found['best'], 60)}", True
