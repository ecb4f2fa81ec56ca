"""What a checkpoint takes on the workspace's disk: a real one written by the measured steps, before the run is begun.

A checkpoint isn't only written: each file is hashed and waited for until it lies on the disk (see `resume.seal`). Of a
large one as many bytes as `MOST` are, and the time is scaled: they would fill the disk, and take minutes.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ftstudio.engine import resume

if TYPE_CHECKING:
    from ftstudio.engine.trainer import StudioTrainer

MOST = 256 << 20  # bytes that are written
SPARE = 3  # times as many have to be free
NAME = ".measured-"  # before the name of the folder they lie in meanwhile


def place_of(workspace: Path) -> Path | None:
    """The folder on WORKSPACE's disk that is written in: itself or, before there is one, what it will lie in. None
    where that can't be written."""
    found = next((path for path in (workspace, *workspace.parents) if path.is_dir()), None)
    return found if found is not None and os.access(found, os.W_OK | os.X_OK) else None


def folder_in(place: Path | None) -> tempfile.TemporaryDirectory[str] | None:
    """A folder of its own in PLACE, which goes with everything in it; None where there can't be one."""
    try:
        return tempfile.TemporaryDirectory(prefix=NAME, dir=place) if place is not None else None
    except OSError:
        return None


def size_of(trainer: StudioTrainer) -> int:
    """About the bytes of a checkpoint of TRAINER: the weights that are saved and the optimiser's states."""
    model: Any = trainer.model
    adapter = hasattr(model, "peft_config")
    weights = sum(item.nbytes for item in model.parameters() if item.requires_grad or not adapter)
    states = trainer.optimizer.state.values() if trainer.optimizer is not None else ()
    return int(weights + sum(getattr(item, "nbytes", 0) for state in states for item in state.values()))


def seconds(trainer: StudioTrainer, folder: Path) -> float | None:
    """What a checkpoint of TRAINER takes in FOLDER; None where the disk is too full to try, or won't take it."""
    count = size_of(trainer)
    try:
        if shutil.disk_usage(folder).free < SPARE * min(count, MOST):
            return None
        if count > MOST:
            return _written(folder, MOST) * count / MOST
        trainer.args.output_dir = str(folder)
        began = time.perf_counter()
        trainer.checkpoint()
        took = time.perf_counter() - began
        return took if resume.checkpoints(folder) else None
    except Exception:  # what isn't needed for it stops nothing
        return None


def _written(folder: Path, count: int) -> float:
    """Seconds that COUNT bytes take in FOLDER: to be written, hashed and to lie on the disk."""
    block, beside = os.urandom(1 << 20), folder / "sample"
    beside.mkdir()
    began = time.perf_counter()
    with open(beside / "bytes", "wb") as file:
        for _ in range(count >> 20):
            file.write(block)
    resume.seal(beside)
    return time.perf_counter() - began
