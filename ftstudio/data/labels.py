"""Labels of texts: counted, and told apart into one label, several, or a number."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ftstudio.core.errors import Stopped, StudioError
from ftstudio.core.text import number, one_line
from ftstudio.data.dataset import Cancel, Dataset
from ftstudio.data.example import BadRow, text_of
from ftstudio.data.label_cells import is_missing, known_as, label_of, listed, mark_between, number_of, several
from ftstudio.data.mix import SOURCE, MixedShape
from ftstudio.data.shape import Shape
from ftstudio.data.shape_rows import label_role

SINGLE, MULTI, REGRESSION = "single_label_classification", "multi_label_classification", "regression"
MOST = 2000  # labels; more of them are rather free texts
FEW_NUMBERS = 20  # different numbers up to which they may be class numbers
_MAP = "Map another column: data.columns.label."
SLIPS = 0.1  # of the cells of numbers may be none


@dataclass(frozen=True)
class Labels:
    """What the labels of a dataset are. `names` in a fixed order (numbers by value, else by name), `counts` of each;
    for a regression `low` and `high`, the range of the numbers; `mark` stands between several labels in one text; of
    several sources, `marks` has that of each that has one, by its name."""

    problem: str
    names: tuple[str, ...] = ()
    counts: tuple[int, ...] = ()
    low: float = 0.0
    high: float = 0.0
    mark: str | None = None
    marks: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class _Cell:
    """A cell with a label: the number of its row in its file (from 1 on), and its source (empty where there is one)."""

    row: int
    value: Any
    source: str = ""


def survey(dataset: Dataset, shape: Shape, problem: str = "auto", *, cancel: Cancel | None = None) -> Labels:
    """The labels that DATASET holds, of several sources each in its own column. PROBLEM `auto` tells by the values:
    lists are several labels, many different or broken numbers a regression (where a few cells are none, they are left
    for whoever encodes them to count), all else one label. Of several labels in one text it is found what stands
    between them. Every source of a mix is told by itself; a label that two of them have, as 1 or as 1.0, is one.

    Raises StudioError where nothing can be learnt: no label at all, one and the same label in every row, a label of its
    own for every row, places of unnamed labels (lists of 0 and 1), numbers mixed with other texts, or sources whose
    labels are of another kind. Rows without a label are left for whoever encodes them to count; what stands in rows
    without a text isn't counted, for nothing is learnt from those.
    """
    where = where_of(dataset, shape)
    cells = _cells(dataset, shape, cancel)
    present = [cell for cell in cells if not is_missing(cell.value) and cell.value != []]
    if not present:
        raise StudioError(f"{where} holds no label in any row{_unread(dataset, cells)}.", _MAP)
    sources: dict[str, list[_Cell]] = {}
    for cell in present:
        sources.setdefault(cell.source, []).append(cell)
    if problem == "auto":
        problem = _one_problem(sources, dataset, shape)
    if problem == REGRESSION:
        return _numbers([cell.value for cell in present], where)
    counts: Counter[str] = Counter()
    labelled = sum(cell.value == [] for cell in cells) if problem == MULTI else 0  # none of the labels fits
    marks: dict[str, str] = {}
    for source, own in sources.items():
        values = [cell.value for cell in own]
        mark = None
        if problem == MULTI:
            _refuse_places(values, where)
            if all(isinstance(value, str) and not _lists(value) for value in values):
                mark = mark_between(set(values))
        if mark is not None:
            marks[source] = mark
        more, counted = _counted(values, problem, mark)
        counts, labelled = _joined(counts, more), labelled + counted
    if not counts:
        raise StudioError(f"{where} holds no label in any row{_unread(dataset, cells)}.", _MAP)
    if set(counts.values()) == {labelled}:
        told = ", ".join(repr(one_line(name, 40)) for name in list(counts)[:3])
        what = f"only one label ({told})" if len(counts) == 1 else f"the same labels in every row ({told})"
        raise StudioError(
            f"{where} holds {what}{_unread(dataset, cells)}: there is nothing to tell apart.",
            f"Add rows of other labels{', or of none: []' if problem == MULTI else ''}, or map another column: "
            "data.columns.label.",
        )
    if len(counts) > MOST or (len(present) > 20 and len(counts) > 0.9 * len(present)):
        raise StudioError(
            f"{where} holds {number(len(counts))} labels in {number(len(present))} rows: they are no classes.",
            "Map another column (data.columns.label), or use the task sft, which writes free text.",
        )
    names = sorted(counts, key=_order)
    return Labels(problem, tuple(names), tuple(counts[name] for name in names), mark=next(iter(marks.values()), None),
                  marks=marks if len(sources) > 1 else {})  # fmt: skip


def _one_problem(sources: Mapping[str, Sequence[_Cell]], dataset: Dataset, shape: Shape) -> str:
    """What the labels of all SOURCES are; each is told by itself. Raises StudioError where they differ."""
    parts = shape.parts if isinstance(shape, MixedShape) else {}
    found: dict[str, tuple[str, _Cell]] = {}
    for source, cells in sources.items():
        own = parts.get(source, shape)
        where = where_of(dataset, shape) if len(sources) == 1 else f"data.train, {one_line(source, 40)}"
        problem = _problem([(cell.row, cell.value) for cell in cells], label_role(own) == "score", where)
        found.setdefault(problem, (source, cells[0]))
    if len(found) > 1:
        said = [
            f"{one_line(source, 40)} has {_KINDS[problem]} (row {number(cell.row)}: "
            f"{one_line(text_of(cell.value), 30)!r})"
            for problem, (source, cell) in found.items()
        ]
        raise StudioError(
            f"The labels of the sources don't go together: {', '.join(said)}.",
            "Train them apart, or map other columns; where one kind holds for all, say so: options.problem.",
        )
    return next(iter(found))


_KINDS = {SINGLE: "one label a row", MULTI: "several labels a row", REGRESSION: "numbers"}


def _counted(values: Sequence[Any], problem: str, mark: str | None) -> tuple[Counter[str], int]:
    """How many of VALUES have each label, and how many have any that can be read."""
    counts: Counter[str] = Counter()
    labelled = 0
    for value in values:
        try:
            counts.update(several(value, mark) if problem == MULTI else [label_of(value)])
        except BadRow:
            continue
        labelled += 1
    return counts, labelled


def _joined(known: Counter[str], more: Counter[str]) -> Counter[str]:
    """The counts in KNOWN and those in MORE, of another source: a label that says the same is counted as one."""
    if not known:
        return more
    names = tuple(known)
    found = known.copy()
    for name, count in more.items():
        try:
            found[known_as(name, names)] += count
        except BadRow:
            found[name] += count
    return found


def parted(cells: Sequence[Any]) -> tuple[str, list[list[str]]]:
    """(what label CELLS are, the labels of each), to be counted: several where they are lists or a mark stands between
    them whose parts recur; none at all where they are numbers that are no classes, also where many are none."""
    try:
        problem = _problem([(0, cell) for cell in cells], False, "")
    except StudioError:
        problem = REGRESSION
    if problem == REGRESSION:
        return problem, []
    mark = None
    if problem == SINGLE:
        texts = {cell for cell in cells if isinstance(cell, str)}
        mark = mark_between(texts) if len(texts) <= MOST else None
        if mark is None:
            return problem, [[text_of(cell).strip()] for cell in cells]
    found = []
    for cell in cells:
        try:
            found.append(several(cell, mark))
        except BadRow:
            found.append([])
    return MULTI, found


def where_of(dataset: Dataset, shape: Shape) -> str:
    """DATASET and its columns with labels or scores, as a sentence about them begins."""
    return f"{one_line(dataset.source)}: column {' or '.join(repr(one_line(name)) for name in shape.label_columns)}"


def _cells(dataset: Dataset, shape: Shape, cancel: Cancel | None) -> list[_Cell]:
    """The label cell of every row that has a text: no other is learnt from."""
    passed: Counter[str] = Counter()  # rows of each source
    found = []
    for place in range(len(dataset)):
        if cancel is not None and place % 4096 == 0 and cancel():
            raise Stopped("Stopped while reading labels.")
        row, number, source = dataset[place], dataset.origin_of(place) + 1, ""
        if isinstance(shape, MixedShape):
            source = str(row.get(SOURCE))
            number = shape.number(source, passed[source])
            passed[source] += 1
        if shape.asks(row):
            found.append(_Cell(number, shape.label(row), source))
    return found


def _unread(dataset: Dataset, values: Sequence[Any]) -> str:
    """Behind a sentence: how many of DATASET's rows were not counted for lack of a text."""
    left = len(dataset) - len(values)
    return f" that has a text ({number(left)} of {number(len(dataset))} have none)" if left else ""


