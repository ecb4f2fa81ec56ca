"""Rows that are nearly equal, rows that mean the same, and rows that are like no other."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import TYPE_CHECKING

from ftstudio.core.errors import Stopped
from ftstudio.data.checks.found import Check, found, of_some, said, spread
from ftstudio.data.dataset import Cancel
from ftstudio.data.example import Example

if TYPE_CHECKING:
    import numpy as np

NEAR = 0.7  # likeness of runs of five characters (Jaccard)
COSINE = 0.95
SHORTEST = 40  # characters: shorter rows are alike without meaning it
MOST = 50_000  # rows compared with each other
FEWEST = 100  # rows from which the farthest of a hundred says anything
FARTHEST = 0.01
_TEXT = 20_000  # characters of a row that are compared
_BLOCK = 512
_AT_ONCE = 2_000

Embed = Callable[[Sequence[str]], "np.ndarray"]


class Alike:
    """Keeps the text of (a sample of) the rows, and compares it once all are seen."""

    def __init__(
        self,
        count: int,
        wanted: Collection[str],
        embed: Embed,
        copies: Collection[int],
        cancel: Cancel | None,
        labelled: bool = False,
    ) -> None:
        self.labelled = labelled  # a label makes texts no more alike
        self.count, self.wanted, self.embed, self.copies, self.cancel = count, wanted, embed, copies, cancel
        self.step = spread(count, MOST)
        self.rows: list[int] = []
        self.texts: list[str] = []

    def add(self, index: int, asked: str, answered: str, example: Example | None) -> None:
        """Keep the row's text, where that is all there is of it: with pictures, alike texts are about other things."""
        if example is not None and example.fields.get("images"):
            return
        text = (asked if self.labelled or not answered else f"{asked}\n{answered}")[:_TEXT]
        if index % self.step == 0 and len(text) > SHORTEST:
            self.rows.append(index)
            self.texts.append(text)

    def checks(self) -> list[Check]:
        """Near and semantic duplicates, each row under the stricter of them, and outliers."""
        from ftstudio.data.split_near import near_groups  # brings numpy

        copies = set(self.copies)
        keep = [place for place, row in enumerate(self.rows) if row not in copies]
        rows, texts = [self.rows[place] for place in keep], [self.texts[place] for place in keep]
        if len(rows) < 2:
            return []
        some = of_some(-(-self.count // self.step), self.count)
        result: list[Check] = []
        near: list[int] = []
        if "near_duplicate" in self.wanted:
            leaders = near_groups(texts, NEAR, cancel=self.cancel)
            places = [place for place, leader in enumerate(leaders) if leader != place]
            near = [rows[place] for place in places]
            like = [[rows[leaders[place]], rows[place]] for place in places[:50]]
            text = f"{said(near)} nearly equal to an earlier one.{some}"
            result.append(found("near_duplicate", "warning", near, text, pairs=like))
        if not {"semantic_duplicate", "outlier"} & set(self.wanted):
            return result
        vectors = embedded(texts, self.embed, self.cancel)
        before, nearest = _nearest(vectors, self.cancel)
        if "semantic_duplicate" in self.wanted:
            skip = set(near)
            places = [place for place, other in enumerate(before) if other >= 0 and rows[place] not in skip]
            mean = [rows[place] for place in places]
            like = [[rows[before[place]], rows[place]] for place in places[:50]]
            text = f"{said(mean)} meaning what an earlier one means.{some}"
            result.append(found("semantic_duplicate", "warning", mean, text, pairs=like))
        if "outlier" in self.wanted and len(rows) >= FEWEST:
            far = sorted(range(len(rows)), key=lambda place: (nearest[place], place))[: round(FARTHEST * len(rows))]
            out = sorted(rows[place] for place in far)
            limit = float(nearest[far[-1]])
            text = f"{said(out)} least like any other (a cosine of at most {limit:.2f} to the nearest one).{some}"
            result.append(found("outlier", "note", out, text, cosine=round(limit, 4)))
        return result


def embedded(texts: Sequence[str], embed: Embed, cancel: Cancel | None) -> np.ndarray:
    """The vectors of TEXTS (at least one), asking CANCEL every 2,000. Raises Stopped."""
    import numpy as np

    parts = []
    for start in range(0, len(texts), _AT_ONCE):
        if cancel is not None and cancel():
            raise Stopped("Stopped while embedding the rows.")
        parts.append(embed(texts[start : start + _AT_ONCE]))
    return np.concatenate(parts)


def _nearest(vectors: np.ndarray, cancel: Cancel | None) -> tuple[list[int], np.ndarray]:
    """(for each of VECTORS an earlier one at least COSINE near, -1 where there is none; its cosine to the nearest
    other)."""
    import numpy as np

    count = len(vectors)
    before: list[int] = []
    nearest = np.full(count, -1.0, np.float32)
    for start in range(0, count, _BLOCK):
        if cancel is not None and cancel():
            raise Stopped("Stopped while comparing the rows.")
        block = vectors[start : start + _BLOCK]
        cosines = block @ vectors.T
        here = np.arange(len(block))
        cosines[here, start + here] = -1.0
        nearest[start : start + len(block)] = cosines.max(axis=1)
        for place, row in enumerate(cosines):
            first = np.flatnonzero(row[: start + place] >= COSINE)
            before.append(int(first[0]) if len(first) else -1)
    return before, nearest
