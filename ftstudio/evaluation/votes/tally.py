"""What came of the votes: wins, win rate, verdict, and which metric people agree with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from ftstudio.evaluation.pairing import BETTER
from ftstudio.evaluation.statistics import wilson
from ftstudio.evaluation.votes.ballot import voted_on
from ftstudio.evaluation.votes.book import Book, Outputs, Vote
from ftstudio.evaluation.votes.evalue import ENOUGH, e_value, more_votes

Scores = Mapping[int, Mapping[str, Mapping[str, Any]]]  # row to arm to metric to value
_EQUAL = 1e-9


@dataclass(frozen=True)
class Agreement:
    """How often people and a metric prefer the same answer, over the rows where both prefer one.

    `same` counts rows that people decided and where the metric says nothing. `low` and `high`: Wilson's 95 % interval.
    """

    metric: str
    agree: int
    against: int
    same: int
    share: float | None
    low: float
    high: float


@dataclass(frozen=True)
class Tally:
    """Rows that arm `b` won (`wins`) and lost against `a`, that were tied, and where both were bad.

    A row counts once: where several people voted on it, as most of them did. `rate` is wins / (wins + losses) with
    Wilson's 95 % interval. `e_value` of wins and losses: from 20 on the verdict is allowed, whenever one looked.
    `more` votes are needed about (None: too alike to tell). `outdated` votes were on answers that have changed since,
    `alike` rows have equal answers, `waiting` rows have no vote. `shown`: after how many votes names were shown.
    `left`: the share of votes for a side that went to the left one; half, were it for the answers alone.
    """

    a: str
    b: str
    wins: int
    losses: int
    ties: int
    bad: int
    rate: float | None
    low: float
    high: float
    e_value: float
    enough: bool
    verdict: str
    more: int | None
    votes: int
    people: int
    outdated: int
    alike: int
    waiting: int
    shown: int | None
    left: float | None
    agreement: tuple[Agreement, ...] = field(default=())

    @property
    def decided(self) -> int:
        """Rows that one of the two won."""
        return self.wins + self.losses

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self) | {"decided": self.decided, "agreement": [asdict(item) for item in self.agreement]}


def tally(book: Book, outputs: Outputs, scores: Scores | None = None) -> Tally:
    """The votes in BOOK on OUTPUTS (the answers of `book.a` and `book.b` by row), held against the SCORES by row."""
    fitting = [
        vote for vote in book.votes.values() if vote.row in outputs and voted_on(vote.answers, *outputs[vote.row])
    ]
    by_row: dict[int, list[Vote]] = {}
    for vote in fitting:
        by_row.setdefault(vote.row, []).append(vote)
    preferred = {row: _preferred(votes, book.b) for row, votes in by_row.items()}
    wins, losses = (sum(value == sign for value in preferred.values()) for sign in (1, -1))
    bad = sum(all(vote.choice == "bad" for vote in votes) for votes in by_row.values())
    low, high = wilson(wins, wins + losses)
    e = e_value(wins, losses)
    alike = sum(a == b for a, b in outputs.values())
    return Tally(
        a=book.a,
        b=book.b,
        wins=wins,
        losses=losses,
        ties=len(by_row) - wins - losses - bad,
        bad=bad,
        rate=wins / (wins + losses) if wins + losses else None,
        low=low,
        high=high,
        e_value=e,
        enough=e >= ENOUGH,
        verdict="can't tell" if e < ENOUGH else "better" if wins > losses else "worse",
        more=more_votes(wins, losses),
        votes=len(fitting),
        people=len({vote.who for vote in fitting}),
        outdated=len(book.votes) - len(fitting),
        alike=alike,
        waiting=sum(row not in by_row for row, (a, b) in outputs.items() if a != b),
        shown=book.shown,
        left=_share_left(fitting),
        agreement=tuple(_agreements(preferred, book, scores or {})),
    )


def _share_left(votes: Sequence[Vote]) -> float | None:
    sides = [vote.choice for vote in votes if vote.winner is not None]
    return sides.count("left") / len(sides) if sides else None


def _preferred(votes: Sequence[Vote], b: str) -> int:
    """1 where most of VOTES prefer B, -1 where most prefer the other, else 0."""
    net = sum(0 if vote.winner is None else 1 if vote.winner == b else -1 for vote in votes)
    return (net > 0) - (net < 0)


def _agreements(preferred: Mapping[int, int], book: Book, scores: Scores) -> list[Agreement]:
    """Of every metric that both arms have; the one that agrees most often first."""
    counts: dict[str, list[int]] = {}
    for row, sign in preferred.items():
        first, second = (scores.get(row, {}).get(arm, {}) for arm in (book.a, book.b))
        for metric, value in second.items():
            other = first.get(metric)
            if not sign or not _number(value) or not _number(other):
                continue
            step = (value - other) * (-1 if BETTER.get(metric, True) is False else 1)
            place = 2 if abs(step) < _EQUAL else 0 if (step > 0) == (sign > 0) else 1
            counts.setdefault(metric, [0, 0, 0])[place] += 1
    found = []
    for metric, (agree, against, same) in counts.items():
        n = agree + against
        found.append(Agreement(metric, agree, against, same, agree / n if n else None, *wilson(agree, n)))
    return sorted(found, key=lambda item: -1.0 if item.share is None else item.share, reverse=True)


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
