"""What a recipe works on: its rows, parted into training and held-out, its template and its tokenizer. No torch.

Everything here follows from the recipe alone, so that training, answering and comparing, today and after a restart, see
the same rows under the same numbers.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from ftstudio import tasks
from ftstudio.core.errors import Stopped, StudioError, UsageError
from ftstudio.core.recipe import Recipe
from ftstudio.core.text import one_line
from ftstudio.data.dataset import Cancel, Dataset, Progress
from ftstudio.data.example import BadRow, Example
from ftstudio.data.mix import Part
from ftstudio.data.mix_open import Opened, epoch_of, open_sources
from ftstudio.data.read import find_file, open_dataset
from ftstudio.data.shape import Shape
from ftstudio.data.template import Template
from ftstudio.data.tokenizer import Tokenizer
from ftstudio.engine.left_out import left_out
from ftstudio.engine.mapped import asked_as, shape_like
from ftstudio.engine.parting import SPLITS, part, usual_eval
from ftstudio.engine.reshaping import tokenizer_of
from ftstudio.tasks.base import Prompt, Task


@dataclass(frozen=True)
class Materials:
    """Rows, template and tokenizer of a recipe.

    `whole` is all that `data.train` names; `train` the rows of it that are trained, `held_out` the rows kept away from
    training (None where the recipe holds none out). `origin_of` of both gives row numbers in the file they come from.
    `held_out_shape` is how the held-out rows are mapped: another file may have other columns. `test` are rows that are
    neither trained nor held out, `report` counts the parts and what an epoch holds, `sources` are those of a mix.
    `train` is what the first epoch of a mix holds, `spare` what later ones draw beside it: rows of `whole` by source.
    `part` is `test` where `held_out` are the test rows.
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
    test: Dataset | None = None
    report: Mapping[str, Any] = field(default_factory=dict)
    sources: tuple[Part, ...] = ()
    part: str = "eval"
    spare: Mapping[str, Sequence[int]] = field(default_factory=dict)

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
            random.Random(self.recipe.rows_seed).shuffle(order)
        found: list[tuple[int, Example]] = []
        bad: list[tuple[int, str]] = []
        for index in order:
            if count is not None and len(found) >= count:
                break
            try:
                example = self.held_out_shape.example(self.held_out[index])
                if self.task.usable(example):
                    found.append((self.held_out.origin_of(index), example))
                else:
                    bad.append((self.held_out.origin_of(index), self.why_not(example)))
            except BadRow as error:
                bad.append((self.held_out.origin_of(index), str(error)))
        if not found:
            text = f"None of the {len(self.held_out)} held-out rows can be used: {left_out(bad)}."
            raise StudioError(text, "Look at them: ftstudio data.")
        return sorted(found, key=lambda pair: pair[0])

    def on(self, part: str) -> Materials:
        """These, with the rows of PART (`eval` or `test`) as those that are answered. Raises StudioError for none."""
        if part == "eval":
            return self
        if self.test is None:
            raise StudioError(
                "The recipe keeps no rows for a test (data.test: null).",
                "Compare on the held-out rows, or train with data.test: 0.1, or a file.",
            )
        return _grounded(replace(self, held_out=self.test, held_out_shape=self.test_shape, part=part))

    @property
    def test_shape(self) -> Shape:
        """How the test rows are mapped: those of another file may have other columns. Raises UsageError."""
        if self.test is None or not isinstance(self.recipe.data.test, str):
            return self.shape
        return shape_like(self.test, self.shape, self.recipe, "test", self.sources)

    def why_not(self, example: Example) -> str:
        """Why EXAMPLE, which the task says isn't usable, can't be answered and judged."""
        return self.task.fault(example)

    def compared(self) -> list[Example]:
        """The held-out rows that are answered and compared, as the recipe says; none where none are held out."""
        if self.held_out is None:
            return []
        return [example for _, example in self.examples(self.recipe.evaluation.rows)]

    def prompt(self, example: Example) -> Prompt:
        """What the model is fed to answer EXAMPLE. Raises BadRow."""
        return self.task.prompt(example, self.template, self.tokenizer, self.recipe.data.max_length)

    @property
    def end_tokens(self) -> tuple[int, ...]:
        """The ids at which an answer ends."""
        return self.task.end_ids(self.template, self.tokenizer)


