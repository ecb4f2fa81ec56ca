"""Rows of tasks that don't learn the tokens themselves: ids in flat arrays, beside them what is asked of each."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from ftstudio.core.errors import Stopped
from ftstudio.data.dataset import Cancel, Dataset, Progress
from ftstudio.data.encoded_set import EncodedSet, Stats
from ftstudio.data.example import BadRow, Example
from ftstudio.data.shape import Shape

if TYPE_CHECKING:
    import numpy as np

_CHUNK = 512


@dataclass(frozen=True)
class Item:
    """A row as a model reads it: `ids`, `more` (labels and whatever else the task's batches need), how many `targets`
    its loss has, and how many tokens were `lost` to max_length (`lost_targets` of them with a target)."""

    ids: list[int]
    more: Mapping[str, Any]
    targets: int = 1
    lost: int = 0
    lost_targets: int = 0
    texts: tuple[int, ...] = ()  # tokens before the cut of each text, where the model reads several one by one

    @property
    def row(self) -> dict[str, Any]:
        """As a batch takes it."""
        return {"input_ids": self.ids, **self.more}


@dataclass
class RowSet(EncodedSet):
    """An `EncodedSet` whose rows are `{"input_ids", **more}`; `trained` counts targets, not tokens. `beside`:
    targets are tokens that stand beside the ids, not among them (a decoder's)."""

    beside: bool = False
    more: list[Mapping[str, Any]] = field(default_factory=list)
    targets: int = 0

    def __getitem__(self, index: int) -> dict[str, Any]:
        if not -len(self.rows) <= index < len(self.rows):
            raise IndexError(index)
        index %= len(self.rows)
        return {"input_ids": self.ids[self.starts[index] : self.starts[index + 1]].tolist(), **self.more[index]}

    @cached_property
    def _both(self) -> np.ndarray[Any, Any]:
        import numpy as np

        found: np.ndarray[Any, Any] = self.lengths + np.array(
            [len(more["labels"]) for more in self.more], dtype=np.int64
        )
        return found

    @property
    def batch_lengths(self) -> np.ndarray[Any, Any]:
        """Ids, and the targets that stand beside them."""
        return self._both if self.beside else self.lengths

    @cached_property
    def stats(self) -> Stats:
        """The account of all rows."""
        lost = sum(self.table["lost_prompt"])
        return Stats(
            rows=len(self.table["total"]),
            kept=len(self.rows),
            tokens=len(self.ids) + self.targets * self.beside,
            trained=self.targets,
            lost=lost + sum(self.table["lost_completion"]),
            lost_completion=sum(self.table["lost_completion"]),
            truncated=sum(
                1 for a, b in zip(self.table["lost_prompt"], self.table["lost_completion"], strict=True) if a or b
            ),
            all_masked=0,
            unusable=len(self.excluded),
            not_ended=0,
            merged=0,
        )

    def take(self, row: int, item: Item) -> None:
        """Take up ITEM as row ROW of the dataset."""
        self.ids.extend(item.ids)
        self.flags += b"\0" * len(item.ids)
        self.starts.append(len(self.ids))
        self.rows.append(row)
        self.more.append(item.more)
        aside = item.lost_targets if self.beside else 0
        self.uncut.extend(item.texts or (len(item.ids) + item.lost - aside,))
        self.targets += item.targets

    def account(self, items: Iterable[Item]) -> None:
        """Note what the next row of the dataset became."""
        kept = list(items)
        table = self.table
        table["prompt"].append(sum(len(item.ids) + item.lost - item.lost_targets for item in kept))
        table["completion"].append(sum(item.targets + item.lost_targets for item in kept))
        table["total"].append(sum(len(item.ids) + item.lost + item.targets * self.beside for item in kept))
        table["lost_prompt"].append(sum(item.lost - item.lost_targets for item in kept))
        table["lost_completion"].append(sum(item.lost_targets for item in kept))
        table["ends"].append(1)
        table["merged"].append(0)
        table["trained"].append(sum(item.targets for item in kept))


def collect(
    dataset: Dataset,
    shape: Shape,
    make: Callable[[list[Example]], list[list[Item] | str]],
    *,
    progress: Progress | None = None,
    cancel: Cancel | None = None,
    into: RowSet | None = None,
) -> RowSet:
    """All rows of DATASET; MAKE turns some examples into their items, or a sentence why one can't be used.

    No row vanishes uncounted. INTO is the set that they go into (None: a new one). Raises Stopped when CANCEL says so.
    """
    found = RowSet() if into is None else into
    count = len(dataset)
    for start in range(0, count, _CHUNK):
        if cancel is not None and cancel():
            raise Stopped("Stopped while tokenising.")
        stop = min(start + _CHUNK, count)
        usable: list[tuple[int, Example]] = []
        made: dict[int, list[Item] | str] = {}
        for row in range(start, stop):
            try:
                usable.append((row, shape.example(dataset[row])))
            except BadRow as error:
                made[row] = str(error)
        made |= zip((row for row, _ in usable), make([example for _, example in usable]), strict=True)
        for row in range(start, stop):
            items = made[row]
            if isinstance(items, str) or not items:
                found.leave_out(row, items if isinstance(items, str) else "there is nothing to learn")
                continue
            found.account(items)
            for item in items:
                found.take(row, item)
        if progress is not None:
            progress(stop, count)
    return found
