"""How alike the texts of a pair are: scores on a scale, and labels that say yes or no. Read, checked, told by rows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ftstudio.core.errors import Stopped, StudioError
from ftstudio.core.text import number, one_line
from ftstudio.data.dataset import Cancel, Dataset
from ftstudio.data.example import BadRow
from ftstudio.data.labels import label_of, number_of, where_of
from ftstudio.data.shape import Shape
from ftstudio.data.shape_rows import label_role

SCALES = ((0.0, 1.0), (-1.0, 1.0), (0.0, 5.0), (0.0, 10.0), (0.0, 100.0))
"""The usual scales, the narrowest first."""
YES = ("1", "true", "yes", "duplicate", "similar", "same", "paraphrase", "entailment", "match", "equivalent")
NO = ("0", "false", "no", "not_duplicate", "different", "dissimilar", "contradiction", "mismatch", "not_equivalent")
_SHOWN = 5


@dataclass(frozen=True)
class Likeness:
    """How a column says how alike a pair is: by numbers from `low` to `high`, or by the label `yes` against others."""

    low: float = 0.0
    high: float = 1.0
    yes: str | None = None

    def of(self, value: Any) -> float:
        """VALUE from 0 (nothing in common) to 1 (the same); from -1 on a scale that begins there. Raises BadRow."""
        if self.yes is not None:
            return float(label_of(value) == self.yes)
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

    Raises StudioError with row numbers where scores lie outside SCALE or any usual one, where they are all the same, or
    where nobody can tell which label means alike.
    """
    where = where_of(dataset, shape)
    values: list[tuple[int, Any]] = []
    for row in range(len(dataset)):
        if cancel is not None and row % 4096 == 0 and cancel():
            raise Stopped("Stopped while reading scores.")
        value = shape.label(dataset[row])
        if value is not None and value != "":
            values.append((dataset.origin_of(row) + 1, value))
    numbers, odd = [], []
    for row, value in values:
        try:
            numbers.append((row, number_of(value)))
        except BadRow:
            odd.append(row)
    if yes is not None or len(odd) > len(numbers):
        return _labels(values, where, yes)
    if not numbers:
        hint = f"Map another column: data.columns.{label_role(shape)}."
        raise StudioError(f"{where} holds no number in any row.", hint)
    found = Likeness(*scale) if scale is not None else _scale([value for _, value in numbers], where)
    outside = [(row, value) for row, value in numbers if not found.low <= value <= found.high]
    if outside:
        told = ", ".join(f"row {number(row)}: {value:g}" for row, value in outside[:_SHOWN])
        raise StudioError(
            f"{where}: {number(len(outside))} scores lie outside {found.low:g} to {found.high:g} ({told}).",
            "Correct these rows, or set options.scale to the lowest and the highest score, such as [0, 5].",
        )
    if len({value for _, value in numbers}) < 2:
        raise StudioError(
            f"{where} holds the same score ({numbers[0][1]:g}) in every row: there is nothing to tell apart.",
            "Add rows with other scores; for pairs that all belong together leave the column out of data.columns.",
        )
    return found


def _scale(values: Sequence[float], where: str) -> Likeness:
    for low, high in SCALES:
        if all(low <= value <= high for value in values):
            return Likeness(low, high)
    raise StudioError(
        f"{where} holds scores from {min(values):g} to {max(values):g}, which is no usual scale.",
        "Set options.scale to the lowest and the highest score there may be, such as [0, 5].",
    )


def _labels(values: Sequence[tuple[int, Any]], where: str, yes: str | None) -> Likeness:
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
            raise StudioError(
                f"{where} holds labels ({names}), and nothing says which of them means that two texts are alike.",
                "Set options.alike to that label; all others then mean unlike.",
            )
    if yes not in counts:
        raise StudioError(f"{where} never holds {yes!r} (options.alike); it holds {names}.", "Name one of these.")
    if len(counts) < 2:
        raise StudioError(
            f"{where} holds only one label ({one_line(yes, 40)!r}): there is nothing to tell apart.",
            "Add pairs that are unlike; or leave the column out of data.columns: other rows then stand for those.",
        )
    return Likeness(yes=yes)
