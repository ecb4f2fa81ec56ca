"""Pairs of a few texts as rows of a training: each text is kept once, a pair is two numbers and whether it is alike."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

from ftstudio.data.encoded_set import EncodedSet, Stats

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, Any]

Sampling = Literal["oversampling", "undersampling", "unique"]


@dataclass
class PairSet(EncodedSet):
    """An `EncodedSet` whose rows are pairs: `{"input_ids", "parts", "labels"}`, labels 1.0 for texts of one label.

    `texts` are the framed texts (`{"input_ids", …}`), `numbers` the row of each in its dataset; `first`, `second` and
    `alike` [pairs] say what a pair is; `rows` and `table` tell of the texts. `lost`: tokens of each text
    that max_length cut off.
    """

    texts: Sequence[Mapping[str, Any]] = ()
    numbers: Sequence[int] = ()
    first: Any = None
    second: Any = None
    alike: Any = None
    lost: Sequence[int] = ()
    text_sizes: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        for number, text in zip(self.numbers, self.texts, strict=True):
            self.ids.extend(text["input_ids"])
            self.starts.append(len(self.ids))
            self.rows.append(number)
            self.text_sizes.append(len(text["input_ids"]))
        lost = self.lost or [0] * len(self.text_sizes)
        self.uncut.extend(length + more for length, more in zip(self.text_sizes, lost, strict=True))
        size = dict(zip(self.numbers, self.text_sizes, strict=True))
        for row in range(
            max(self.numbers, default=-1) + 1
        ):  # the account of each row: those that weren't drawn have none
            self._account(size.get(row, 0))

    def _account(self, length: int) -> None:
        for name, column in self.table.items():
            one = {
                "prompt": length,
                "total": length,
                "completion": int(length > 0),
                "trained": int(length > 0),
                "ends": 1,
            }
            column.append(one.get(name, 0))

    def __len__(self) -> int:
        return len(self.first)

    def __getitem__(self, index: int) -> dict[str, Any]:
        if not -len(self) <= index < len(self):
            raise IndexError(index)
        one, two = (self.texts[int(side[index])]["input_ids"] for side in (self.first, self.second))
        return {"input_ids": [*one, *two], "parts": [len(one), len(two)], "labels": float(self.alike[index])}

    @cached_property
    def lengths(self) -> Array:
        """Tokens of each pair."""
        import numpy as np

        sizes = np.asarray(self.text_sizes, dtype=np.int64)
        found: Array = sizes[self.first] + sizes[self.second]
        return found

    @cached_property
    def stats(self) -> Stats:
        """The account: `rows` are texts, `kept` and `trained` pairs, `tokens` those of all pairs."""
        return Stats(
            rows=len(self.texts) + len(self.excluded), kept=len(self), tokens=int(self.lengths.sum()),
            trained=len(self), lost=sum(self.lost), lost_completion=0,
            truncated=sum(more > 0 for more in self.lost), all_masked=0,
            unusable=len(self.excluded), not_ended=0, merged=0,
        )  # fmt: skip


def pairs(labels: Sequence[int], sampling: Sampling, most: int | None, seed: int) -> tuple[Array, Array, Array]:
    """(first, second, alike) of the pairs of texts with LABELS, in an order drawn by SEED, alike and unlike in turn.

    As setfit's ContrastiveDataset: every text with itself and every later one; `unique` takes each pair once,
    `undersampling` as many of the commoner kind as there are of the rarer, `oversampling` repeats the rarer. MOST pairs
    in all, half of them of each kind.
    """
    import numpy as np

    of = np.asarray(labels)
    random = np.random.default_rng(seed)
    first, second = np.triu_indices(len(of))
    same = of[first] == of[second]
    kinds = [random.permutation(np.flatnonzero(same == wanted)) for wanted in (True, False)]
    if most is not None:
        kinds = [kind[: max(1, most // 2)] for kind in kinds]
    if sampling != "unique" and len(kinds[1]):
        size = (max if sampling == "oversampling" else min)(map(len, kinds))
        kinds = [np.resize(kind, size) for kind in kinds]
    both = min(map(len, kinds))
    order = np.concatenate(
        [np.stack([kind[:both] for kind in kinds], axis=1).ravel(), *(kind[both:] for kind in kinds)]
    )
    return first[order], second[order], same[order].astype(np.float32)
