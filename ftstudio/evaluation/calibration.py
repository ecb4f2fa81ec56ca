"""How far the probabilities of a classifier can be believed: Brier score, expected calibration error, reliability.

A prediction of labels carries `probabilities`, one for each label. Where a row has one label, they add up to 1, and
that of the answer is judged; where it may have several, each label's is judged on its own.

The expected calibration error is that of Guo, Pleiss, Sun and Weinberger 2017, "On Calibration of Modern Neural
Networks": in 15 bins of equal width, how far the mean probability is from the share that is right, weighted by count.
The Brier score (Brier 1950) is the squared error of the probabilities, from 0 to 1: half the sum over the labels, which
for two labels is scikit-learn's `brier_score_loss`; of several labels a row the mean over them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ftstudio.evaluation.classification import parted

if TYPE_CHECKING:
    import numpy as np

    from ftstudio.evaluation.predictions import Prediction

BINS = 15
_ROUNDED = 1e-5  # probabilities are stored to five digits


@dataclass(frozen=True)
class Answered:
    """An answer that is judged: the `probabilities` of the labels, the `output`, the `reference`."""

    probabilities: Mapping[str, float]
    output: str
    reference: str


@dataclass(frozen=True)
class Bin:
    """The judgements with a probability above `low` up to `high`: their `count`, the mean probability (`sure`), and the
    share that is `right`."""

    low: float
    high: float
    count: int
    sure: float
    right: float


@dataclass(frozen=True)
class Reliability:
    """The `bins` that hold a judgement, from the least sure on; `rows` judged, and whether a row may have `several`
    labels; `error` (expected calibration error), `brier`, and over all judgements how `sure` and how `right`."""

    bins: tuple[Bin, ...]
    rows: int
    several: bool
    error: float
    brier: float
    sure: float
    right: float


def answered(extra: Mapping[str, Any], output: str, reference: str | None) -> Answered | None:
    """The answer OUTPUT, with its EXTRA, to a row with REFERENCE; None where it can't be judged."""
    told = extra.get("probabilities")
    if reference is None or not isinstance(told, Mapping) or not told:
        return None
    if not all(isinstance(value, (int, float)) and 0 <= value <= 1 for value in told.values()):
        return None
    return Answered({str(name): float(value) for name, value in told.items()}, output.strip(), reference.strip())


def _exclusive(rows: Sequence[Answered]) -> bool:
    """Whether the labels of ROWS exclude each other: the probabilities of each add up to 1."""
    return all(abs(sum(row.probabilities.values()) - 1) <= _ROUNDED * len(row.probabilities) for row in rows)


def _judgements(row: Answered, exclusive: bool) -> list[tuple[float, bool]]:
    """(probability, whether right): of the answer, or of every label."""
    shares = row.probabilities
    if exclusive:
        best = row.output if row.output in shares else max(shares, key=shares.__getitem__)
        return [(shares[best], best == row.reference)]
    wanted = parted(row.reference)
    return [(shares.get(name, 0.0), name in wanted) for name in dict.fromkeys([*shares, *wanted])]


def _squares(row: Answered, exclusive: bool) -> float:
    """The Brier score of ROW."""
    shares = row.probabilities
    if exclusive:
        return (sum(value * value for value in shares.values()) + 1 - 2 * shares.get(row.reference, 0.0)) / 2
    judged = _judgements(row, exclusive)
    return sum((value - right) ** 2 for value, right in judged) / len(judged)


def _counts(rows: Sequence[Answered]) -> np.ndarray:
    """[rows, 3 · BINS]: in each bin how many judgements, the sum of their probabilities, how many are right."""
    import numpy as np

    exclusive = _exclusive(rows)
    found = np.zeros((len(rows), 3 * BINS))
    edges = np.arange(1, BINS) / BINS
    for index, row in enumerate(rows):
        judged = np.array(_judgements(row, exclusive), dtype=np.float64)
        places = np.searchsorted(edges, judged[:, 0])  # above the edge before it, up to its own
        np.add.at(found[index], places, 1)
        np.add.at(found[index], BINS + places, judged[:, 0])
        np.add.at(found[index], 2 * BINS + places, judged[:, 1])
    return found


class CalibrationMetric:
    """`ece` or `brier` of a corpus, from what its rows add up to."""

    def __init__(self, name: str) -> None:
        self.name = name

    def of_rows(self, rows: Sequence[Prediction]) -> np.ndarray | None:
        """What each of ROWS adds; None where any of them doesn't tell the probabilities of its labels."""
        judged = [answered(row.extra, row.output, row.reference) for row in rows]
        known = [row for row in judged if row is not None]
        return self.of_answers(known) if known and len(known) == len(judged) else None

    def of_answers(self, rows: Sequence[Answered]) -> np.ndarray:
        """[rows, 3 · BINS] (see `_counts`), or [rows, 2]: 1 and the Brier score."""
        import numpy as np

        if self.name == "ece":
            return _counts(rows)
        exclusive = _exclusive(rows)
        return np.array([(1.0, _squares(row, exclusive)) for row in rows])

    def statistics(self, systems: Sequence[Sequence[str]], references: Sequence[str]) -> list[np.ndarray]:
        """Texts alone tell nothing of it; see `of_rows`."""
        raise TypeError(f"{self.name} is made of probabilities, not of texts")

    def score(self, totals: np.ndarray) -> np.ndarray:
        """The scores of corpora whose sums are the rows of TOTALS."""
        import numpy as np

        if self.name == "brier":
            return totals[:, 1] / np.maximum(totals[:, 0], 1e-12)
        count, sure, right = np.split(totals, 3, axis=1)
        found: np.ndarray = np.abs(sure - right).sum(axis=1) / np.maximum(count.sum(axis=1), 1e-12)
        return found

    @property
    def signature(self) -> str:
        """What the number depends on."""
        return (
            f"{BINS} bins of equal width" if self.name == "ece" else "0 to 1: half the sum over labels, or their mean"
        )


METRICS: dict[str, Any] = {"brier": CalibrationMetric, "ece": CalibrationMetric}


def summary(rows: Iterable[tuple[Mapping[str, Any], str, str]]) -> dict[str, float]:
    """`brier` and `ece` of ROWS (extra, output, reference); nothing where one of them can't be judged."""
    judged = [answered(*row) for row in rows]
    known = [row for row in judged if row is not None]
    if not known or len(known) < len(judged):
        return {}
    return {name: _score(name, known) for name in METRICS}


def _score(name: str, rows: Sequence[Answered]) -> float:
    metric = CalibrationMetric(name)
    return float(metric.score(metric.of_answers(rows).sum(axis=0, keepdims=True))[0])


def reliability(predictions: Iterable[Prediction]) -> Reliability | None:
    """How sure PREDICTIONS are and how often right; those without a reference or probabilities are passed over. None
    where all are."""
    judged = (answered(row.extra, row.output, row.reference) for row in predictions)
    rows = [row for row in judged if row is not None]
    if not rows:
        return None
    import numpy as np

    count, sure, right = np.split(_counts(rows).sum(axis=0), 3)
    total = float(count.sum())
    bins = tuple(
        Bin(at / BINS, (at + 1) / BINS, int(count[at]), float(sure[at] / count[at]), float(right[at] / count[at]))
        for at in range(BINS)
        if count[at]
    )
    error, brier = _score("ece", rows), _score("brier", rows)
    means = float(sure.sum()) / total, float(right.sum()) / total
    return Reliability(bins, len(rows), not _exclusive(rows), error, brier, *means)
