"""How a sweep goes that this studio started: told beside each of its runs that has ended."""

from __future__ import annotations

from ftstudio.core.text import one_line
from ftstudio.engine.sweep import Waiting, outcome
from ftstudio.ui.shell.session import Session
from ftstudio.ui.train import steer

ENDED = ("done", "failed", "stopped", "interrupted")


def told(session: Session, name: str) -> tuple[str, bool]:
    """(what to say of the sweep that the run NAME is of: how many have ended, in the end which is best; else empty,
    whether that stays so)."""
    runs = session.together
    if name not in {run.name for run in runs}:
        return "", False
    ended = sum(run.state() in ENDED and steer.waits(session, run) is None for run in runs)
    if ended < len(runs):
        return f"{ended} of the sweep's {len(runs)} runs have ended", False
    found = outcome([Waiting(run.name, run) for run in runs])
    failed = sum(row["state"] == "failed" for row in found["runs"])
    more = f", {failed} failed" if failed else ""
    if found["best"] is None:
        return f"the sweep's {len(runs)} runs have ended{more}", True
    by = "held-out loss" if found["by"] == "eval_loss" else "training loss"
    return f"best of the sweep's {len(runs)} by {by}{more}: {one_line(found['best'], 60)}", True
