"""Columns of 0 and 1, one a label, as one column with the names of those that are 1."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from ftstudio.core.errors import UsageError
from ftstudio.core.text import one_line
from ftstudio.data.dataset import Column, Dataset, Row, Store

NAME = "labels"
"""The column that takes their place."""
_YES, _NO = ("1", "1.0", "true"), ("0", "0.0", "false")
_LOOKED_AT = 1000


def joined(dataset: Dataset, labels: Sequence[str]) -> Dataset:
    """DATASET with a column `labels` of lists in place of the columns LABELS; as it is where they were joined before.

    A row with another value than 0 or 1 in one of them has no labels: nobody has said which it has. Raises UsageError
    for a column that isn't there, or that holds neither in any row.
    """
    names = dataset.names
    if NAME in names and not set(labels) & set(names):
        return dataset  # a version of rows that were read so
    for name in labels:
        if name not in names:
            near = difflib.get_close_matches(name, names, 1, 0.5)
            hint = f"Did you mean {near[0]!r}?" if near else f"There are: {', '.join(names[:12])}."
            raise UsageError(f"{one_line(dataset.source)} has no column {name!r} (data.reading.labels).", hint)
    if NAME in names and NAME not in labels:
        raise UsageError(
            f"{one_line(dataset.source)} has a column {NAME!r} already: data.reading.labels would hide it.",
            "Rename it, or map it: data.columns.label=labels.",
        )
    store = JoinedStore(dataset.store, labels)
    some = [dataset[index] for index in range(min(len(dataset), _LOOKED_AT))]
    for name in labels:
        if some and all(_truth(row.get(name)) is None for row in some):
            seen = one_line(str(some[0].get(name)), 30)
            raise UsageError(
                f"{one_line(dataset.source)}: column {name!r} (data.reading.labels) holds no 0 or 1, but {seen!r}.",
                "Name the columns that hold 0 or 1 each for a label of its own.",
            )
    place = names.index(labels[0])
    columns = [column for column in dataset.columns if column.name not in labels]
    columns.insert(place - sum(name in labels for name in names[:place]), Column(NAME, "list"))
    return replace(dataset, store=store, columns=tuple(columns), _hash=[])


class JoinedStore:
    """The rows of STORE with the columns LABELS as one."""

    def __init__(self, store: Store, labels: Sequence[str]) -> None:
        self.store, self.labels = store, tuple(labels)

    def __len__(self) -> int:
        return len(self.store)

    def row(self, index: int) -> Row:
        """Row INDEX; its labels in the order of the columns, None where one of them can't be told."""
        row = self.store.row(index)
        told = {name: _truth(row.pop(name, None)) for name in self.labels}
        known = None not in told.values()
        return {**row, NAME: [name for name in self.labels if told[name]] if known else None}


def _truth(value: Any) -> bool | None:
    """Whether a cell says 1; None where it says neither 1 nor 0."""
    text = str(value).strip().lower()
    return True if text in _YES else False if text in _NO else None
