"""Training rows that stand in the held-out rows too: as they are, lightly edited, reworded or with other numbers.

A row is told under the strictest of the kinds that were asked for: exact, shared runs of words, nearly equal, same
meaning.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ftstudio.core.errors import Stopped
from ftstudio.data.checks.alike import COSINE, NEAR, SHORTEST, Embed, embedded
from ftstudio.data.checks.found import Check, found, of_some, said, spread
from ftstudio.data.dataset import Cancel, Dataset
from ftstudio.data.example import BadRow, Example
from ftstudio.data.normal import prompt_key
from ftstudio.data.shape import Shape

if TYPE_CHECKING:
    import numpy as np

WORDS = 8  # in a run
SHARE = 0.3  # of a prompt's runs
MOST = 100_000  # training rows whose likeness and meaning are compared; exact and shared runs are looked for in all
LEAST_WORDS = 8  # beside the numbers: "what is 2 + 3?" is no leak of "what is 7 + 5?"
KINDS = ("exact_leak", "ngram_leak", "near_leak", "semantic_leak")
_WORD = re.compile(r"\w+")
_NUMBER = re.compile(r"\d+(?:[.,:/]\d+)*")
_BLOCK = 512


@dataclass
class _HeldOut:
    """The held-out rows: the keys of their prompts, the hashes of their runs of words, their texts."""

    keys: dict[bytes, list[int]] = field(default_factory=dict)
    runs: set[int] = field(default_factory=set)
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
        self.shared: list[int] = []
        self.rows: list[int] = []
        self.texts: list[str] = []

    def add(self, index: int, asked: str, answered: str, example: Example | None) -> None:
        """Look for the row."""
        if example is None:
            return
        if (rows := self.held.keys.get(prompt_key(example))) is not None and "exact_leak" in self.wanted:
            self.exact.append(index)
            self.proven.update(rows)
            return
        if self.held.runs:
            runs = list(_runs(asked))
            if runs and sum(run in self.held.runs for run in runs) >= SHARE * len(runs):
                self.shared.append(index)
                return
        if index % self.step == 0 and len(asked) > SHORTEST:
            self.rows.append(index)
            self.texts.append(asked)

    def checks(self) -> list[Check]:
        """The leaks, each row once."""
        from ftstudio.data.split_near import near_groups  # brings numpy

        others = sorted(self.proven)
        text = f"{said(self.exact)} whose prompt is also held out ({len(others):,} held-out rows would prove nothing)."
        result = [found("exact_leak", "error", self.exact, text, held_out_rows=others[:1000])]
        text = f"{said(self.shared)} sharing much of their wording with held-out prompts."
        result.append(found("ngram_leak", "warning", self.shared, text))
        some = of_some(-(-self.count // self.step), self.count)
        held = [text for text in self.held.texts if len(text) > SHORTEST]
        near: set[int] = set()
        if "near_leak" in self.wanted and self.texts and held:
            groups = near_groups([*held, *self.texts], NEAR, cancel=self.cancel)
            taken = set(groups[: len(held)])
            near = {row for row, group in zip(self.rows, groups[len(held) :], strict=True) if group in taken}
            text = f"{said(list(near))} whose prompt nearly equals a held-out one.{some}"
            result.append(found("near_leak", "warning", sorted(near), text))
        if "semantic_leak" in self.wanted and self.texts and held:
            left = [place for place, row in enumerate(self.rows) if row not in near]
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
        asked = asked_of(example)
        held.texts.append(asked)
        if runs:
            held.runs.update(_runs(asked))
    return held


def asked_of(example: Example) -> str:
    """What is asked in EXAMPLE; of running text, all of it."""
    turns = example.messages if example.is_text else example.messages[: example.answer_at]
    return "\n".join(turn.content for turn in turns)


def _runs(text: str) -> Iterator[int]:
    """A hash of each run of words."""
    words = _WORD.findall(text.lower())
    return (hash(tuple(words[place : place + WORDS])) for place in range(len(words) - WORDS + 1))


def without_numbers(text: str) -> str:
    """TEXT without its numbers, where enough words are left."""
    left = _NUMBER.sub(" ", text)
    return left if len(_WORD.findall(left)) >= LEAST_WORDS else text


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
