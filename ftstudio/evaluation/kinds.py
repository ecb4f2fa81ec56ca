"""Of what kind stored answers are, told by what they bring: then the error categories of that kind are looked for."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice

from ftstudio.evaluation import classification, ranking, tagging
from ftstudio.evaluation.classification import number_in
from ftstudio.evaluation.predictions import Prediction

LOOKED_AT = 200  # answers that are looked at: they are all of one kind
_TAG = re.compile(r"O|[BI]-\S+")


def categories_of(predictions: Sequence[Prediction]) -> tuple[str, ...]:
    """The names of the categories that suit PREDICTIONS: those of tagged words, labels, searches or scored pairs; none
    where they are written text."""
    rows = predictions[:: max(1, len(predictions) // LOOKED_AT)][:LOOKED_AT]
    if not rows:
        return ()
    if all(isinstance(row.extra.get("probabilities"), Mapping) for row in rows):
        return classification.CATEGORIES
    if all(isinstance(row.extra.get("cosine"), (int, float)) for row in rows):
        # a scored pair may tell a rank, too, but its answer is the cosine
        return ranking.SCORED if all(number_in(row.output) is not None for row in rows) else ranking.SEARCHED
    if all(isinstance(row.extra.get("rank"), int) for row in rows):
        return ranking.SEARCHED
    return tagging.CATEGORIES if _tagged(rows) else ()


def _tagged(rows: Sequence[Prediction]) -> bool:
    """Whether all ROWS answer words with a tag each, and some mark an entity."""
    marked = False
    for row in rows:
        words = row.extra.get("words")
        count = len(words) if isinstance(words, list) else len(row.prompt.split())
        sides = [list(islice(_words(text), count + 1)) for text in (row.output, row.reference) if text is not None]
        if not count or any(len(side) != count or not all(map(_TAG.fullmatch, side)) for side in sides):
            return False
        marked = marked or any(tag.startswith("B-") for side in sides for tag in side)
    return marked


def _words(text: str) -> Iterator[str]:
    return (match.group() for match in re.finditer(r"\S+", text))
