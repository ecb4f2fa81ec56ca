"""Scores of answers that are labels or numbers: accuracy, F1, Matthews' correlation, Pearson and Spearman.

In a comparison they are made of counts that add up over rows, so that resampled corpora cost no new counting. While a
model learns those of several labels are, too; of single labels and numbers they come from scikit-learn and scipy, which
give the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ftstudio.data.label_cells import SEPARATOR

if TYPE_CHECKING:
    import numpy as np

CATEGORIES = ("wrong_label", "confident_wrong", "near_miss", "rare_class", "label_error", "unparsable")


def joined(names: Sequence[str]) -> str:
    """Several labels as one text, in the order of their names; empty for none."""
    return SEPARATOR.join(sorted(names))


def parted(text: str) -> list[str]:
    """The labels in a text that `joined` made, or a model wrote."""
    return [part.strip() for part in text.split(SEPARATOR) if part.strip()]


def balanced(counts: Sequence[int]) -> list[float]:
    """Weights of labels that let each count as much: rows / (labels · count), as scikit-learn's `balanced`."""
    total = sum(counts)
    return [total / (len(counts) * max(1, count)) for count in counts]


def summary(answers: Sequence[str], references: Sequence[str], problem: str) -> dict[str, float]:
    """`accuracy`, `f1` (macro) and `mcc` of single labels; `accuracy` (whole sets), `f1` and `f1_micro` of several
    (0 where no label occurs); `spearman` and `pearson` of numbers (left out where all are equal)."""
    if not answers:
        return {}
    if problem == "regression":
        return _correlations([float(text) for text in answers], [float(text) for text in references])
    right = sum(a == b for a, b in zip(answers, references, strict=True)) / len(answers)
    found = {"accuracy": right}
    if problem == "multi_label_classification":
        # not scikit-learn: it fails where no label occurs, and takes the column of a single one for two classes
        macro, micro = LabelMetric("f1"), LabelMetric("f1_micro")
        [counts] = macro.statistics([answers], references)
        totals = counts.sum(axis=0, keepdims=True)
        return found | {one.name: float(one.score(totals)[0]) for one in (macro, micro)}
    from sklearn.metrics import f1_score, matthews_corrcoef

    found["f1"] = float(f1_score(references, answers, average="macro", zero_division=0.0))
    found["mcc"] = float(matthews_corrcoef(references, answers))
    return found


def _correlations(answers: Sequence[float], references: Sequence[float]) -> dict[str, float]:
    from scipy.stats import pearsonr, spearmanr

    if len(answers) < 2 or min(answers) == max(answers) or min(references) == max(references):
        return {}
    return {
        "spearman": float(spearmanr(answers, references).statistic),
        "pearson": float(pearsonr(answers, references).statistic),
    }


def number_in(text: str) -> float | None:
    """TEXT as a number; None where it is none."""
    try:
        found = float(text.strip())
    except ValueError:
        return None
    return found if found == found and abs(found) != float("inf") else None


