"""Batches by tokens: as many rows of like length as a budget holds. And which order a training takes."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from ftstudio.engine.order import LengthGrouped, Mixed, Shuffled, Texts

ALIKE = 0.8  # the shortest row of a bucket against its longest: padding, and room left in a batch, stay below a fifth


class TokenBudget:
    """A batch sampler: batches of as many rows of like length as TOKENS hold, padding counted.

    Rows are cut into buckets by length, the same in every epoch; in each bucket they are shuffled and cut into batches
    anew, and the batches of all buckets come in random order. So every epoch has as many batches (a multiple of WAYS,
    the processes that share them), and, since it depends on seed and epoch alone, an interrupted one goes on with the
    very batches that were left. The longest rows come first, as in `Shuffled`. A row longer than TOKENS is a batch
    by itself. Where there are too few rows to go round, the last batches hold a number beyond them (`ranked.Filled`).
    FOLLOW: see `Shuffled`.
    """

    def __init__(
        self,
        lengths: Sequence[int],
        tokens: int,
        seed: int,
        ways: int = 1,
        follow: Callable[[int, int], None] | None = None,
    ) -> None:
        self.lengths, self.tokens, self.seed, self.epoch = np.asarray(lengths), tokens, seed, 0
        self.follow = follow
        self._buckets = list(_buckets(self.lengths, tokens))
        self._spread(ways)
        self._void = -sum(count for _, count in self._buckets) % ways
        self.set_epoch(0)

    @property
    def sampler(self) -> TokenBudget:
        """Itself: accelerate looks here for whom to tell the epoch."""
        return self

    def _spread(self, ways: int) -> None:
        """More batches in the bucket with the fullest ones, until all WAYS get as many."""
        while sum(count for _, count in self._buckets) % ways:
            rows, count = max(self._buckets, key=lambda bucket: len(bucket[0]) / bucket[1])
            if count >= len(rows):
                break  # every row is a batch by itself
            self._buckets[next(at for at, it in enumerate(self._buckets) if it[0] is rows)] = (rows, count + 1)

    def set_epoch(self, epoch: int) -> None:
        """Called by the training loop before each epoch."""
        self.epoch = epoch
        if self.follow is not None:
            self.follow(self.seed, epoch)

    def __len__(self) -> int:
        return sum(count for _, count in self._buckets) + self._void

    def __iter__(self) -> Iterator[list[int]]:
        return iter(self.batches(self.epoch))

    def batches(self, epoch: int) -> list[list[int]]:
        """The batches of EPOCH as row numbers, each row once."""
        random = np.random.default_rng((self.seed, epoch))
        made: list[np.ndarray] = []
        for rows, count in self._buckets:
            made += np.array_split(random.permutation(rows), count)
        order = list(random.permutation(len(made)))
        if epoch == 0 and made:
            longest = max(range(len(made)), key=lambda at: int(self.lengths[made[at]].max()))
            place = order.index(longest)
            order[0], order[place] = order[place], order[0]
        return [[int(row) for row in made[at]] for at in order] + [[len(self.lengths)]] * self._void


def _buckets(lengths: np.ndarray, tokens: int) -> Iterator[tuple[np.ndarray, int]]:
    """(rows of like length, batches they make), the longest rows first; all batches but the last bucket's are full."""
    order = np.argsort(-lengths, kind="stable")
    start = 0
    while start < len(order):
        longest = max(1, int(lengths[order[start]]))
        full = max(1, tokens // longest)
        alike = int(np.searchsorted(-lengths[order], -ALIKE * longest, side="right")) - start
        count = min(max(full, alike // full * full), len(order) - start)
        yield order[start : start + count], -(-count // full)
        start += count


Order = Shuffled | TokenBudget


def batches_in(lengths: Sequence[int], batch: int, budget: int | None) -> int:
    """How many batches an epoch of rows of LENGTHS tokens has: of BATCH rows, or of BUDGET tokens."""
    return -(-len(lengths) // batch) if budget is None else len(TokenBudget(lengths, budget, 0))


def tokens_in(steps: int, tokens: int, batches: float, group: int) -> float:
    """Tokens that the first STEPS steps of a training take: an epoch has TOKENS in BATCHES (the share of one that a
    last, shorter batch is), a step takes GROUP of them, and the last step of an epoch those that are left."""
    epochs, more = divmod(steps, max(1, math.ceil(math.ceil(batches) / group)))
    return epochs * tokens + min(1.0, more * group / max(1.0, batches)) * tokens


def order_of(
    lengths: Sequence[int],
    batch: int,
    budget: int | None,
    seed: int,
    ways: int = 1,
    follow: Callable[[int, int], None] | None = None,
    texts: Texts | None = None,
    alike: bool = False,
    accumulation: int = 1,
) -> Order:
    """The order of rows of LENGTHS tokens: in batches of BATCH rows, or of BUDGET tokens where that is given, for WAYS
    processes, ACCUMULATION batches of each a step; with TEXTS (see `Mixed`) for a loss that holds rows against each
    other, ALIKE (see `LengthGrouped`) for one in which every row counts the same."""
    if texts is not None:
        return Mixed(lengths, batch, seed, follow, texts)
    if budget is None:
        return (LengthGrouped if alike else Shuffled)(lengths, batch, seed, follow, accumulation * ways)
    return TokenBudget(lengths, budget, seed, ways, follow)
