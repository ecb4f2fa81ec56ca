"""What the evaluation needs to know of a recipe: context of the error categories, metrics by their names, embedding."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from ftstudio.core.recipe import Recipe
from ftstudio.data.example import BadRow
from ftstudio.engine.materials import Materials
from ftstudio.evaluation import context as evaluation_context
from ftstudio.evaluation.context import Context
from ftstudio.evaluation.contract import Contract
from ftstudio.evaluation.own import OwnCategory
from ftstudio.evaluation.predictions import Prediction

_NAMES = {"exact": "exact_match", "numeric": "numeric_match"}
MOST_ANSWERS = 20_000  # training answers read for vocabulary and usual length


def metrics_of(recipe: Recipe) -> list[str]:
    """The metrics that RECIPE asks for, as the evaluation calls them."""
    return [_NAMES.get(name, name) for name in recipe.evaluation.metrics]


def contract_of(recipe: Recipe) -> Contract | None:
    """The format that RECIPE declares. Raises UsageError for a faulty one."""
    declared = recipe.evaluation.format
    if declared is None:
        return None
    for kind in ("regex", "json_schema", "labels"):
        value = getattr(declared, kind)
        if value is not None:
            return Contract(kind, value)
    return None


def context_of(materials: Materials, predictions: Sequence[Prediction], own: Sequence[OwnCategory] = ()) -> Context:
    """What the detectors must know to judge PREDICTIONS of MATERIALS: references, training answers, special tokens,
    the declared format, the limit of tokens, the person's OWN categories. Never imports torch."""
    recipe = materials.recipe
    return evaluation_context.build(
        [row.prompt for row in predictions],
        [row.reference for row in predictions],
        answers=_answers(materials),
        special_tokens=materials.tokenizer.end_texts,
        contract=contract_of(recipe),
        max_new_tokens=recipe.evaluation.max_new_tokens,
        limits=recipe.evaluation.categories,
        own=own,
        only=materials.task.categories(),
    )


def _answers(materials: Materials) -> Iterator[str]:
    for index in range(min(len(materials.train), MOST_ANSWERS)):
        try:
            reference = materials.shape.example(materials.train[index]).reference
        except BadRow:
            continue
        if reference:
            yield reference


def rows_of(materials: Materials, rows: Sequence[int]) -> dict[int, dict[str, Any]]:
    """The held-out ROWS of the data as they are, by number, without the columns that prompt and answer are made of."""
    held_out = materials.held_out
    if held_out is None:
        return {}
    wanted, mapped = set(rows), set(materials.held_out_shape.columns.values())
    return {
        held_out.origin_of(index): {name: value for name, value in held_out[index].items() if name not in mapped}
        for index in range(len(held_out))
        if held_out.origin_of(index) in wanted
    }
