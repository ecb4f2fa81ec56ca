"""What goes wrong where texts become vectors: cosines out of order, partners not found, a space gone bad.

Cosines have no scale of their own, so they are held against the scores by rank. A prediction brings its `cosine`, the
`rank` of the partner among the texts searched, `others` (the mean cosine with texts that aren't its partner) and the
`words` of its texts.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from ftstudio.core.text import one_line
from ftstudio.evaluation.categories import UNJUDGED, Category, Detector, Finding, Verdict
from ftstudio.evaluation.classification import number_in
from ftstudio.evaluation.context import Context
from ftstudio.evaluation.rows import Row

FEWEST = 20  # rows below which ranks say nothing
QUARTER, HALF = 0.25, 0.5  # the most alike quarter of the rows in the less alike half of the cosines, and the reverse
CLEARLY = 0.2  # of the scores' range: from here on one pair is clearly more alike than another

_Verdicts = Mapping[int, Finding | None] | str


class _Pair(NamedTuple):
    row: int
    given: float
    wanted: float
    given_rank: float  # from 0 to 1
    wanted_rank: float
    words: tuple[int, int] | None


def _pairs(rows: Sequence[Row]) -> list[_Pair] | str:
    """ROWS whose answer and reference are numbers, with their ranks; else why there are too few."""
    found = []
    for row in rows:
        given, wanted = number_in(row.text), number_in(row.prediction.reference or "")
        if given is not None and wanted is not None:
            found.append((row, given, wanted))
    if len(found) < FEWEST:
        return f"it needs {FEWEST} rows with a score and a cosine"
    from scipy.stats import rankdata

    top = len(found) - 1
    first, second = (rankdata([entry[place] for entry in found]) for place in (1, 2))
    return [
        _Pair(row.row, given, wanted, (a - 1) / top, (b - 1) / top, _words(row))
        for (row, given, wanted), a, b in zip(found, first.tolist(), second.tolist(), strict=True)
    ]


def _words(row: Row) -> tuple[int, int] | None:
    found = row.prediction.extra.get("words")
    if isinstance(found, (list, tuple)) and len(found) >= 2 and all(isinstance(one, int) for one in found[:2]):
        return found[0], found[1]
    return None


def _similar_low(rows: Sequence[Row], context: Context, embedder: Any) -> _Verdicts:
    pairs = _pairs(rows)
    if isinstance(pairs, str):
        return pairs
    return {
        one.row: Finding("similar_low", f"score {one.wanted:g}, cosine {one.given:.2f}: {_place(one.given_rank)}")
        if one.wanted_rank >= 1 - QUARTER and one.given_rank < HALF
        else None
        for one in pairs
    }


def _dissimilar_high(rows: Sequence[Row], context: Context, embedder: Any) -> _Verdicts:
    pairs = _pairs(rows)
    if isinstance(pairs, str):
        return pairs
    return {
        one.row: Finding("dissimilar_high", f"score {one.wanted:g}, cosine {one.given:.2f}: {_place(one.given_rank)}")
        if one.wanted_rank <= QUARTER and one.given_rank > HALF
        else None
        for one in pairs
    }


def _place(rank: float) -> str:
    return f"higher than {rank:.0%} of the pairs"


def _rank_inversion(rows: Sequence[Row], context: Context, embedder: Any) -> _Verdicts:
    pairs = _pairs(rows)
    if isinstance(pairs, str):
        return pairs
    import numpy as np

    given = np.array([one.given for one in pairs])
    wanted = np.array([one.wanted for one in pairs])
    least = CLEARLY * float(wanted.max() - wanted.min())
    if least <= 0:
        return "all scores are the same"
    found: dict[int, Finding | None] = {}
    for place, one in enumerate(pairs):
        apart = wanted - wanted[place]
        clear = np.abs(apart) >= least
        wrong = clear & (np.sign(given - given[place]) == -np.sign(apart))
        count = int(clear.sum())
        if not count:
            continue
        share = int(wrong.sum()) / count
        why = f"in the wrong order with {share:.0%} of the {count} pairs that are clearly more or less alike"
        found[one.row] = Finding("rank_inversion", why) if share > context.limits.out_of_order else None
    return found


def _length_bias(rows: Sequence[Row], context: Context, embedder: Any) -> _Verdicts:
    """Where cosines fall as the texts get unlike in length, the rows whose lengths differ most and which stand too low;
    the reverse likewise. In a search the error is how low the partner was found."""
    pairs = _pairs(rows)
    if isinstance(pairs, str):
        errors = [(row.row, float(-rank), words) for row in rows
                  if isinstance(rank := row.prediction.extra.get("rank"), int) and (words := _words(row))]  # fmt: skip
        if len(errors) < FEWEST:
            return pairs
    else:
        errors = [(one.row, one.given_rank - one.wanted_rank, one.words) for one in pairs if one.words is not None]
    if len(errors) < FEWEST:
        return f"it needs {FEWEST} rows that tell the length of their texts"
    import numpy as np
    from scipy.stats import spearmanr

    unlike = np.array([abs(a - b) / max(a, b, 1) for _, _, (a, b) in errors])
    error = np.array([value for _, value, _ in errors])
    if unlike.min() == unlike.max() or error.min() == error.max():
        return {row: None for row, _, _ in errors}
    link = float(spearmanr(unlike, error).statistic)
    if abs(link) < context.limits.length_bias:
        return {row: None for row, _, _ in errors}
    edge = float(np.quantile(unlike, 1 - QUARTER))
    middle = float(np.median(error))
    what = "too low" if link < 0 else "too high"
    return {
        row: Finding("length_bias", f"{a} and {b} words, {what}; over all rows the correlation is {link:+.2f}")
        if unlike[place] >= edge and (value - middle) * link > 0
        else None
        for place, (row, value, (a, b)) in enumerate(errors)
    }


def _anisotropy(row: Row, context: Context) -> Verdict:
    others = row.prediction.extra.get("others")
    if not isinstance(others, (int, float)):
        return UNJUDGED
    if others < context.limits.all_alike:
        return None
    return Finding("anisotropy", f"mean cosine {others:.2f} with texts of other rows")


def _not_found(row: Row, context: Context) -> Verdict:
    rank, extra = row.prediction.extra.get("rank"), row.prediction.extra
    if isinstance(rank, int):
        return Finding("not_found", f"its partner is only number {rank} (cosine {_shown(extra.get('cosine'))})") if (
            rank > 1
        ) else None  # fmt: skip
    if row.prediction.reference is None:
        return UNJUDGED
    if row.text.strip() == row.prediction.reference.strip():
        return None
    why = f"cosine {_shown(extra.get('cosine'))}, with the one that is nearer {_shown(extra.get('negative'))}"
    return Finding("not_found", why)


def _shown(value: Any) -> str:
    return f"{value:.2f}" if isinstance(value, (int, float)) else "unknown"


def _hub(rows: Sequence[Row], context: Context, embedder: Any) -> _Verdicts:
    known = [row for row in rows if row.prediction.reference is not None]
    if len(known) < FEWEST:
        return f"it needs {FEWEST} rows"
    wrong: Counter[str] = Counter(row.text for row in known if row.text.strip() != row.prediction.reference.strip())  # type: ignore[union-attr]
    found: dict[int, Finding | None] = {}
    for row in known:
        count = wrong.get(row.text, 0)
        is_wrong = row.text.strip() != (row.prediction.reference or "").strip()
        why = f"“{one_line(row.text, 40)}” is the wrong answer to {count} texts"
        found[row.row] = Finding("hub", why) if is_wrong and count >= context.limits.hub else None
    return found


SIMILAR_LOW = Detector(
    Category(
        "similar_low", "l", "▼", "red", "Alike, scored low",
        "Among the quarter of pairs with the highest scores, but in the lower half by cosine.",
    ),
    collect=_similar_low,
)  # fmt: skip
DISSIMILAR_HIGH = Detector(
    Category(
        "dissimilar_high", "h", "▲", "bright_red", "Unlike, scored high",
        "Among the quarter of pairs with the lowest scores, but in the upper half by cosine.",
    ),
    collect=_dissimilar_high,
)  # fmt: skip
RANK_INVERSION = Detector(
    Category(
        "rank_inversion", "i", "⇅", "yellow", "Out of order",
        "In the wrong order with more than a quarter of the pairs that are clearly more or less alike.",
    ),
    collect=_rank_inversion,
)  # fmt: skip
NOT_FOUND = Detector(
    Category("not_found", "w", "×", "red", "Not found first", "Another text lies nearer than the one that belongs."),
    _not_found,
)
HUB = Detector(
    Category(
        "hub", "u", "◉", "magenta", "Hub", "A text that is the wrong answer to five others or more: near everything.",
    ),
    collect=_hub,
)  # fmt: skip
LENGTH_BIAS = Detector(
    Category(
        "length_bias", "b", "↔", "cyan", "Length bias",
        "The error goes with how unlike in length the texts are, and this row is one of those that show it.",
        hint=True,
    ),
    collect=_length_bias,
)  # fmt: skip
ANISOTROPY = Detector(
    Category(
        "anisotropy", "a", "⇉", "bright_magenta", "All alike",
        "Texts that have nothing to do with each other still have a mean cosine of 0.5 or more.",
        hint=True,
    ),
    _anisotropy,
    none=lambda context: "it needs the cosines with other texts",
)  # fmt: skip
ALL = (SIMILAR_LOW, DISSIMILAR_HIGH, RANK_INVERSION, NOT_FOUND, HUB, LENGTH_BIAS, ANISOTROPY)