def open_materials(recipe: Recipe, *, progress: Progress | None = None, cancel: Cancel | None = None) -> Materials:
    """Open what RECIPE names. Raises StudioError: no such file or model, empty, one row, no such column, data changed
    since the recipe was resolved."""
    task = tasks.of(recipe)
    tokenizer = tokenizer_of(recipe)
    data = recipe.data
    seed = recipe.rows_seed
    opened = open_sources(data, columns(recipe), seed, task=recipe.task, progress=progress, cancel=cancel)
    whole, shape = opened.whole, opened.shape
    _same(recipe, "train", whole)
    task = _informed(task, recipe, opened, cancel)
    template = task.written(Template.resolve(data.template, tokenizer, shape))
    parts = part(recipe, opened, _open_named, lambda *watch: _before(recipe, *watch), progress=progress, cancel=cancel)
    held_out_shape = shape
    if parts.held_out is not None and isinstance(data.eval, str):
        _same(recipe, "eval", parts.held_out)
        held_out_shape = shape_like(parts.held_out, shape, recipe, "eval", opened.parts)
    if parts.test is not None and isinstance(data.test, str):
        _same(recipe, "test", parts.test)
    chosen = epoch_of(opened, data, parts.train, seed, cancel, anew=_anew(recipe, task))
    if chosen.spare and data.limit is not None and len(chosen.rows) > data.limit:  # only the first ones are wanted
        chosen = epoch_of(opened, data, parts.train, seed, cancel)
    train = whole if chosen.rows == list(range(len(whole))) else whole.select(chosen.rows)
    first = ""
    if data.limit is not None and len(train) > data.limit:
        first = f"data.limit takes the first {data.limit:,} of {len(train):,} rows; in a sorted file those are alike"
        train = train.select(range(data.limit))
    unread = f"{whole.unread} rows could not be read" if whole.unread else ""
    kept = (
        f"{len(parts.test):,} test rows are kept apart, neither trained nor held out" if parts.test is not None else ""
    )
    asked = asked_as(held_out_shape, "eval", opened.parts) if isinstance(data.eval, str) else ""
    written = template.note if task.templates else ""  # others read rows in a way of their own
    notes = tuple(text for text in (written, unread, *parts.notes, chosen.note, first, kept, asked) if text)
    report = {**parts.report, **({"epoch": dict(chosen.counts)} if chosen.counts else {})}
    found = Materials(
        recipe, task, tokenizer, template, shape, whole, train, parts.held_out, held_out_shape, parts.note, notes,
        parts.test, report, opened.parts, spare=chosen.spare,
    )  # fmt: skip
    return _grounded(found)


def _anew(recipe: Recipe, task: Task) -> bool:
    """Whether each epoch draws other rows of a source that it holds a part of: not where pairs are made of the rows
    once for all, nor in a run that began without."""
    before = (recipe.resolved or {}).get("data")
    return "pairs" not in task.phases() and (before is None or bool(before.get("drawn")))


def _grounded(found: Materials) -> Materials:
    """FOUND with a task that knows the rows it is trained and judged on."""
    opened = (found.whole, found.held_out, found.test, *(source.dataset for source in found.sources))
    folders = dict.fromkeys(one.path.parent for one in opened if one is not None and one.path is not None)
    recipe = found.recipe
    task = found.task.grounded(
        found.train, found.shape, found.compared, found.tokenizer, recipe.data.max_length, recipe.training.seed,
        tuple(folders),
    )  # fmt: skip
    return replace(found, task=task)


def _informed(task: Task, recipe: Recipe, opened: Opened, cancel: Cancel | None) -> Task:
    """TASK with what it must know of the rows before a model can be built: what RECIPE was resolved with, else read
    from the rows that aren't the replay. Raises StudioError for rows that the task can't learn from."""
    shapes = [part.shape for part in opened.parts] or [opened.shape]
    for shape in shapes:
        if shape.name not in task.shapes:
            roles = ", ".join(role.name for role in task.roles)
            raise UsageError(
                f"{one_line(recipe.data.source)}: {task.name} can't learn from such rows ({shape.name}: {shape.why}).",
                f"Map its columns (data.columns: {roles}), or choose another task.",
            )
    if "task" in (recipe.resolved or {}):
        return task
    rows = opened.whole
    if opened.split_from < len(rows):
        rows = rows.select(range(opened.split_from))
    return task.bound(recipe.options, task.survey(rows, opened.shape, cancel=cancel))


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
    return usual_eval(recipe)


def _open_named(recipe: Recipe, key: str, wanted: str, progress: Progress | None, cancel: Cancel | None) -> Dataset:
    """The rows that WANTED (data.eval or data.test: KEY) names: a file, or a split of what `data.train` names."""
    data = recipe.data
    usual = {"eval": "validation", "test": "test"}[key]
    whole = data.parted_as or data.first  # a version holds one split only
    if wanted in (data.train, data.parted_as):
        found = open_dataset(whole, split=usual, reading=data.reading, progress=progress, cancel=cancel)
    elif wanted in SPLITS and find_file(wanted) is None:
        found = open_dataset(whole, split=wanted, reading=data.reading, progress=progress, cancel=cancel)
    else:
        split = usual if wanted == "demo" else None
        found = open_dataset(wanted, split=split, reading=data.reading, progress=progress, cancel=cancel)
    if not len(found):
        raise StudioError(f"{one_line(wanted)} (data.{key}) holds no rows.", "Name a file with rows, or a fraction.")
    return found


def _before(recipe: Recipe, progress: Progress | None, cancel: Cancel | None) -> Opened:
    """What `data.parted_as` names, read and mapped as if it were trained on."""
    alone = recipe.data.model_copy(update={"train": str(recipe.data.parted_as), "replay": None, "mix": None})
    seed = recipe.rows_seed
    try:
        return open_sources(alone, columns(recipe), seed, task=recipe.task, progress=progress, cancel=cancel)
    except Stopped:
        raise
    except StudioError as error:
        hint = "Put it back, or leave data.parted_as out: other rows are then held out than before."
        raise StudioError(f"data.parted_as: {error.message}", hint) from error


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
