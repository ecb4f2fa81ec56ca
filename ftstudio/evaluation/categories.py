"""Error categories: what each is, the detectors that find them, and the whole of what was found."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from ftstudio.core.text import one_line
from ftstudio.evaluation.context import Context
from ftstudio.evaluation.predictions import Prediction
from ftstudio.evaluation.rows import Row

Span = tuple[int, int]


@dataclass(frozen=True)
class Category:
    """A kind of error: `name` in files, `key` that tags it, `mark` and `colour` on screen, `title` and `help` in words.

    `hint` is True where the detector only points at rows to look at.
    """

    name: str
    key: str
    mark: str
    colour: str
    title: str
    help: str
    hint: bool = False


@dataclass(frozen=True)
class Finding:
    """That a detector fired: in which category, why, and where in the output: (start, end) in characters."""

    category: str
    why: str
    spans: tuple[Span, ...] = ()


class _Unjudged:
    def __repr__(self) -> str:
        return "UNJUDGED"


UNJUDGED = _Unjudged()  # a detector's answer on a row that it can't judge (no reference, too short, …)
Verdict = Finding | None | _Unjudged


def _always(context: Context) -> str:
    return ""


def _no_reference(context: Context) -> str:
    return "the rows have no reference"


@dataclass(frozen=True)
class Detector:
    """How a category is found.

    `ready` says why the category can't be judged in a context (an empty string where it can). `judge` looks at one
    row; `collect` looks at all rows at once instead, given an embedder or None, and returns the verdicts by row number
    of the rows it judged: all others count as unjudged. `none` says why, where no row at all could be judged.
    """

    category: Category
    judge: Callable[[Row, Context], Verdict] | None = None
    ready: Callable[[Context], str] = _always
    collect: Callable[[Sequence[Row], Context, Any], Mapping[int, Finding | None] | str] | None = None
    none: Callable[[Context], str] = _no_reference


@cache
def detectors() -> dict[str, Detector]:
    """The detectors for written text by category name, in the order in which they are shown."""
    from ftstudio.evaluation.detectors import ALL

    return {detector.category.name: detector for detector in ALL}


@cache
def every() -> dict[str, Detector]:
    """All detectors, also those for labels and whatever else a task answers with."""
    from ftstudio.evaluation.detectors import OTHERS

    return detectors() | {detector.category.name: detector for detector in OTHERS}


def categories() -> dict[str, Category]:
    """All categories by name, in the order in which they are shown."""
    return {name: detector.category for name, detector in detectors().items()}


def all_categories() -> dict[str, Category]:
    """The categories of every task by name: of written text, of labels, tags, vectors."""
    return {name: detector.category for name, detector in every().items()}


def named(names: Collection[str]) -> list[Category]:
    """The categories called NAMES, in the order in which they are shown; one of a person's own by its name alone."""
    known = all_categories()
    own = sorted(name for name in names if name not in known)
    return [known[name] for name in known if name in names] + [
        Category(name, "", "◆", "bright_magenta", one_line(name, 24), "") for name in own
    ]


@dataclass(frozen=True)
class Categorised:
    """What the detectors found.

    `findings`: by row number, only rows with any. `rows`: the row numbers of each category, in order. `judged`: how
    many rows each detector could judge. `reasons`: why a category couldn't be judged at all. `references`: how often
    the same detector fired on the references, and on how many of them it could judge. `unjudged`: by category, the
    rows that it couldn't judge while others it could. `categories`: what was looked for, own ones too, as shown.
    """

    predictions: tuple[Prediction, ...]
    findings: dict[int, tuple[Finding, ...]]
    rows: dict[str, list[int]]
    judged: dict[str, int]
    reasons: dict[str, str]
    references: dict[str, tuple[int, int]] = field(default_factory=dict)
    unjudged: dict[str, frozenset[int]] = field(default_factory=dict)
    categories: dict[str, Category] = field(default_factory=dict)

    def names(self, row: int) -> set[str]:
        """The categories that the detectors put ROW in."""
        return {finding.category for finding in self.findings.get(row, ())}

    def rate(self, name: str) -> float | None:
        """The share of judged rows in the category NAME; None where none was judged."""
        return len(self.rows[name]) / self.judged[name] if self.judged.get(name) else None

    def reference_rate(self, name: str) -> float | None:
        """The same detector's rate on the references; None where it judged none of them."""
        fired, judged = self.references.get(name, (0, 0))
        return fired / judged if judged else None


