"""Parts of the rows that are compared by themselves: by source, length, label, error category of the reference arm."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ftstudio.evaluation import statistics
from ftstudio.evaluation.categories import Categorised
from ftstudio.evaluation.predictions import Prediction
from ftstudio.evaluation.scoring import Scores
from ftstudio.evaluation.words import length

SMALLEST = 5  # rows of a slice that is told at all
MOST = 30  # values of one kind
LENGTHS = 30  # rows from which they are parted by length
METRICS = ("exact_match", "numeric_match", "rougeL", "similarity")  # of a slice, as far as they are measured


@dataclass(frozen=True)
class Slice:
    """The rows with a `value` of what `by` says: `source`, `length`, `label`, `category`, `leak`, or a column."""

    by: str
    value: str
    rows: frozenset[int]


def of_rows(
    predictions: Sequence[Prediction],
    categorised: Categorised,
    *,
    labels: bool = False,
    groups: Mapping[str, Mapping[int, str]] | None = None,
    leaked: frozenset[int] = frozenset(),
) -> list[Slice]:
    """The slices of PREDICTIONS, the reference arm's. LABELS: the references are labels. GROUPS: further values of the
    rows by what they are of (`source`, a column). LEAKED rows stand in the training rows."""
    rows = [prediction.row for prediction in predictions]
    found: list[Slice] = []
    for by, values in (groups or {}).items():
        found += _by(by, {row: values[row] for row in rows if row in values})
    if len(rows) >= LENGTHS:
        found += _by_length(predictions)
    if labels:
        found += _by("label", {one.row: one.reference.strip() for one in predictions if one.reference is not None})
    faulty = {name: frozenset(found) for name, found in categorised.rows.items()}
    found += [Slice("category", name, some) for name, some in faulty.items() if len(some) >= SMALLEST]
    clean = frozenset(rows).difference(*faulty.values())
    if SMALLEST <= len(clean) < len(rows):
        found.append(Slice("category", "no error", clean))
    if leaked:
        found.append(Slice("leak", "in training", leaked & frozenset(rows)))
        found.append(Slice("leak", "not in training", frozenset(rows) - leaked))
    return found


def _by(by: str, values: Mapping[int, str]) -> list[Slice]:
    grouped: dict[str, set[int]] = {}
    for row, value in values.items():
        grouped.setdefault(value, set()).add(row)
    big = [(value, rows) for value, rows in grouped.items() if len(rows) >= SMALLEST]
    if len(grouped) < 2:
        return []
    big.sort(key=lambda item: -len(item[1]))
    return [Slice(by, value, frozenset(rows)) for value, rows in big[:MOST]]


def _by_length(predictions: Sequence[Prediction]) -> list[Slice]:
    """Thirds by the words of the prompt."""
    words = {one.row: length(one.prompt) for one in predictions}
    ordered = sorted(words.values())
    low, high = ordered[len(ordered) // 3], ordered[2 * len(ordered) // 3]
    if low == high:
        return []
    names = {row: "short" if size < low else "long" if size >= high else "middling" for row, size in words.items()}
    titles = {"short": f"under {low} words", "middling": f"{low} to {high - 1} words", "long": f"{high} words and more"}
    return _by("length", {row: titles[name] for row, name in names.items()})


def compared(
    slices: Sequence[Slice],
    names: tuple[str, str],
    order: Sequence[int],
    scores: tuple[Sequence[Scores], Sequence[Scores]],
    settings: tuple[Sequence[str], int, int],
) -> list[dict[str, Any]]:
    """Every slice's difference between the pair of arms NAMES in the metrics of SETTINGS (metrics, resamples, seed), b
    minus a, with `p_holm` corrected over all slices of a metric. ORDER are the rows of SCORES."""
    import numpy as np

    metrics, resamples, seed = settings
    found: list[dict[str, Any]] = []
    for metric in [name for name in METRICS if name in metrics][:2]:
        entries: list[dict[str, Any]] = []
        for part in slices:
            chosen = [
                place for place, row in enumerate(order) if row in part.rows and all(metric in s[place] for s in scores)
            ]
            if not chosen:
                continue
            a, b = (np.asarray([arm[place][metric] for place in chosen]) for arm in scores)
            difference, low, high, p = statistics.paired(a, b, resamples=min(resamples, 2000), seed=seed)
            entries.append(
                {
                    "by": part.by, "value": part.value, "rows": [order[place] for place in chosen], "a": names[0],
                    "b": names[1], "metric": metric, "mean_a": float(a.mean()), "mean_b": float(b.mean()),
                    "difference": difference, "low": low, "high": high, "p": p, "p_holm": None, "n": len(chosen),
                }
            )  # fmt: skip
        judged = [entry for entry in entries if entry["n"] >= statistics.FEWEST and entry["by"] != "leak"]
        for entry, p in zip(judged, statistics.holm([entry["p"] for entry in judged]), strict=True):
            entry["p_holm"] = p
        for entry in entries:
            p = entry["p"] if entry["by"] == "leak" else entry["p_holm"]
            entry["verdict"] = statistics.verdict(entry["low"], entry["high"], entry["n"])
            if entry["n"] >= statistics.FEWEST and (p is None or p >= statistics.ALPHA):
                entry["verdict"] = statistics.UNCLEAR
        found += entries
    return found
