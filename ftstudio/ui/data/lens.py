"""Through which model, template and limit rows are looked at: the recipe's, or the demo's. No widgets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ftstudio import tasks
from ftstudio.core.errors import StudioError
from ftstudio.core.recipe import Recipe
from ftstudio.data.dataset import Cancel, Dataset, Progress
from ftstudio.data.encoded_set import EncodedSet
from ftstudio.data.shape import Shape
from ftstudio.data.template import Template
from ftstudio.data.tokenizer import Tokenizer, load_tokenizer
from ftstudio.data.view import TokenView
from ftstudio.engine.compatibility import model_config, model_limit
from ftstudio.engine.prepare import MAX_LENGTH
from ftstudio.tasks.base import Task
from ftstudio.ui.common.paths import shown

CUTS = (64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384)


@dataclass(frozen=True)
class Lens:
    """Task, tokenizer and template, and the limit the run would have."""

    task: Task
    model: str
    tokenizer: Tokenizer
    template: Template
    limit: int | None

    def view(self, dataset: Dataset, row: int, shape: Shape, max_length: int | None) -> TokenView:
        """Row ROW of DATASET in tokens."""
        return self.task.view(dataset, row, shape, self.template, self.tokenizer, max_length)

    def encode(
        self,
        dataset: Dataset,
        shape: Shape,
        max_length: int | None,
        progress: Progress | None = None,
        cancel: Cancel | None = None,
    ) -> EncodedSet:
        """All of DATASET in tokens."""
        return self.task.encode_dataset(
            dataset, shape, self.template, self.tokenizer, max_length, progress=progress, cancel=cancel
        )

    def said(self, max_length: int | None) -> str:
        """Tokenizer, template and MAX_LENGTH in words."""
        cut = f"max_length {max_length:,}" if max_length else "no cut"
        template = f"template {self.template.name}" if self.task.templates else self.task.name
        return f"tokenizer of {shown(self.model)} · {template} · {cut}"


LensKey = tuple[str, str, str | tuple[str, ...] | None, int | None, tuple[str, ...], Mapping[str, Any]]


def lens_key(recipe: Recipe | None) -> LensKey:
    """What of RECIPE a lens depends on: task, model, template, max_length, tokens it adds, options."""
    if recipe is None:
        return ("sft", "demo", None, None, (), {})
    data = recipe.data
    return (recipe.task, recipe.model, data.template, data.max_length, recipe.architecture.new_tokens, recipe.options)


def make_lens(key: LensKey, shape: Shape) -> Lens:
    """The lens for KEY (see `lens_key`) and rows of SHAPE. Raises StudioError: no such model, template or task."""
    task, model, template, max_length, new, options = key
    tokenizer = load_tokenizer(model, new=new)
    limit = max_length
    if limit is None:
        limit = min(tasks.get(task).usual_length, _most(model) or MAX_LENGTH)
    return Lens(tasks.get(task).bound(options), model, tokenizer, Template.resolve(template, tokenizer, shape), limit)


def _most(model: str) -> int | None:
    """How many tokens MODEL reads; None where it doesn't say, or is nothing but a tokenizer."""
    try:
        return model_limit(model_config(model))
    except StudioError:
        return None


def next_cut(present: int | None, limit: int | None) -> int | None:
    """The limit to try after PRESENT: the usual sizes and the recipe's own LIMIT upwards, then none, then again."""
    sizes = sorted({*CUTS, *([limit] if limit else [])})
    if present is None:
        return sizes[0]
    return next((size for size in sizes if size > present), None)


def roles_of(shape: Shape | None) -> Mapping[str, str]:
    """Column → the part it plays."""
    return {column: role for role, column in shape.columns.items()} if shape is not None else {}
