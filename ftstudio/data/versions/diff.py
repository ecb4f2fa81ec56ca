"""What two versions don't share: rows added, dropped and changed, cell by cell.

Versions of one dataset are matched by the keys of their rows. Where there are none, rows are matched by content; what
is left between two matches is paired in order where at least half of the cells agree.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ftstudio.data.dataset import Cancel, Dataset, Row
from ftstudio.data.versions.identity import Key, content_hash, same

_ABSENT = object()


@dataclass(frozen=True)
class Cell:
    """One cell that differs. `had` and `has` say whether there is such a cell at all."""

    column: str
    before: Any
    after: Any
    had: bool = True
    has: bool = True


@dataclass(frozen=True)
class Changed:
    """A row that is in both: its number there (from 0), and the cells that differ."""

    before: int
    after: int
    cells: tuple[Cell, ...]


@dataclass(frozen=True)
class Difference:
    """`added` are row numbers of the second dataset, `dropped` of the first (from 0)."""

    added: tuple[int, ...]
    dropped: tuple[int, ...]
    changed: tuple[Changed, ...]
    same: int
    matched_by: str  # keys | content

    @property
    def none(self) -> bool:
        """Whether all rows are the same."""
        return not (self.added or self.dropped or self.changed)

    def plain(self, first: Dataset, second: Dataset, limit: int = 100) -> dict[str, Any]:
        """For JSON: exact counts, and at most LIMIT rows of each kind."""
        return {
            "counts": {"added": len(self.added), "dropped": len(self.dropped), "changed": len(self.changed),
                       "same": self.same},
            "matched_by": self.matched_by,
            "added": [{"row": index, "cells": second[index]} for index in self.added[:limit]],
            "dropped": [{"row": index, "cells": first[index]} for index in self.dropped[:limit]],
            "changed": [
                {"before": row.before, "after": row.after, "cells": [_plain(cell) for cell in row.cells]}
                for row in self.changed[:limit]
            ],
        }  # fmt: skip


def _plain(cell: Cell) -> dict[str, Any]:
    found: dict[str, Any] = {"column": cell.column}
    if cell.had:
        found["before"] = cell.before
    if cell.has:
        found["after"] = cell.after
    return found


def diff(
    first: Dataset,
    second: Dataset,
    first_keys: Sequence[Key] | None = None,
    second_keys: Sequence[Key] | None = None,
    *,
    cancel: Cancel | None = None,
) -> Difference:
    """What SECOND has that FIRST hasn't, and the reverse. With keys for both, rows are matched by them."""
    by_keys = first_keys is not None and second_keys is not None
    if first_keys is not None and second_keys is not None:
        pairs: Iterable[tuple[int, int]] = _by_keys(first_keys, second_keys)
    else:
        pairs = _by_content(first, second, cancel)
    kept = dict(pairs)
    changed: list[Changed] = []
    number = 0
    for one, row in enumerate(first.iter(cancel=cancel)):
        other = kept.get(one)
        if other is None:
            continue
        cells = cells_changed(row, second[other])
        if cells:
            changed.append(Changed(one, other, cells))
        else:
            number += 1
    there = set(kept.values())
    return Difference(
        tuple(index for index in range(len(second)) if index not in there),
        tuple(index for index in range(len(first)) if index not in kept),
        tuple(changed),
        number,
        "keys" if by_keys else "content",
    )


def cells_changed(before: Row, after: Row) -> tuple[Cell, ...]:
    """The cells in which two rows differ, in the order of the columns."""
    found = []
    for name in {**before, **after}:
        old, new = before.get(name, _ABSENT), after.get(name, _ABSENT)
        if old is _ABSENT or new is _ABSENT or not same(old, new):
            had, has = old is not _ABSENT, new is not _ABSENT
            found.append(Cell(name, old if had else None, new if has else None, had, has))
    return tuple(found)


def _by_keys(first: Sequence[Key], second: Sequence[Key]) -> Iterator[tuple[int, int]]:
    places: Mapping[Key, int] = {key: place for place, key in enumerate(first)}
    return ((places[key], other) for other, key in enumerate(second) if key in places)


def _by_content(first: Dataset, second: Dataset, cancel: Cancel | None) -> list[tuple[int, int]]:
    waiting: dict[str, list[int]] = {}
    for index, row in enumerate(first.iter(cancel=cancel)):
        waiting.setdefault(content_hash(row), []).append(index)
    for places in waiting.values():
        places.reverse()
    pairs: list[tuple[int, int]] = []
    rest: list[int] = []
    for index, row in enumerate(second.iter(cancel=cancel)):
        places = waiting.get(content_hash(row), [])
        if places:
            pairs.append((places.pop(), index))
        else:
            rest.append(index)
    left = sorted(index for places in waiting.values() for index in places)
    return pairs + _by_place(first, second, left, rest, pairs)


def _by_place(
    first: Dataset,
    second: Dataset,
    left: list[int],
    rest: list[int],
    pairs: list[tuple[int, int]],
) -> list[tuple[int, int]]:
    """Pairs among the rows LEFT of the first and the REST of the second that stand in the same gap and are alike."""
    other = dict(pairs)
    gap_of_rest: dict[int, list[int]] = {}
    matched = {two for _, two in pairs}
    gap = -1
    wanted = set(rest)
    for index in range(len(second)):
        if index in matched:
            gap = index
        elif index in wanted:
            gap_of_rest.setdefault(gap, []).append(index)
    found: list[tuple[int, int]] = []
    gap, waiting = -1, iter(left)
    following = next(waiting, None)
    for index in range(len(first)):
        if index in other:
            gap = other[index]
        elif index == following:
            following = next(waiting, None)
            there = gap_of_rest.get(gap)
            if there and _alike(first[index], second[there[0]]):
                found.append((index, there.pop(0)))
    return found


def _alike(one: Row, other: Row) -> bool:
    names = {**one, **other}
    shared = sum(name in one and name in other and same(one[name], other[name]) for name in names)
    return bool(names) and 2 * shared >= len(names)
