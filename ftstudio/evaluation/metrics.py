"""Metrics of one output against its reference, and of all outputs together. Each has a signature.

ROUGE is rouge-score's (see `overlap`), BLEU and chrF are sacrebleu's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any, Protocol

from ftstudio import __version__
from ftstudio.data import words
from ftstudio.evaluation import calibration, classification, likelihood, ngrams, ranking, tagging
from ftstudio.evaluation.overlap import LONGEST
from ftstudio.evaluation.titles import TITLES as TITLES
from ftstudio.evaluation.titles import title as title

if TYPE_CHECKING:
    import numpy as np

ROW_METRICS = (
    "rouge1", "rouge2", "rougeL", "similarity", "exact_match", "accuracy", "absolute_error", "length",
    *ranking.METRICS,
)  # fmt: skip
ON_REQUEST = ("numeric_match", "token_f1", "edit")  # row metrics that are measured only where they are asked for
OF_HUNDRED = ("bleu", "chrf", "ter")  # from 0 to 100; all others from 0 or -1 to 1
OF_ROWS: Mapping[str, Any] = {**likelihood.METRICS, **calibration.METRICS}  # made of more than the texts of the rows
CORPUS_METRICS = (*OF_HUNDRED, *classification.METRICS, *tagging.METRICS, *OF_ROWS)
BY_ROW = (*ROW_METRICS, *ON_REQUEST, "tag_accuracy", "masked_accuracy")  # what a single row may have
RIGHT_OR_WRONG = ("exact_match", "accuracy", "numeric_match")  # 1 or 0: tested by McNemar
# answers that are judged by these alone are labels, tags, numbers or vectors: their words say nothing
OF_NO_TEXT = frozenset(
    ("accuracy", "absolute_error", "tag_accuracy", "masked_accuracy", *ranking.METRICS, *classification.METRICS,
     *tagging.METRICS, *calibration.METRICS)
)  # fmt: skip
FAMILIES: Mapping[str, tuple[str, ...]] = {
    "rouge": ("rouge1", "rouge2", "rougeL"),
    "bleu": ("bleu", "chrf"),
    "chrf": ("chrf",),
    "similarity": ("similarity",),
    "exact_match": ("exact_match",),
    "length": ("length",),
}


def expand(names: Sequence[str]) -> tuple[list[str], list[str]]:
    """The metrics that NAMES of a recipe (`rouge`, `bleu` …) stand for, each once, and the names that are unknown."""
    found: dict[str, None] = {}
    unknown = []
    for name in names:
        single = name if name in (*ROW_METRICS, *ON_REQUEST, *CORPUS_METRICS) else None
        if name in FAMILIES:
            found.update(dict.fromkeys(FAMILIES[name]))
        elif single:
            found[single] = None
        else:
            unknown.append(name)
    return list(found), unknown


def with_length(names: Sequence[str]) -> list[str]:
    """NAMES, and with them the words of an answer where it is text."""
    return [*names, *(() if names and OF_NO_TEXT.issuperset(names) else ("length",))]


def length(text: str) -> int:
    """The length of TEXT in words."""
    return words.length(text)


class CorpusMetric:
    """BLEU, chrF or TER over a corpus, from the statistics of its rows, so that resampled corpora cost no new counting.
    TER's edits take about 40 ms a row."""

    def __init__(self, name: str) -> None:
        from sacrebleu.metrics import BLEU, CHRF, TER

        self.name = name
        self._metric = BLEU(force=True) if name == "bleu" else TER() if name == "ter" else CHRF()
        self._metric.num_refs = 1

    def statistics(self, systems: Sequence[Sequence[str]], references: Sequence[str]) -> list[np.ndarray]:
        """Counts of each row, (rows, statistics), for each of SYSTEMS' outputs: what sacrebleu adds up over a corpus.

        The references are counted once for all systems.
        """
        import numpy as np

        right = [text[:LONGEST] for text in references]
        given = [[text[:LONGEST] for text in outputs] for outputs in systems]
        if self.name != "ter":
            return (ngrams.bleu_counts if self.name == "bleu" else ngrams.chrf_counts)(given, right)
        metric = self._metric
        metric._ref_cache = metric._cache_references([right])
        found = [np.asarray(metric._extract_corpus_statistics(outputs, None), dtype=np.float64) for outputs in given]
        metric._ref_cache = None
        return found

    def score(self, totals: np.ndarray) -> np.ndarray:
        """The scores (from 0 to 100) of corpora whose summed statistics are the rows of TOTALS."""
        return {"bleu": _bleu, "chrf": _chrf, "ter": _ter}[self.name](totals)

    @property
    def signature(self) -> str:
        """sacrebleu's signature: everything that the number depends on."""
        return f"{self._metric.get_signature()}"


