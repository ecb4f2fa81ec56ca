"""How often each value of a column occurs; of a column of lists, each of their items."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from ftstudio.core.errors import Stopped
from ftstudio.data.dataset import Cancel, Dataset, Progress, Row
from ftstudio.data.search import Predicate, text_of_cell

MOST = 300_000  # different values that are counted
MOST_TEXT = 64_000_000  # characters of them in all: the table has to fit into memory
LONGEST = 1_000  # characters by which values are told apart


@dataclass(frozen=True)
class Frequencies:
    """Values of COLUMN and how many of ROWS rows have each, the most frequent first.

    Of a column of lists (words, tags, labels) the values are their items, and `times` says in the same order how often
    each occurs in all; it is empty where no cell is a list.

    `uncounted`: rows whose values came after the 300,000th different one, or after 64 million characters of them.
    """

    column: str
    rows: int
    counts: tuple[tuple[str, int], ...]
    uncounted: int = 0
    times: tuple[int, ...] = ()


def items_of(row: Row, column: str) -> list[str] | None:
    """The items of a cell that is a list of texts or numbers, each at most 1,000 characters; None of any other cell."""
    cell = row.get(column)
    if not isinstance(cell, (list, tuple)) or not cell:
        return None
    if not all(isinstance(item, (str, int, float)) for item in cell):
        return None
    return [str(item)[:LONGEST] for item in cell]


def value_of(row: Row, column: str) -> str:
    """The value that is counted: the cell's text, its beginning where it is long."""
    return text_of_cell(row, column)[:LONGEST]


def frequencies(
    dataset: Dataset,
    column: str,
    rows: Sequence[int] | None = None,
    *,
    progress: Progress | None = None,
    cancel: Cancel | None = None,
) -> Frequencies:
    """The values of COLUMN in ROWS (default: all). Raises Stopped when CANCEL says so."""
    rows = range(len(dataset)) if rows is None else rows
    counts: Counter[str] = Counter()
    times: Counter[str] = Counter()
    uncounted = held = 0
    for place, number in enumerate(rows):
        if place % 256 == 0:
            if cancel is not None and cancel():
                raise Stopped("Stopped while counting.")
            if progress is not None:
                progress(place, len(rows))
        row = dataset[number]
        items = items_of(row, column)
        left = False
        for value in dict.fromkeys(items) if items is not None else (value_of(row, column),):
            if value in counts:
                counts[value] += 1
            elif len(counts) < MOST and held < MOST_TEXT:
                counts[value] = 1
                held += len(value)
            else:
                left = True
        if items is not None:
            times.update(item for item in items if item in counts)
        uncounted += left
    ordered = sorted(counts.items(), key=lambda item: -item[1])  # equals in the order in which they came
    told = tuple(times[value] or count for value, count in ordered) if times else ()
    return Frequencies(column, len(rows), tuple(ordered), uncounted, told)


def has_value(column: str, value: str) -> Predicate:
    """Whether a row has VALUE in COLUMN, as `frequencies` counts it."""
    return lambda index, row: value in (items_of(row, column) or ()) or value_of(row, column) == value
