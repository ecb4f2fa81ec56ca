"""A person's own filter: an expression over a row of the comparison."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ftstudio.core.errors import UsageError
from ftstudio.data.expression import CannotJudge, Expression
from ftstudio.ui.compare.arms import Arms

HINT = (
    'Such as: gain < 0 and words(prompt) > 40, or: "refund" in lower(tuned)\n'
    "It may name: prompt, reference, base and tuned (their answers), gain, categories, row, metrics such as rougeL and "
    "rougeL_base, and the columns of your data."
)


@dataclass(frozen=True)
class Found:
    """The rows for which the expression `text` holds, and how many could not be judged."""

    text: str
    rows: frozenset[int]
    unjudged: int


def values(arms: Arms, row: int, scores: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """What an expression may name on ROW: the columns of the data, and above them what the comparison knows."""
    base, tuned = arms.base.known[row], arms.tuned.known[row]
    a, b = scores.get(arms.a, {}), scores.get(arms.b, {})
    metric = (arms.report or {}).get("gain") or ""
    found: dict[str, Any] = dict(arms.columns.get(row, {}))
    for name, answered in arms.answered.items():
        if row in answered.known:
            found[name] = answered.known[row].output
    found |= {f"{name}_base": value for name, value in a.items()} | dict(b)
    gain = b[metric] - a[metric] if metric in a and metric in b else None
    return found | {
        "row": row, "prompt": base.prompt, "reference": base.reference, "base": base.output, "tuned": tuned.output,
        "output": tuned.output, "gain": gain,
    }  # fmt: skip


def matching(arms: Arms, text: str) -> Found:
    """The rows of ARMS for which TEXT holds. Raises UsageError where it is no expression, or names what no row has."""
    rows, scores = arms.rows, arms.scores()
    every = [values(arms, row, scores.get(row, {})) for row in rows]
    expression = Expression(text, {name for known in every for name in known})
    held, unjudged = set(), 0
    for row, known in zip(rows, every, strict=True):
        try:
            if expression.holds(known):
                held.add(row)
        except CannotJudge:
            unjudged += 1
    if rows and unjudged == len(rows):
        raise UsageError("The expression has no value on any row.", "Check what it compares: texts with texts, …")
    return Found(text.strip(), frozenset(held), unjudged)
