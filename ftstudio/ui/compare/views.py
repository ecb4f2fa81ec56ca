"""Which rows of a comparison are shown: by how their answers differ, which flipped, and a part of the data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ftstudio.evaluation.flips import decider, flip, right
from ftstudio.ui.compare.arms import Arms

NEAR = 0.0005  # a difference of scores below this is none


@dataclass(frozen=True)
class View:
    """A way to choose rows: its title, and what it shows."""

    title: str
    help: str


VIEWS = {
    "all": View("all rows", "every row that both have answered"),
    "different": View("different", "the two answers differ"),
    "same": View("same answer", "the same words from both"),
    "gained": View("gained", "rows with a higher score"),
    "lost": View("lost", "rows with a lower score"),
    "fixed": View("fixed", "flips: wrong before, right after"),
    "broken": View("broken", "flips: right before, wrong after"),
    "still right": View("still right", "right before and after"),
    "still wrong": View("both wrong", "wrong before and after: still wrong"),
}


@dataclass(frozen=True, slots=True)
class Judged:
    """What the views need to know of a row: whether the answers differ, the gain in score, how it flipped."""

    different: bool
    gain: float | None
    flip: str

    def shown_by(self, view: str) -> bool:
        """Whether the row is one of VIEW."""
        if view in ("different", "same"):
            return self.different == (view == "different")
        if view in ("gained", "lost"):
            return self.gain is not None and (self.gain > NEAR if view == "gained" else self.gain < -NEAR)
        return view == "all" or self.flip == view


def judge(arms: Arms, scores: Mapping[int, Mapping[str, Any]], gains: Mapping[int, float | None]) -> dict[int, Judged]:
    """Every row that both arms of ARMS answered, with its SCORES (by arm) and GAINS."""
    by = decider(scores.values())
    found = {}
    for row in arms.rows:
        known = scores.get(row, {})
        before, after = (right(known[arm], by) if arm in known else None for arm in (arms.a, arms.b))
        different = arms.base.known[row].output != arms.tuned.known[row].output
        found[row] = Judged(different, gains.get(row), flip(before, after))
    return found


def rule(scores: Mapping[int, Mapping[str, Any]]) -> str:
    """What counts as right, in words."""
    from ftstudio.evaluation.metrics import TITLES

    by = decider(scores.values())
    return f"right: by {TITLES.get(by, by)}" if by else "right: no error found in the answer"
