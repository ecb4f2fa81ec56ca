"""Two or more arms on the same rows: metrics, differences with intervals, categories before and after, row by row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from statistics import stdev
from typing import Any

from ftstudio.core.errors import StudioError, UsageError
from ftstudio.core.text import one_line
from ftstudio.evaluation import by_source, likelihood, statistics, tagging
from ftstudio.evaluation import metrics as m
from ftstudio.evaluation.categories import Categorised, categorise
from ftstudio.evaluation.context import Context, build
from ftstudio.evaluation.corpus import counts_of, summed
from ftstudio.evaluation.extras import Extra, is_extra
from ftstudio.evaluation.pairing import BETTER, overall, pair
from ftstudio.evaluation.parts import Facts, parts_of, totals
from ftstudio.evaluation.predictions import Prediction
from ftstudio.evaluation.scoring import RowScorer, Scores
from ftstudio.evaluation.similarity import Embedder

DEFAULT = ("rouge", "bleu", "similarity", "exact_match")
EXAMPLES = 5  # rows that gained and that lost most, kept with their texts
_SHOWN = 2000  # characters of each text kept there
# by which rows are sorted: the first there is
GAIN = ("rougeL", "similarity", "exact_match", "rouge1", "rouge2", "accuracy", "tag_accuracy", "masked_accuracy")

_UNTOLD = {
    True: "only a model that runs here tells it, and not all arms are one",
    False: "not every arm tells the probabilities of the labels",
}


@dataclass(frozen=True)
class Arm:
    """One column of a comparison: its name, its predictions, and further ones of the same rows where it was asked more
    than once (sampled): a row's score is then the mean of all, its error categories those of the first."""

    name: str
    predictions: Sequence[Prediction]
    repeats: Sequence[Sequence[Prediction]] = ()


def aligned(arms: Sequence[Arm]) -> list[dict[int, Prediction]]:
    """The predictions of ARMS by row number, once it is sure that all arms answer the same rows.

    Raises UsageError for fewer than two arms or equal names, StudioError naming the first row that differs.
    """
    if len(arms) < 2:
        raise UsageError("One arm can't be compared.", "Give two runs or two files of predictions.")
    names = [arm.name for arm in arms]
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise UsageError(f"Two arms are named {one_line(twice, 40)}.", "Give every arm its own name.")
    tables = []
    for arm in arms:
        table = {prediction.row: prediction for prediction in arm.predictions}
        if len(table) < len(arm.predictions):
            raise StudioError(f"{arm.name} holds a row twice.", "Number the rows differently, or leave `row` out.")
        tables.append(table)
    first, base = tables[0], arms[0].name
    if not first:
        raise StudioError(f"{base} holds no predictions.", "Generate some first.")
    for arm, table in zip(arms[1:], tables[1:], strict=True):
        if table.keys() != first.keys():
            odd = min(table.keys() ^ first.keys())
            missing = arm.name if odd in first else base
            raise StudioError(
                f"{base} ({len(first)} rows) and {arm.name} ({len(table)}) don't hold the same rows: row {odd} is "
                f"missing in {missing}.",
                "Compare predictions on the same held-out rows.",
            )
        for row, prediction in table.items():
            for key in ("prompt", "reference"):
                if getattr(prediction, key) != getattr(first[row], key):
                    raise StudioError(
                        f"Row {row} has one {key} in {base} and another in {arm.name}.",
                        "Compare predictions on the same held-out rows.",
                    )
    return tables


def identical(tables: Sequence[Mapping[int, Prediction]], names: Sequence[str]) -> list[list[str]]:
    """The pairs of arms that gave the same output on every row: tuning that had no effect, or a mistake."""
    return [
        [names[i], names[j]]
        for i, j in combinations(range(len(tables)), 2)
        if all(tables[i][row].output == tables[j][row].output for row in tables[i])
    ]


