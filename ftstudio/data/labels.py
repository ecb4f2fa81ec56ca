"""Labels of texts: read from cells, counted, and told apart into one label, several, or a number."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ftstudio.core.errors import Stopped, StudioError
from ftstudio.core.text import number, one_line
from ftstudio.data.dataset import Cancel, Dataset
from ftstudio.data.example import BadRow, text_of
from ftstudio.data.shape import Shape
from ftstudio.data.shape_rows import label_role

SINGLE, MULTI, REGRESSION = "single_label_classification", "multi_label_classification", "regression"
SEPARATOR = " | "  # between the labels of an answer that has several
MOST = 2000  # labels; more of them are rather free texts
FEW_NUMBERS = 20  # different numbers up to which they may be class numbers


@dataclass(frozen=True)
class Labels:
    """What the labels of a dataset are. `names` in a fixed order (numbers by value, else by name), `counts` of each;
    for a regression `low` and `high`, the range of the numbers."""

    problem: str
    names: tuple[str, ...] = ()
    counts: tuple[int, ...] = ()
    low: float = 0.0
    high: float = 0.0


def label_of(value: Any) -> str:
    """A cell as the name of a label; a ` | ` in it becomes ` ¦ `, for that is what stands between several labels.
    Raises BadRow for an empty one."""
    text = text_of(value).strip() if not isinstance(value, bool) else str(value).lower()
    if not text:
        raise BadRow("the label is empty")
    return text.replace(SEPARATOR, " ¦ ")


def several(value: Any) -> list[str]:
    """A cell as some labels: a list, or a list written as JSON; an empty list says that none fits. Raises BadRow for a
    cell that is empty: nobody has said what the row's labels are."""
    if isinstance(value, str) and value.strip().startswith("["):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            raise BadRow("the labels begin like a list but are none") from None
    if isinstance(value, (list, tuple)):
        return list(dict.fromkeys(label_of(part) for part in value))
    if value is None or text_of(value).strip() == "":
        raise BadRow("the label is missing")
    return [label_of(value)]


def number_of(value: Any) -> float:
    """A cell as a number; 0,5 has a decimal comma. Raises BadRow where it is none, or may be either of two."""
    if isinstance(value, str) and re.fullmatch(r"\s*[-+]?[1-9]\d{0,2},\d{3}\s*", value):
        told = value.strip()
        raise BadRow(f"the score {told!r} may mean {told.replace(',', '')} or {told.replace(',', '.')}: write it so")
    try:
        found = float(text_of(value).strip().replace(",", ".") if isinstance(value, str) else value)
    except (TypeError, ValueError):
        raise BadRow(f"the score is no number: {one_line(text_of(value), 40)!r}") from None
    if found != found or found in (float("inf"), float("-inf")):
        raise BadRow("the score is no finite number")
    return found


def survey(dataset: Dataset, shape: Shape, problem: str = "auto", *, cancel: Cancel | None = None) -> Labels:
    """The labels that DATASET holds, of several sources each in its own column. PROBLEM `auto` tells by the values:
    lists are several labels, many different or broken numbers a regression, all else one label.

    Raises StudioError where nothing can be learnt: no label at all, one label only, or a label of its own for every
    row. Rows without a label are left for whoever encodes them to count.
    """
    values = _values(dataset, shape, cancel)
    where = where_of(dataset, shape)
    present = [value for value in values if value is not None and value != "" and value != []]
    if not present:
        raise StudioError(f"{where} holds no label in any row.", "Map another column: data.columns.label.")
    if problem == "auto":
        problem = _problem(present, label_role(shape) == "score")
    if problem == REGRESSION:
        return _numbers(present, where)
    counts: Counter[str] = Counter()
    for value in present:
        try:
            counts.update(several(value) if problem == MULTI else [label_of(value)])
        except BadRow:
            continue
    if len(counts) < 2 and problem == SINGLE:
        only = next(iter(counts), "")
        raise StudioError(
            f"{where} holds only one label ({one_line(only, 40)!r}): there is nothing to tell apart.",
            "Add rows of other labels, or map another column: data.columns.label.",
        )
    if not counts:
        raise StudioError(f"{where} holds no label in any row.", "Map another column: data.columns.label.")
    if len(counts) > MOST or (len(present) > 20 and len(counts) > 0.9 * len(present)):
        raise StudioError(
            f"{where} holds {number(len(counts))} labels in {number(len(present))} rows: they are no classes.",
            "Map another column (data.columns.label), or use the task sft, which writes free text.",
        )
    names = sorted(counts, key=_order)
    return Labels(problem, tuple(names), tuple(counts[name] for name in names))


def where_of(dataset: Dataset, shape: Shape) -> str:
    """DATASET and its columns with labels or scores, as a sentence about them begins."""
    return f"{one_line(dataset.source)}: column {' or '.join(repr(one_line(name)) for name in shape.label_columns)}"


def _values(dataset: Dataset, shape: Shape, cancel: Cancel | None) -> list[Any]:
    found = []
    for row in range(len(dataset)):
        if cancel is not None and row % 4096 == 0 and cancel():
            raise Stopped("Stopped while reading labels.")
        found.append(shape.label(dataset[row]))
    return found


def _problem(values: Sequence[Any], scores: bool) -> str:
    if any(isinstance(value, (list, tuple)) for value in values):
        return MULTI
    if all(isinstance(value, str) and _lists(value) for value in values[:1000]):
        return MULTI
    numbers = set()
    for value in values:
        try:
            numbers.add(number_of(value))
        except BadRow:
            return SINGLE
    broken = any(value != int(value) for value in numbers)
    if scores or len(numbers) > FEW_NUMBERS * (1 if broken else 10) or (broken and len(numbers) > 5):
        return REGRESSION
    return SINGLE


def _lists(text: str) -> bool:
    """Whether TEXT is a list written as JSON, as a CSV file must have it."""
    try:
        return text.strip().startswith("[") and several(text) is not None
    except BadRow:
        return False


def _numbers(values: Sequence[Any], where: str) -> Labels:
    numbers = []
    for value in values:
        try:
            numbers.append(number_of(value))
        except BadRow:
            continue
    if not numbers:
        raise StudioError(f"{where} holds no number in any row.", "Map another column: data.columns.score.")
    if min(numbers) == max(numbers):
        raise StudioError(
            f"{where} holds the same number ({min(numbers):g}) in every row: there is nothing to tell apart.",
            "Add rows with other scores, or map another column.",
        )
    return Labels(REGRESSION, low=min(numbers), high=max(numbers))


def _order(name: str) -> tuple[int, float, str]:
    try:
        return (0, float(name), name)
    except ValueError:
        return (1, 0.0, name)
