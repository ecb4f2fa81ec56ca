"""The order in which rows are gone through: those not looked at yet first. No widgets here."""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ftstudio.core.errors import StudioError
from ftstudio.evaluation.predictions import Prediction
from ftstudio.evaluation.review import ORDERS, Queue, queue

if TYPE_CHECKING:
    from ftstudio.ui.errors.answers import Answers

TITLES = {order.name: order.title for order in ORDERS}
BRIEF = {
    "data": "row after row",
    "category": "the commonest error first, its rows together",
    "worst": "farthest from the reference first",
    "similar": "what means most like the row in view first",
    "unsure": "where your tags so far say least: teaches most",
    "random": "drawn by chance: counts can be believed",
}
KEYS = {"d": "data", "c": "category", "w": "worst", "l": "similar", "u": "unsure", "r": "random"}


class Ordering:
    """An order of rows. What a person decides meanwhile moves no row: one goes on where one is."""

    def __init__(self, reviewed: Collection[int] = ()) -> None:
        self.name = "data"
        self._last = frozenset(reviewed)
        self._rank: dict[int, int] = {}

    @property
    def title(self) -> str:
        """What it is called."""
        return TITLES[self.name]

    def take(self, found: Queue, reviewed: Collection[int]) -> None:
        """Go by FOUND from now on, rows that are REVIEWED by now at the end."""
        self.name, self._last = found.order, frozenset(reviewed)
        self._rank = {row: place for place, row in enumerate(found.rows)}

    def look_again(self, rows: Collection[int]) -> None:
        """ROWS were answered otherwise since a person looked at them: they stand among the others again."""
        self._last -= frozenset(rows)

    def arrange(self, rows: Iterable[int]) -> list[int]:
        """ROWS in this order; those that came since it was made stand behind the others, as in the data."""
        late = len(self._rank)
        return sorted(rows, key=lambda row: (row in self._last, self._rank.get(row, late), row))


@dataclass(frozen=True)
class Asked:
    """What an order is made of, as it stood when it was asked for; `present` is the row in view."""

    order: str
    predictions: Mapping[int, Prediction]
    names: Mapping[int, Collection[str]]
    reviewed: frozenset[int]
    present: int | None

    @classmethod
    def of(cls, answers: Answers, order: str, present: int | None) -> Asked:
        """ORDER is to be made of ANSWERS. On the screen's thread, which alone changes them."""
        reviewed = frozenset(answers.tags.decided)
        names = {row: answers.names(row) if row in reviewed else answers.detected(row) for row in answers.predictions}
        return cls(order, dict(answers.predictions), names, reviewed, present)

    def make(self) -> Queue:
        """The rows in this order. Not for the screen's thread: it may embed all of them."""
        embedder = None
        if self.order in ("similar", "unsure"):
            from ftstudio.evaluation.similarity import load_embedder

            with contextlib.suppress(StudioError):  # `queue` says that there is none
                embedder = load_embedder("static", allow_torch=False)
        return queue(
            self.predictions,
            self.order,
            reviewed=self.reviewed,
            categories=self.names,
            verdicts={row: bool(self.names[row]) for row in self.reviewed if row in self.names},
            present=self.present,
            embedder=embedder,
        )


def choices() -> dict[str, str]:
    """The keys that choose an order, with its title and what it is good for."""
    return {key: f"{TITLES[name]:<15} {BRIEF[name]}" for key, name in KEYS.items()}
