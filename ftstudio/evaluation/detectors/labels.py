"""What goes wrong where an answer is a label: what is taken for what, how sure the model was, whose fault it may be.

Probabilities are those that a classifier's predictions bring (`probabilities` of a prediction: label → probability).
Suspected label errors are told by confident learning (Northcutt, Jiang & Chuang 2021, "Confident Learning: Estimating
Uncertainty in Dataset Labels"): the model, which never saw the row, is at least as sure of another label as it is on
average of rows that bear that label, and less sure of the given one. A model that is hardly more often right than the
most frequent label says nothing by that.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from statistics import stdev
from typing import Any

from ftstudio.core.text import one_line
from ftstudio.data.skill import unheard
from ftstudio.evaluation.categories import UNJUDGED, Category, Detector, Finding, Verdict
from ftstudio.evaluation.classification import number_in, parted
from ftstudio.evaluation.context import Context
from ftstudio.evaluation.rows import Row

FEWEST = 20  # rows below which confident learning says nothing
_SHOWN = 30


def probabilities(row: Row) -> Mapping[str, float] | None:
    """What the model thought of each label; None where the prediction doesn't say."""
    found = row.prediction.extra.get("probabilities")
    if not isinstance(found, Mapping) or not found:
        return None
    return {str(name): float(value) for name, value in found.items() if isinstance(value, (int, float))}


def _wrong(row: Row) -> bool | None:
    """Whether the answer isn't the reference; None without one."""
    reference = row.prediction.reference
    return None if reference is None else row.text.strip() != reference.strip()


def _name(text: str | None) -> str:
    return one_line(text or "none", _SHOWN)


def _wrong_label(row: Row, context: Context) -> Verdict:
    wrong = _wrong(row)
    if wrong is None:
        return UNJUDGED
    return Finding("wrong_label", f"{_name(row.prediction.reference)} taken for {_name(row.text)}") if wrong else None


def _confident_wrong(row: Row, context: Context) -> Verdict:
    wrong, shares = _wrong(row), probabilities(row)
    if wrong is None or shares is None:
        return UNJUDGED
    share = shares.get(row.text.strip(), 0.0)
    if not wrong or share < context.limits.confident:
        return None
    return Finding("confident_wrong", f"{share:.0%} sure of {_name(row.text)}; it is {_name(row.prediction.reference)}")


def _near_miss(row: Row, context: Context) -> Verdict:
    wrong, shares = _wrong(row), probabilities(row)
    if wrong is None or shares is None:
        return UNJUDGED
    reference = (row.prediction.reference or "").strip()
    margin = shares.get(row.text.strip(), 0.0) - shares.get(reference, 0.0)
    if not wrong or not {reference, row.text.strip()} <= shares.keys() or margin >= context.limits.near_miss:
        return None
    return Finding("near_miss", f"{_name(reference)} was only {margin:.2f} behind {_name(row.text)}")


def _rare_class(rows: Sequence[Row], context: Context, embedder: Any) -> Mapping[int, Finding | None] | str:
    counts: Counter[str] = Counter()
    for row in rows:
        counts.update(parted(row.prediction.reference or ""))
    if len(counts) < 2:
        return "the references hold fewer than two labels"
    least = context.limits.rare_label * sum(counts.values()) / len(counts)
    rare = {name for name, count in counts.items() if count < least}
    if not rare:
        return f"no label is rarer than {context.limits.rare_label:.0%} of an even share"
    found: dict[int, Finding | None] = {}
    for row in rows:
        names = [name for name in parted(row.prediction.reference or "") if name in rare]
        missed = [name for name in names if name not in parted(row.text)]
        found[row.row] = Finding("rare_class", f"{_name(missed[0])} has {counts[missed[0]]} rows") if missed else None
    return found


