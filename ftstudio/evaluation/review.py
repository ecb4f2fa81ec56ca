"""In which order a person goes through answers: so that each look teaches most."""

from __future__ import annotations

import random
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ftstudio.evaluation.predictions import Prediction
from ftstudio.evaluation.similarity import Embedder

if TYPE_CHECKING:
    import numpy as np

EQUAL = 1e-6  # that numbers differ at all, where their ranks don't
LEAST = 3  # answers of either kind that a person must have judged before anything is learnt from them


@dataclass(frozen=True)
class Order:
    """An order of review: `name` in files, `title` and `help` for people."""

    name: str
    title: str
    help: str


ORDERS = (
    Order("data", "as in the data", "Row after row."),
    Order("category", "by category", "Rows of the commonest error first, those of one category together."),
    Order("worst", "worst first", "Farthest from the reference first: in words, in rank, in probability."),
    Order("similar", "like this one", "Rows that mean most like the one in view first."),
    Order("unsure", "least sure", "Rows on which your decisions so far say least: those teach most."),
    Order("random", "random", "Drawn by chance: what you see is what there is, so counts can be believed."),
)


@dataclass(frozen=True)
class Queue:
    """Rows in the order of review, those not looked at yet first; `order` is what was taken, `why` if not as asked."""

    rows: tuple[int, ...]
    order: str
    why: str = ""


def queue(
    predictions: Mapping[int, Prediction],
    order: str,
    *,
    reviewed: Collection[int] = (),
    categories: Mapping[int, Collection[str]] | None = None,
    verdicts: Mapping[int, bool] | None = None,
    present: int | None = None,
    embedder: Embedder | None = None,
    seed: int = 0,
) -> Queue:
    """The rows of PREDICTIONS by ORDER. REVIEWED rows come last. CATEGORIES: what is wrong with a row. VERDICTS: what a
    person said of rows (True: something is wrong). PRESENT: the row in view. EMBEDDER serves `similar` and `unsure`.

    Where an order can't be had (no embedding, too few verdicts) the rows come as in the data, and `why` says so.
    """
    rows = sorted(predictions)
    why = ""
    key: Callable[[int], tuple[float, int]] = lambda row: (0.0, row)  # noqa: E731
    if order == "random":
        place = {row: number for number, row in enumerate(random.Random(seed).sample(rows, len(rows)))}
        key = lambda row: (place[row], row)  # noqa: E731
    elif order == "category":
        ranks = _by_category(rows, categories or {})
        key = lambda row: (ranks[row], row)  # noqa: E731
    elif order == "worst":
        bad = _worst(rows, predictions)
        key = lambda row: (-bad[row], row)  # noqa: E731
    elif order in ("similar", "unsure"):
        scores: Mapping[int, float] | str
        if embedder is None:
            scores = "no embedding model is loaded"
        elif order == "similar":
            scores = _similar(rows, predictions, present, embedder)
        else:
            scores = _unsure(rows, predictions, verdicts or {}, embedder)
        if isinstance(scores, str):
            order, why = "data", scores
        else:
            found = scores
            key = lambda row: (-found[row], row)  # noqa: E731
    elif order != "data":
        raise ValueError(f"no order {order!r}")
    seen = set(reviewed)
    return Queue(tuple(sorted(rows, key=lambda row: (row in seen, *key(row)))), order, why)


def _by_category(rows: Sequence[int], categories: Mapping[int, Collection[str]]) -> dict[int, float]:
    """A rank for each of ROWS: the place of its commonest category among all; rows without any come last."""
    counts: dict[str, int] = {}
    for row in rows:
        for name in categories.get(row, ()):
            counts[name] = counts.get(name, 0) + 1
    place = {name: number for number, name in enumerate(sorted(counts, key=lambda name: (-counts[name], name)))}
    return {row: min((place[name] for name in categories.get(row, ())), default=len(place)) for row in rows}


