"""What a recipe works on: its rows, parted into training and held-out, its template and its tokenizer. No torch.

Everything here follows from the recipe alone, so that training, answering and comparing, today and after a restart, see
the same rows under the same numbers.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from ftstudio import tasks
from ftstudio.core.errors import StudioError, UsageError
from ftstudio.core.recipe import Recipe
from ftstudio.core.text import one_line
from ftstudio.data.dataset import Cancel, Dataset, Progress
from ftstudio.data.example import BadRow, Example
from ftstudio.data.read import find_file, open_dataset
from ftstudio.data.shape import Shape, recognise
from ftstudio.data.split import split_rows
from ftstudio.data.template import Template
from ftstudio.data.tokenizer import Tokenizer, load_tokenizer
from ftstudio.tasks.base import Prompt, Task

SPLITS = ("eval", "validation", "valid", "dev", "test")


@dataclass(frozen=True)
class Materials:
    """Rows, template and tokenizer of a recipe.

    `whole` is all that `data.train` names; `train` the rows of it that are trained, `held_out` the rows kept away from
    training (None where the recipe holds none out). `origin_of` of both gives row numbers in the file they come from.
    `held_out_shape` is how the held-out rows are mapped: another file may have other columns.
    """

    recipe: Recipe
    task: Task
    tokenizer: Tokenizer
    template: Template
    shape: Shape
    whole: Dataset
    train: Dataset
    held_out: Dataset | None
    held_out_shape: Shape
    split_note: str = ""
    notes: tuple[str, ...] = field(default=())

    def examples(self, count: int | None = None) -> list[tuple[int, Example]]:
        """COUNT held-out rows as (row number in its file, example), in order of their numbers; all where COUNT is None.

        The choice follows from the seed, and a smaller one is part of a bigger one. Rows that the mapping can't use are
        left out before choosing. Raises StudioError where nothing is held out.
        """
        if self.held_out is None:
            raise StudioError(
                "The recipe holds no rows out (data.eval: null), so there is nothing to answer or compare on.",
                "Set data.eval to a fraction such as 0.1, or to a file.",
            )
        order = list(range(len(self.held_out)))
        if count is not None:
            random.Random(self.recipe.training.seed).shuffle(order)
        found: list[tuple[int, Example]] = []
        for index in order:
            if count is not None and len(found) >= count:
                break
            try:
                example = self.held_out_shape.example(self.held_out[index])
                if example.is_text or example.answer_at < len(example.messages):
                    found.append((self.held_out.origin_of(index), example))
            except BadRow:
                continue
        if not found:
            raise StudioError(
                f"None of the {len(self.held_out)} held-out rows can be used.", "Look at them: ftstudio data."
            )
        return sorted(found, key=lambda pair: pair[0])

    def prompt(self, example: Example) -> Prompt:
        """What the model is fed to answer EXAMPLE. Raises BadRow."""
        return self.task.generation_prompt(example, self.template, self.tokenizer, self.recipe.data.max_length)

    @property
    def end_tokens(self) -> tuple[int, ...]:
        """The ids at which an answer ends."""
        return self.task.end_ids(self.template, self.tokenizer)


def open_materials(recipe: Recipe, *, progress: Progress | None = None, cancel: Cancel | None = None) -> Materials:
    """Open what RECIPE names. Raises StudioError: no such file or model, empty, one row, no such column, data changed
    since the recipe was resolved."""
    task = tasks.get(recipe.task)
    tokenizer = load_tokenizer(recipe.model)
    data = recipe.data
    whole = open_dataset(data.train, split=data.split, reading=data.reading, progress=progress, cancel=cancel)
    if not len(whole):
        raise StudioError(f"{one_line(data.train)} holds no rows.", "Name a file with rows in it.")
    _same(recipe, "train", whole)
    shape = recognise(whole, columns(recipe))
    template = Template.resolve(data.template, tokenizer, shape)
    train, held_out, note = _part(recipe, whole, shape, progress, cancel)
    held_out_shape = shape
    notes = [text for text in (template.note, f"{whole.unread} rows could not be read" if whole.unread else "") if text]
    if held_out is not None and isinstance(data.eval, str):
        _same(recipe, "eval", held_out)
        held_out_shape = _shape_like(held_out, shape, recipe)
    if data.limit is not None and len(train) > data.limit:
        train = train.select(range(data.limit))
    return Materials(
        recipe, task, tokenizer, template, shape, whole, train, held_out, held_out_shape, note, tuple(notes)
    )


def heldout(recipe: Recipe, rows: int | None = None) -> list[tuple[int, Example]]:
    """The held-out rows that are answered and compared: (row number, example), at most ROWS (default:
    `evaluation.rows`), the same ones every time. Raises StudioError."""
    return open_materials(recipe).examples(rows or recipe.evaluation.rows)


def columns(recipe: Recipe) -> dict[str, str] | None:
    """The column mapping that RECIPE sets, as `recognise` takes it."""
    if recipe.data.columns is None:
        return None
    return {role: name for role, name in recipe.data.columns.model_dump().items() if name} or None


def effective_eval(recipe: Recipe) -> float | str | None:
    """`data.eval` with what it means when left out: the demo's own held-out rows for the demo, else a tenth."""
    if recipe.data.train == "demo" and "eval" not in recipe.data.model_fields_set:
        return "demo"
    return recipe.data.eval


