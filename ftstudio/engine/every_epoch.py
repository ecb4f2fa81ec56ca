"""Which rows a recipe trains in all of its epochs: those of the first and those that later ones draw. No torch."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate
from typing import TYPE_CHECKING

from ftstudio.data.dataset import Dataset

if TYPE_CHECKING:
    from ftstudio.engine.materials import Materials


def every_epoch(materials: Materials) -> Dataset:
    """The rows of `materials.whole` that an epoch of MATERIALS' recipe may train, each once, those of the first before
    the others; `origin_of` gives the same numbers as that of `materials.train`.

    Where the recipe counts steps, these are all rows that later epochs could draw: how many epochs the steps make is
    only known when the rows are tokenised.
    """
    train = materials.train
    if train.origin is None:
        return train
    training = materials.recipe.training
    epochs = math.ceil(training.epochs or 3) if training.steps is None else None
    later = [row for rows in drawn_later(materials, epochs).values() for row in rows]
    rows = list(dict.fromkeys([*train.origin, *later]))  # a row of weight 2 stands twice in an epoch
    return train if len(rows) == len(train) else materials.whole.select(rows)


def drawn_later(materials: Materials, epochs: int | None = None) -> dict[str, list[int]]:
    """By source, the rows of `materials.whole` that EPOCHS (None: any number of them) draw after the first one."""
    if not materials.spare:
        return {}
    if epochs is None:
        return {name: list(rows) for name, rows in materials.spare.items()}
    ends, names = bounds(materials)
    held = dict.fromkeys(materials.spare, 0)
    for place in range(len(materials.train)):
        name = source_at(materials.train.origin_of(place), ends, names)
        if name in held:
            held[name] += 1
    return {name: list(rows[: held[name] * (epochs - 1)]) for name, rows in materials.spare.items()}


def bounds(materials: Materials) -> tuple[list[int], list[str]]:
    """(where each source of MATERIALS begins among all rows, and the last one's end; their names)."""
    ends = list(accumulate((len(part.dataset) for part in materials.sources), initial=0))
    return ends, [part.name for part in materials.sources]


def source_at(row: int, ends: Sequence[int], names: Sequence[str]) -> str:
    """The name of the source that ROW is from; ENDS and NAMES as `bounds` gives them."""
    return names[bisect_right(ends, row) - 1]
