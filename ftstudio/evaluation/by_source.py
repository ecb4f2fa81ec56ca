"""Every metric by itself on each source of a mix: what all rows together can't tell where one gained and one lost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from math import isfinite
from typing import Any

from ftstudio.core.text import one_line
from ftstudio.evaluation import metrics as m
from ftstudio.evaluation import pairing, statistics
from ftstudio.evaluation.corpus import counts_of, summed
from ftstudio.evaluation.parts import SOURCE
from ftstudio.evaluation.predictions import Prediction
from ftstudio.evaluation.scoring import Scores

EXPLORATORY = (
    "Exploratory: verdicts after Holm's correction over all sources and metrics of a pair; few rows of a source tell "
    "little, so take them as hints where to look, and compare on more rows of that source to be sure."
)
_NUMBERS = ("difference", "low", "high", "p")


def told(
    names: Sequence[str],
    asked: Sequence[Sequence[Sequence[Prediction]]],
    scores: Sequence[Sequence[Scores]],
    rows: Mapping[int, Mapping[str, Any]],
    settings: tuple[Sequence[str], int, int],
    better: Mapping[str, bool | None],
) -> dict[str, Any] | None:
    """The arms NAMES source by source, ASKED (arms of repeats of rows) and their SCORES by row; ROWS of the data by
    number tell the source. SETTINGS are the metrics, the number of resamples and the seed, BETTER as in `pairing`.

    `{pooled, note, parts: [{name, rows, arms: [{name, metrics}], differences}]}`, the sources in the order of the rows;
    differences are those of a comparison, but `p_holm` is corrected over all sources and metrics of a pair (None under
    20 rows: no verdict, nothing corrected). `pooled` says what the figures of all rows are made of. None where the rows
    are of fewer than two sources.
    """
    wanted = settings[0]
    places: dict[str, list[int]] = {}
    for place, prediction in enumerate(asked[0][0]):
        source = rows.get(prediction.row, {}).get(SOURCE)
        if source is not None:
            places.setdefault(str(source), []).append(place)
    if len(places) < 2:
        return None
    parts: list[dict[str, Any]] = []
    for name, chosen in places.items():
        mine = [[[column[place] for place in chosen] for column in every] for every in asked]
        rated = [[arm[place] for place in chosen] for arm in scores]
        present = [place for place, row in enumerate(mine[0][0]) if row.reference is not None]
        corpus = counts_of([one for one in wanted if one in m.CORPUS_METRICS], mine, present) if present else {}
        differences = [
            entry
            for i, j in combinations(range(len(names)), 2)
            for entry in pairing.differences(
                (names[i], names[j]),
                (rated[i], rated[j]),
                {key: (found[i], found[j]) for key, found in corpus.items()},
                present,
                settings,
                better,
            )
            if all(isfinite(entry[key]) for key in _NUMBERS)  # a correlation of one row, say, is none
        ]
        arms = []
        for place, arm in enumerate(names):
            metrics = summed(rated[place], {key: found[place] for key, found in corpus.items()}, wanted)
            arms.append({"name": arm, "metrics": {key: value for key, value in metrics.items() if isfinite(value)}})
        parts.append({"name": name, "rows": len(chosen), "arms": arms, "differences": differences})
    for pair in combinations(names, 2):
        _correct([one for part in parts for one in part["differences"] if (one["a"], one["b"]) == pair])
    return {"pooled": _pooled(places, len(asked[0][0])), "note": EXPLORATORY, "parts": parts}


def _correct(differences: Sequence[dict[str, Any]]) -> None:
    """Holm over those of DIFFERENCES that have rows enough for a verdict."""
    judged = [entry for entry in differences if entry["n"] >= statistics.FEWEST]
    pairing.correct(judged)
    for entry in differences:
        if entry["n"] < statistics.FEWEST:
            entry |= {"p_holm": None, "needed": statistics.FEWEST - entry["n"]}


def _pooled(places: Mapping[str, Sequence[int]], total: int) -> str:
    """What the figures of all rows are made of."""
    said = [
        f"{one_line(name, 40)} {len(chosen):,} ({100 * len(chosen) / total:.0f} %)" for name, chosen in places.items()
    ]
    rest = total - sum(map(len, places.values()))
    said += [f"{rest:,} of no source"] if rest else []
    return (
        f"Figures over all {total:,} rows pool the sources, each counting as much as it has rows: {', '.join(said)}. "
        "Where the sources are different tasks, read them source by source."
    )


def against(sources: Any, a: str, b: str) -> list[tuple[dict[str, Any], list[dict[str, Any]]]]:
    """Of SOURCES, as `told` gives them, each part with its differences b against a in this order of the arms."""
    if not isinstance(sources, Mapping):
        return []
    return [(part, [one for one in part["differences"] if (one["a"], one["b"]) == (a, b)]) for part in sources["parts"]]


def apart(sources: Any, a: str, b: str, titles: Any = None) -> str:
    """Where sources part ways with each other, in words such as `better on questions, worse on papers (BLEU)`; empty
    where they don't."""
    found: dict[str, list[str]] = {"better": [], "worse": []}
    for part, entries in against(sources, a, b):
        for word, said in found.items():
            metrics = [one["metric"] for one in entries if one["verdict"] == word]
            if metrics:
                said.append(f"{one_line(part['name'], 30)} ({', '.join(m.title(one, titles) for one in metrics[:3])})")
    if not found["better"] or not found["worse"]:
        return ""
    return f"better on {', '.join(found['better'][:4])}, worse on {', '.join(found['worse'][:4])}"