def _worst(rows: Sequence[int], predictions: Mapping[int, Prediction]) -> dict[int, float]:
    """How far each of ROWS is from its reference, from 0 to 1, -1 where nothing tells: of pairs with a score how far
    their cosine is off in rank, of a search how low the partner stands, of labels how unlikely the right one was held,
    of written text 1 - ROUGE-L."""
    from ftstudio.evaluation.overlap import rouges

    found = dict.fromkeys(rows, -1.0)
    pairs = _numbers(rows, predictions)
    written: dict[int, tuple[str, str]] = {}
    for row in rows:
        one = predictions[row]
        reference, rank, shares = one.reference, one.extra.get("rank"), one.extra.get("probabilities")
        if row in pairs:
            continue
        if isinstance(rank, int) and rank > 0:
            found[row] = 1.0 - 1.0 / rank
        elif reference is None:
            continue
        elif isinstance(shares, Mapping) and isinstance(share := shares.get(reference.strip(), 0.0), (int, float)):
            found[row] = 1.0 - float(share)
        else:
            written[row] = (one.output, reference)
    found |= {row: 1.0 - one.rougeL for row, one in zip(written, rouges(list(written.values())), strict=True)}
    if pairs:
        from scipy.stats import rankdata

        given_ranks, wanted_ranks = (rankdata([pair[side] for pair in pairs.values()]) for side in (0, 1))
        for row, a, b in zip(pairs, given_ranks.tolist(), wanted_ranks.tolist(), strict=True):
            found[row] = abs(a - b) / len(pairs) + EQUAL * (pairs[row][0] != pairs[row][1])
    return found


def _numbers(rows: Sequence[int], predictions: Mapping[int, Prediction]) -> dict[int, tuple[float, float]]:
    """(answer, reference) of ROWS where both are numbers; none where some are not: then they are text."""
    from ftstudio.evaluation.classification import number_in

    found: dict[int, tuple[float, float]] = {}
    for row in rows:
        reference = predictions[row].reference
        if reference is None:
            continue
        given, wanted = number_in(predictions[row].output), number_in(reference)
        if given is None or wanted is None:
            return {}
        found[row] = (given, wanted)
    return found


def _vectors(rows: Sequence[int], predictions: Mapping[int, Prediction], embedder: Embedder) -> np.ndarray:
    """What prompts and outputs mean, side by side: float32 (rows, 2 × dimensions)."""
    import numpy as np

    prompts = embedder.encode([predictions[row].prompt for row in rows])
    outputs = embedder.encode([predictions[row].output for row in rows])
    return np.concatenate([prompts, outputs], axis=1)


def _similar(
    rows: Sequence[int], predictions: Mapping[int, Prediction], present: int | None, embedder: Embedder
) -> dict[int, float] | str:
    if present not in predictions:
        return "no row is in view"
    vectors = _vectors(rows, predictions, embedder)
    cosines = vectors @ vectors[list(rows).index(present)]  # type: ignore[arg-type]  # it is among them
    return dict(zip(rows, cosines.tolist(), strict=True))


def _unsure(
    rows: Sequence[int], predictions: Mapping[int, Prediction], verdicts: Mapping[int, bool], embedder: Embedder
) -> dict[int, float] | str:
    """How little a logistic regression on the person's verdicts knows of each row: 1 where it says one half
    (uncertainty sampling, Lewis and Gale 1994)."""
    known = [row for row in rows if row in verdicts]
    wrong = sum(verdicts[row] for row in known)
    if min(wrong, len(known) - wrong) < LEAST:
        return f"judge {LEAST} rows as wrong and {LEAST} as right first"
    from sklearn.linear_model import LogisticRegression

    vectors = _vectors(rows, predictions, embedder)
    place = {row: number for number, row in enumerate(rows)}
    model = LogisticRegression(class_weight="balanced", max_iter=500)
    model.fit(vectors[[place[row] for row in known]], [verdicts[row] for row in known])
    chances = model.predict_proba(vectors)[:, 1]
    return {row: 1.0 - 2.0 * abs(float(chance) - 0.5) for row, chance in zip(rows, chances, strict=True)}
