"""Edits of cells and rows, made from what a person sees: row numbers of the working dataset.

None of these does anything: they return an `Edit`, which `Pending.do` does and keeps.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ftstudio.core.errors import UsageError
from ftstudio.core.text import one_line
from ftstudio.data.dataset import Row
from ftstudio.data.versions.edit import (
    HEAVIEST,
    WEIGHT,
    Change,
    Drop,
    Edit,
    Insert,
    Patch,
    weight_of,
)
from ftstudio.data.versions.identity import Key, content_hash, same
from ftstudio.data.versions.working import Working


def set_cell(working: Working, index: int, column: str, value: Any, why: str = "") -> Edit:
    """Row INDEX gets VALUE in COLUMN. Without patches where it has it already."""
    patches = rows_changed(working, {index: {**working.dataset[index], column: value}})
    return Edit("cell", f"Edit {one_line(column, 30)} of {rows_text([index])}", patches, why)


def set_row(working: Working, index: int, row: Row, why: str = "") -> Edit:
    """Row INDEX becomes ROW. Only the cells that differ are touched."""
    return Edit("row", f"Edit {rows_text([index])}", rows_changed(working, {index: row}), why)


def drop(working: Working, indices: Iterable[int], why: str = "") -> Edit:
    """The rows INDICES are left out."""
    chosen = _checked(working, indices)
    patches = tuple(Drop(working.key(index), content_hash(working.dataset[index])) for index in chosen)
    return Edit("drop", f"Drop {rows_text(chosen)}", patches, why)


def duplicate(working: Working, indices: Iterable[int], why: str = "") -> Edit:
    """Each of the rows INDICES stands once more, right after itself."""
    chosen, edit = _checked(working, indices), uuid.uuid4().hex[:16]
    patches = tuple(
        Insert(f"{edit}.{number}", working.key(index), working.dataset[index]) for number, index in enumerate(chosen)
    )
    return Edit("duplicate", f"Duplicate {rows_text(chosen)}", patches, why, id=edit)


def add(working: Working, rows: Sequence[Row], after: int | None = None, why: str = "") -> Edit:
    """ROWS come in after row AFTER (None: at the end), in that order."""
    edit = uuid.uuid4().hex[:16]
    place: Key | None = None if after is None else working.key(_checked(working, [after])[0])
    patches: list[Patch] = []
    for number, row in enumerate(rows):
        key = f"{edit}.{number}"
        patches.append(Insert(key, place, dict(row)))
        place = key if after is not None else None
    where = "at the end" if after is None else f"after row {after:,}"
    count = "a row" if len(rows) == 1 else f"{len(rows):,} rows"
    return Edit("add", f"Add {count} {where}", tuple(patches), why, id=edit)


def weigh(
    working: Working,
    indices: Iterable[int],
    factor: float | None = None,
    to: float | None = None,
    why: str = "",
) -> Edit:
    """The rows INDICES are trained FACTOR times as often as now, or TO times an epoch. 0 leaves them out of training.

    The weight is kept in the column `_weight`; rows without one are trained once. Raises UsageError above 100.
    """
    if (factor is None) == (to is None):
        raise ValueError("factor or to")
    chosen = _checked(working, indices)
    rows: dict[int, Row] = {}
    for index in chosen:
        row = working.dataset[index]
        weight = to if to is not None else weight_of(row) * (factor or 0.0)
        if not 0 <= weight <= HEAVIEST:
            raise UsageError(
                f"A weight of {weight:g} is not between 0 and 100.",
                "Choose a smaller one.",
            )
        rows[index] = {**row, WEIGHT: float(weight)}
    text = f"Weigh {rows_text(chosen)} {f'× {factor:g}' if factor is not None else f'{to:g}'}"
    return Edit("weight", text, rows_changed(working, rows), why)


def rows_changed(working: Working, rows: Mapping[int, Row]) -> tuple[Patch, ...]:
    """The patches that make ROWS (row number → row) of what is there; none for rows that are so already."""
    patches: list[Patch] = []
    for index, row in rows.items():
        before = working.dataset[_checked(working, [index])[0]]
        cells = {name: value for name, value in row.items() if name not in before or not same(before[name], value)}
        gone = tuple(name for name in before if name not in row)
        if cells or gone:
            patches.append(Change(working.key(index), content_hash(before), cells, gone))
    return tuple(patches)


def rows_text(indices: Sequence[int]) -> str:
    """`row 7`, `rows 3 and 7`, `1,204 rows`."""
    if len(indices) == 1:
        return f"row {indices[0]:,}"
    return f"rows {indices[0]:,} and {indices[1]:,}" if len(indices) == 2 else f"{len(indices):,} rows"


def _checked(working: Working, indices: Iterable[int]) -> list[int]:
    """INDICES, each once, in order. Raises UsageError where there is no such row."""
    chosen = sorted({int(index) for index in indices})
    count = len(working)
    for index in chosen[:1] + chosen[-1:]:
        if not 0 <= index < count:
            raise UsageError(
                f"There is no row {index:,}: there are {count:,}.",
                "Choose a row that is there.",
            )
    return chosen
