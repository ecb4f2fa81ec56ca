"""A dataset with edits upon it, seen as a dataset. Nothing is copied: rows that no edit touches stay where they are."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np

from ftstudio.data.dataset import Column, Dataset, Kinds, Row, Store
from ftstudio.data.versions.edit import Change, Conflict, Drop, Edit, Insert, Patch
from ftstudio.data.versions.identity import Key, content_hash


class Working:
    """BASE with EDITS done upon it, in order; immutable: `with_edit` gives another.

    `keys` are those of the base's rows (None: their numbers). Raises Conflict where a row isn't what an edit expects.
    """

    def __init__(
        self,
        base: Dataset,
        keys: Sequence[Key] | None = None,
        edits: Iterable[Edit] = (),
    ) -> None:
        self.base = base
        self.keys: Sequence[Key] = range(len(base)) if keys is None else keys
        self._rows: dict[Key, Row] = {}  # changed and added ones
        self._dropped: set[Key] = set()
        self._after: dict[Key | None, tuple[str, ...]] = {}
        self._places: dict[Key, int] | None = None if isinstance(self.keys, range) else _places(self.keys)
        self.edits = tuple(edits)
        for edit in self.edits:
            for patch in edit.patches:
                self.put(edit, patch)

    def with_edit(self, edit: Edit) -> Working:
        """The same with EDIT done on top. Raises Conflict."""
        new = object.__new__(Working)
        new.base, new.keys, new._places = self.base, self.keys, self._places
        new.edits = (*self.edits, edit)
        new._rows, new._dropped, new._after = (
            dict(self._rows),
            set(self._dropped),
            dict(self._after),
        )
        for patch in edit.patches:
            new.put(edit, patch)
        return new

    def put(self, edit: Edit, patch: Patch) -> None:
        """Do PATCH of EDIT on this one itself: only for who makes it, before anybody has seen a row of it. Raises
        Conflict, and is then as it was."""
        if isinstance(patch, Insert):
            if patch.key in self._rows or self._place(patch.key) is not None:
                raise Conflict(f"Row {shown(patch.key)} is there already.", "Undo that edit first.")
            known = patch.after is None or patch.after in self._rows or self._place(patch.after) is not None
            if not known:
                raise _conflict(edit, patch.after, "isn't there")
            self._rows[patch.key] = dict(patch.row)
            there = self._after.get(patch.after, ())
            self._after[patch.after] = (*there, patch.key) if patch.after is None else (patch.key, *there)
            return
        try:
            row = self.row(patch.key)
        except KeyError:
            raise _conflict(edit, patch.key, "isn't there any more") from None
        if content_hash(row) != patch.before:
            raise _conflict(edit, patch.key, "isn't what it was")
        if isinstance(patch, Drop):
            self._dropped.add(patch.key)
        else:
            self._rows[patch.key] = changed(row, patch)

    # -- rows ----------------------------------------------------------------------------------------------------
    def __contains__(self, key: Key) -> bool:
        """Whether there is a row KEY now."""
        return key not in self._dropped and (key in self._rows or self._place(key) is not None)

    def __len__(self) -> int:
        return len(self._order)

    def row(self, key: Key) -> Row:
        """The row KEY as it is now. Raises KeyError where there is none."""
        if key in self._dropped:
            raise KeyError(key)
        found = self._rows.get(key)
        if found is not None:
            return dict(found)
        place = self._place(key)
        if place is None:
            raise KeyError(key)
        return self.base[place]

    def key(self, index: int) -> Key:
        """The key of row INDEX of `dataset`."""
        place = self._order[index]
        return self.keys[place] if place >= 0 else self._added[-1 - place]

    def index(self, key: Key) -> int:
        """Where the row KEY stands in `dataset`. Raises KeyError where it doesn't."""
        place = self._place(key)
        if place is None:
            place = -1 - self._added.index(str(key)) if str(key) in self._added else None
        if place is not None and isinstance(self._order, range):
            return place
        found: Any = () if place is None else np.flatnonzero(np.asarray(self._order) == place)
        if not len(found):
            raise KeyError(key)
        return int(found[0])

    def places(self, keys: Iterable[Key]) -> dict[Key, int]:
        """Where those of the rows KEYS stand in `dataset` that are still there: one look at all for many of them."""
        if isinstance(self._order, range):
            return {key: place for key in keys if (place := self._place(key)) is not None}
        wanted = set(keys)
        return {key: index for index, key in enumerate(self.all_keys()) if key in wanted} if wanted else {}

    @property
    def changed(self) -> list[Key]:
        """The keys of rows that were changed or added and are still there."""
        return [key for key in self._rows if key not in self._dropped]

    def touched(self, key: Key) -> bool:
        """Whether the row KEY is one of those `changed`."""
        return key in self._rows and key not in self._dropped

    def all_keys(self) -> list[Key]:
        """The keys of all rows, in order."""
        return [self.keys[place] if place >= 0 else self._added[-1 - place] for place in map(int, self._order)]

    @cached_property
    def dataset(self) -> Dataset:
        """All rows as they are now, in order."""
        if not self.edits:
            return self.base
        store = _Edited(
            self.base.store,
            self._order,
            self._by_place,
            [self._rows[key] for key in self._added],
        )
        details = {key: value for key, value in self.base.details.items() if not key.startswith("version")}
        return Dataset(
            store, self._columns(), self.base.format, self.base.encoding, self.base.source, None, details
        )  # fmt: skip

    # -- inside --------------------------------------------------------------------------------------------------
    def _place(self, key: Key) -> int | None:
        if self._places is not None:
            return self._places.get(key)
        return key if isinstance(key, int) and 0 <= key < len(self.keys) else None

    @cached_property
    def _added(self) -> list[str]:
        return [key for key in self._rows if self._place(key) is None]  # type: ignore[misc]

    @cached_property
    def _by_place(self) -> dict[int, Row]:
        places = ((self._place(key), row) for key, row in self._rows.items())
        return {place: row for place, row in places if place is not None}

    @cached_property
    def _order(self) -> Sequence[int] | np.ndarray:
        """For each row its place in the base; -1 - n for the n-th of those added."""
        count = len(self.keys)
        if not self._dropped and not self._after:
            return range(count)
        numbers = {key: -1 - number for number, key in enumerate(self._added)}
        where: list[int] = []
        what: list[int] = []
        for parent in self._after:
            place = count - 1 if parent is None else self._place(parent)
            if place is None:
                continue  # after an added row: it comes with that one
            new = [numbers[key] for key in self._below(parent) if key not in self._dropped]
            if parent is None:  # the end comes after what follows the last row
                what, where = what + new, where + [count + 1] * len(new)
            else:
                what, where = what + new, where + [place + 1] * len(new)
        order = np.arange(count, dtype=np.int64)
        keep = np.ones(count, dtype=bool)
        gone = [place for key in self._dropped if (place := self._place(key)) is not None]
        keep[gone] = False
        sequence = np.argsort(np.asarray(where, dtype=np.int64), kind="stable")
        sorted_where = np.minimum(np.asarray(where, dtype=np.int64)[sequence], count)
        kept_before = np.concatenate([[0], np.cumsum(keep)])
        return np.insert(
            order[keep],
            kept_before[sorted_where],
            np.asarray(what, dtype=np.int64)[sequence],
        )

    def _below(self, parent: Key | None) -> list[str]:
        """The rows added after PARENT, and those after them, in the order in which they stand."""
        found: list[str] = []
        waiting = list(reversed(self._after.get(parent, ())))
        while waiting:
            key = waiting.pop()
            found.append(key)
            waiting += reversed(self._after.get(key, ()))
        return found

    def _columns(self) -> tuple[Column, ...]:
        """The base's columns, and those that edits brought in."""
        kinds = Kinds()
        for key in self.changed:
            kinds.add(self._rows[key])
        new = {column.name: column.type for column in kinds.columns()}
        merged = [Column(column.name, _merged(column.type, new.pop(column.name, ""))) for column in self.base.columns]
        return (*merged, *(Column(name, kind) for name, kind in new.items()))


