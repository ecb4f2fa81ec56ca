"""Steering a run from any screen: requests to whoever trains it, and resuming one that nobody trains."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ftstudio.core.jobs import Train
from ftstudio.core.run import RunFolder
from ftstudio.ui.shell.dialogs import Ask
from ftstudio.ui.shell.session import Session
from ftstudio.ui.text.following import described, waits

if TYPE_CHECKING:
    from ftstudio.ui.shell.app import StudioApp

RESUMABLE = ("interrupted", "stopped", "failed", "queued")
LIVE = ("running", "paused")


def last_step(run: RunFolder) -> int | None:
    """The step of RUN's last sealed checkpoint; None without one."""
    from ftstudio.engine.resume import checkpoints, facts, step_of

    for path in checkpoints(run.checkpoints)[:1]:
        step = facts(path).get("step")
        return int(step) if isinstance(step, int) else step_of(path)
    return None


def comparable(run: RunFolder, state: str) -> bool:
    """Whether RUN in STATE can be compared: it is through, or has saved a model before it ended otherwise."""
    return state == "done" or (state in RESUMABLE and run.model.is_dir())


def works_on(session: Session, run: RunFolder) -> bool:
    """Whether this process's worker does or waits to do something inside RUN's folder: train, compare, answer."""
    jobs = (session.worker.current, *session.worker.waiting) if session.busy else ()
    folders = [getattr(job, "folder", None) for job in jobs]
    return any(folder is not None and Path(folder).is_relative_to(run.path) for folder in folders)


def resume_text(step: int | None) -> str:
    """What resuming means from the checkpoint of STEP."""
    return f"resumes from step {step}" if step else "starts it again: there is no checkpoint yet"


def resume(studio: StudioApp, run: RunFolder, state: str) -> bool:
    """Hand RUN to the worker of this process where nobody works on it. True where that was done; says so."""
    session = studio.session
    owner = run.owner()
    if owner is not None and not (owner.through and owner.here):  # this process's worker takes it over from itself
        why = "waits for room on its disk to write how it ended" if owner.through else "is being trained already"
        studio.tell(f"{run.name} {why}.")
        return False
    if (waits_for := waits(session, run)) is not None:
        studio.tell(f"{run.name} waits already for {waits_for}.")
        return False
    if state not in RESUMABLE:
        more = "T on Train trains it on to more steps." if state == "done" else "3 makes a new recipe."
        studio.tell(f"{run.name} is {state}: there is nothing to resume. {more}")
        return False
    before = described(session.worker.current) if session.busy else ""
    step = take_up(session, run)
    what = f"goes on from step {step}" if step else "begins"
    studio.tell(f"{run.name} {what}{f' after {before}' if before else ''}.")
    return True


def train_on(studio: StudioApp, run: RunFolder, total: int) -> None:
    """Hand RUN, which is done, to the worker of this process once more: it goes on to TOTAL steps. Raises
    StudioError."""
    session = studio.session
    if run.owner() is not None or waits(session, run) is not None:
        studio.tell(f"{run.name} is being trained already, or waits for its turn.")
        return
    from ftstudio.engine.more_steps import lengthen

    step = lengthen(run, total)
    before = described(session.worker.current) if session.busy else ""
    session.submit(Train(run.path, resume=True))
    studio.tell(f"{run.name} goes on from step {step} to step {total}{f' after {before}' if before else ''}.")


def take_up(session: Session, run: RunFolder) -> int | None:
    """Hand RUN, which nobody trains, to the worker of this process; gives the step that it goes on from, None where it
    begins. Raises StudioError."""
    from ftstudio.engine.resume import has_any

    step = last_step(run)
    session.submit(Train(run.path, resume=step is not None or has_any(run.checkpoints)))
    return step


def request(studio: StudioApp, run: RunFolder, what: str, **fields: Any) -> bool:
    """Ask whoever trains RUN for WHAT, with FIELDS beside it. False, and said so, where nobody does."""
    if run.owner() is None and waits(studio.session, run) is None:
        studio.tell(f"Nobody is training {run.name} now.")
        return False
    if run.owner() is None and what != "stop":
        studio.tell(f"{run.name} has not begun: s takes it out of the queue.")
        return False
    run.request(what, **fields)
    return True


def elsewhere(run: RunFolder) -> str:
    """The process that trains RUN, where it isn't this one; empty where it is, or where nobody does."""
    owner = run.owner()
    return "" if owner is None or owner.here else owner.named


def ask_stop(studio: StudioApp, run: RunFolder, stop: Callable[[], None]) -> None:
    """Ask whether RUN is to be stopped, then STOP it."""
    waiting = run.owner() is None and waits(studio.session, run) is not None
    if run.owner() is None and not waiting:
        studio.tell(f"Nobody is training {run.name} now.")
        return

    def chosen(answer: str | None) -> None:
        if answer != "s":
            return
        if waiting and waits(studio.session, run) is None:  # its turn came while the question stood there
            studio.tell(f"{run.name} has begun meanwhile, and goes on.", "warning")
            return
        stop()
        if waiting:
            studio.tell(f"{run.name} leaves the queue in a moment.")

    if waiting:
        more = "It has not begun. Once it is out, r puts it back."
        studio.push_screen(Ask(f"Take {run.name} out of the queue?", more, {"s": "take it out"}), chosen)
        return
    studio.push_screen(
        Ask(f"Stop {run.name}?", "It saves a checkpoint first; r goes on from there later.", {"s": "save and stop"}),
        chosen,
    )
