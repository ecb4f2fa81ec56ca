"""Training rows that stand in the held-out rows too: as they are, lightly edited, reworded or with other numbers.

Runs of words that many training rows have, such as an instruction that all rows share, are no leak and don't count.
A row is told under the strictest of the kinds that were asked for: exact, shared runs of words, nearly equal, same
meaning. Questions about pictures are looked for with them, so only as they are: another picture is another question.
"""

from __future__ import annotations

import re
from array import array
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ftstudio.core.errors import Stopped
from ftstudio.data.checks.alike import COSINE, NEAR, SHORTEST, Embed, embedded
from ftstudio.data.checks.found import Check, found, of_some, said, spread
from ftstudio.data.dataset import Cancel, Dataset
from ftstudio.data.example import BadRow, Example
from ftstudio.data.normal import prompt_key
from ftstudio.data.shape import Shape
from ftstudio.data.words import split

if TYPE_CHECKING:
    import numpy as np

WORDS = 8  # in a run
SHARE = 0.3  # of a prompt's runs
USUAL = 0.005  # share of the training rows from which a run is nobody's own …
USUAL_ROWS = 5  # … and more rows than that
MOST = 100_000  # training rows whose likeness and meaning are compared; exact and shared runs are looked for in all
LEAST_WORDS = 8  # beside the numbers: "what is 2 + 3?" is no leak of "what is 7 + 5?"
KINDS = ("exact_leak", "ngram_leak", "near_leak", "semantic_leak")
_NUMBER = re.compile(r"\d+(?:[.,:/]\d+)*")
_BLOCK = 512


@dataclass
class _HeldOut:
    """The held-out rows: the keys of their prompts, their runs of words (hash to number), their texts."""

    keys: dict[bytes, list[int]] = field(default_factory=dict)
    runs: dict[int, int] = field(default_factory=dict)
    texts: list[str] = field(default_factory=list)


