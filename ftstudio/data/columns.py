"""What the columns of a dataset look like, by their names and by rows from all over it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

from ftstudio.data.dataset import Dataset, Row
from ftstudio.data.pictures import is_picture

_FIRST, _ACROSS = 20, 300


def key(name: str) -> str:
    """NAME as it is compared: lower case, blanks and dashes as underscores."""
    return name.strip().lower().replace(" ", "_").replace("-", "_")


class Look:
    """A dataset's columns: `names` (key → column), the `first` rows and some rows from `across` it."""

    def __init__(self, dataset: Dataset) -> None:
        self.dataset = dataset
        self.names: dict[str, str] = {key(name): name for name in reversed(dataset.names)}
        self.columns = dataset.names
        self.first: list[Row] = [dataset[index] for index in range(min(_FIRST, len(dataset)))]

    @cached_property
    def across(self) -> list[Row]:
        """At most 300 rows, evenly spread: files are often sorted by label."""
        count = len(self.dataset)
        if count <= _ACROSS:
            return [self.dataset[index] for index in range(count)]
        return [self.dataset[index * count // _ACROSS] for index in range(_ACROSS)]

    def find(self, wanted: Sequence[str], but: Sequence[str | None] = ()) -> str | None:
        """The first of the names WANTED that a column has, not one of BUT."""
        return next((self.names[name] for name in wanted if name in self.names and self.names[name] not in but), None)

    def values(self, name: str) -> list[Any]:
        """What the rows across hold in the column NAME, empty cells left out."""
        found = [row.get(name) for row in self.across]
        return [value for value in found if value is not None and value != "" and value != []]

    def is_text(self, name: str) -> bool:
        """Whether NAME holds sentences: texts of several words, hardly any twice."""
        values = self.values(name)
        if len(values) < max(1, 0.5 * len(self.across)) or not all(isinstance(value, str) for value in values):
            return False
        words = sum(len(value.split()) for value in values) / len(values)
        return words >= 3 and len(set(values)) >= 0.5 * len(values) and not self.is_picture(name)

    def labels(self, name: str) -> int:
        """How many labels NAME holds, judged by the rows across: few short values that come again; 0 where none."""
        if key(name).endswith("id") or key(name) in ("index", "row", "title"):
            return 0
        values = self.values(name)
        if len(values) < 0.95 * len(self.across) or len(values) < 4:
            return 0
        if not all(isinstance(value, (str, int)) or float_label(value) for value in values):
            return 0
        texts = [str(value) for value in values]
        distinct = len(set(texts))
        if sum(map(len, texts)) / len(texts) > 40 or distinct < 2 or distinct > max(2, 0.34 * len(texts)):
            return 0
        return distinct

    def numbers(self, name: str) -> list[float]:
        """The values of NAME as numbers; empty where one is none."""
        found = []
        for value in self.values(name):
            try:
                found.append(float(value))
            except (TypeError, ValueError, OverflowError):
                return []
        return found

    def is_picture(self, name: str) -> bool:
        """Whether NAME holds pictures: paths, lists of paths, or bytes with their path (as `datasets` has them)."""
        if any(column.name == name and column.type == "image" for column in self.dataset.columns):
            return True
        values = [_one(value) for value in self.values(name)[:50]]
        return bool(values) and all(map(is_picture, values))


def float_label(value: Any) -> bool:
    """Whether VALUE is a whole number that a table made a float (1.0)."""
    return isinstance(value, float) and value == value and abs(value) < 1e9 and value == int(value)


def _one(value: Any) -> Any:
    if isinstance(value, (list, tuple)) and value:
        value = value[0]
    if isinstance(value, Mapping):
        value = value.get("path") or value.get("url")
    return value
