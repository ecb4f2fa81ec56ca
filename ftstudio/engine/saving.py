"""The tuned model with its tokenizer into the run's folder: written beside, then put in place at once."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ftstudio import methods
from ftstudio.core.errors import DiskFull, Stopped
from ftstudio.core.run import RunFolder
from ftstudio.engine import sentence
from ftstudio.engine.disk import disk_trouble
from ftstudio.engine.locate import locate
from ftstudio.engine.with_tokenizer import copy_tokenizer

if TYPE_CHECKING:
    from ftstudio.core.recipe import Recipe
    from ftstudio.tasks.base import Task


def save(run: RunFolder, recipe: Recipe, model: Any, task: Task, *, stopped: bool) -> None:
    """Save MODEL, trained by RECIPE for TASK, as RUN's. What stood there before goes once it is there.

    Raises StudioError where it can't be written; `Stopped` where the run was STOPPED and there is no room for it: its
    checkpoints are what it goes on from.
    """
    method = methods.get(recipe.method.name)
    where = locate(recipe.model, weights=False)
    beside = run.path / ".model"
    shutil.rmtree(beside, ignore_errors=True)
    try:
        if hasattr(model, "peft_config"):
            for config in model.peft_config.values():
                config.base_model_name_or_path = where.name
        save_weights(model, beside)
        method.finish(model, method.settings(recipe.method.settings), beside)
        copy_tokenizer(where.folder, beside, recipe.architecture.new_tokens)
        task.finish(model, beside)  # may write into the tokenizer's settings
        if recipe.data.max_length is not None:
            sentence.limit(beside, recipe.data.max_length)
        old = run.path / ".model-old"
        shutil.rmtree(old, ignore_errors=True)
        if run.model.exists():
            run.model.rename(old)
        beside.rename(run.model)
        shutil.rmtree(old, ignore_errors=True)
    except Exception as error:
        shutil.rmtree(beside, ignore_errors=True)
        told = disk_trouble(error, run.model)
        if told is None:
            raise
        if stopped and isinstance(told, DiskFull):
            text = f"Stopped, and the tuned model isn't saved: {told.message} Free some space, then resume."
            raise Stopped(text) from error
        raise told from error


@contextlib.contextmanager
def _no_card(model: Any) -> Iterator[None]:
    """Saving MODEL writes no model card meanwhile: peft's is an empty template, that takes as long as the weights."""
    model.create_or_update_model_card = lambda folder: None
    try:
        yield
    finally:
        del model.create_or_update_model_card


def save_weights(model: Any, folder: Path, state: dict[str, Any] | None = None) -> None:
    """MODEL's weights (an adapter's alone, where it has one) and configuration into FOLDER, as safetensors."""
    folder.mkdir(parents=True, exist_ok=True)
    if hasattr(model, "peft_config"):
        with _no_card(model):
            model.save_pretrained(str(folder), state_dict=state, save_embedding_layers=False)
    else:
        own = None if sentence.of(model) is None else sentence.own_weights(state or model.state_dict())
        model.save_pretrained(str(folder), state_dict=own or state)
    sentence.save(model, folder)