def compare(
    arms: Sequence[Arm],
    context: Context | None = None,
    embedder: Embedder | None = None,
    metrics: Sequence[str] = DEFAULT,
    *,
    forgetting: Any = None,
    scorer: RowScorer | None = None,
    resamples: int = statistics.RESAMPLES,
    seed: int = 0,
    rows: Mapping[int, Mapping[str, Any]] | None = None,
    leak: Mapping[str, Any] | None = None,
    extras: Sequence[Extra] = (),
) -> dict[str, Any]:
    """ARMS on the same rows, as `compare --json` gives it; the first is the reference that the others are held against.

    CONTEXT None is made from the rows. METRICS are names as in a recipe (`rouge`, `bleu`, `similarity`, `exact_match`);
    length is always there. Without an EMBEDDER similarity is left out and named under `skipped`. Every difference is
    b minus a, over the rows that have the metric in both, with a 95 % interval from RESAMPLES paired bootstrap samples
    drawn by SEED. SCORER brings the scores that a screen has already. FORGETTING goes into the result as it is, as does
    LEAK (see `leaks.told`). ROWS are the rows of the data as they are, by number: their columns part them, too.
    EXTRAS are metrics of the person's own; one that fails is named under `skipped`.

    Beside what the keys say themselves:
    - `differences[i]`: `p_holm` is corrected over the metrics of the pair, `verdict` needs it under 0.05 and an
      interval without 0; `needed`: about how many more rows would tell (0: told; None: too alike);
    - `overall[i]` `{a, b, verdict, metric, needed, words}`: the one verdict on a pair (better, worse, mixed, no clear
      difference, too few rows …) and the sentence that says so;
    - `slices[i]` `{by, value, rows, a, b, metric, mean_a, mean_b, difference, low, high, p, p_holm, n, verdict}`: the
      reference against every other arm on a part of the rows (see `parts`), first of all by `leak`: whether they
      stand in the training rows; in the main metric;
    - `sources`: where the rows are of a mix, every metric on each source by itself (see `by_source.told`), else None;
    - `arms[i].spread`: where rows were answered more than once, the deviation of the means between repeats.
    """
    tables = aligned(arms)
    names = [arm.name for arm in arms]
    order = list(tables[0])
    columns = [[table[row] for row in order] for table in tables]
    prompts = [prediction.prompt for prediction in columns[0]]
    references = [prediction.reference for prediction in columns[0]]
    context = build(prompts, references) if context is None else context
    wanted, unknown = m.expand(m.with_length([name for name in metrics if not is_extra(name)]))
    skipped = [{"metric": name, "reason": "unknown metric"} for name in unknown]
    if "similarity" in wanted and embedder is None:
        skipped.append({"metric": "similarity", "reason": "no embedding model is loaded"})
        wanted.remove("similarity")
    present = [index for index, reference in enumerate(references) if reference is not None]
    if not present:
        skipped += [{"metric": name, "reason": "the rows have no reference"} for name in wanted if name != "length"]
        wanted = ["length"]
    scorer = scorer or RowScorer(wanted, embedder, context.answer)
    again = [_repeats(arm, order) for arm in arms]
    asked = [[column, *more] for column, more in zip(columns, again, strict=True)]
    # copies: what the scorer remembers is its own
    single = [[[dict(row) for row in scorer.score(one)] for one in every] for every in asked]
    measured = _extras(extras, asked, single, skipped)
    wanted += [extra.name for extra in measured]
    better = dict(BETTER) | {extra.name: extra.better for extra in measured}
    scores = [_means(every) for every in single]
    corpus = counts_of([name for name in wanted if name in m.CORPUS_METRICS], asked, present)
    skipped += [
        {"metric": name, "reason": _UNTOLD[name in likelihood.METRICS]}
        for name in wanted
        if name in m.OF_ROWS and name not in corpus
    ]
    categorised = [categorise(column, context, references=False, embedder=embedder) for column in columns]
    result: dict[str, Any] = {
        "rows": len(order),
        "arms": [
            {
                "name": name,
                "metrics": summed(scores[index], {key: found[index] for key, found in corpus.items()}, wanted),
                **({"spread": _spread(single[index], wanted)} if len(single[index]) > 1 else {}),
            }
            for index, name in enumerate(names)
        ],
        "differences": [],
        "overall": [],
        "categories": [],
        "slices": [],
        "sources": by_source.told(names, asked, scores, rows or {}, (wanted, resamples, seed), better),
        "leak": leak,
        "forgetting": forgetting,
        "similarity": {"name": embedder.name, "signature": embedder.signature} if embedder else None,
        "signatures": _signatures(wanted, embedder, len(order), resamples, seed, context.answer)
        | {extra.name: extra.signature for extra in measured},
        "titles": {extra.name: extra.title for extra in measured},
        "identical": identical(tables, names),
        "skipped": skipped,
    }
    for i, j in combinations(range(len(arms)), 2):
        differences, entries = pair(
            (names[i], names[j]),
            (scores[i], scores[j]),
            {key: (found[i], found[j]) for key, found in corpus.items()},
            present,
            (categorised[i], categorised[j]),
            (wanted, resamples, seed),
            better,
        )
        result["differences"] += differences
        result["overall"].append(overall((names[i], names[j]), differences, result["titles"]))
        result["categories"] += entries
        parted = by_source.apart(result["sources"], names[i], names[j], result["titles"])
        result["overall"][-1]["words"] += f"; by source: {parted}" if parted else ""
    moved = {(entry["a"], entry["b"]) for entry in result["differences"] if entry["difference"]}
    # probabilities may have moved where no answer did: then the tuning had an effect
    result["identical"] = [pair_ for pair_ in result["identical"] if tuple(pair_) not in moved]
    if any(name.startswith("entity_") for name in wanted):
        right = [references[index] or "" for index in present]
        for entry, column in zip(result["arms"], columns, strict=True):
            entry["entities"] = tagging.account([column[index].output for index in present], right)
    gain = next((name for name in (*GAIN, *wanted) if name in wanted and _gains(name, better)), None)
    result["gain"] = gain
    result["slices"] = _slices(columns[0], names, scores, categorised[0], gain, rows or {}, leak or {}, seed)
    result["per_row"] = _per_row(order, names, scores, categorised, gain)
    result["examples"] = _examples(result["per_row"], tables, names, gain)
    return result