class Corpus(Protocol):
    """A metric of a whole corpus, made of what its rows add up to."""

    def statistics(self, systems: Sequence[Sequence[str]], references: Sequence[str]) -> list[np.ndarray]:
        """What each row adds, (rows, statistics), for each of SYSTEMS' outputs."""

    def score(self, totals: np.ndarray) -> np.ndarray:
        """The scores of corpora whose sums are the rows of TOTALS."""

    @property
    def signature(self) -> str:
        """What the number depends on."""


@cache
def corpus_metric(name: str) -> Corpus:
    """The corpus metric NAME."""
    kind = {**classification.METRICS, **tagging.METRICS, **OF_ROWS}.get(name, CorpusMetric)
    metric: Corpus = kind(name)
    return metric


def corpus_score(name: str, outputs: Sequence[str], references: Sequence[str]) -> float:
    """BLEU or chrF, from 0 to 100, of OUTPUTS against one reference each."""
    metric = corpus_metric(name)
    [counts] = metric.statistics([outputs], references)
    return float(metric.score(counts.sum(axis=0, keepdims=True))[0])


def _bleu(totals: np.ndarray) -> np.ndarray:
    """BLEU-4 with exponential smoothing, as sacrebleu's BLEU.compute_bleu, for many corpora at once."""
    import numpy as np

    given, wanted, correct, total = totals[:, 0], totals[:, 1], totals[:, 2:6], totals[:, 6:10]
    with np.errstate(divide="ignore", invalid="ignore"):
        penalty = np.where(given < wanted, np.where(given > 0, np.exp(1 - wanted / given), 0.0), 1.0)
        halvings = np.cumsum((correct == 0) & (total > 0), axis=1)  # every order without a match halves the next
        precision = np.where(correct > 0, 100 * correct / total, 100 / (2.0**halvings * total))
        precision = np.where(np.cumprod(total > 0, axis=1).astype(bool), precision, 0.0)
        # log(0) counts as -9999999999 there: such a score is 0
        score = penalty * np.exp(np.log(np.where(precision > 0, precision, 1.0)).mean(axis=1))
    return np.where((precision > 0).all(axis=1) & (correct > 0).any(axis=1), score, 0.0)


def _chrf(totals: np.ndarray, beta: float = 2.0) -> np.ndarray:
    """chrF2 with effective order, as sacrebleu's CHRF._compute_f_score, for many corpora at once."""
    import numpy as np

    given, wanted, matched = totals[:, 0::3], totals[:, 1::3], totals[:, 2::3]
    counted = (given > 0) & (wanted > 0)
    order = np.maximum(counted.sum(axis=1), 1)
    with np.errstate(divide="ignore", invalid="ignore"):
        precision = np.where(counted, matched / given, 0.0).sum(axis=1) / order
        recall = np.where(counted, matched / wanted, 0.0).sum(axis=1) / order
        score = 100 * (1 + beta**2) * precision * recall / (beta**2 * precision + recall)
    return np.where(precision + recall > 0, score, 0.0)


def _ter(totals: np.ndarray) -> np.ndarray:
    """Edits over reference words, as sacrebleu's TER._compute_score_from_stats, for many corpora at once."""
    import numpy as np

    edits, words = totals[:, 0], totals[:, 1]
    with np.errstate(divide="ignore", invalid="ignore"):
        return 100 * np.where(words > 0, edits / words, np.where(edits > 0, 1.0, 0.0))


def signature(name: str, kind: str | None = None) -> str:
    """What the numbers of the metric NAME depend on; similarity's is its embedder's. KIND of answer: see `answer`."""
    if name in ("rouge1", "rouge2", "rougeL"):
        return f"{TITLES[name]}|F1|stemmer:porter|tok:rouge-score|ftstudio:{__version__}"
    if name in CORPUS_METRICS:
        return f"{TITLES[name]}|{corpus_metric(name).signature}"
    if name == "accuracy":
        return f"accuracy|the whole answer as it stands|ftstudio:{__version__}"
    if name in ranking.METRICS:
        return f"{TITLES[name]}|cosine, among the texts of the held-out rows|ftstudio:{__version__}"
    if name == "absolute_error":
        return f"absolute error|an answer that is no number has none|ftstudio:{__version__}"
    if name in ON_REQUEST:
        how = {"numeric_match": "after the last ####, else the last number", "token_f1": "SQuAD v1.1",
               "edit": "1 - Levenshtein/longer, characters"}  # fmt: skip
        return f"{TITLES[name]}|{how[name]}|ftstudio:{__version__}"
    if name == "exact_match":
        usual = "case, white space and closing punctuation ignored"
        numbers = {"marker": "the number after the last ####, else the last", "number": "the last number"}
        read = numbers.get(kind or "")
        said = usual if read is None else f"{read} in the answer; all of it where the reference has none"
        return f"exact match|{said}|ftstudio:{__version__}"
    return f"words|split at white space|ftstudio:{__version__}"
