"""The repairs that aren't saved yet, as the table shows them: every row in its place, what became of it beside it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from ftstudio.core.recipe import Recipe
from ftstudio.core.workspace import Workspace
from ftstudio.data.dataset import Dataset
from ftstudio.data.versions import address, store
from ftstudio.data.versions.edit import Change, Drop, Edit, Insert
from ftstudio.data.versions.identity import Key
from ftstudio.data.versions.pending import Pending, named
from ftstudio.data.versions.shelf import DatasetFolder, Shelf
from ftstudio.data.versions.working import Working


@dataclass(frozen=True)
class Marks:
    """What became of rows, by their numbers in the table: `changed` names the columns."""

    dropped: frozenset[int] = frozenset()
    added: frozenset[int] = frozenset()
    changed: Mapping[int, frozenset[str]] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.dropped or self.added or self.changed)

    def word(self, number: int) -> str:
        """What became of row NUMBER, in a word; empty where nothing did."""
        if number in self.dropped:
            return "dropped"
        return "added" if number in self.added else "changed" if number in self.changed else ""


@dataclass(frozen=True)
class State:
    """`shown` holds all rows, dropped ones in their place; `used` is what will be trained on and saved."""

    working: Working
    display: Working
    shown: Dataset
    used: Dataset
    marks: Marks
    rebased: str = ""  # what became of the repairs where the source has changed

    @property
    def edits(self) -> tuple[Edit, ...]:
        """The repairs, the oldest first."""
        return self.working.edits

    def places(self, rows: Iterable[int]) -> list[int]:
        """Where the rows of `used` stand in `shown`."""
        if not self.marks.dropped:
            return list(rows)
        kept = np.delete(np.arange(len(self.shown)), sorted(self.marks.dropped))
        return [int(kept[row]) for row in rows]

    def base_places(self, rows: Iterable[int]) -> list[int]:
        """Where the rows of the base, which no repair has touched, stand in `shown`."""
        place, keys = place_of(self.display), self.working.keys
        return [place(keys[row]) for row in rows if row < len(keys)]

    def used_rows(self, places: Iterable[int]) -> list[int]:
        """The numbers in `used` of the rows shown at PLACES; dropped ones are passed over."""
        if not self.marks.dropped:
            return list(places)
        gone = np.asarray(sorted(self.marks.dropped))
        left = [place for place in places if place not in self.marks.dropped]
        return [place - int(before) for place, before in zip(left, np.searchsorted(gone, left), strict=True)]

    def key(self, place: int) -> Key:
        """The key of the row shown at PLACE."""
        return self.display.key(place)


class Mended:
    """The edits on what is open; `look` gives their present state. To be used off the screen's thread."""

    def __init__(self, pending: Pending) -> None:
        self.pending = pending
        self._display: Working | None = None
        self._lock = threading.Lock()

    def look(self) -> State:
        """The state now, other studios' repairs included."""
        with self._lock:
            self.pending.refresh()
            working, rebased = self.pending.working, self.pending.rebased
            display = self._display = _displayed(working, self._display)
            return State(
                working, display, _whole(display, working.base), _whole(working, working.base),
                _marks(working, place_of(display)), rebased.text if rebased is not None else "",
            )  # fmt: skip


def mended(source: str, dataset: Dataset, recipe: Recipe | None, workspace: Workspace) -> Mended:
    """The repairs on SOURCE, which was read as DATASET for RECIPE, kept in WORKSPACE. Raises StudioError."""
    place, shelf = address.parse(source), Shelf.of(workspace)
    if place is not None:
        shelf = place.shelf() if place.folder is not None else shelf
        folder = shelf.named(place.name)
        if place.version != "source":
            return Mended(Pending.of_version(store.read(folder, place.version)))
        facts = {key: value for key, value in folder.info.items() if key not in ("source", "created")}
        return Mended(Pending.of_source(shelf, dataset, facts))
    return Mended(Pending.of_source(shelf, dataset, _facts(source, recipe)))


def folder_of(source: str, dataset: Dataset, recipe: Recipe | None, workspace: Workspace) -> DatasetFolder | None:
    """Where the versions of SOURCE lie, which was read as DATASET; None where there are none yet."""
    place = address.parse(source)
    if place is not None:
        return place.shelf().named(place.name)
    return Shelf.of(workspace).of_source(named(dataset), _facts(source, recipe))


def _facts(source: str, recipe: Recipe | None) -> dict[str, Any]:
    """How SOURCE is read where that isn't detected: it tells datasets of one file apart."""
    if recipe is None or recipe.data.train != source:
        return {}
    reading = recipe.data.reading
    return {"split": recipe.data.split, "reading": (reading.set if reading is not None else None) or None}


def _shown_patches(edit: Edit) -> Edit:
    return replace(edit, patches=tuple(patch for patch in edit.patches if not isinstance(patch, Drop)))


def _displayed(working: Working, before: Working | None) -> Working:
    """WORKING with its dropped rows still there. BEFORE is what this gave last: one edit more takes little."""
    if not any(isinstance(patch, Drop) for edit in working.edits for patch in edit.patches):
        return working
    names = [edit.id for edit in working.edits]
    if before is not None and before.base is working.base and [edit.id for edit in before.edits] == names[:-1]:
        return before.with_edit(_shown_patches(working.edits[-1]))
    return Working(working.base, working.keys, [_shown_patches(edit) for edit in working.edits])


def _whole(working: Working, base: Dataset) -> Dataset:
    """The rows of WORKING with what is known of the file that they came from."""
    if not working.edits:
        return base
    return replace(working.dataset, problems=base.problems, aside=base.aside)


def place_of(display: Working) -> Callable[[Key], int]:
    """A function that gives where the row of a key stands in DISPLAY."""
    added = any(isinstance(patch, Insert) for edit in display.edits for patch in edit.patches)
    if not added and isinstance(display.keys, range):
        return lambda key: int(key)
    keys: Sequence[Key] = display.all_keys() if added else display.keys
    return {key: place for place, key in enumerate(keys)}.__getitem__


def _marks(working: Working, place: Callable[[Key], int]) -> Marks:
    dropped: set[int] = set()
    added: set[int] = set()
    changed: dict[int, frozenset[str]] = {}
    for edit in working.edits:
        for patch in edit.patches:
            at = place(patch.key)
            if isinstance(patch, Drop):
                dropped.add(at)
            elif isinstance(patch, Change):
                changed[at] = changed.get(at, frozenset()) | {*patch.cells, *patch.gone}
            else:
                added.add(at)
    return Marks(frozenset(dropped), frozenset(added), changed)


def rows_of_edit(edit: Edit, state: State) -> list[int]:
    """Where the rows that EDIT touches are shown, in order."""
    place = place_of(state.display)
    return sorted({place(key) for key in edit.keys})


def told(edit: Edit, state: State) -> str:
    """EDIT in words, rows counted as the table counts them."""
    if edit.action in ("repair", "replace", "weight", "add") or len(edit.keys) != 1:
        return edit.text
    try:
        row = f"row {rows_of_edit(edit, state)[0]}"
    except (KeyError, ValueError):
        return edit.text
    patch = edit.patches[0]
    if isinstance(patch, Change):
        return f"Edit {', '.join([*patch.cells, *patch.gone][:4])} of {row}"
    return f"Drop {row}" if isinstance(patch, Drop) else f"Duplicate as {row}"
