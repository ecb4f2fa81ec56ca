"""Training labels that are likely wrong: the detector `label_error` over what a quick classifier of other rows thinks.

The classifier reads the vectors of the prompts and judges every row by a model that has not seen it (5 folds), as the
check `label_noise` of the data does; where it is hardly more often right than the most frequent label alone, its doubts
say nothing, and none is told. No model of the studio is asked, no torch imported.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ftstudio.data.checks.found import spread
from ftstudio.data.checks.labels import FEWEST, MOST, MOST_CELLS, MOST_JUDGED, WEAK, out_of_fold
from ftstudio.data.skill import unheard
from ftstudio.evaluation.categories import Categorised, Categoriser, every
from ftstudio.evaluation.context import Context
from ftstudio.evaluation.neighbours import Neighbours
from ftstudio.evaluation.predictions import Prediction

if TYPE_CHECKING:
    import numpy as np

NAME = "label_error"


@dataclass(frozen=True)
class Doubts:
    """`found`: the category alone, with the reason where the classifier isn't heard. `likelier`: by row number the
    label that is held likelier. `right`: the share of the rows that the classifier labels as they are labelled."""

    found: Categorised
    likelier: Mapping[int, str]
    right: float = 0.0

    @property
    def weak(self) -> bool:
        """Whether the classifier is wrong so often that what it says is a hint at best."""
        return self.right < WEAK


def in_doubt(
    index: Neighbours, labels: Mapping[int, str], context: Context, should_stop: Callable[[], bool] | None = None
) -> Doubts | None:
    """What is likely wrong in LABELS, by row number, of the rows in INDEX; None where they can't be judged: fewer than
    two labels with five rows, or more than 200. Raises Stopped where SHOULD_STOP said so."""
    import numpy as np

    counts = Counter(labels.values())
    names = sorted(name for name, count in counts.items() if count >= FEWEST)
    if not 2 <= len(names) <= MOST_JUDGED:
        return None
    known = set(names)
    places = [place for place, row in enumerate(index.rows) if labels.get(row) in known]
    places = places[:: spread(len(places), min(MOST, MOST_CELLS // len(names)))]
    left_in = Counter(labels[index.rows[place]] for place in places)  # fewer, where rows are passed over
    names = [name for name in names if left_in[name] >= FEWEST]
    places = [place for place in places if left_in[labels[index.rows[place]]] >= FEWEST]
    if len(names) < 2:
        return None
    number = {name: at for at, name in enumerate(names)}
    given = [number[labels[index.rows[place]]] for place in places]
    shares: np.ndarray = out_of_fold(index.prompts[np.asarray(places)], given, should_stop)
    best = shares.argmax(axis=1).tolist()
    right = sum(label == guess for label, guess in zip(given, best, strict=True)) / len(given)
    if why := unheard("a quick classifier of the other rows", right, given):
        return Doubts(Categorised((), {}, {NAME: []}, {NAME: 0}, {NAME: why}), {}, right)
    work = Categoriser(context, detectors={NAME: every()[NAME]}, references=False)
    for place, label, guess, row in zip(places, given, best, shares.tolist(), strict=True):
        told = dict(zip(names, row, strict=True))
        # where the classifier prefers the label that is there, there is no doubt
        work.add(Prediction(index.rows[place], "", names[label], names[guess], extra={"probabilities": told}))
    found = work.result()
    likelier = {
        index.rows[place]: names[guess]
        for place, label, guess in zip(places, given, best, strict=True)
        if guess != label and index.rows[place] in found.findings
    }
    kept = {row: told for row, told in found.findings.items() if row in likelier}
    rows = {NAME: [row for row in found.rows[NAME] if row in likelier]}
    return Doubts(Categorised(found.predictions, kept, rows, found.judged, found.reasons), likelier, right)


def joined(found: Categorised, doubts: Categorised) -> Categorised:
    """FOUND with what DOUBTS says of its category."""
    from dataclasses import replace

    findings = dict(found.findings)
    for row, told in doubts.findings.items():
        findings[row] = (*findings.get(row, ()), *told)
    reasons = {name: reason for name, reason in found.reasons.items() if name != NAME} | doubts.reasons
    return replace(
        found,
        findings=findings,
        rows=found.rows | doubts.rows,
        judged=found.judged | doubts.judged,
        reasons=reasons,
        unjudged={name: rows for name, rows in found.unjudged.items() if name != NAME},
    )
