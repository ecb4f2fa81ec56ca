"""The rows a run is trained on, opened again: where each stands, and what it says. No torch."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Any

from ftstudio.core.errors import StudioError
from ftstudio.core.recipe import Recipe
from ftstudio.core.text import one_line
from ftstudio.data.dataset import Cancel
from ftstudio.data.mix import SOURCE
from ftstudio.data.mix_open import Opened, open_sources
from ftstudio.engine.materials import columns, recorded


@dataclass(frozen=True)
class Place:
    """A row: its NUMBER in what `address` names (from 0 on), and which of several sources that is (NAME, else empty).

    `sha256` and `rows` are those of what was opened; None where only some rows of it are used.
    """

    address: str
    number: int
    name: str = ""
    sha256: str | None = None
    rows: int | None = None


@dataclass(frozen=True)
class TrainedRows:
    """The rows of a run by the numbers that its `core.dynamics` have: places in all sources, one after the other."""

    recipe: Recipe
    opened: Opened
    starts: tuple[int, ...] = field(default=(), repr=False)
    """Where each source begins."""

    def place(self, row: int) -> Place:
        """Where ROW comes from."""
        data = self.recipe.data
        if not self.opened.parts:
            known = recorded(self.recipe, "train")
            return Place(str(data.train), row, "", known.get("sha256"), known.get("rows"))
        which = bisect_right(self.starts, row) - 1
        part = self.opened.parts[which]
        address = data.replay.path if part.replay and data.replay is not None else data.addresses[which]
        number = part.dataset.origin_of(row - self.starts[which])
        if part.dataset.origin is not None:
            return Place(address, number, part.name)
        return Place(address, number, part.name, part.dataset.hash, len(part.dataset))

    def row(self, row: int) -> Mapping[str, Any]:
        """What ROW holds, by column. Raises StudioError where its file has vanished or changed."""
        try:
            found = self.opened.whole[row]
        except (OSError, ValueError, IndexError) as error:
            raise StudioError(
                f"The row can't be read: {one_line(error, 200)}.", "Its file may have changed."
            ) from error
        return {name: value for name, value in found.items() if name != SOURCE}

    def names(self, row: int, values: Mapping[str, Any]) -> list[str]:
        """The columns of VALUES, those of ROW, that hold something: first the ones that are learnt from."""
        shape = self.opened.shape
        if self.opened.parts:
            shape = self.opened.parts[bisect_right(self.starts, row) - 1].shape
        mapped = [name for name in shape.columns.values() if name in values]
        return [name for name in dict.fromkeys([*mapped, *values]) if values[name] not in (None, "")]


def open_rows_of(recipe: Recipe, cancel: Cancel | None = None) -> TrainedRows:
    """The rows that RECIPE, a run's own, was trained on. Reads the files: not for the screen's thread. Raises
    StudioError where they aren't there any more, or have changed since: numbers would mean other rows."""
    opened = open_sources(recipe.data, columns(recipe), recipe.rows_seed, task=recipe.task, cancel=cancel)
    known = recorded(recipe, "train").get("sha256")
    if known is not None and opened.whole.hash != known:
        source = one_line(recipe.data.source, 200)
        raise StudioError(
            f"{source} has changed since the run was trained: row numbers mean other rows now.",
            "Put the old file back, or train on the new one and look at that run's rows.",
        )
    for part in opened.parts:
        _ = part.dataset.hash  # reads the file
    return TrainedRows(recipe, opened, tuple(accumulate((len(part.dataset) for part in opened.parts), initial=0))[:-1])
