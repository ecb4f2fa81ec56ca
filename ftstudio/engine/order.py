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