def scored(predictions: Sequence[Prediction], metrics: Sequence[str] = DEFAULT) -> dict[str, Any]:
    """The metrics of one arm by itself, as a comparison of it would hold them; those that need a model are left out."""
    wanted, _ = m.expand([name for name in metrics if not is_extra(name) and name != "similarity"])
    present = [index for index, row in enumerate(predictions) if row.reference is not None]
    if not present:
        return {}
    context = build([row.prompt for row in predictions], [row.reference for row in predictions])
    scores = [dict(row) for row in RowScorer(wanted, None, context.answer).score(predictions)]
    corpus = counts_of([name for name in wanted if name in m.CORPUS_METRICS], [[predictions]], present)
    return summed(scores, {key: found[0] for key, found in corpus.items()}, wanted)


def _extras(
    extras: Sequence[Extra],
    asked: Sequence[Sequence[Sequence[Prediction]]],
    single: Sequence[Sequence[Sequence[Scores]]],
    skipped: list[dict[str, str]],
) -> list[Extra]:
    """Those of EXTRAS that could be measured on all ASKED (arms, repeats, rows); their scores go into SINGLE, the
    reasons of the others into SKIPPED."""
    measured = []
    for extra in extras:
        try:
            values = [[extra.score(column) for column in every] for every in asked]
        except StudioError as error:
            skipped.append({"metric": extra.name, "reason": str(error)})
            continue
        for arm, scores in zip(values, single, strict=True):
            for column, rows in zip(arm, scores, strict=True):
                for value, row in zip(column, rows, strict=True):
                    if value is not None:
                        row[extra.name] = value
        measured.append(extra)
    return measured


def _gains(name: str, better: Mapping[str, bool | None]) -> bool:
    """Whether rows can be sorted by their gain in the metric NAME."""
    return (name in m.BY_ROW or name not in m.CORPUS_METRICS) and better.get(name, True) is True


def _repeats(arm: Arm, order: Sequence[int]) -> list[list[Prediction]]:
    """The repeats of ARM with its rows in ORDER; those that lack a row are left out."""
    tables = [{prediction.row: prediction for prediction in repeat} for repeat in arm.repeats]
    return [[table[row] for row in order] for table in tables if all(row in table for row in order)]


def _means(repeats: Sequence[Sequence[Scores]]) -> list[Scores]:
    """Row by row the mean score over REPEATS."""
    if len(repeats) == 1:
        return list(repeats[0])
    return [
        {
            name: sum(scores[name] for scores in rows) / len(rows)
            for name in rows[0]
            if all(name in scores for scores in rows)
        }
        for rows in zip(*repeats, strict=True)
    ]


