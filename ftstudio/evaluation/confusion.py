"""Which label is taken for which: counts and rows of every pair of reference and answer."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from ftstudio.evaluation.classification import parted
from ftstudio.evaluation.predictions import Prediction

NONE = ""  # a label that was given or wanted without a partner: rows with several labels


@dataclass(frozen=True)
class Confusion:
    """`labels` in order: those that are mixed up together stand beside each other. `rows[a, b]`: the rows whose
    reference is labels[a] and whose answer is labels[b]."""

    labels: tuple[str, ...]
    rows: dict[tuple[int, int], tuple[int, ...]]

    def count(self, wanted: int, given: int) -> int:
        """How many rows want label WANTED and were given GIVEN."""
        return len(self.rows.get((wanted, given), ()))

    def support(self, wanted: int) -> int:
        """How many rows want label WANTED."""
        return sum(len(rows) for (a, _), rows in self.rows.items() if a == wanted)

    @property
    def worst(self) -> tuple[int, int] | None:
        """The pair of different labels that is mixed up most often."""
        wrong = {pair: len(rows) for pair, rows in self.rows.items() if pair[0] != pair[1]}
        return max(wrong, key=lambda pair: (wrong[pair], (-pair[0], -pair[1]))) if wrong else None


def confusion(predictions: Iterable[Prediction]) -> Confusion:
    """The confusion of PREDICTIONS that have a reference.

    Of rows with several labels those that both sides have count as right; what is left on one side is paired with what
    is left on the other, in order, or with none.
    """
    found: dict[tuple[str, str], list[int]] = {}
    for prediction in predictions:
        if prediction.reference is None:
            continue
        for pair in _pairs(parted(prediction.reference), parted(prediction.output)):
            found.setdefault(pair, []).append(prediction.row)
    order = {name: place for place, name in enumerate(_ordered(found))}
    return Confusion(tuple(order), {(order[a], order[b]): tuple(rows) for (a, b), rows in found.items()})


def _pairs(wanted: list[str], given: list[str]) -> list[tuple[str, str]]:
    right = [(name, name) for name in wanted if name in given]
    missed = [name for name in wanted if name not in given]
    extra = [name for name in given if name not in wanted]
    wrong = [
        (missed[place] if place < len(missed) else NONE, extra[place] if place < len(extra) else NONE)
        for place in range(max(len(missed), len(extra)))
    ]
    return right + wrong or [(NONE, NONE)]


def _ordered(found: dict[tuple[str, str], list[int]]) -> list[str]:
    """The labels, greedily so that each stands after the one it is mixed up with most."""
    support: Counter[str] = Counter()
    between: Counter[tuple[str, str]] = Counter()
    for (a, b), rows in found.items():
        support[a] += len(rows)
        support[b] += 0
        if a != b:
            between[a, b] += len(rows)
            between[b, a] += len(rows)
    left = dict.fromkeys(sorted(support, key=lambda name: (-support[name], name)))
    order: list[str] = []
    while left:
        name = next(iter(left))
        if order:
            best = max(left, key=lambda one: between[order[-1], one])
            name = best if between[order[-1], best] else name
        order.append(name)
        del left[name]
    return order
