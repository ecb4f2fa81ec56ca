"""votes.jsonl: ballots, votes and what was taken back, appended by line and never rewritten."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ftstudio.core.files import LineWriter, read_lines
from ftstudio.evaluation.votes.ballot import CHOICES, Ballot, mark, voted_on

NAME = "votes.jsonl"
Outputs = Mapping[int, tuple[str, str]]  # the answers of a and b by row


@dataclass(frozen=True)
class Vote:
    """WHO found what on ROW: `choice` is one of CHOICES, `left` and `right` the arms that stood there, `answers` marks
    the two texts."""

    row: int
    choice: str
    left: str
    right: str
    answers: str
    who: str = ""
    time: float = 0.0

    @property
    def winner(self) -> str | None:
        """The arm that won; None for a tie and where both are bad."""
        return {"left": self.left, "right": self.right}.get(self.choice)

    def to_line(self) -> dict[str, Any]:
        """For votes.jsonl."""
        return {
            "kind": "vote", "row": self.row, "choice": self.choice, "left": self.left, "right": self.right,
            "answers": self.answers, "who": self.who, "time": self.time,
        }  # fmt: skip


class Book:
    """All votes on the arms A and B in one file, by person and row; a person's last vote on a row counts.

    `ballot` is the file's last on this pair; without one, a new one is drawn and written with the first vote. `shown`
    tells after how many votes the names were first shown (None: not yet).
    """

    def __init__(self, path: Path, a: str, b: str, who: str = "") -> None:
        self.path, self.a, self.b, self.who = path, a, b, who
        self.ballot = Ballot.new(a, b)
        self.votes: dict[tuple[str, int], Vote] = {}
        self.shown: int | None = None
        self._written = False  # the ballot is
        self._mine: list[int] = []  # rows this person voted on, the last at the end
        self._writer = LineWriter(path)
        for line in read_lines(path):
            self._take(line)

    def _take(self, line: Mapping[str, Any]) -> None:
        if {line.get("a"), line.get("b")} != {self.a, self.b}:
            return
        kind, row, who = line.get("kind"), line.get("row"), str(line.get("who") or "")
        if kind == "ballot" and isinstance(line.get("seed"), int):
            self.ballot, self._written = Ballot(str(line["a"]), str(line["b"]), line["seed"]), True
        elif kind == "shown":
            self.shown = len(self.votes) if self.shown is None else self.shown
        elif kind == "undo" and isinstance(row, int):
            self._forget(row, who)
        elif kind == "vote" and isinstance(row, int) and line.get("choice") in CHOICES:
            sides = {str(line.get("left")), str(line.get("right"))}
            if sides == {self.a, self.b}:
                moment = line.get("time")
                self._keep(
                    Vote(
                        row, str(line["choice"]), str(line["left"]), str(line["right"]), str(line.get("answers") or ""),
                        who, float(moment) if isinstance(moment, int | float) else 0.0,
                    )
                )  # fmt: skip

    def _keep(self, vote: Vote) -> None:
        self.votes[vote.who, vote.row] = vote
        if vote.who == self.who:
            self._mine = [row for row in self._mine if row != vote.row] + [vote.row]

    def _forget(self, row: int, who: str) -> None:
        self.votes.pop((who, row), None)
        if who == self.who:
            self._mine = [known for known in self._mine if known != row]

    # -- voting ----------------------------------------------------------------------------------------------------
    def waiting(self, outputs: Outputs) -> list[int]:
        """The rows of OUTPUTS that this person is still to be asked, in order: those whose answers differ and that
        have no vote on these very answers."""
        rows = [row for row, (a, b) in outputs.items() if a != b]
        return self.ballot.order(row for row in rows if not self.voted(row, outputs))

    def voted(self, row: int, outputs: Outputs) -> bool:
        """Whether this person voted on ROW with the answers it has now."""
        vote = self.votes.get((self.who, row))
        return vote is not None and row in outputs and voted_on(vote.answers, *outputs[row])

    def vote(self, row: int, choice: str, outputs: Outputs) -> Vote:
        """Write down this person's CHOICE on ROW of OUTPUTS. Raises StudioError where it can't be written."""
        left, right = self.ballot.sides(row)
        vote = Vote(row, choice, left, right, mark(*outputs[row]), self.who, time.time())
        lines = [] if self._written else [self.ballot.to_line() | {"who": self.who, "time": vote.time}]
        self._writer.append(*lines, vote.to_line() | {"a": self.a, "b": self.b})
        self._written = True
        self._keep(vote)
        return vote

    def undo(self) -> int | None:
        """Take this person's last vote back, whenever it was; its row, None where there is none."""
        if not self._mine:
            return None
        row = self._mine[-1]
        self._append("undo", row=row)
        self._forget(row, self.who)
        return row

    def show_names(self) -> None:
        """Write down that the names were shown: votes from here on are made by someone who knows how it stands."""
        if self.shown is None:
            self._append("shown")
            self.shown = len(self.votes)

    def _append(self, kind: str, **fields: Any) -> None:
        self._writer.append({"kind": kind, **fields, "a": self.a, "b": self.b, "who": self.who, "time": time.time()})


def pairs(path: Path) -> list[tuple[str, str]]:
    """The pairs of arms that were voted on in the file PATH, in the order they came up."""
    found: dict[frozenset[str], tuple[str, str]] = {}
    for line in read_lines(path):
        a, b = line.get("a"), line.get("b")
        if line.get("kind") == "ballot" and isinstance(a, str) and isinstance(b, str):
            found.setdefault(frozenset((a, b)), (a, b))
    return list(found.values())