def _problem(values: Sequence[tuple[int, Any]], scores: bool, where: str) -> str:
    cells = [value for _, value in values]
    if any(isinstance(value, (list, tuple)) for value in cells):
        return MULTI
    if all(isinstance(value, str) and _lists(value) for value in cells[:1000]):
        return MULTI
    numbers, odd = set(), []
    for row, value in values:
        try:
            numbers.add(number_of(value))
        except BadRow:
            odd.append((row, value))
    if 2 * len(odd) > len(values):
        return SINGLE
    broken = any(value != int(value) for value in numbers)
    if not (scores or len(numbers) > FEW_NUMBERS * (1 if broken else 10) or (broken and len(numbers) > 5)):
        return SINGLE
    if len(odd) > max(1, SLIPS * len(values)):
        told = ", ".join(f"row {number(row)}: {one_line(text_of(value), 20)!r}" for row, value in odd[:5])
        raise StudioError(
            f"{where} holds numbers in most rows, but none in {number(len(odd))} ({told}{', …' if odd[5:] else ''}).",
            "Correct these rows, or say what they are: options.problem=regression leaves these rows out, "
            "options.problem=single takes every number as a label.",
        )
    return REGRESSION


def _lists(text: str) -> bool:
    """Whether TEXT is a list written as text, as a CSV file must have it."""
    try:
        return listed(text) is not None
    except BadRow:
        return False


def _refuse_places(values: Sequence[Any], where: str) -> None:
    """Raise StudioError where all of VALUES are lists of 0 and 1 of one length: places of labels nobody has named."""
    try:
        rows: list[Any] = [listed(value) if isinstance(value, str) else value for value in values[:1000]]
    except BadRow:
        return
    if all(isinstance(row, (list, tuple)) and len(row) == len(rows[0]) > 1 and all(map(_is_bit, row)) for row in rows):
        raise StudioError(
            f"{where} holds lists of {len(rows[0])} times 0 or 1, and nothing names the labels they stand for.",
            'Write the names of each row\'s labels instead, such as ["toxic", "insult"].',
        )


def _is_bit(part: Any) -> bool:
    return isinstance(part, (int, float)) and part in (0, 1)


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