def _label_error(rows: Sequence[Row], context: Context, embedder: Any) -> Mapping[int, Finding | None] | str:
    known = [(row, shares) for row in rows if (shares := probabilities(row)) and row.prediction.reference is not None]
    if len(known) < FEWEST:
        return "it needs a classifier's probabilities" if not known else f"it needs {FEWEST} rows"
    if any(len(parted(row.prediction.reference or "")) != 1 for row, _ in known):
        return "it is told for rows with one label each"
    given = [(row.prediction.reference or "").strip() for row, _ in known]
    right = sum(row.text.strip() == label for (row, _), label in zip(known, given, strict=True)) / len(known)
    if why := unheard("the model", right, given):
        return why
    sums: Counter[str] = Counter()
    counts: Counter[str] = Counter()
    for row, shares in known:
        label = (row.prediction.reference or "").strip()
        counts[label] += 1
        sums[label] += shares.get(label, 0.0)  # type: ignore[assignment]
    usual = {label: sums[label] / counts[label] for label in counts}
    found: dict[int, Finding | None] = {}
    for row, shares in known:
        label = (row.prediction.reference or "").strip()
        over = {name: share for name, share in shares.items() if name in usual and share >= usual[name]}
        best = max(over, key=over.__getitem__, default=label)
        if best == label or label not in shares:
            found[row.row] = None
            continue
        why = f"perhaps {_name(best)} ({shares[best]:.0%}), not {_name(label)} ({shares[label]:.0%})"
        found[row.row] = Finding("label_error", why)
    return found


def _unparsable(row: Row, context: Context) -> Verdict:
    labels = context.contract.value if context.contract is not None and context.contract.kind == "labels" else None
    known = {str(name) for name in labels} if labels else set(probabilities(row) or ())
    if not known:
        return UNJUDGED
    odd = [name for name in parted(row.text) if name not in known]
    return Finding("unparsable", f"{_name(odd[0])} is no label") if odd else None


def _no_probabilities(context: Context) -> str:
    return "it needs a classifier's probabilities"


def _far_off(rows: Sequence[Row], context: Context, embedder: Any) -> Mapping[int, Finding | None] | str:
    pairs = {row.row: (number_in(row.text), number_in(row.prediction.reference or "")) for row in rows}
    wanted = [reference for _, reference in pairs.values() if reference is not None]
    if len(wanted) < FEWEST:
        return f"it needs {FEWEST} rows whose reference is a number"
    spread = context.limits.far_off * stdev(wanted)
    found: dict[int, Finding | None] = {}
    for number, (given, reference) in pairs.items():
        if reference is None:
            continue
        if given is None:
            found[number] = Finding("far_off", "the answer is no number")
        elif spread > 0 and abs(given - reference) > spread:
            found[number] = Finding("far_off", f"{given:g}, not {reference:g}: {abs(given - reference):.3g} apart")
        else:
            found[number] = None
    return found


WRONG_LABEL = Detector(
    Category("wrong_label", "w", "×", "red", "Wrong label", "Another label than the reference."), _wrong_label
)
CONFIDENT_WRONG = Detector(
    Category(
        "confident_wrong", "c", "‼", "bright_red", "Sure and wrong",
        "A wrong label given with a probability of 0.9 and more.",
    ),
    _confident_wrong,
    none=_no_probabilities,
)  # fmt: skip
NEAR_MISS = Detector(
    Category(
        "near_miss", "n", "≈", "yellow", "Near miss",
        "A wrong label that the model preferred to the right one by less than 0.1.",
    ),
    _near_miss,
    none=_no_probabilities,
)  # fmt: skip
RARE_CLASS = Detector(
    Category(
        "rare_class", "r", "·", "cyan", "Rare label missed",
        "A label that has less than a tenth of an even share of the rows wasn't found.",
    ),
    collect=_rare_class,
)  # fmt: skip
LABEL_ERROR = Detector(
    Category(
        "label_error", "l", "?", "magenta", "Label in doubt",
        "The reference itself may be wrong: the model is as sure of another label as of rows that really have it.",
        hint=True,
    ),
    collect=_label_error,
    none=_no_probabilities,
)  # fmt: skip
UNPARSABLE = Detector(
    Category("unparsable", "u", "#", "bright_magenta", "No label", "The answer is none of the labels."), _unparsable
)
FAR_OFF = Detector(
    Category(
        "far_off", "f", "↔", "red", "Far off",
        "A number further from the reference than the references are spread (one standard deviation).",
    ),
    collect=_far_off,
)  # fmt: skip
ALL = (WRONG_LABEL, CONFIDENT_WRONG, NEAR_MISS, RARE_CLASS, LABEL_ERROR, UNPARSABLE, FAR_OFF)
