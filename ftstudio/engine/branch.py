"""A new run that begins at an earlier checkpoint of another one, which stays as it is. No torch."""

from __future__ import annotations

import contextlib
import os
import shutil
from pathlib import Path

from ftstudio.core import dynamics, files
from ftstudio.core.errors import StudioError, UsageError
from ftstudio.core.run import RunFolder
from ftstudio.core.workspace import Workspace
from ftstudio.engine import resume
from ftstudio.engine.recipes import load_recipe

KEPT = ("samples.json", "forgetting.json")  # what the base answered and cost, measured once a run
MARK = b'{"kind":"checkpoint",'


def branch(workspace: Workspace, source: RunFolder, step: int) -> RunFolder:
    """A run of the recipe of SOURCE that knows of it what came up to its checkpoint of STEP: resumed, it goes on from
    there. Raises StudioError where that checkpoint isn't kept whole."""
    from ftstudio.engine.prepare import run_stem

    found = source.checkpoints / f"checkpoint-{step}"
    if not resume.is_complete(found):
        kept = ", ".join(f"{resume.step_of(path):,}" for path in reversed(resume.checkpoints(source.checkpoints)))
        way = f"It keeps those of the steps {kept}." if kept else "It keeps none."
        raise UsageError(f"{source.name} keeps no whole checkpoint of step {step:,}.", way)
    run = workspace.new_run(run_stem(load_recipe(source.recipe_path)))
    try:
        shutil.copyfile(source.recipe_path, run.recipe_path)
        for name in KEPT:
            with contextlib.suppress(FileNotFoundError):
                shutil.copyfile(source.path / name, run.path / name)
        if (source.path / dynamics.FOLDER).is_dir():  # records of later steps are set aside as it goes on
            shutil.copytree(source.path / dynamics.FOLDER, run.path / dynamics.FOLDER)
        _copy_until(source.events_path, run.events_path, step)
        run.emit("alert", level="info", text=f"Begun from the checkpoint of step {step} of {source.name}.")
        shutil.copytree(found, run.checkpoints / found.name, copy_function=_link)
    except BaseException as error:
        shutil.rmtree(run.path, ignore_errors=True)
        if isinstance(error, OSError):
            raise files.explain(error, run.path) from error
        raise
    return run


def _copy_until(events: Path, target: Path, step: int) -> None:
    """Write the lines of EVENTS up to the last checkpoint of STEP into TARGET. Raises StudioError where none tells of
    it."""
    own, at, end = b'"step":%d,' % step, 0, 0
    with open(events, "rb") as file:
        for line in file:
            at += len(line)
            end = at if line.startswith(MARK) and own in line else end
        if not end:
            raise StudioError(f"No event tells of the checkpoint of step {step}: {events}.", "Resume the run itself.")
        file.seek(0)
        with open(target, "wb") as copy:
            while end:
                copy.write(block := file.read(min(end, 1 << 20)))
                end -= len(block)


def _link(source: str, target: str) -> None:
    """The same file under another name where the file system has that: checkpoints are never written into."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)
