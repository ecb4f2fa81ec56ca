"""Training rows of which each epoch sees others: a source that an epoch holds a part of goes round, part after part.

An epoch has as many places as rows of the first one were kept. A place belongs to its source for good, and in each
epoch another row of that source stands there: the next ones of a seeded order, so that none comes again before all have
been seen. Which, follows from the epoch alone, so that an interrupted training goes on with the very same.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from functools import cached_property
from itertools import accumulate
from typing import TYPE_CHECKING, Any

import numpy as np

from ftstudio.core.launch import place
from ftstudio.core.text import number
from ftstudio.data.dataset import Cancel
from ftstudio.data.encoded_set import EncodedSet
from ftstudio.engine.every_epoch import bounds, drawn_later, source_at
from ftstudio.engine.left_out import left_out

if TYPE_CHECKING:
    from ftstudio.core.recipe import Recipe
    from ftstudio.engine.materials import Materials

Ints = np.ndarray[Any, np.dtype[np.int64]]


class Drawn:
    """The rows of an epoch. TRAIN are those of the first, MORE what later ones draw beside them; both are numbered
    through, TRAIN first; `highest` is the highest token id in MORE. SOURCES: of each source that goes round, its places
    in TRAIN and its rows in MORE.

    `at` says which epoch it is.
    """

    def __init__(
        self, train: EncodedSet, more: EncodedSet, sources: Sequence[tuple[Sequence[int], Sequence[int]]], epochs: int
    ) -> None:
        self.all, self.highest = Joined(train, more), max(more.ids, default=0)
        sizes = np.concatenate([np.asarray(part.batch_lengths, dtype=np.int64) for part in (train, more)])
        self._sizes, self._places = sizes, len(train)
        # the longest place gets the longest row: batches keep about their size
        self._rounds: list[tuple[Ints, Ints]] = []
        for first, rest in sources:
            mine = np.asarray(first, dtype=np.int64)
            rounds = np.concatenate([mine, np.asarray(rest, dtype=np.int64) + len(train)])
            self._rounds.append((mine[np.argsort(-sizes[mine], kind="stable")], rounds))
        self._numbers, self.epochs = self.numbers(0), epochs

    @cached_property
    def longest(self) -> Ints:
        """[places] tokens of the longest row that comes to each in all epochs."""
        found: Ints = np.max([self._sizes[self.numbers(epoch)] for epoch in range(self.epochs)], axis=0)
        return found

    def texts(self, texts: Sequence[Sequence[int]], epoch: int) -> list[Sequence[int]]:
        """TEXTS of the rows in `all` by the place that they stand at in EPOCH."""
        return [texts[row] for row in self.numbers(epoch).tolist()]

    def numbers(self, epoch: int) -> Ints:
        """[places] the number in `all` of the row that stands at each in EPOCH."""
        found = np.arange(self._places)
        for places, rounds in self._rounds if epoch else ():
            drawn = rounds[(epoch * len(places) + np.arange(len(places))) % len(rounds)]
            found[places] = drawn[np.argsort(-self._sizes[drawn], kind="stable")]
        return found

    def number(self, index: int) -> int:
        """The number in `all` of the row at place INDEX, as it is now."""
        return int(self._numbers[index])

    def at(self, seed: int, epoch: int) -> None:
        """From now on rows are as training with SEED sees them in EPOCH."""
        self._numbers = self.numbers(epoch)
        self.all.at(seed, epoch)

    def __len__(self) -> int:
        return self._places

    def __getitem__(self, index: int) -> dict[str, Any]:
        if not -len(self) <= index < len(self):
            raise IndexError(index)
        return self.all[self.number(index)]

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return (self[index] for index in range(len(self)))


class Joined:
    """The rows of PARTS one after the other."""

    def __init__(self, *parts: EncodedSet) -> None:
        self.parts = parts
        self._starts = list(accumulate(map(len, parts), initial=0))

    def at(self, seed: int, epoch: int) -> None:
        """Tell the parts whose rows are others in each epoch."""
        for part in self.parts:
            follow = getattr(part, "at", None)
            if follow is not None:
                follow(seed, epoch)

    def __len__(self) -> int:
        return self._starts[-1]

    def __getitem__(self, index: int) -> dict[str, Any]:
        for part, start in zip(self.parts, self._starts, strict=False):
            if 0 <= index - start < len(part):
                return part[index - start]
        raise IndexError(index)


def draw_more(
    materials: Materials, train: EncodedSet, *, cancel: Cancel | None = None
) -> tuple[Drawn | None, Sequence[int], list[tuple[str, str]]]:
    """(rows of which each epoch sees others, None where it doesn't; of each of MORE its number in the data; what to
    tell of them as (level, text)). TRAIN: the rows of MATERIALS' first epoch. Raises Stopped when CANCEL says so."""
    epochs = _epochs(materials.recipe, train)
    if not materials.spare or epochs < 2 or not len(train):
        return None, (), []
    ends, names = bounds(materials)
    first: dict[str, list[int]] = {name: [] for name in materials.spare}
    for place_, row in enumerate(train.rows):
        name = source_at(materials.train.origin_of(row), ends, names)
        if name in first:
            first[name].append(place_)
    wanted = drawn_later(materials, epochs)
    rows = [row for some in wanted.values() for row in some]
    dataset = materials.whole.select(rows)
    more = materials.task.encode_dataset(
        dataset, materials.shape, materials.template, materials.tokenizer, materials.recipe.data.max_length,
        cancel=cancel,
    )  # fmt: skip
    starts = dict(zip(wanted, accumulate(map(len, wanted.values()), initial=0), strict=False))
    sources = [
        (places, [at for at, row in enumerate(more.rows) if starts[name] <= row < starts[name] + len(wanted[name])])
        for name, places in first.items()
        if places
    ]
    return Drawn(train, more, sources, epochs), [dataset.origin_of(row) for row in more.rows], _told(more, dataset)


def _told(more: EncodedSet, dataset: Any) -> list[tuple[str, str]]:
    """What of the rows that later epochs draw is cut or left out: nothing is silently."""
    found, stats = [], more.stats
    if stats.truncated:
        text = f"Of the {number(stats.rows)} rows that later epochs draw, {number(stats.truncated)} are longer than "
        found.append(("warning", f"{text}data.max_length: {number(stats.lost)} tokens are cut off."))
    if more.excluded:
        why = left_out([(dataset.origin_of(row), reason) for row, reason in more.excluded])
        text = f"{number(len(more.excluded))} of the {number(stats.rows)} rows that later epochs draw can't be used"
        found.append(("warning", f"{text}: {why}."))
    return found


def _epochs(recipe: Recipe, train: EncodedSet) -> int:
    """How many epochs RECIPE trains on rows like TRAIN at most."""
    training = recipe.training
    if training.steps is None:
        return math.ceil(training.epochs or 3)
    batches = training.steps * training.gradient_accumulation * place().count
    if training.batch_tokens is None:
        return math.ceil(batches * training.batch_size / max(1, len(train)))
    return math.ceil(batches * training.batch_tokens / max(1, int(train.batch_lengths.sum())))