class Categoriser:
    """Categorises predictions as they come; `result` at any time is that of all so far.

    DETECTORS as `detectors()` gives them (all, and CONTEXT's own ones, where None). REFERENCES says whether
    the same detectors also run on the references. EMBEDDER, where given, serves the categories that need similarity.
    """

    def __init__(
        self,
        context: Context,
        *,
        detectors: Mapping[str, Detector] | None = None,
        references: bool = True,
        embedder: Any = None,
    ) -> None:
        self.context = context
        self.detectors = dict(_all(context) if detectors is None else detectors)
        self.embedder = embedder
        self._with_references = references
        self._rows: dict[int, Row] = {}
        self._references: dict[int, Row] = {}
        self._verdicts: dict[int, dict[str, Verdict]] = {}
        self._on_reference: dict[int, dict[str, Verdict]] = {}
        self._reasons = {name: detector.ready(context) for name, detector in self.detectors.items()}
        self._single = [
            (name, detector.judge)
            for name, detector in self.detectors.items()
            if detector.judge is not None and not self._reasons[name]
        ]

    def add(self, prediction: Prediction) -> tuple[Finding, ...]:
        """Take PREDICTION in (its row anew, if it was there); what the detectors that look at single rows find."""
        row = Row(prediction)
        self._rows[row.row] = row
        verdicts = self._judge(row)
        self._verdicts[row.row] = verdicts
        reference = row.of_reference() if self._with_references else None
        if reference is not None:
            earlier = self._references.get(row.row)
            if earlier is None or earlier.prediction.output != reference.prediction.output:
                self._references[row.row] = reference
                self._on_reference[row.row] = self._judge(reference)
        return tuple(verdict for verdict in verdicts.values() if isinstance(verdict, Finding))

    def result(self) -> Categorised:
        """All findings so far, those of detectors that look at all rows at once included."""
        reasons = {name: reason for name, reason in self._reasons.items() if reason}
        on_all: dict[str, Mapping[int, Finding | None]] = {}
        on_all_references: dict[str, Mapping[int, Finding | None]] = {}
        for name, detector in self.detectors.items():
            if detector.collect is None or name in reasons:
                continue
            found = detector.collect(list(self._rows.values()), self.context, self.embedder)
            if isinstance(found, str):
                reasons[name] = found
                continue
            on_all[name] = found
            again = detector.collect(list(self._references.values()), self.context, self.embedder)
            on_all_references[name] = {} if isinstance(again, str) else again
        order = list(self._rows)
        rows: dict[str, list[int]] = {}
        judged: dict[str, int] = {}
        unjudged: dict[str, frozenset[int]] = {}
        references: dict[str, tuple[int, int]] = {}
        findings: dict[int, list[Finding]] = {}
        for name in self.detectors:
            rows[name], missing = [], []
            for number in order:
                verdict = _verdict(name, number, self._verdicts, on_all)
                if isinstance(verdict, Finding):
                    rows[name].append(number)
                    findings.setdefault(number, []).append(verdict)
                elif verdict is UNJUDGED:
                    missing.append(number)
            judged[name] = 0 if name in reasons else len(order) - len(missing)
            if name in reasons:
                continue
            if order and not judged[name]:
                reasons[name] = self.detectors[name].none(self.context)
            elif missing:
                unjudged[name] = frozenset(missing)
            verdicts = [_verdict(name, number, self._on_reference, on_all_references) for number in self._references]
            seen = [verdict for verdict in verdicts if verdict is not UNJUDGED]
            references[name] = (sum(verdict is not None for verdict in seen), len(seen))
        return Categorised(
            predictions=tuple(row.prediction for row in self._rows.values()),
            findings={number: tuple(findings[number]) for number in order if number in findings},
            rows=rows,
            judged=judged,
            reasons=reasons,
            references=references if self._with_references else {},
            unjudged=unjudged,
            categories={name: detector.category for name, detector in self.detectors.items()},
        )

    def _judge(self, row: Row) -> dict[str, Verdict]:
        return {name: verdict for name, judge in self._single if (verdict := judge(row, self.context)) is not None}


def _all(context: Context) -> dict[str, Detector]:
    known = {name: every()[name] for name in context.only} if context.only else detectors()
    return known | {own.name: own.detector() for own in context.own}


def _verdict(
    name: str,
    number: int,
    single: Mapping[int, Mapping[str, Verdict]],
    on_all: Mapping[str, Mapping[int, Finding | None]],
) -> Verdict:
    if name in on_all:
        return on_all[name].get(number, UNJUDGED)
    return single[number].get(name)


def categorise(
    predictions: Iterable[Prediction],
    context: Context | None = None,
    *,
    detectors: Mapping[str, Detector] | None = None,
    references: bool = True,
    embedder: Any = None,
) -> Categorised:
    """What goes wrong in PREDICTIONS (of one arm): findings by row, rows by category, what couldn't be judged and why.

    CONTEXT None is made from the predictions themselves. The rest as in `Categoriser`.
    """
    from ftstudio.evaluation.context import of_predictions

    rows = list(predictions)
    work = Categoriser(
        of_predictions(rows) if context is None else context,
        detectors=detectors,
        references=references,
        embedder=embedder,
    )
    for prediction in rows:
        work.add(prediction)
    return work.result()
