"""How alike the texts of a pair are: scores on a scale, and labels that say yes or no. Read, checked, told by rows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ftstudio.core.errors import Stopped, StudioError
from ftstudio.core.text import number, one_line
from ftstudio.data.dataset import Cancel, Dataset
from ftstudio.data.example import BadRow
from ftstudio.data.label_cells import label_of, number_of, same_label
from ftstudio.data.labels import where_of
from ftstudio.data.mix import SOURCE, MixedShape
from ftstudio.data.shape import Shape
from ftstudio.data.shape_rows import label_role

SCALES = ((0.0, 1.0), (-1.0, 1.0), (0.0, 5.0), (0.0, 10.0), (0.0, 100.0))
"""The usual scales, the narrowest first."""
YES = ("1", "true", "yes", "duplicate", "similar", "same", "paraphrase", "entailment", "match", "equivalent")
NO = ("0", "false", "no", "not_duplicate", "different", "dissimilar", "contradiction", "mismatch", "not_equivalent")
_SHOWN = 5
STRAY, ENOUGH = 0.01, 20  # share of scores that may be slips, in so many rows or more


@dataclass(frozen=True)
class Likeness:
    """How a column says how alike a pair is: by numbers from `low` to `high`, or by the label `yes` against others."""

    low: float = 0.0
    high: float = 1.0
    yes: str | None = None

    def of(self, value: Any) -> float:
        """VALUE from 0 (nothing in common) to 1 (the same); from -1 on a scale that begins there. Raises BadRow."""
        if self.yes is not None:
            return float(same_label(label_of(value), self.yes))
        found = number_of(value)
        if not self.low <= found <= self.high:
            raise BadRow(f"the score {found:g} lies outside {self.low:g} to {self.high:g}")
        return found / self.high if self.low <= 0 < self.high else (found - self.low) / (self.high - self.low)


def survey(
    dataset: Dataset,
    shape: Shape,
    scale: tuple[float, float] | None = None,
    yes: str | None = None,
    *,
    cancel: Cancel | None = None,
) -> Likeness:
    """How the scores or labels of DATASET tell it, of several sources each in its own column. SCALE and YES are what a
    person said of it.

    Raises StudioError with row numbers where scores lie outside SCALE or the usual one that nearly all lie on, where
    they are all the same, where sources have other scales, or where nobody can tell which label means alike: numbers
    in a column of labels are scores only where they say no and yes (0 and 1, -1 and 1) or have fractions.
    """
    where = where_of(dataset, shape)
    by_source: dict[str, list[tuple[int, Any]]] = {}
    for row in range(len(dataset)):
        if cancel is not None and row % 4096 == 0 and cancel():
            raise Stopped("Stopped while reading scores.")
        cells = dataset[row]
        value = shape.label(cells)
        if value is not None and value != "":
            source = str(cells.get(SOURCE)) if isinstance(shape, MixedShape) else ""
            by_source.setdefault(source, []).append((dataset.origin_of(row) + 1, value))
    values = [one for found in by_source.values() for one in found]
    by_number = {source: numbers for source, found in by_source.items() if (numbers := _numbers(found))}
    numbers = [one for found in by_number.values() for one in found]
    if yes is not None or len(values) > 2 * len(numbers):
        return _labels(values, where, shape, yes)
    if not numbers:
        hint = f"Map another column: data.columns.{label_role(shape)}."
        raise StudioError(f"{where} holds no number in any row.", hint)
    if scale is not None:
        outside = [(row, value) for row, value in numbers if not scale[0] <= value <= scale[1]]
        if outside:
            raise _outside(where, Likeness(*scale), outside)
        found = Likeness(*scale)
    else:
        for source, own in by_number.items():
            if _classes(own, _role(shape, source)):
                return _labels(by_source[source], where, shape, None)
        found = _one_scale({source: _scale(own, where) for source, own in by_number.items()}, where)
    if len({value for _, value in numbers}) < 2:
        raise StudioError(
            f"{where} holds the same score ({numbers[0][1]:g}) in every row: there is nothing to tell apart.",
            "Add rows with other scores; for pairs that all belong together leave the column out of data.columns.",
        )
    return found


def _numbers(values: Sequence[tuple[int, Any]]) -> list[tuple[int, float]]:
    found = []
    for row, value in values:
        try:
            found.append((row, number_of(value)))
        except BadRow:
            continue
    return found


def _role(shape: Shape, source: str) -> str | None:
    """What the column of SOURCE is mapped as: score or label."""
    return label_role(shape.parts.get(source, shape) if isinstance(shape, MixedShape) else shape)


def _classes(numbers: Sequence[tuple[int, float]], role: str | None) -> bool:
    """Whether NUMBERS in the ROLE of labels are numbers of classes: whole ones other than those for no and yes."""
    known = {value for _, value in numbers}
    return role == "label" and all(value == int(value) for value in known) and not (known <= {0, 1} or known <= {-1, 1})


def _scale(numbers: Sequence[tuple[int, float]], where: str) -> Likeness:
    """The narrowest usual scale that holds NUMBERS, by row. Raises StudioError where all but a few lie on a narrower
    one: those few would make all other scores small."""
    most = max(1, int(STRAY * len(numbers))) if len(numbers) >= ENOUGH else 0
    for low, high in SCALES:
        outside = [(row, value) for row, value in numbers if not low <= value <= high]
        if not outside:
            return Likeness(low, high)
        if len(outside) <= most:
            raise _outside(where, Likeness(low, high), outside)
    values = [value for _, value in numbers]
    raise StudioError(
        f"{where} holds scores from {min(values):g} to {max(values):g}, which is no usual scale.",
        "Set options.scale to the lowest and the highest score there may be, such as [0, 5].",
    )


def _outside(where: str, scale: Likeness, rows: Sequence[tuple[int, float]]) -> StudioError:
    told = ", ".join(f"row {number(row)}: {value:g}" for row, value in rows[:_SHOWN])
    more = ", …" if len(rows) > _SHOWN else ""
    lie = "1 score lies" if len(rows) == 1 else f"{number(len(rows))} scores lie"
    return StudioError(
        f"{where}: {lie} outside {scale.low:g} to {scale.high:g} ({told}{more}).",
        "Correct these rows, or set options.scale to the lowest and the highest score, such as [0, 5].",
    )


def _one_scale(scales: Mapping[str, Likeness], where: str) -> Likeness:
    """The scale that all sources have. Raises StudioError where they differ: a 1 would mean something else in each."""
    found = list(dict.fromkeys(scales.values()))
    if len(found) > 1:
        told = ", ".join(f"{one_line(name, 30)} {one.low:g} to {one.high:g}" for name, one in scales.items())
        raise StudioError(
            f"{where}: the sources have other scales: {told}.",
            "Bring them to one scale, or set options.scale where they share one, such as [0, 5].",
        )
    return found[0]


def _labels(values: Sequence[tuple[int, Any]], where: str, shape: Shape, yes: str | None) -> Likeness:
    counts: Counter[str] = Counter()
    for _, value in values:
        try:
            counts[label_of(value)] += 1
        except BadRow:
            continue
    names = ", ".join(repr(one_line(name, 20)) for name, _ in counts.most_common(6))
    if yes is None:
        known = [name for name in counts if name.strip().lower().replace(" ", "_") in YES]
        others = [name for name in counts if name.strip().lower().replace(" ", "_") in NO]
        if len(counts) == 2 and len(known) == 1 and len(others) == 1:
            yes = known[0]
        else:
            hint = "Set options.alike to that label; all others then mean unlike."
            if all(name.lstrip("-").isdigit() for name in counts):
                columns = {("score" if role == "label" else role): name for role, name in shape.columns.items()}
                told = ", ".join(f"{role}: {one_line(name, 30)}" for role, name in columns.items())
                hint += f" Are they scores, higher where more alike? Then say so: data.columns={{{told}}}."
            raise StudioError(
                f"{where} holds labels ({names}), and nothing says which of them means that two texts are alike.", hint
            )
    if not any(same_label(name, yes) for name in counts):
        raise StudioError(f"{where} never holds {yes!r} (options.alike); it holds {names}.", "Name one of these.")
    if len(counts) < 2:
        raise StudioError(
            f"{where} holds only one label ({one_line(yes, 40)!r}): there is nothing to tell apart.",
            "Add pairs that are unlike; or leave the column out of data.columns: other rows then stand for those.",
        )
    return Likeness(yes=yes)