class Leaks:
    """Looks for each training row in HELD_OUT, which SHAPE maps."""

    def __init__(
        self,
        count: int,
        wanted: Collection[str],
        held_out: Dataset,
        shape: Shape,
        embed: Embed,
        cancel: Cancel | None,
    ) -> None:
        self.count, self.wanted, self.embed, self.cancel = count, wanted, embed, cancel
        self.held = _read(held_out, shape, "ngram_leak" in wanted, cancel)
        self.step = spread(count, MOST)
        self.exact: list[int] = []
        self.proven: set[int] = set()  # held-out rows that stand in the training rows as they are
        self.usual = max(USUAL_ROWS, USUAL * count)
        self.seen: Counter[int] = Counter()  # rows that have a held-out run, by its number
        self.met: list[tuple[int, int, array[int]]] = []  # row, how many runs it has, which of them are held out
        self.rows: list[int] = []
        self.texts: list[str] = []

    def add(self, index: int, asked: str, answered: str, example: Example | None) -> None:
        """Look for the row."""
        if example is None:
            return
        pictured = bool(example.fields.get("images"))
        shared, count = self._shared("" if pictured else asked)
        if (rows := self.held.keys.get(prompt_key(example))) is not None and "exact_leak" in self.wanted:
            self.exact.append(index)
            self.proven.update(rows)
            return
        if shared and len(shared) >= SHARE * count:
            self.met.append((index, count, shared))
        if index % self.step == 0 and len(asked) > SHORTEST and not pictured:
            self.rows.append(index)
            self.texts.append(asked)

    def _shared(self, asked: str) -> tuple[array[int], int]:
        """(the held-out runs in what is ASKED, how many runs it has), those left out that are known to be usual."""
        if not self.held.runs:
            return array("L"), 0
        runs = _runs(asked)
        known = [number for run in runs if (number := self.held.runs.get(run)) is not None]
        self.seen.update(known)
        own = array("L", (number for number in known if self.seen[number] <= self.usual))
        return own, len(runs) - len(known) + len(own)

    def _told(self) -> list[int]:
        """The rows that share much of their wording with a held-out prompt, now that all were seen."""
        found = []
        for index, count, shared in self.met:
            own = sum(self.seen[number] <= self.usual for number in shared)
            if own and own >= SHARE * (count - len(shared) + own):
                found.append(index)
        return found

    def checks(self) -> list[Check]:
        """The leaks, each row once."""
        from ftstudio.data.split_near import near_groups  # brings numpy

        others = sorted(self.proven)
        text = f"{said(self.exact)} whose prompt is also held out ({len(others):,} held-out rows would prove nothing)."
        result = [found("exact_leak", "error", self.exact, text, held_out_rows=others[:1000])]
        shared = self._told()
        told = set(shared)
        text = f"{said(shared)} sharing much of their wording with held-out prompts."
        result.append(found("ngram_leak", "warning", shared, text))
        some = of_some(-(-self.count // self.step), self.count)
        held = [text for text in self.held.texts if len(text) > SHORTEST]
        near: set[int] = set()
        if "near_leak" in self.wanted and self.texts and held:
            groups = near_groups([*held, *self.texts], NEAR, cancel=self.cancel)
            taken = set(groups[: len(held)])
            near = {row for row, group in zip(self.rows, groups[len(held) :], strict=True) if group in taken} - told
            text = f"{said(list(near))} whose prompt nearly equals a held-out one.{some}"
            result.append(found("near_leak", "warning", sorted(near), text))
        if "semantic_leak" in self.wanted and self.texts and held:
            told |= near
            left = [place for place, row in enumerate(self.rows) if row not in told]
            places = _near_in_meaning([self.texts[place] for place in left], held, self.embed, self.cancel)
            rows = [self.rows[left[place]] for place in places]
            text = f"{said(rows)} whose prompt means what a held-out one means, numbers set aside.{some}"
            result.append(found("semantic_leak", "warning", rows, text))
        return result


def _read(dataset: Dataset, shape: Shape, runs: bool, cancel: Cancel | None) -> _HeldOut:
    held = _HeldOut()
    for index, row in enumerate(dataset.iter()):
        if cancel is not None and index % 256 == 0 and cancel():
            raise Stopped("Stopped while looking for leaks.")
        try:
            example = shape.example(row)
        except BadRow:
            continue
        held.keys.setdefault(prompt_key(example), []).append(index)
        if example.fields.get("images"):
            continue
        asked = asked_of(example)
        held.texts.append(asked)
        if runs:
            for run in _runs(asked):
                held.runs.setdefault(run, len(held.runs))
    return held


def asked_of(example: Example) -> str:
    """What is asked in EXAMPLE; of running text, all of it."""
    turns = example.messages if example.is_text else example.messages[: example.answer_at]
    return "\n".join(turn.content for turn in turns)


def _runs(text: str) -> set[int]:
    """A hash of each run of words."""
    words = split(text)
    return {hash(tuple(words[place : place + WORDS])) for place in range(len(words) - WORDS + 1)}


def without_numbers(text: str) -> str:
    """TEXT without its numbers, where enough words are left."""
    left = _NUMBER.sub(" ", text)
    return left if len(split(left)) >= LEAST_WORDS else text


def _near_in_meaning(texts: list[str], held: list[str], embed: Embed, cancel: Cancel | None) -> list[int]:
    """The places in TEXTS that mean what one of HELD means."""
    if not texts:
        return []
    others = embedded([without_numbers(text) for text in held], embed, cancel)
    places: list[int] = []
    for start in range(0, len(texts), _BLOCK):
        if cancel is not None and cancel():
            raise Stopped("Stopped while looking for leaks.")
        vectors: np.ndarray = embed([without_numbers(text) for text in texts[start : start + _BLOCK]])
        best = (vectors @ others.T).max(axis=1)
        places += [start + int(place) for place in (best >= COSINE).nonzero()[0]]
    return places
