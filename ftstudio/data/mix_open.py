"""Opens what `data.train` and `data.replay` of a recipe name: one dataset, or several as one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ftstudio.core.errors import StudioError, UsageError
from ftstudio.core.recipe import Columns, Data, Replay, Source
from ftstudio.core.text import one_line
from ftstudio.core.workspace import slug
from ftstudio.data.dataset import Cancel, Dataset, Progress
from ftstudio.data.mix import SAME, Epoch, Part, capped, concatenated, epoch, weighed
from ftstudio.data.read import open_dataset
from ftstudio.data.shape import Shape, recognise
from ftstudio.data.tags import brought_to_bio, first_of

ASKED = ("sft", "seq2seq", "image-text-to-text")
"""Tasks whose models read what is asked of them."""


@dataclass(frozen=True)
class Opened:
    """All training rows: `whole`, how they are mapped, and, where there are several sources, the `parts` of it.

    `split_from` is how many rows at the beginning may be held out: the replay comes last and never is.
    """

    whole: Dataset
    shape: Shape
    parts: tuple[Part, ...]
    split_from: int


def open_sources(
    data: Data,
    columns: Mapping[str, str] | None,
    seed: int = 0,
    *,
    task: str | None = None,
    progress: Progress | None = None,
    cancel: Cancel | None = None,
) -> Opened:
    """What DATA names, recognised for TASK, with COLUMNS for sources without a mapping of their own.

    Raises StudioError."""
    if isinstance(data.train, str) and data.replay is None:
        whole = open_dataset(data.train, split=data.split, reading=data.reading, progress=progress, cancel=cancel)
        if not len(whole):
            raise StudioError(f"{one_line(data.train)} holds no rows.", "Name a file with rows in it.")
        return Opened(whole, recognise(whole, columns, task), (), len(whole))
    sources = data.train
    if isinstance(sources, str):
        sources = (Source(path=sources, split=data.split, reading=data.reading),)
    _check(data, sources, task)
    parts: list[Part] = []
    for number, source in enumerate(sources):
        dataset = _open(source, progress, cancel)
        name = _name(source, [part.name for part in parts])
        shape = _shape(dataset, source.columns, columns, f"data.train.{number}", task)
        limited = capped(dataset, source.cap, seed, name)
        weight = 1.0 if source.weight is None else source.weight
        parts.append(Part(name, limited, shape, weight, instruction=source.instruction or ""))
    held = sum(len(part.dataset) for part in parts)
    if data.replay is not None:
        dataset = _open(data.replay, progress, cancel)
        name = _name(Source(path=data.replay.path), [part.name for part in parts])
        parts.append(Part(name, dataset, _shape(dataset, data.replay.columns, None, "data.replay", task), 1.0, True))
    parts = _in_one_scheme(parts, cancel)
    whole, mixed = concatenated(parts)
    return Opened(whole, mixed, tuple(parts), held)


def epoch_of(
    opened: Opened, data: Data, train: list[int], seed: int, cancel: Cancel | None = None, *, anew: bool = False
) -> Epoch:
    """What of the TRAIN rows of OPENED an epoch holds, as DATA says; of one source without weights all of them. ANEW:
    see `epoch`."""
    if not opened.parts:
        import random

        rows = weighed(opened.whole, train, random.Random(f"{seed} weights"), cancel)
        if rows == train:
            return Epoch(train, {}, "")
        if not rows:
            raise StudioError("All rows have the weight 0: there is nothing to train.", "Give some rows a weight.")
        same = f"; {SAME}" if len(set(rows)) < len(train) else ""
        return Epoch(rows, {}, f"by their weights, {len(train):,} rows are trained {len(rows):,} times an epoch{same}")
    sources = data.train if not isinstance(data.train, str) else ()
    mix = data.mix
    last = range(opened.split_from, len(opened.whole))
    return epoch(
        opened.whole,
        [*train, *last],
        opened.parts,
        weights=any(source.weight is not None for source in sources),
        temperature=mix.temperature if mix else None,
        rows=mix.rows if mix else None,
        replay=data.replay.share if data.replay else None,
        seed=seed,
        anew=anew,
        cancel=cancel,
    )


def _check(data: Data, sources: tuple[Source, ...], task: str | None) -> None:
    asked = next((number for number, source in enumerate(sources) if source.instruction), None)
    if asked is not None and task not in (None, *ASKED):
        raise UsageError(
            f"data.train.{asked}.instruction: a model of the task {task} is given no instruction.",
            f"Leave it out, or use one of the tasks {', '.join(ASKED)}.",
        )
    if any(source.weight is not None for source in sources) and data.mix is not None and data.mix.temperature:
        raise UsageError(
            "data.mix.temperature and weights in data.train both set the shares.", "Leave one of them out."
        )


def _open(source: Source | Replay, progress: Progress | None, cancel: Cancel | None) -> Dataset:
    found = open_dataset(source.path, split=source.split, reading=source.reading, progress=progress, cancel=cancel)
    if not len(found):
        raise StudioError(f"{one_line(source.path)} holds no rows.", "Name a file with rows in it.")
    return found


def _shape(
    dataset: Dataset, own: Columns | None, columns: Mapping[str, str] | None, key: str, task: str | None
) -> Shape:
    """How a source is mapped: by its own columns, by the recipe's where it has them, else as recognised."""
    if own is not None:
        return recognise(dataset, {role: name for role, name in own.model_dump().items() if name} or None)
    if columns and all(name in dataset.names for name in columns.values()):
        return recognise(dataset, columns)
    try:
        return recognise(dataset, task=task)
    except UsageError as error:
        raise UsageError(f"{key}: {error.message}", f"Set {key}.columns, such as {{text: body}}.") from error


def _in_one_scheme(parts: list[Part], cancel: Cancel | None) -> list[Part]:
    """PARTS with the tags of each in BIO, from the scheme that it has by itself. Raises StudioError where the tags of
    one mark entities and those of another are of another kind."""
    found: list[Part] = []
    kinds: dict[bool, Part] = {}
    for part in parts:
        if part.shape.name == "tokens-tags":
            shape, scheme = brought_to_bio(part.dataset, part.shape, cancel=cancel)
            part = replace(part, shape=shape)
            if scheme != "plain" or first_of(part.dataset, shape, False) is not None:  # nothing but O goes with both
                kinds.setdefault(scheme != "plain", part)
        found.append(part)
    if len(kinds) > 1:
        said = []
        for marks in (True, False):
            row, tag = first_of(kinds[marks].dataset, kinds[marks].shape, marks) or (1, "O")
            what = "mark entities" if marks else "mark none"
            said.append(f"those of {one_line(kinds[marks].name, 40)} {what} ({one_line(tag, 30)!r} in row {row:,})")
        raise StudioError(
            f"The tags of the sources don't go together: {', '.join(said)}.",
            "Train them apart, or map a column with tags of the same kind: data.train.0.columns.tags and so on.",
        )
    return found


def _name(source: Source, taken: list[str]) -> str:
    file = Path(source.path).name.split("@")[0].split(".")[0]
    stem = source.name or slug(file or source.path)
    name, number = stem, 1
    while name in taken:
        number += 1
        name = f"{stem}-{number}"
    return name


def described(opened: Opened, data: Data) -> dict[str, Any]:
    """For the run's recipe: each source with its rows and hash."""
    return {
        part.name: {"source": part.dataset.source, "rows": len(part.dataset), "sha256": part.dataset.hash}
        for part in opened.parts
    }
