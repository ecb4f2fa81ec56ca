"""The rows of a comparison: which are shown, in what order, and how a line of the list looks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from ftstudio.core.text import one_line
from ftstudio.evaluation.categories import categories
from ftstudio.evaluation.metrics import TITLES
from ftstudio.ui.compare.arms import BASE, Arms
from ftstudio.ui.text.table import Cells, Column

ORDERS = {"gain": "best gains first", "loss": "worst losses first", "row": "in order of rows"}
KINDS = {
    "changed": "fixed or broke",
    "fixed": "fixed",
    "broke": "broke",
    "base": "base had it",
    "tuned": "tuned has it",
}
COLUMNS = (
    Column("row", 5, "right"),
    Column("gain", 8, "right"),
    Column("base", 6, "right"),
    Column("tuned", 6, "right"),
    Column("similarity", 13, "right", least=96),
    Column("words", 11, "right", least=96),
    Column("errors", 13, least=78),
    Column("tuned output", 0),
)


@dataclass(frozen=True)
class Choice:
    """Which rows are shown: of `category` (empty: all), those of `kind`, in `order`."""

    order: str = "gain"
    category: str = ""
    kind: str = "changed"

    def next_order(self) -> Choice:
        """The next of ORDERS."""
        names = list(ORDERS)
        return replace(self, order=names[(names.index(self.order) + 1) % len(names)])

    def next_kind(self) -> Choice:
        """The next of KINDS."""
        names = list(KINDS)
        return replace(self, kind=names[(names.index(self.kind) + 1) % len(names)])

    def wants(self, before: bool, after: bool) -> bool:
        """Whether a row is shown that had the category BEFORE and has it AFTER."""
        return {
            "changed": before != after,
            "fixed": before and not after,
            "broke": after and not before,
            "base": before,
            "tuned": after,
        }[self.kind]

    @property
    def text(self) -> str:
        """In words."""
        if not self.category:
            return ORDERS[self.order]
        known = categories().get(self.category)
        return f"{known.title if known else self.category}: {KINDS[self.kind]}, {ORDERS[self.order]}"


class Rows:
    """The rows of a report as CHOICE wants them; those not scored yet come last."""

    def __init__(self) -> None:
        self.scores: dict[int, Mapping[str, Any]] = {}
        self.gains: dict[int, float | None] = {}
        self.numbers: list[int] = []
        self.metric = ""

    def arrange(self, arms: Arms, choice: Choice) -> None:
        """Sort and filter anew."""
        report = arms.report or {}
        self.metric = report.get("gain") or ""
        name = arms.run.name
        self.scores = {entry["row"]: entry["arms"] for entry in report.get("per_row", ())}
        self.gains = {row: gain(found, name, self.metric) for row, found in self.scores.items()}
        rows = [row for row in arms.rows if self._wanted(row, name, choice)]
        if choice.order != "row":
            sign = -1 if choice.order == "gain" else 1
            rows.sort(key=lambda row: (self.gains.get(row) is None, sign * (self.gains.get(row) or 0.0)))
        else:
            rows.sort()
        self.numbers = rows

    def _wanted(self, row: int, name: str, choice: Choice) -> bool:
        if not choice.category:
            return True
        found = self.scores.get(row)
        if found is None:
            return False
        before, after = (choice.category in found.get(arm, {}).get("categories", ()) for arm in (BASE, name))
        return choice.wants(before, after)

    def cells(self, arms: Arms, row: int) -> Cells:
        """A line of the list."""
        found = self.scores.get(row, {})
        base, tuned = found.get(BASE, {}), found.get(arms.run.name, {})
        step = self.gains.get(row)
        output = one_line(arms.tuned.known[row].output, 160) if row in arms.tuned.known else ""
        return (
            (f"{row}", "dim"),
            signed(step),
            score(base.get(self.metric)),
            score(tuned.get(self.metric)),
            pair(base.get("similarity"), tuned.get("similarity"), "{:.2f}"),
            pair(base.get("length"), tuned.get("length"), "{:.0f}"),
            (f"{signs(base)} → {signs(tuned)}" if found else "", "warn" if tuned.get("categories") else "dim"),
            output or ("(empty)", "dim"),
        )

    def columns(self) -> tuple[Column, ...]:
        """The columns, the gain metric named in them."""
        title = TITLES.get(self.metric, "score")
        return (COLUMNS[0], replace(COLUMNS[1], title=title if len(title) <= 8 else "gain"), *COLUMNS[2:])


def gain(found: Mapping[str, Any], name: str, metric: str) -> float | None:
    """The run's score minus the base's; None where one is missing."""
    a, b = found.get(BASE, {}).get(metric), found.get(name, {}).get(metric)
    return b - a if isinstance(a, (int, float)) and isinstance(b, (int, float)) else None


def signed(step: float | None) -> tuple[str, str]:
    """A gain with its sign."""
    if step is None:
        return ("…", "dim")
    if abs(step) < 0.0005:
        return ("=  0.00", "dim")
    return (f"▲ +{step:.2f}", "good") if step > 0 else (f"▼ −{-step:.2f}", "bad")


def score(value: Any) -> str:
    """A score from 0 to 1."""
    return f"{value:.2f}" if isinstance(value, (int, float)) else "–"


def pair(a: Any, b: Any, form: str) -> str:
    """Before and after."""
    texts = [form.format(value) if isinstance(value, (int, float)) else "–" for value in (a, b)]
    return "" if texts == ["–", "–"] else " → ".join(texts)


def signs(scores: Mapping[str, Any]) -> str:
    """The marks of a row's categories."""
    known = categories()
    found = "".join(known[name].mark for name in known if name in scores.get("categories", ()))
    return found or "✓"
