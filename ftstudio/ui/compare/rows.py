"""The rows of a comparison: which are shown, in what order, and how a line of the list looks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from ftstudio.core.text import one_line
from ftstudio.evaluation.categories import all_categories, named
from ftstudio.evaluation.metrics import TITLES
from ftstudio.ui.compare.arms import Arms
from ftstudio.ui.compare.views import NEAR, VIEWS, Judged, judge
from ftstudio.ui.text.table import Cells, Column

ORDERS = {"gain": "best gains first", "loss": "worst losses first", "row": "in order of rows"}
KINDS = {
    "changed": "fixed or broke",
    "fixed": "fixed",
    "broke": "broke",
    "base": "base had it",
    "tuned": "tuned has it",
}
# what stands beside the gain where the answers have it: labels and tags have neither
BESIDE = {
    "similarity": (Column("similarity", 13, "right", least=96), "{:.2f}"),
    "length": (Column("words", 11, "right", least=96), "{:.0f}"),
}
COLUMNS = (
    Column("row", 5, "right"),
    Column("gain", 8, "right"),
    Column("base", 6, "right"),
    Column("tuned", 6, "right"),
    *(column for column, _ in BESIDE.values()),
    Column("errors", 13, least=78),
    Column("tuned output", 0),
)


@dataclass(frozen=True)
class Choice:
    """Which rows are shown: those of `view` (one of VIEWS) that are of `category` (empty: all) and there of `kind`, and
    among the rows of a `part` of the data (None: all), in `order`. `part_name` is the part in words."""

    order: str = "gain"
    category: str = ""
    kind: str = "changed"
    view: str = "all"
    part_name: str = ""
    part: frozenset[int] | None = None

    def next_order(self) -> Choice:
        """The next of ORDERS."""
        names = list(ORDERS)
        return replace(self, order=names[(names.index(self.order) + 1) % len(names)])

    def next_kind(self) -> Choice:
        """The next of KINDS."""
        names = list(KINDS)
        return replace(self, kind=names[(names.index(self.kind) + 1) % len(names)])

    @property
    def narrowed(self) -> bool:
        """Whether some rows are left out."""
        return self.view != "all" or bool(self.category) or self.part is not None

    def wants(self, before: bool, after: bool) -> bool:
        """Whether a row is shown that had the category BEFORE and has it AFTER."""
        return {
            "changed": before != after,
            "fixed": before and not after,
            "broke": after and not before,
            "base": before,
            "tuned": after,
        }[self.kind]

    def text(self, measured: bool = True) -> str:
        """In words; MEASURED: single rows have a gain to order them by."""
        known = all_categories().get(self.category)
        parts = [
            f"{known.title if known else self.category}: {KINDS[self.kind]}" if self.category else "",
            VIEWS[self.view].title if self.view != "all" else "",
            self.part_name,
            ORDERS[self.order] if measured else f"{ORDERS['row']}: no metric of single rows",
        ]
        return ", ".join(part for part in parts if part)


class Rows:
    """The rows of a report as CHOICE wants them; those not scored yet come last."""

    def __init__(self) -> None:
        self.scores: dict[int, Mapping[str, Any]] = {}
        self.gains: dict[int, float | None] = {}
        self.judged: dict[int, Judged] = {}
        self.numbers: list[int] = []
        self.metric = ""
        self._known: tuple[Any, ...] | None = None  # which answers and …
        self._report: Mapping[str, Any] | None = None  # … which report what stands here is of
        self._names = ("", "")
        self._labels = ("base", "tuned")
        self._beside: tuple[str, ...] = tuple(BESIDE)

    def arrange(self, arms: Arms, choice: Choice) -> None:
        """Sort and filter anew."""
        self.metric = (arms.report or {}).get("gain") or ""
        self._names, self._labels = (arms.a, arms.b), (arms.label(arms.a), arms.label(arms.b))
        known = (id(arms), arms.version, arms.a, arms.b, arms.following.state)
        if known != self._known or self._report is not arms.report:  # else only the order or the choice is another
            self._known, self._report = known, arms.report
            self.scores = arms.scores()
            self.gains = {row: gain(found, arms.a, arms.b, self.metric) for row, found in self.scores.items()}
            self.judged = judge(arms, self.scores, self.gains)
            told = {name for found in self.scores.values() for name in found.get(arms.b, ())}
            self._beside = tuple(name for name in BESIDE if name in told or not self.scores)
        rows = [row for row, judged in self.judged.items() if judged.shown_by(choice.view) and self._in(row, choice)]
        if choice.order != "row" and self.measured:
            sign = -1 if choice.order == "gain" else 1
            rows.sort(key=lambda row: (self.gains.get(row) is None, sign * (self.gains.get(row) or 0.0)))
        else:
            rows.sort()
        self.numbers = rows

    @property
    def measured(self) -> bool:
        """Whether single rows have a gain, as far as is known yet: correlations are of all rows together."""
        return bool(self.metric) or self._report is None

    def _in(self, row: int, choice: Choice) -> bool:
        """Whether ROW is of CHOICE's category and part."""
        if choice.part is not None and row not in choice.part:
            return False
        if not choice.category:
            return True
        found = self.scores.get(row)
        if found is None:
            return False
        before, after = (choice.category in found.get(arm, {}).get("categories", ()) for arm in self._names)
        return choice.wants(before, after)

    def counts(self) -> dict[str, int]:
        """How many rows each of VIEWS holds."""
        return {view: sum(judged.shown_by(view) for judged in self.judged.values()) for view in VIEWS}

    def cells(self, arms: Arms, row: int) -> Cells:
        """A line of the list."""
        found = self.scores.get(row, {})
        base, tuned = found.get(arms.a, {}), found.get(arms.b, {})
        first, output = (
            one_line(answers.known[row].output, 160) if row in answers.known else ""
            for answers in (arms.base, arms.tuned)
        )
        gains = (signed(self.gains.get(row)), score(base.get(self.metric)), score(tuned.get(self.metric)))
        return (
            (f"{row}", "dim"),
            *(gains if self.measured else ((first, ""),)),
            *(pair(base.get(name), tuned.get(name), BESIDE[name][1]) for name in self._beside),
            (f"{signs(base)} → {signs(tuned)}" if found else "", "warn" if tuned.get("categories") else "dim"),
            output or ("(empty)", "dim"),
        )

    def columns(self) -> tuple[Column, ...]:
        """The columns, the gain metric and the arms named in them."""
        title = TITLES.get(self.metric, "score")
        a, b = (one_line(label, 6) for label in self._labels)
        gains = (
            replace(COLUMNS[1], title=title if len(title) <= 8 else "gain"),
            replace(COLUMNS[2], title=a),
            replace(COLUMNS[3], title=b),
        )
        return (
            COLUMNS[0],
            *(gains if self.measured else (Column(f"{self._labels[0]} output", 20),)),
            *(BESIDE[name][0] for name in self._beside),
            COLUMNS[-2],
            replace(COLUMNS[-1], title=f"{self._labels[1]} output"),
        )


def gain(found: Mapping[str, Any], a: str, b: str, metric: str) -> float | None:
    """The score of arm B minus that of arm A; None where one is missing."""
    first, second = found.get(a, {}).get(metric), found.get(b, {}).get(metric)
    return second - first if isinstance(first, (int, float)) and isinstance(second, (int, float)) else None


def signed(step: float | None) -> tuple[str, str]:
    """A gain with its sign."""
    if step is None:
        return ("…", "dim")
    if abs(step) < NEAR:
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
    return "".join(known.mark for known in named(scores.get("categories", ()))) or "✓"
