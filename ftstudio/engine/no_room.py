"""The end of a run on a disk without room: it waits, as between two steps, and nothing that was learnt is lost."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ftstudio.core.errors import DiskFull, Stopped, StudioError
from ftstudio.engine import alerting, saving

if TYPE_CHECKING:
    from ftstudio.core.recipe import Recipe
    from ftstudio.core.run import RunFolder
    from ftstudio.engine.callback import RunDirector
    from ftstudio.tasks.base import Task

LATE = {"checkpoint", "evaluate", "learning_rate", "steps"}  # what may be asked of a run before its last step
THROUGH = (
    "the run's training is at its end. Once it is done, T on Train or `ftstudio train --resume {run} training.steps=N` "
    "trains it on to N steps."
)


def save(run: RunFolder, recipe: Recipe, model: Any, task: Task, director: RunDirector, *, waits: bool) -> None:
    """See `saving.save`. Where the disk has no room for it, the recipe pauses then and WAITS, it is tried again once
    there is, or a person says so. Raises Stopped where one asks it to stop meanwhile."""
    while True:
        director.tell("saving", "the tuned model")
        try:
            saving.save(run, recipe, model, task, stopped=director.stopped)
            return
        except DiskFull as error:
            if not waits or director.stopped or director.watch.disk != "pause":
                raise
            director.unsaved(error)
            _wait(director, "before the tuned model is saved", error, lambda: False)


def settle(director: RunDirector) -> None:
    """Have all events of the run that DIRECTOR directs written, waiting for room where the recipe pauses then.
    Raises DiskFull where it doesn't, Stopped as above."""
    folder = director.folder
    if folder.catch_up() or folder.unwritten is None:
        return
    error = folder.unwritten
    if director.watch.disk != "pause":
        text = f"The model is saved, but not that the run is through: {error.message}"
        raise DiskFull(text, "Free some space, then resume: it takes a moment.") from error
    director.disk.owes()
    text = f"The run is at its end and its model saved; it waits for room to write so: {error.message}"
    alerting.waits(folder, director.watch, text)
    _wait(director, "", error, folder.catch_up)


def _wait(director: RunDirector, why: str, error: StudioError, enough: Callable[[], bool]) -> None:
    """Wait till there is more room, or ENOUGH; in a pause where WHY says so."""
    if why:
        director.tell("paused", why)
    director.rest(True)
    while not enough():
        director.control.wait(0.1)
        director.folder.keep(look=False)
        director.folder.catch_up()
        asked = {str(request) for request in director.control.poll(now=True)}
        if "stop" in asked:
            raise Stopped(f"Stopped at its end: {error.message}", "Free some space, then resume.") from error
        if late := sorted(request.replace("_", " ") for request in asked & LATE):
            director._alert("warning", f"Too late for {', '.join(late)}: {THROUGH.format(run=director.folder.name)}")
        if why and ("resume" in asked or director.disk.more()):
            break
    director.paused = director.disk.owed = False
    director.rest(False)
