"""The order of rows in an epoch: random, with rows of like length in one batch, the same again for the same seed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np

# Batches a pool is sorted over: wide enough that padding nearly vanishes, small enough that order stays random.
POOL = 64


class LengthGrouped:
    """A sampler: a seeded permutation, cut into pools, each sorted by length, its batches shuffled.

    Depends on seed and epoch alone, so an interrupted epoch goes on with the very rows that were left. The longest
    batch of the first epoch comes first: memory that won't do fails at once, not after an hour.
    """

    def __init__(
        self, lengths: Sequence[int], batch: int, seed: int, follow: Callable[[int, int], None] | None = None
    ) -> None:
        self.lengths, self.batch, self.seed, self.epoch = np.asarray(lengths), batch, seed, 0
        self.follow = follow  # who is told seed and epoch: rows that are others in each
        self.set_epoch(0)

    def set_epoch(self, epoch: int) -> None:
        """Called by the training loop before each epoch."""
        self.epoch = epoch
        if self.follow is not None:
            self.follow(self.seed, epoch)

    def __len__(self) -> int:
        return len(self.lengths)

    def __iter__(self) -> Iterator[int]:
        return iter(self.order(self.epoch))

    def order(self, epoch: int) -> list[int]:
        """Row numbers of EPOCH, each once."""
        random = np.random.default_rng((self.seed, epoch))
        shuffled = random.permutation(len(self.lengths))
        span = self.batch * POOL
        whole: list[np.ndarray] = []
        rest: list[np.ndarray] = []  # a short batch stays last, wherever its pool lay
        for start in range(0, len(shuffled), span):
            pool = shuffled[start : start + span]
            pool = pool[np.argsort(-self.lengths[pool], kind="stable")]
            batches = [pool[at : at + self.batch] for at in range(0, len(pool), self.batch)]
            if len(batches[-1]) < self.batch:
                rest.append(batches.pop())
            whole += [batches[at] for at in random.permutation(len(batches))]
        if epoch == 0 and whole:
            longest = max(range(len(whole)), key=lambda at: int(self.lengths[whole[at]].max()))
            whole[0], whole[longest] = whole[longest], whole[0]
        return [int(row) for batch in whole + rest for row in batch]

    def batches(self, epoch: int) -> list[list[int]]:
        """The batches of EPOCH as row numbers."""
        order = self.order(epoch)
        return [order[at : at + self.batch] for at in range(0, len(order), self.batch)]


ALIKE = 0.8  # the shortest row of a bucket against its longest: padding, and room left in a batch, stay below a fifth


class TokenBudget:
    """A batch sampler: batches of as many rows of like length as TOKENS hold, padding counted.

    Rows are cut into buckets by length, the same in every epoch; in each bucket they are shuffled and cut into batches
    anew, and the batches of all buckets come in random order. So every epoch has as many batches (a multiple of WAYS,
    the processes that share them), and, since it depends on seed and epoch alone, an interrupted one goes on with the
    very batches that were left. The longest rows come first, as in `LengthGrouped`. A row longer than TOKENS is a batch
    by itself. FOLLOW: see `LengthGrouped`.
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
                break  # fewer rows than ways
            self._buckets[next(at for at, it in enumerate(self._buckets) if it[0] is rows)] = (rows, count + 1)

    def set_epoch(self, epoch: int) -> None:
        """Called by the training loop before each epoch."""
        self.epoch = epoch
        if self.follow is not None:
            self.follow(self.seed, epoch)

    def __len__(self) -> int:
        return sum(count for _, count in self._buckets)

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
        return [[int(row) for row in made[at]] for at in order]


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


Order = LengthGrouped | TokenBudget


def batches_in(lengths: Sequence[int], batch: int, budget: int | None) -> int:
    """How many batches an epoch of rows of LENGTHS tokens has: of BATCH rows, or of BUDGET tokens."""
    return -(-len(lengths) // batch) if budget is None else len(TokenBudget(lengths, budget, 0))


def order_of(
    lengths: Sequence[int],
    batch: int,
    budget: int | None,
    seed: int,
    ways: int = 1,
    follow: Callable[[int, int], None] | None = None,
) -> Order:
    """The order of rows of LENGTHS tokens: in batches of BATCH rows, or of BUDGET tokens where that is given."""
    if budget is None:
        return LengthGrouped(lengths, batch, seed, follow)
    return TokenBudget(lengths, budget, seed, ways, follow)
