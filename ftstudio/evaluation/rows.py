"""A row as the detectors see it: the texts, and what several of them need, made once."""

from __future__ import annotations

from functools import cached_property, lru_cache

from ftstudio.data import words
from ftstudio.evaluation import spelling
from ftstudio.evaluation.facts import Source
from ftstudio.evaluation.predictions import Prediction, well_formed

LONGEST = 100_000  # characters of a text that are looked at: what goes wrong shows long before


class Row:
    """One prediction, its output cut to LONGEST characters, with words and candidates cut out on demand."""

    def __init__(self, prediction: Prediction) -> None:
        self.prediction = prediction
        self.text = well_formed(prediction.output[:LONGEST])

    @property
    def row(self) -> int:
        """The row's number."""
        return self.prediction.row

    @cached_property
    def length(self) -> int:
        """Words of the whole output."""
        return words.length(self.prediction.output)

    @cached_property
    def reference_length(self) -> int | None:
        """Words of the reference; None without one."""
        reference = self.prediction.reference
        return None if reference is None else _length(reference)

    @cached_property
    def words(self) -> list[str]:
        """The output's words in small letters."""
        return words.split(self.text)

    @cached_property
    def pieces(self) -> list[str]:
        """What stands between white space in the output, in small letters."""
        return words.pieces(self.text)

    @property
    def prompt(self) -> Prompt:
        """The prompt, cut up; shared by all rows that have it."""
        return _prompt(self.prediction.prompt[:LONGEST])

    def of_reference(self) -> Row | None:
        """The row as if the reference had been the output; None without a reference."""
        prediction = self.prediction
        if prediction.reference is None:
            return None
        ended = None if prediction.ended is None else True  # people finish
        return Row(
            Prediction(prediction.row, prediction.prompt, prediction.reference, prediction.reference, ended=ended)
        )

    def candidates(self, language: str) -> list[str]:
        """The words of the output that a dictionary can judge."""
        return spelling.candidates(self.text, language)


class Prompt:
    """A prompt, cut up on demand."""

    def __init__(self, text: str) -> None:
        self.text = well_formed(text)

    @cached_property
    def words(self) -> list[str]:
        """Its words in small letters."""
        return words.split(self.text)

    @cached_property
    def vocabulary(self) -> frozenset[str]:
        """Its different words."""
        return frozenset(self.words)

    @cached_property
    def eights(self) -> frozenset[tuple[str, ...]]:
        """Its runs of eight words."""
        own = self.words
        return frozenset(zip(*(own[start:] for start in range(8)), strict=False))

    @cached_property
    def source(self) -> Source:
        """Its facts."""
        return Source(self.text)


@lru_cache(maxsize=64)
def _prompt(text: str) -> Prompt:
    return Prompt(text)


@lru_cache(maxsize=4096)
def _length(text: str) -> int:
    return words.length(text)
