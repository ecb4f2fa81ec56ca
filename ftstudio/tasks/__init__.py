"""One file a task: columns, rows to a model's inputs, the head that answers, and how that is judged."""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Mapping
from typing import TYPE_CHECKING

from pydantic import BaseModel

from ftstudio.core.errors import UsageError
from ftstudio.tasks.base import Task

if TYPE_CHECKING:
    from ftstudio.core.recipe import Recipe

_TASKS = {
    "sft": ("ftstudio.tasks.sft", "Sft"),
    "causal-lm": ("ftstudio.tasks.causal_lm", "CausalLm"),
    "masked-lm": ("ftstudio.tasks.masked_lm", "MaskedLm"),
    "seq2seq": ("ftstudio.tasks.seq2seq", "Seq2Seq"),
    "text-classification": ("ftstudio.tasks.text_classification", "TextClassification"),
    "token-classification": ("ftstudio.tasks.token_classification", "TokenClassification"),
    "embedding": ("ftstudio.tasks.embedding", "Embedding"),
    "few-shot-classification": ("ftstudio.tasks.few_shot_classification", "FewShotClassification"),
    "image-text-to-text": ("ftstudio.tasks.image_text_to_text", "ImageTextToText"),
}


def names() -> list[str]:
    """The names of all tasks."""
    return list(_TASKS)


def get(name: str) -> Task:
    """The task NAME. Raises UsageError for an unknown one."""
    if name not in _TASKS:
        near = difflib.get_close_matches(name, _TASKS, n=1)
        hint = f"Did you mean {near[0]}?" if near else f"Tasks: {', '.join(_TASKS)}."
        raise UsageError(f"There is no task {name!r}.", hint)
    module, kind = _TASKS[name]
    task: Task = getattr(importlib.import_module(module), kind)()
    return task


def of(recipe: Recipe) -> Task:
    """RECIPE's task with its options, and with what its resolved recipe knows of the data. Raises UsageError."""
    return get(recipe.task).bound(recipe.options, (recipe.resolved or {}).get("task"))


def models() -> Mapping[str, type[BaseModel]]:
    """The options model of each task, for checking recipes and drawing forms."""
    return {name: get(name).options_model for name in _TASKS}
