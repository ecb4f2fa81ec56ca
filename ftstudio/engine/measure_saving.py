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

MOST = 512 << 20  # bytes that are written
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


def sizes_of(trainer: StudioTrainer) -> tuple[int, int]:
    """About the bytes of a checkpoint of TRAINER: of the weights that are saved, and of the optimiser's states."""
    model: Any = trainer.model
    adapter = hasattr(model, "peft_config")
    weights = sum(item.nbytes for item in model.parameters() if item.requires_grad or not adapter)
    states = trainer.optimizer.state.values() if trainer.optimizer is not None else ()
    return weights, sum(int(getattr(item, "nbytes", 0)) for state in states for item in state.values())


def seconds(trainer: StudioTrainer, folder: Path) -> float | None:
    """What a checkpoint of TRAINER takes in FOLDER; None where the disk is too full to try, or won't take it."""
    weights, states = sizes_of(trainer)
    count = weights + states
    try:
        if shutil.disk_usage(folder).free < SPARE * min(count, MOST):
            return None
        if count > MOST:
            some = MOST * weights // count
            return _written(folder, some, MOST - some, trainer.args.device) * count / MOST
        trainer.args.output_dir = str(folder)
        began = time.perf_counter()
        trainer.checkpoint()
        took = time.perf_counter() - began
        return took if resume.checkpoints(folder) else None
    except Exception:  # what isn't needed for it stops nothing
        return None


def _written(folder: Path, weights: int, states: int, device: Any = "cpu") -> float:
    """Seconds that so many bytes of WEIGHTS and of optimiser STATES, on DEVICE, take in FOLDER: to be written as they
    are in a checkpoint, hashed, and to lie on the disk."""
    import torch
    from safetensors.torch import save_file

    beside = folder / "sample"
    beside.mkdir()
    some = torch.randint(256, (weights + states,), dtype=torch.uint8, device=device)  # no file system packs these
    began = time.perf_counter()
    save_file({"weights": some[:weights].clone()}, beside / "model.safetensors")
    torch.save(some[weights:].clone(), beside / "optimizer.pt")
    resume.seal(beside)
    return time.perf_counter() - began
