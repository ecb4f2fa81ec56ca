"""What the table shows of a dataset: all its rows, or what filters, sorts and checks left of them. No widgets."""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from ftstudio.core.errors import StudioError
from ftstudio.data.dataset import Dataset
from ftstudio.data.search import Predicate
from ftstudio.data.selected import Selected
from ftstudio.ui.data.mended import Marks


@dataclass
class Layer:
    """One step away from all rows: its `label` and the rows it shows; `finding` while they are still being found."""

    label: str
    rows: Sequence[int]
    finding: bool = False


@dataclass
class Sheet:
    """A dataset and the layers on top of it. `rows` are row numbers of the dataset, in the order shown."""

    dataset: Dataset
    layers: list[Layer] = field(default_factory=list)
    marks: Marks = field(default_factory=Marks)
    selected: Selected = field(default_factory=lambda: Selected(0))
    fault: str = ""  # why rows can't be read any more: the file has changed, or is gone

    @property
    def rows(self) -> Sequence[int]:
        """The rows in view."""
        return self.layers[-1].rows if self.layers else range(len(self.dataset))

    @property
    def names(self) -> list[str]:
        """The columns."""
        return self.dataset.names

    def __len__(self) -> int:
        return len(self.rows)

    def pick(self, rows: Sequence[int], how: str) -> None:
        """`select`, `unselect` or `toggle` ROWS."""
        self.selected.resize(len(self.dataset))
        self.selected.put(rows, how)

    def row(self, place: int) -> dict[str, Any]:
        """The row shown at PLACE."""
        return self.read(self.rows[place])

    def read(self, number: int) -> dict[str, Any]:
        """Row NUMBER of the dataset; nothing, and a `fault`, where it can't be read any more."""
        try:
            return self.dataset[number]
        except StudioError as error:
            self.fault = str(error)
        except (OSError, IndexError, ValueError) as error:
            self.fault = f"The file was changed while it was open ({error}); o opens it again."
        return {}

    def place_of(self, number: int) -> int:
        """Where row NUMBER is shown; 0 where it isn't."""
        rows = self.rows
        if isinstance(rows, range):
            return number if number in rows else 0
        try:
            return rows.index(number)
        except ValueError:
            return 0

    @property
    def label(self) -> str:
        """The layers in words."""
        return "  ▸ ".join(layer.label for layer in self.layers)


@dataclass
class Search:
    """What is looked for, and the places in the sheet where it was found so far, sorted."""

    text: str
    places: list[int] = field(default_factory=list)
    over: bool = False

    def add(self, place: int) -> None:
        """Found at PLACE."""
        insort(self.places, place)

    def after(self, place: int) -> int | None:
        """The next place after PLACE, round the end; None where there is none."""
        if not self.places:
            return None
        index = bisect_right(self.places, place)
        return self.places[index % len(self.places)]

    def before(self, place: int) -> int | None:
        """The last place before PLACE, round the start; None where there is none."""
        if not self.places:
            return None
        return self.places[bisect_left(self.places, place) - 1]

    def rank(self, place: int) -> int | None:
        """PLACE is the how manieth hit (from 1); None where it is none."""
        index = bisect_left(self.places, place)
        return index + 1 if index < len(self.places) and self.places[index] == place else None


def scan(
    dataset: Dataset, rows: Sequence[int], test: Predicate, start: int, each: Callable[[int, int], bool]
) -> Iterator[int]:
    """The places in ROWS, from START round to before it, whose row meets TEST.

    EACH(done, total) is called every 256 rows; True ends the scan. A row that can't be read any more is passed over.
    """
    total = len(rows)
    for done in range(total):
        if done % 256 == 0 and each(done, total):
            return
        place = (start + done) % total
        number = rows[place]
        try:
            row = dataset[number]
        except (IndexError, ValueError):
            continue
        if test(number, row):
            yield place
