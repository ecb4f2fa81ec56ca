"""Labels that hardly occur, and labels that are likely wrong.

Label noise is confident learning (Northcutt, Jiang, Chuang 2021, "Confident Learning: Estimating Uncertainty in Dataset
Labels"): a classifier predicts every row from the others; a row counts as wrong where the classifier is, for another
label, at least as sure as it is on average for the rows of that label, and doesn't prefer the given one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Any

from ftstudio.core.errors import Stopped
from ftstudio.data.checks.alike import Embed, embedded
from ftstudio.data.checks.found import Check, Severity, found, of_some, said, spread
from ftstudio.data.dataset import Cancel
from ftstudio.data.example import Example, text_of
from ftstudio.data.labels import SINGLE, parted
from ftstudio.data.skill import telling

if TYPE_CHECKING:
    import numpy as np

RARE = 0.1  # of an even share of the rows
LABELS = 1_000  # more different ones are no labels
FOLDS = 5
FEWEST = 5  # rows a label must have to be judged
MOST = 20_000  # rows judged
NEAR = 1e-6
STEPS = 30  # of the optimiser
MOST_CELLS = 1_000_000  # rows times labels: 10 seconds or so
MOST_JUDGED = 200  # labels
WEAK = 0.8  # accuracy of the classifier under which what it says is only a hint


class Labels:
    """Counts the labels, and keeps (a sample of) the texts to be judged once all are seen. Numbers that are no classes
    are none, and where a row may have several labels they are counted and not judged."""

    def __init__(self, count: int, wanted: Collection[str], embed: Embed, cancel: Cancel | None) -> None:
        self.count, self.wanted, self.embed, self.cancel = count, wanted, embed, cancel
        self.step = spread(count, MOST)
        self.labels: list[str] = []
        self.cells: list[Any] = []
        self.rows: list[int] = []
        self.judged: list[tuple[int, str, str]] = []

    def add(self, index: int, asked: str, answered: str, example: Example | None) -> None:
        """Note the row's label."""
        cell = example.fields.get("raw_label") if example is not None else None
        label = text_of(cell).strip()
        if label:
            self.rows.append(index)
            self.labels.append(label)
            self.cells.append(cell)
            if index % self.step == 0:
                self.judged.append((index, asked, label))

    def checks(self) -> list[Check]:
        """Rare labels, and rows whose label is likely wrong."""
        problem, held = parted(self.cells)
        counts = Counter(label for labels in held for label in labels)
        if not 2 <= len(counts) <= LABELS or len(counts) > len(self.labels) / 2:
            return []
        result = []
        if "label_imbalance" in self.wanted:
            least = RARE * sum(counts.values()) / len(counts)
            rare = {label for label, count in counts.items() if count < least}
            rows = [row for row, labels in zip(self.rows, held, strict=True) if rare.intersection(labels)]
            names = ", ".join(f"{label[:30]} {counts[label]:,}" for label in sorted(rare, key=counts.__getitem__)[:5])
            which = f"{len(rare):,} of {len(counts):,} labels" if len(rare) != 1 else f"1 of {len(counts):,} labels"
            text = f"{said(rows)} of {which} that hardly occur ({names}): a model rarely learns those."
            result.append(found("label_imbalance", "warning", rows, text, labels=dict(counts.most_common(100))))
        if "label_noise" in self.wanted and problem == SINGLE:
            result.append(self._noise())
        return result

    def _noise(self) -> Check:
        counts = Counter(label for _, _, label in self.judged)
        names = sorted(label for label, count in counts.items() if count >= FEWEST)
        kept = [item for item in self.judged if counts[item[2]] >= FEWEST]
        most = MOST_CELLS // max(1, len(names))
        kept = kept[:: spread(len(kept), most)]
        left_in = Counter(item[2] for item in kept)  # fewer of a label than there were, where rows were passed over
        names = [name for name in names if left_in[name] >= FEWEST]
        kept = [item for item in kept if left_in[item[2]] >= FEWEST]
        if not 2 <= len(names) <= MOST_JUDGED:
            return found("label_noise", "warning", [], "")
        vectors = embedded([text for _, text, _ in kept], self.embed, self.cancel)
        places = {label: place for place, label in enumerate(names)}
        labels = [places[label] for _, _, label in kept]
        probabilities = out_of_fold(vectors, labels, self.cancel)
        wrong = label_errors(labels, probabilities)
        rows = [kept[place][0] for place in wrong]
        likely = {kept[place][0]: names[int(probabilities[place].argmax())] for place in wrong[:200]}
        some = of_some(len(kept) if len(kept) < len(self.labels) else self.count, self.count)
        right = sum(int(best) == label for best, label in zip(probabilities.argmax(axis=1), labels, strict=True))
        accuracy = right / len(labels)
        if not telling(accuracy, labels):
            return found("label_noise", "warning", [], "")
        left = len(counts) - len(names)
        few = f" Labels with under {FEWEST} rows aren't judged: {left:,}." if left else ""
        hint = "; a hint at best" if accuracy < WEAK else ""
        told = f"a classifier of the other rows, right in {100 * accuracy:.0f} % of them, sees it{hint}"
        text = f"{said(rows)} likely to have a wrong label, as {told}.{few}{some}"
        severity: Severity = "note" if accuracy < WEAK else "warning"
        return found("label_noise", severity, rows, text, likely=likely, accuracy=round(accuracy, 4))


def out_of_fold(vectors: np.ndarray, labels: Sequence[int], cancel: Cancel | None = None) -> np.ndarray:
    """The probability of each label for each of VECTORS (rows, dimensions), by logistic regression on the other
    folds: float (rows, labels), each row adding up to 1. Every label needs at least FOLDS rows.
    """
    import warnings

    import numpy as np
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedKFold
    from threadpoolctl import threadpool_limits

    given = np.asarray(labels)
    found = np.zeros((len(given), int(given.max()) + 1))
    for train, test in StratifiedKFold(FOLDS, shuffle=True, random_state=0).split(vectors, given):
        if cancel is not None and cancel():
            raise Stopped("Stopped while judging the labels.")
        with warnings.catch_warnings(), threadpool_limits(1):  # more threads wait for each other more than they compute
            warnings.simplefilter("ignore", ConvergenceWarning)  # near enough to judge by
            model = LogisticRegression(C=10.0, max_iter=STEPS).fit(vectors[train], given[train])
        found[np.ix_(test, model.classes_)] = model.predict_proba(vectors[test])
    return found


def label_errors(labels: Sequence[int], probabilities: np.ndarray) -> list[int]:
    """The places whose label is likely wrong, by confident learning (cleanlab's `filter_by="confident_learning"`).

    A label's threshold is the mean probability of it over the rows that have it; a row is confidently of another label
    where that one reaches its threshold (where several do, of the most probable of all).
    """
    import numpy as np

    given = np.asarray(labels)
    thresholds = np.array([probabilities[given == label, label].mean() for label in range(probabilities.shape[1])])
    sure = probabilities >= thresholds - NEAR
    best = probabilities.argmax(axis=1)
    guess = np.where(sure.sum(axis=1) > 1, best, sure.argmax(axis=1))
    wrong = sure.any(axis=1) & (guess != given) & (best != given)
    return [int(place) for place in wrong.nonzero()[0]]
