"""A run that has ended is trained on to more steps, from its last checkpoint. No torch."""

from __future__ import annotations

from ftstudio.core.errors import StudioError, UsageError
from ftstudio.core.folder import JobFolder
from ftstudio.core.run import RunFolder
from ftstudio.core.steered import LONGER
from ftstudio.engine import resume
from ftstudio.engine.steering import steer


def lengthen(run: RunFolder, total: int) -> int:
    """Let RUN have TOTAL steps once it is resumed; gives back the step it goes on from, 0 where nothing is kept of it.
    Raises StudioError where that is no more than it has taken, or where nothing is left to go on from."""
    resume.adopt(run.checkpoints)
    checkpoint = resume.newest(run.checkpoints)
    step = resume.step_of(checkpoint) if checkpoint is not None else 0
    if not step and run.state() == "done":
        raise StudioError(f"{run.name} keeps no checkpoint to go on from.", "Train its recipe anew, with more steps.")
    more_than(total, step, run.name)
    steer(run, step, "steps", total, LONGER)
    return step


def more_than(total: int, step: int, name: str) -> None:
    """Raise UsageError where the TOTAL steps that the run called NAME is to have are no more than STEP."""
    if total <= step:
        raise UsageError(f"{name} has taken {step:,} steps already.", "Name more than that: all in all, or +100.")


def longer(run: JobFolder) -> bool:
    """Whether RUN was lengthened since it was done: then there is something to go on with."""
    found = False
    for event in run.rare_events():
        if event.get("kind") == "done":
            found = False
        elif event.get("kind") == "steer" and event.get("why") == LONGER:
            found = True
    return found
