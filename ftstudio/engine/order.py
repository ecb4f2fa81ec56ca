"""The order of rows in an epoch: random, the same again for the same seed.

A step's loss is a mean over its tokens. Were rows of like length to share a batch, a token of a short row would count
many times as much as one of a long row, and what is learnt would be another thing than by batches drawn at random. So
rows come together by length only where each counts the same, however long it is.
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

# Steps a pool is sorted over: wide enough that padding nearly vanishes, small enough that order stays random.
POOL = 64
# Rows that are passed over for a batch, times its size, before one that shares a text is taken all the same.
PASSED = 50

Texts = Sequence[Sequence[int]] | Callable[[int], Sequence[Sequence[int]]]


class Shuffled:
    """A sampler: a seeded permutation of the rows, cut into steps of GROUP batches (of all processes).

    Depends on seed and epoch alone, so an interrupted epoch goes on with the very rows that were left; and which rows
    a step has doesn't depend on how they are cut into batches and shared among processes. The heaviest step of the
    first epoch comes first: memory that won't do fails at once, not after an hour.
    """

    def __init__(
        self, lengths: Sequence[int], batch: int, seed: int, follow: Callable[[int, int], None] | None = None,
        group: int = 1,
    ) -> None:  # fmt: skip
        self.lengths, self.batch, self.seed, self.epoch = np.asarray(lengths), batch, seed, 0
        self.step = batch * group
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
        shuffled = np.random.default_rng((self.seed, epoch)).permutation(len(self.lengths))
        whole = shuffled[: len(shuffled) // self.step * self.step].reshape(-1, self.step)
        if epoch == 0 and len(whole):
            heaviest = int(self.lengths[whole].sum(1).argmax())
            whole[[0, heaviest]] = whole[[heaviest, 0]]
        found: list[int] = shuffled.tolist()
        return found

    def weight(self, rows: Any) -> int:
        """What a step of ROWS takes, against other steps."""
        return int(self.lengths[rows].sum())

    def _in_order(self, whole: list[Any], rest: list[Any], epoch: int) -> list[int]:
        """The rows of WHOLE, steps or batches, the heaviest first, and of REST."""
        if epoch == 0 and whole:
            heaviest = max(range(len(whole)), key=lambda at: self.weight(whole[at]))
            whole[0], whole[heaviest] = whole[heaviest], whole[0]
        return [int(row) for batch in whole + rest for row in batch]

    def batches(self, epoch: int) -> list[list[int]]:
        """The batches of EPOCH as row numbers."""
        order = self.order(epoch)
        return [order[at : at + self.batch] for at in range(0, len(order), self.batch)]


class LengthGrouped(Shuffled):
    """A sampler for losses in which every row counts the same: the permutation is cut into pools, each sorted by
    length, its steps shuffled. Hardly any padding is left."""

    def order(self, epoch: int) -> list[int]:
        """Row numbers of EPOCH, each once."""
        random = np.random.default_rng((self.seed, epoch))
        shuffled = random.permutation(len(self.lengths))
        span = self.step * POOL
        whole: list[np.ndarray] = []
        rest: list[np.ndarray] = []  # a short step stays last, wherever its pool lay
        for start in range(0, len(shuffled), span):
            pool = shuffled[start : start + span]
            pool = pool[np.argsort(-self.lengths[pool], kind="stable")]
            steps = [pool[at : at + self.step] for at in range(0, len(pool), self.step)]
            if len(steps[-1]) < self.step:
                rest.append(steps.pop())
            whole += [steps[at] for at in random.permutation(len(steps))]
        return self._in_order(whole, rest, epoch)

    def weight(self, rows: Any) -> int:
        """See Shuffled."""
        return int(self.lengths[rows].max())


class Mixed(Shuffled):
    """A sampler for losses that hold the rows of a batch against each other: length says something of what a text is,
    so batches of like length are easier or harder than those the model will meet, and their order is never learnt.

    TEXTS are the numbers of each row's texts (of an epoch, where it has other rows): as far as can be, rows that share
    one don't meet in a batch, where each would be told that the other's partner is wrong (as sentence-transformers'
    NO_DUPLICATES).
    """

    def __init__(
        self, lengths: Sequence[int], batch: int, seed: int, follow: Callable[[int, int], None] | None = None,
        texts: Texts = (),
    ) -> None:  # fmt: skip
        self.texts = texts
        super().__init__(lengths, batch, seed, follow)

    def order(self, epoch: int) -> list[int]:
        """Row numbers of EPOCH, each once."""
        waiting = deque(np.random.default_rng((self.seed, epoch)).permutation(len(self.lengths)).tolist())
        texts = self.texts(epoch) if callable(self.texts) else self.texts
        whole: list[list[int]] = []
        while len(waiting) >= self.batch:
            chosen: list[int] = []
            passed: list[int] = []
            met: set[int] = set()
            while waiting and len(chosen) < self.batch and len(passed) < PASSED * self.batch:
                row = waiting.popleft()
                mine = texts[row] if texts else ()
                if met.isdisjoint(mine):
                    chosen.append(row)
                    met.update(mine)
                else:
                    passed.append(row)
            missing = self.batch - len(chosen)
            chosen += passed[:missing]
            waiting.extendleft(reversed(passed[missing:]))
            whole.append(chosen)
        return self._in_order(whole, [list(waiting)], epoch)

    def weight(self, rows: Any) -> int:
        """See Shuffled."""
        return int(self.lengths[rows].max())


def flat(batches: Sequence[list[int]]) -> tuple[np.ndarray, np.ndarray]:
    """(the rows of all BATCHES, none of them empty, where each begins)."""
    sizes = np.fromiter(map(len, batches), dtype=np.int64, count=len(batches))
    rows = np.fromiter(itertools.chain.from_iterable(batches), dtype=np.int64, count=int(sizes.sum()))
    return rows, np.cumsum(sizes) - sizes