def _spread(repeats: Sequence[Sequence[Scores]], wanted: Sequence[str]) -> dict[str, float]:
    """The standard deviation of an arm's mean scores from one repeat to the next."""
    found = {}
    for name in wanted:
        means = [[row[name] for row in scores if name in row] for scores in repeats]
        if all(means):
            found[name] = stdev(sum(values) / len(values) for values in means)
    return found


def _signatures(
    wanted: Sequence[str], embedder: Embedder | None, rows: int, resamples: int, seed: int, kind: str | None
) -> dict[str, str]:
    found = {name: m.signature(name, kind) for name in wanted if name != "similarity" and not is_extra(name)}
    if embedder is not None and "similarity" in wanted:
        found["similarity"] = f"cosine|{embedder.signature}"
    found["interval"] = (
        f"95 %|paired bootstrap|resamples:{statistics.affordable(rows, resamples)}|seed:{seed}|rows:{rows}"
    )
    return found


def _per_row(
    order: Sequence[int],
    names: Sequence[str],
    scores: Sequence[Sequence[Scores]],
    categorised: Sequence[Categorised],
    gain: str | None,
) -> list[dict[str, Any]]:
    """Row by row: every arm's scores and categories; `gain` is the last arm's minus the first's in the gain metric."""
    found = []
    for index, row in enumerate(order):
        first, last = scores[0][index], scores[-1][index]
        arms = {
            name: scores[place][index] | {"categories": sorted(categorised[place].names(row))}
            for place, name in enumerate(names)
        }
        step = last[gain] - first[gain] if gain is not None and gain in first and gain in last else None
        found.append({"row": row, "arms": arms, "gain": step})
    return found


def _slices(
    predictions: Sequence[Prediction],
    names: Sequence[str],
    scores: Sequence[Sequence[Scores]],
    categorised: Categorised,
    metric: str | None,
    rows: Mapping[int, Mapping[str, Any]],
    leak: Mapping[str, Any],
    seed: int,
) -> list[dict[str, Any]]:
    """The first arm, whose PREDICTIONS and error categories these are, against every other one on parts of the rows."""
    if metric is None:
        return []
    facts = {
        one.row: Facts(one.prompt, one.reference, rows.get(one.row, {}), frozenset(categorised.names(one.row)))
        for one in predictions
    }
    parts = parts_of(facts, set(leak.get("rows") or ()))
    values = [
        {one.row: row[metric] for one, row in zip(predictions, arm, strict=True) if metric in row} for arm in scores
    ]
    return [
        entry | {"a": names[0], "b": name, "metric": metric, "mean_a": entry["a"], "mean_b": entry["b"]}
        for name, after in zip(names[1:], values[1:], strict=True)
        for entry in totals(parts, values[0], after, seed=seed)
        if entry["n"]
    ]


def _examples(
    per_row: Sequence[Mapping[str, Any]],
    tables: Sequence[Mapping[int, Prediction]],
    names: Sequence[str],
    gain: str | None,
) -> dict[str, list[dict[str, Any]]]:
    """The rows that gained and those that lost most from the first arm to the last, with their texts."""
    scored = sorted((entry for entry in per_row if entry["gain"]), key=lambda entry: entry["gain"])
    losses = [entry for entry in scored if entry["gain"] < 0][:EXAMPLES]
    gains = [entry for entry in reversed(scored) if entry["gain"] > 0][:EXAMPLES]
    return {
        kind: [
            {
                "row": entry["row"],
                "gain": entry["gain"],
                "prompt": tables[0][entry["row"]].prompt[:_SHOWN],
                "reference": (tables[0][entry["row"]].reference or "")[:_SHOWN],
                "outputs": {
                    name: table[entry["row"]].output[:_SHOWN] for name, table in zip(names, tables, strict=True)
                },
                "scores": {name: entry["arms"][name].get(gain) for name in names},
                "categories": {name: entry["arms"][name]["categories"] for name in names},
            }
            for entry in entries
        ]
        for kind, entries in (("gains", gains), ("losses", losses))
    }
