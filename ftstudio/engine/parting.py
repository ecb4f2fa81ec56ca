"""Which rows of a recipe are trained, which are held out, and which wait for the test.

Rows of a repaired version are parted as what it was repaired from (`data.parted_as`): a row keeps its key through every
version, and with it its side. Rows that a repair has added are trained.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ftstudio.core.errors import StudioError, UsageError
from ftstudio.core.recipe import Recipe
from ftstudio.core.text import one_line
from ftstudio.data.dataset import Cancel, Dataset, Progress
from ftstudio.data.mix_open import Opened
from ftstudio.data.split import alike, split_rows
from ftstudio.data.versions import address, store
from ftstudio.data.versions.identity import Key
from ftstudio.data.versions.store import Version
from ftstudio.engine.mapped import shape_like

Named = Callable[[Recipe, str, str, Progress | None, Cancel | None], Dataset]  # (recipe, eval | test, what it names, …)
Before = Callable[[Progress | None, Cancel | None], Opened]  # opens what data.parted_as names


SPLITS = ("eval", "validation", "valid", "dev", "test")  # names that data.eval and data.test may give


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


def parted_as(recipe: Recipe) -> str | None:
    """What a recipe for a repaired version of RECIPE's data names as `data.parted_as`: the first of all its states.
    None where the held-out and test rows are files of their own, which no repair of the training rows touches."""
    data = recipe.data
    if not isinstance(data.train, str):
        return None
    names = {data.train, data.parted_as, *SPLITS} - {"demo"}
    parted = [wanted for wanted in (usual_eval(recipe), data.test) if wanted is not None]
    if all(isinstance(one, str) and one not in names for one in parted):
        return None
    return data.parted_as or data.train


def part(
    recipe: Recipe,
    opened: Opened,
    named: Named,
    before: Before,
    *,
    progress: Progress | None = None,
    cancel: Cancel | None = None,
) -> Parted:
    """OPENED, parted as RECIPE says; NAMED opens rows that have a name of their own, BEFORE what OPENED was repaired
    from. Raises StudioError, Stopped."""
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
    if data.parted_as is not None and sizes:
        mine = _as_before(recipe, opened, before(progress, cancel), sizes, progress, cancel)
    else:
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
            shape = shape_like(other, opened.shape, recipe, key, opened.parts)
            kept, leaks = without_leaks(
                some, other, shape=opened.shape, held_out_shape=shape, near=data.split_by.near, progress=progress,
                cancel=cancel,
            )  # fmt: skip
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
    whole, data, seed = opened.whole, recipe.data, recipe.rows_seed
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
        note = f"{len(held)} of {len(rows)} rows, by content and seed {seed}; equal {alike(opened.shape)}s together"
        return Parted(train, whole.select(held), None, note)
    from ftstudio.data.split_parts import By, split_parts

    by = By(**data.split_by.model_dump()) if data.split_by is not None else By()
    parts = split_parts(rows, sizes, seed, shape=opened.shape, by=by, progress=progress, cancel=cancel)
    sides = {name: whole.select(chosen) if chosen else None for name, chosen in (("e", parts.eval), ("t", parts.test))}
    return Parted(parts.train, sides["e"], sides["t"], parts.note, (), parts.report)


def _as_before(
    recipe: Recipe,
    opened: Opened,
    origin: Opened,
    sizes: dict[str, float],
    progress: Progress | None,
    cancel: Cancel | None,
) -> Parted:
    """OPENED, a repaired version, with every row on the side that it has in ORIGIN; added rows are trained. Raises
    UsageError where the one wasn't made from the other, StudioError where a part would be empty."""
    data = recipe.data
    name = one_line(str(data.parted_as))
    version, earlier = _version(data.train), _version(data.parted_as)
    if version is None or not _made_from(version, earlier, origin):
        raise UsageError(
            f"data.parted_as: {one_line(data.source)} is no version made from {name} as it is now.",
            "Name what it was repaired from, unchanged, or leave it out: other rows are then held out than before.",
        )
    first = _split(recipe, origin, sizes, progress, cancel)
    numbers = store.keys_of(earlier) if earlier is not None else range(len(origin.whole))
    sides: dict[Key, str] = {}
    for side, rows in (("eval", first.held_out), ("test", first.test)):
        if rows is not None:
            sides |= {numbers[rows.origin_of(place)]: side for place in range(len(rows))}
    chosen: dict[str, list[int]] = {"train": [], **{key: [] for key in sizes}}
    for place, key in enumerate(store.keys_of(version)):
        chosen[sides.get(key, "train")].append(place)
    for side, places in chosen.items():
        if not places:
            raise StudioError(
                f"{version.name} has no rows left for {'training' if side == 'train' else f'data.{side}'}.",
                "Repair fewer rows, or leave out data.parted_as.",
            )
    note = f"{len(chosen.get('eval', ()))} of {opened.split_from} rows, those that are held out of {name}"
    parts = {side: opened.whole.select(places) for side, places in chosen.items() if side != "train"}
    report = {side: len(places) for side, places in chosen.items()}
    return Parted(chosen["train"], parts.get("eval"), parts.get("test"), note, (), report)


def _version(name: Any) -> Version | None:
    place = address.parse(name) if isinstance(name, str) else None
    return place.found() if place is not None else None


def _made_from(version: Version, earlier: Version | None, origin: Opened) -> bool:
    """Whether VERSION goes back to EARLIER, or (None) to the source ORIGIN as it is now."""
    if earlier is None:
        return (version.about.get("source") or {}).get("sha256") == origin.whole.hash
    return version.folder.path == earlier.folder.path and version.number >= earlier.number