def _part(
    recipe: Recipe, whole: Dataset, shape: Shape, progress: Progress | None, cancel: Cancel | None
) -> tuple[Dataset, Dataset | None, str]:
    """(training rows, held-out rows, how they were parted)."""
    wanted = effective_eval(recipe)
    if wanted is None:
        return whole, None, "no rows are held out"
    if isinstance(wanted, str):
        held_out = _named(recipe, wanted, progress, cancel)
        if held_out.hash == whole.hash:
            raise UsageError(
                f"data.eval: {one_line(wanted)} holds the very rows of data.train: nothing would be held out.",
                "Set data.eval to a fraction such as 0.1, or to another file.",
            )
        return whole, held_out, f"held-out rows: {one_line(wanted)}"
    if len(whole) < 2:
        unread = f" ({whole.unread} more can't be read)" if whole.unread else ""
        raise StudioError(
            f"{one_line(recipe.data.train)} holds only one row{unread}, so none can be held out.",
            "Add rows, name a file of held-out rows (data.eval), or set data.eval to null.",
        )
    train, held = split_rows(whole, wanted, recipe.training.seed, shape=shape, cancel=cancel)
    note = f"{len(held)} of {len(whole)} rows, by content and seed {recipe.training.seed}; equal prompts together"
    return whole.select(train), whole.select(held), note


def _named(recipe: Recipe, wanted: str, progress: Progress | None, cancel: Cancel | None) -> Dataset:
    """The held-out rows WANTED names: a file, or a split of what `data.train` names."""
    train, how = recipe.data.train, recipe.data.reading
    if wanted == train:
        found = open_dataset(train, split="validation", reading=how, progress=progress, cancel=cancel)
    elif wanted in SPLITS and find_file(wanted) is None:
        found = open_dataset(train, split=wanted, reading=how, progress=progress, cancel=cancel)
    else:
        part = "validation" if wanted == "demo" else None
        found = open_dataset(wanted, split=part, reading=how, progress=progress, cancel=cancel)
    if not len(found):
        raise StudioError(f"{one_line(wanted)} (data.eval) holds no rows.", "Name a file with rows, or a fraction.")
    return found


def _shape_like(held_out: Dataset, shape: Shape, recipe: Recipe) -> Shape:
    """How the rows of a held-out file are mapped: like the training rows where it can be, else as recognised."""
    if all(name in held_out.names for name in shape.columns.values()):
        return Shape(shape.name, shape.columns, shape.why)
    try:
        return recognise(held_out)
    except UsageError as error:
        raise UsageError(
            f"{one_line(str(recipe.data.eval))} (data.eval) has other columns than the training rows: {error.message}",
            f"It needs the columns {', '.join(shape.columns.values())}.",
        ) from error


def _same(recipe: Recipe, part: str, dataset: Dataset) -> None:
    """Refuse data that changed since RECIPE was resolved: row numbers and the split would mean other rows."""
    known = recorded(recipe, part).get("sha256")
    if known is not None and dataset.hash != known:
        raise StudioError(
            f"{one_line(dataset.source)} has changed since this run was prepared.",
            "Put the old file back, or start a new run with the new one.",
        )


def recorded(recipe: Recipe, part: str) -> dict[str, Any]:
    """What the resolved RECIPE tells of its data's PART (`train` or `eval`); empty where it isn't resolved."""
    value = ((recipe.resolved or {}).get("data") or {}).get(part)
    return value if isinstance(value, dict) else {}


def longest_reference(materials: Materials, examples: Sequence[tuple[int, Example]]) -> int:
    """Tokens of the longest reference among EXAMPLES (0 without any)."""
    texts = []
    for _, example in examples:
        reference = example.reference
        if example.is_text:
            try:
                reference = materials.prompt(example).reference
            except BadRow:
                continue
        if reference:
            texts.append(reference)
    return max((len(ids) for ids in materials.tokenizer.encode_batch(texts)), default=0) if texts else 0
