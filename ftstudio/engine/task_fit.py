"""Which tasks a person's rows suit, and how their columns would be mapped for each: for the wizard. No torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ftstudio import tasks
from ftstudio.core.errors import StudioError
from ftstudio.core.reading import Reading
from ftstudio.core.text import one_line
from ftstudio.data.dataset import Cancel, Dataset, Progress
from ftstudio.data.example import text_of
from ftstudio.data.read import open_dataset
from ftstudio.data.shape import recognise, suggest

LOOKED = 50  # rows in which one with a text is looked for


@dataclass(frozen=True)
class Fit:
    """How rows suit one task: `columns` role → column and the `row` shown with them, or why they don't (`problem`)."""

    columns: Mapping[str, str] = field(default_factory=dict)
    row: tuple[tuple[str, str], ...] = ()
    problem: str = ""


@dataclass(frozen=True)
class Fits:
    """A dataset's `name`, how it suits each task, and the tasks it suits best, the likeliest first."""

    name: str
    by_task: Mapping[str, Fit] = field(default_factory=dict)
    best: tuple[str, ...] = ()
    problem: str = ""


def source_of(values: Mapping[str, Any]) -> str | None:
    """The first path that VALUES (a draft's) name as training rows."""
    data = values.get("data")
    train = data.get("train") if isinstance(data, Mapping) else None
    if isinstance(train, (list, tuple)) and train:
        train = train[0].get("path") if isinstance(train[0], Mapping) else train[0]
    return train if isinstance(train, str) and train.strip() else None


def read_as(values: Mapping[str, Any]) -> dict[str, Any]:
    """How those rows are read, as far as VALUES say: for `fits`."""
    data = values.get("data")
    if not isinstance(data, Mapping):
        return {}
    train = data.get("train")
    first = train[0] if isinstance(train, (list, tuple)) and train and isinstance(train[0], Mapping) else {}
    found = {key: first.get(key) or data.get(key) for key in ("split", "reading")}
    return {key: value for key, value in found.items() if value}


def fits(
    source: str,
    how: Mapping[str, Any] | None = None,
    *,
    progress: Progress | None = None,
    cancel: Cancel | None = None,
) -> Fits:
    """How the rows in SOURCE, read as HOW says (`split`, `reading`), suit each task. Never raises for what a person can
    put right: that is a `problem`."""
    name = Path(source).name or source
    try:
        how = how or {}
        reading = Reading.model_validate(how["reading"]) if how.get("reading") else None
        dataset = open_dataset(source, split=how.get("split"), reading=reading, progress=progress, cancel=cancel)
        if not len(dataset):
            return Fits(name, problem="it holds no rows.")
        best = tuple(dict.fromkeys(suggestion.task for suggestion in suggest(dataset)))
    except StudioError as error:
        return Fits(name, problem=error.message)
    except ValueError as error:  # a setting that is none; the data step says which
        return Fits(name, problem=one_line(str(error), 160))
    return Fits(name, {task: _fit(dataset, task) for task in tasks.names()}, best)


def _fit(dataset: Dataset, name: str) -> Fit:
    task = tasks.get(name)
    try:
        shape = recognise(dataset, task=name)
    except StudioError:
        shape = None
    if shape is None or shape.name not in task.shapes:
        needed = [role.name for role in task.roles if role.required] or [role.name for role in task.roles[:2]]
        there = ", ".join(dataset.names[:8])
        return Fit(problem=f"no columns for {' and '.join(needed)} among {one_line(there, 80)}")
    return Fit(dict(shape.columns), row_of(dataset, shape.columns))


def row_of(dataset: Dataset, columns: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    """What stands in COLUMNS (role → column) of the first row of DATASET that says anything: (role, text) each."""
    found: tuple[tuple[str, str], ...] = ()
    for number in range(min(LOOKED, len(dataset))):
        row = dataset[number]
        shown = []
        for role, column in columns.items():
            value: Any = row
            for part in [column] if column in row else column.split("."):
                value = value.get(part) if isinstance(value, Mapping) else None
            shown.append((role, one_line(text_of(value), 160)))
        found = found or tuple(shown)
        if any(text.strip() for _, text in shown):
            return tuple(shown)
    return found
