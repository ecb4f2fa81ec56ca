"""Rows that a person has selected, a bit a row: a million are selected and turned round at once."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


class Selected:
    """A set of row numbers below COUNT."""

    def __init__(self, count: int) -> None:
        self._mask = np.zeros(count, bool)
        self.count = 0

    def __contains__(self, row: int) -> bool:
        return row < len(self._mask) and bool(self._mask[row])

    def __len__(self) -> int:
        return self.count

    def resize(self, count: int) -> None:
        """There are COUNT rows now; those added are not selected."""
        if count == len(self._mask):
            return
        kept = self._mask[:count]
        self._mask = np.concatenate([kept, np.zeros(count - len(kept), bool)])
        self.count = int(self._mask.sum())

    def put(self, rows: Sequence[int], how: str) -> None:
        """`select`, `unselect` or `toggle` ROWS."""
        places = _places(rows)
        if how == "toggle":
            self._mask[places] ^= True
        else:
            self._mask[places] = how == "select"
        self.count = int(self._mask.sum())

    def rows(self) -> list[int]:
        """The rows selected, in order."""
        found: list[int] = np.flatnonzero(self._mask).tolist()
        return found


def _places(rows: Sequence[int]) -> slice | np.ndarray:
    if isinstance(rows, range) and rows.step == 1:
        return slice(rows.start, rows.stop)
    return np.asarray(rows, dtype=np.int64)


def packed(rows: Sequence[int]) -> list[list[int]]:
    """ROWS as ranges [first, last], in their order: how a log keeps them."""
    found: list[list[int]] = []
    if isinstance(rows, range) and rows.step == 1:
        return [[rows.start, rows.stop - 1]] if len(rows) else []
    for row in rows:
        if found and row == found[-1][1] + 1:
            found[-1][1] = row
        else:
            found.append([row, row])
    return found


def unpacked(ranges: Sequence[Sequence[int]]) -> list[int]:
    """The rows that RANGES stand for. Raises ValueError where they are none."""
    found: list[int] = []
    for first, last in ranges:
        found.extend(range(int(first), int(last) + 1))
    return found