def _places(keys: Sequence[Key]) -> dict[Key, int]:
    return {key: place for place, key in enumerate(keys)}


def _merged(old: str, new: str) -> str:
    if new in ("", "empty", old):
        return old
    if old == "empty":
        return new
    return "number" if {old, new} == {"integer", "number"} else "mixed"


def changed(row: Row, change: Change) -> Row:
    """ROW after CHANGE."""
    kept = {name: value for name, value in row.items() if name not in change.gone}
    return {**kept, **change.cells}


def shown(key: Key | None) -> str:
    """KEY for people: rows of the source are numbered from 1."""
    return f"{key:,}" if isinstance(key, int) else "that was added" if key else "at the end"


def _conflict(edit: Edit, key: Key | None, what: str) -> Conflict:
    message = f"Row {shown(key)} {what}: {edit.text} can't be done."
    return Conflict(message, "Look at the row as it is now, and do it again if it is still wanted.")


class _Edited(Store):
    """Rows of a store in another order, some of them replaced, some added."""

    def __init__(
        self,
        store: Store,
        order: Sequence[int] | np.ndarray,
        rows: Mapping[int, Row],
        added: Sequence[Row],
    ) -> None:
        self.store, self.order, self.rows, self.added = store, order, rows, added

    def __len__(self) -> int:
        return len(self.order)

    def row(self, index: int) -> Row:
        place = int(self.order[index])
        if place < 0:
            return dict(self.added[-1 - place])
        found = self.rows.get(place)
        return dict(found) if found is not None else self.store.row(place)