class LabelMetric:
    """`f1` (macro), `f1_micro` or `mcc` of a corpus, from what its rows add up to: of each label how often it was
    given rightly, given, and wanted.

    Matthews' correlation of many labels is Gorodkin's R_K (2004), which needs no more than these counts.
    """

    def __init__(self, name: str) -> None:
        self.name = name

    def statistics(self, systems: Sequence[Sequence[str]], references: Sequence[str]) -> list[np.ndarray]:
        """Counts of each row, (rows, 3 · labels), for each of SYSTEMS' outputs."""
        import numpy as np

        wanted = [_labels(text) for text in references]
        given = [[_labels(text) for text in outputs] for outputs in systems]
        names = sorted({name for row in (*wanted, *(row for rows in given for row in rows)) for name in row})
        places = {name: place for place, name in enumerate(names)}
        size, found = len(names), []
        for rows in given:
            counts = np.zeros((len(rows), 3 * size))
            for index, (mine, right) in enumerate(zip(rows, wanted, strict=True)):
                for name in mine:
                    counts[index, size + places[name]] = 1
                    counts[index, places[name]] = name in right
                for name in right:
                    counts[index, 2 * size + places[name]] = 1
            found.append(counts)
        return found

    def score(self, totals: np.ndarray) -> np.ndarray:
        """The scores of corpora whose summed counts are the rows of TOTALS."""
        import numpy as np

        right, given, wanted = np.split(totals, 3, axis=1)
        with np.errstate(divide="ignore", invalid="ignore"):
            if self.name == "mcc":
                rows = wanted.sum(axis=1)
                covered = rows * right.sum(axis=1) - (given * wanted).sum(axis=1)
                spread = (rows**2 - (given**2).sum(axis=1)) * (rows**2 - (wanted**2).sum(axis=1))
                return np.where(spread > 0, covered / np.sqrt(np.maximum(spread, 1e-300)), 0.0)
            if self.name == "f1_micro":
                both = given.sum(axis=1) + wanted.sum(axis=1)
                return np.where(both > 0, 2 * right.sum(axis=1) / both, 0.0)
            both = given + wanted
            each = np.where(both > 0, 2 * right / both, 0.0)
            return each.sum(axis=1) / np.maximum((both > 0).sum(axis=1), 1)

    @property
    def signature(self) -> str:
        """What the number depends on."""
        kinds = {"f1": "macro over the labels that occur", "f1_micro": "micro", "mcc": "Gorodkin's R_K"}
        return kinds[self.name]


class CorrelationMetric:
    """`pearson` or `spearman` of numbers, from the moments of its rows. Spearman's ranks are those among all rows, and
    stay with their rows in resamples. An output that is no number counts as the middle of all references."""

    def __init__(self, name: str) -> None:
        self.name = name

    def statistics(self, systems: Sequence[Sequence[str]], references: Sequence[str]) -> list[np.ndarray]:
        """Moments of each row, (rows, 6): 1, x, y, x², y², xy."""
        import numpy as np

        wanted = np.array([_number(text, 0.0) for text in references])
        middle = float(np.median(wanted)) if len(wanted) else 0.0
        found = []
        for outputs in systems:
            x, y = np.array([_number(text, middle) for text in outputs]), wanted
            if self.name == "spearman":
                from scipy.stats import rankdata

                x, y = rankdata(x), rankdata(y)
            x, y = _standard(x), _standard(y)
            found.append(np.stack([np.ones_like(x), x, y, x * x, y * y, x * y], axis=1))
        return found

    def score(self, totals: np.ndarray) -> np.ndarray:
        """The correlations of corpora whose summed moments are the rows of TOTALS; 0 where one side is constant."""
        import numpy as np

        n, x, y, xx, yy, xy = totals.T
        spread = (n * xx - x * x) * (n * yy - y * y)
        return np.where(spread > 1e-12, (n * xy - x * y) / np.sqrt(np.maximum(spread, 1e-300)), 0.0)

    @property
    def signature(self) -> str:
        """What the number depends on."""
        return "ranks among all rows, means of ties" if self.name == "spearman" else "product-moment"


def _standard(values: np.ndarray) -> np.ndarray:
    """VALUES around 0 with a deviation of 1 (correlations do not depend on the scale): tiny numbers count, too."""
    found: np.ndarray = values - values.mean() if len(values) else values
    spread = float(found.std()) if len(values) else 0.0
    return found / spread if spread > 1e-12 * float(abs(values).max(initial=0.0)) else found * 0.0


def _labels(text: str) -> list[str]:
    return parted(text)


def _number(text: str, otherwise: float) -> float:
    found = number_in(text)
    return otherwise if found is None else found


METRICS: dict[str, Any] = {
    **dict.fromkeys(("f1", "f1_micro", "mcc"), LabelMetric),
    **dict.fromkeys(("spearman", "pearson"), CorrelationMetric),
}
