"""What the evaluation needs to know of a recipe: context of the error categories, metrics by their names, embedding."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from ftstudio.core.recipe import Recipe
from ftstudio.data.example import BadRow, text_of
from ftstudio.data.normal import digest
from ftstudio.engine.every_epoch import every_epoch
from ftstudio.engine.materials import Materials
from ftstudio.evaluation import context as evaluation_context
from ftstudio.evaluation import leaks
from ftstudio.evaluation.context import Context
from ftstudio.evaluation.contract import Contract
from ftstudio.evaluation.own import OwnCategory
from ftstudio.evaluation.predictions import Prediction

_NAMES = {"exact": "exact_match", "numeric": "numeric_match"}
KINDS = {"eval": "held-out", "test": "test"}  # how rows of a part are called
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


def leaks_of(
    materials: Materials, predictions: Sequence[Prediction], should_stop: Callable[[], bool] | None = None
) -> dict[str, Any]:
    """The rows of PREDICTIONS that stand in the training rows of any epoch, see `evaluation.leaks`; where pictures are
    asked about, those with the same ones beside the same question."""
    seen = _pictures(materials, {row.row for row in predictions})
    held_out = [(row.row, *_asked(row.prompt, row.reference, seen.get(row.row))) for row in predictions]

    def training() -> Iterator[tuple[int, str, str]]:
        rows = every_epoch(materials)
        for index in range(len(rows)):
            try:
                example = materials.shape.example(rows[index])
            except BadRow:
                continue
            text = example.messages[0].content if example.is_text else example.prompt
            asked = _asked(text, example.reference, example.fields.get("images"))
            yield (rows.origin_of(index), *asked)

    return leaks.told(leaks.find(held_out, training(), should_stop), len(held_out), KINDS[materials.part])


def _asked(prompt: str, reference: str | None, pictures: Any) -> tuple[str, str]:
    """What is looked for of a row: PROMPT and REFERENCE. Of one with PICTURES a word that stands for both, so that it
    is found as a whole only: many questions are asked about another picture each."""
    return (digest([prompt, text_of(pictures)]).hex(), "") if pictures else (prompt, reference or "")


def _pictures(materials: Materials, rows: set[int]) -> dict[int, Any]:
    """What pictures the held-out ROWS name, by number; empty where no task is about any."""
    held_out, found = materials.held_out, dict[int, Any]()
    if held_out is None or materials.task.kind != "image-text-to-text":
        return found
    for index in range(len(held_out)):
        if held_out.origin_of(index) in rows:
            with contextlib.suppress(BadRow):
                example = materials.held_out_shape.example(held_out[index])
                found[held_out.origin_of(index)] = example.fields.get("images")
    return found
