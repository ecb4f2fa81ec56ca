"""Which rows of a recipe are trained, which are held out, and which wait for the test."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ftstudio.core.errors import StudioError, UsageError
from ftstudio.core.recipe import Recipe
from ftstudio.core.text import one_line
from ftstudio.data.dataset import Cancel, Dataset, Progress
from ftstudio.data.mix_open import Opened
from ftstudio.data.split import split_rows

Named = Callable[[Recipe, str, str, Progress | None, Cancel | None], Dataset]  # (recipe, eval | test, what it names, …)


@dataclass(frozen=True)
class Parted:
    """`train` are row numbers of the whole; `note` says how it was parted, `notes` what else a person must know."""

    train: list[int]
    held_out: Dataset | None = None
    test: Dataset | None = None
    note: str = ""
    notes: tuple[str, ...] = ()
    report: Mapping[str, Any] = field(default_factory=dict)


def usual_eval(recipe: Recipe) -> float | str | None:
    """`data.eval` with what it means when left out: the demo's own held-out rows for the demo, else a tenth."""
    if recipe.data.train == "demo" and "eval" not in recipe.data.model_fields_set:
        return "demo"
    return recipe.data.eval


def part(
    recipe: Recipe, opened: Opened, named: Named, *, progress: Progress | None = None, cancel: Cancel | None = None
) -> Parted:
    """OPENED, parted as RECIPE says; NAMED opens rows that have a name of their own. Raises StudioError, Stopped."""
    whole, data = opened.whole, recipe.data
    wanted = {"eval": usual_eval(recipe), "test": data.test}
    others: dict[str, Dataset] = {}
    for key, value in wanted.items():
        if isinstance(value, str):
            others[key] = named(recipe, key, value, progress, cancel)
            if others[key].hash in {whole.hash, *(source.dataset.hash for source in opened.parts)}:
                raise UsageError(
                    f"data.{key}: {one_line(value)} holds the very rows of data.train: nothing would be held out.",
                    f"Set data.{key} to a fraction such as 0.1, or to another file.",
                )
    sizes = {key: value for key, value in wanted.items() if isinstance(value, float)}
    mine = _split(recipe, opened, sizes, progress, cancel)
    said = [mine.note] if mine.note else []
    said += [f"{'held-out' if key == 'eval' else 'test'} rows: {one_line(str(wanted[key]))}" for key in others]
    if wanted["eval"] is None:
        said.insert(0, "no rows are held out")
    train, notes, report = mine.train, [], dict(mine.report)
    if data.split_by is not None and data.split_by.leak_aware and others:
        from ftstudio.data.split_parts import without_leaks

        for key, other in others.items():
            some = whole.select(train)
            kept, leaks = without_leaks(
                some, other, shape=opened.shape, near=data.split_by.near, progress=progress, cancel=cancel
            )
            if leaks:
                notes.append(f"{len(leaks)} rows that nearly equal a row of data.{key} are not trained")
                report[f"leaks_{key}"] = len(leaks)
            train = [train[place] for place in kept]
        if not train:
            raise StudioError("Every training row nearly equals a held-out one.", "Hold out other rows.")
    held_out, test = others.get("eval", mine.held_out), others.get("test", mine.test)
    return Parted(train, held_out, test, "; ".join(said), tuple(notes), report)


def _split(
    recipe: Recipe, opened: Opened, sizes: dict[str, float], progress: Progress | None, cancel: Cancel | None
) -> Parted:
    """The rows of the whole that are parted by fractions; the replay, which comes last, is none of them."""
    whole, data, seed = opened.whole, recipe.data, recipe.training.seed
    everything = list(range(opened.split_from))
    if not sizes:
        return Parted(everything)
    if len(everything) < 2:
        unread = f" ({whole.unread} more can't be read)" if whole.unread else ""
        raise StudioError(
            f"{one_line(data.source)} holds only one row{unread}, so none can be held out.",
            "Add rows, name a file of held-out rows (data.eval), or set data.eval to null.",
        )
    rows = whole if opened.split_from == len(whole) else whole.select(everything)
    if data.split_by is None and "test" not in sizes:
        train, held = split_rows(rows, sizes["eval"], seed, shape=opened.shape, cancel=cancel)
        note = f"{len(held)} of {len(rows)} rows, by content and seed {seed}; equal prompts together"
        return Parted(train, whole.select(held), None, note)
    from ftstudio.data.split_parts import By, split_parts

    by = By(**data.split_by.model_dump()) if data.split_by is not None else By()
    parts = split_parts(rows, sizes, seed, shape=opened.shape, by=by, progress=progress, cancel=cancel)
    sides = {name: whole.select(chosen) if chosen else None for name, chosen in (("e", parts.eval), ("t", parts.test))}
    return Parted(parts.train, sides["e"], sides["t"], parts.note, (), parts.report)
