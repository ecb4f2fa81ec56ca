"""Which answer stands left, and which row comes next: from a seed that is drawn at random and never shown."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

CHOICES = ("left", "right", "tie", "bad")


@dataclass(frozen=True)
class Ballot:
    """One round of voting on arms `a` and `b`. All follows from `seed`: the side of each row, and the order."""

    a: str
    b: str
    seed: int

    @staticmethod
    def new(a: str, b: str) -> Ballot:
        """A ballot nobody can foresee."""
        return Ballot(a, b, secrets.randbits(64))

    def sides(self, row: int) -> tuple[str, str]:
        """The arms left and right on ROW: a fair coin by seed and row."""
        return (self.a, self.b) if self._draw("side", row) & 1 else (self.b, self.a)

    def order(self, rows: Iterable[int]) -> list[int]:
        """ROWS in the order they are asked: shuffled, so that those voted on are a fair sample whenever one stops."""
        return sorted(rows, key=lambda row: (self._draw("order", row), row))

    def _draw(self, what: str, row: int) -> int:
        text = f"{self.seed}|{self.a}|{self.b}|{what}|{row}"
        return int.from_bytes(hashlib.blake2b(text.encode("utf-8", "replace"), digest_size=8).digest(), "big")

    def to_line(self) -> dict[str, Any]:
        """For votes.jsonl."""
        return {"kind": "ballot", "a": self.a, "b": self.b, "seed": self.seed}


def voted_on(marked: str, a: str, b: str) -> bool:
    """Whether MARKED is the mark of the answers A and B, whichever of the arms was held against the other then."""
    return marked in (mark(a, b), mark(b, a))


def mark(a: str, b: str) -> str:
    """What tells the two answers that were voted on from later ones on the same row."""
    digest = hashlib.blake2b(digest_size=6)
    for text in (a, b):
        data = text.encode("utf-8", "replace")
        digest.update(len(data).to_bytes(8, "big") + data)
    return digest.hexdigest()
