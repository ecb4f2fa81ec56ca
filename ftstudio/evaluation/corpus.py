"""Metrics of one arm over rows: what each row counts for, and the mean or the score of all together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ftstudio.evaluation import metrics as m
from ftstudio.evaluation.predictions import Prediction
from ftstudio.evaluation.scoring import Scores

if TYPE_CHECKING:
    import numpy as np


def summed(scores: Sequence[Scores], corpus: Mapping[str, np.ndarray], wanted: Sequence[str]) -> dict[str, float]:
    """One arm's metrics: means over the rows that have them, and the corpus metrics from their counts."""
    found = {}
    for name in wanted:
        values = [row[name] for row in scores if name in row]
        if name in corpus:
            found[name] = float(m.corpus_metric(name).score(corpus[name].sum(axis=0, keepdims=True))[0])
        elif values:
            found[name] = sum(values) / len(values)
    return found


def counts_of(
    names: Sequence[str], asked: Sequence[Sequence[Sequence[Prediction]]], present: Sequence[int]
) -> dict[str, list[np.ndarray]]:
    """Of each corpus metric in NAMES, the counts of every arm's rows, those of PRESENT: the mean of its repeats. ASKED
    are arms of repeats of rows."""
    references = [asked[0][0][index].reference or "" for index in present]
    systems = [[column[index].output for index in present] for every in asked for column in every]
    found: dict[str, Any] = {}
    for name in names:
        if name in m.OF_ROWS:
            metric = m.OF_ROWS[name](name)
            told = [metric.of_rows([every[0][index] for index in present]) for every in asked]
            measured = [counts for counts in told if counts is not None]
            if len(measured) == len(asked):
                found[name] = measured
            continue
        counts = iter(m.corpus_metric(name).statistics(systems, references))
        found[name] = [sum(next(counts) for _ in every) / len(every) for every in asked]
    return found
