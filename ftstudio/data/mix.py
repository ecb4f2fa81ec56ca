"""Several sources as one dataset: every row knows its source, and an epoch holds so much of each.

Shares follow weights (such as 3 to 1) or a temperature T: row counts to the power of 1/T (T5, Raffel et al. 2020,
section 3.5.2): T = 1 leaves them as they are, a high T makes them even. Without either all rows are used.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any

from ftstudio.core.errors import UsageError
from ftstudio.data.dataset import Cancel, Column, Dataset, Row, Store
from ftstudio.data.example import BadRow, Example
from ftstudio.data.several import ChainStore
from ftstudio.data.shape import Shape
from ftstudio.data.versions.edit import WEIGHT, weight_of

SAME = "the same rows in every epoch, the others are never trained"
ANEW = "each epoch draws other rows"
SOURCE = "_source"  # the column with the name of the source a row is from


@dataclass(frozen=True)
class Part:
    """A source that is open: its rows, how they are mapped, and what the recipe says of it."""

    name: str
    dataset: Dataset
    shape: Shape
    weight: float = 1.0
    replay: bool = False
    instruction: str = ""


@dataclass(frozen=True)
class MixedShape(Shape):
    """Maps each row as its source is mapped. Name and columns are those of the first source."""

    parts: Mapping[str, Shape] = field(default_factory=dict)
    instructions: Mapping[str, str] = field(default_factory=dict)
    datasets: Mapping[str, Dataset] = field(default_factory=dict, compare=False, repr=False)

    def number(self, source: str, place: int) -> int:
        """How the file of SOURCE counts the row at PLACE among its rows of the mix, from 1 on."""
        return self.datasets[source].origin_of(place) + 1 if source in self.datasets else place + 1

    def example(self, row: Row) -> Example:
        """ROW as an example, by the mapping of its source and with its instruction. Raises BadRow."""
        name = str(row.get(SOURCE))
        shape = self.parts.get(name)
        if shape is None:
            raise BadRow("the row doesn't say which source it is from")
        example, text = shape.example(row), self.instructions.get(name)
        return instructed(example, text) if text else example

    @property
    def label_columns(self) -> tuple[str, ...]:
        """The columns that labels or scores of the sources are in."""
        return tuple(dict.fromkeys(name for shape in self.parts.values() for name in shape.label_columns))

    def label(self, row: Row) -> Any:
        """The label or score of ROW, from the column that its source has for it."""
        shape = self.parts.get(str(row.get(SOURCE)))
        return None if shape is None else shape.label(row)

    def asks(self, row: Row) -> bool:
        """Whether ROW has a text in a column that its source has for it."""
        shape = self.parts.get(str(row.get(SOURCE)))
        return shape is not None and shape.asks(row)


@dataclass(frozen=True)
class AskedShape(Shape):
    """Maps rows that are no part of the mix as those of `source`, with its `instruction`."""

    instruction: str = ""
    source: str = ""

    def example(self, row: Row) -> Example:
        """ROW as an example with the instruction before its question. Raises BadRow."""
        return instructed(super().example(row), self.instruction)


def instructed(example: Example, text: str) -> Example:
    """EXAMPLE with the instruction TEXT before its first question; running text stays as it is."""
    place = next((place for place, turn in enumerate(example.messages) if turn.role == "user"), None)
    if place is None:
        return example
    gap = "" if text[-1:].isspace() else " " if text.endswith(":") else "\n"
    turns = list(example.messages)
    turns[place] = replace(turns[place], content=f"{text}{gap}{turns[place].content}")
    fields = dict(example.fields)
    for name in ("prompt", "instruction", "source"):
        if isinstance(fields.get(name), str):
            fields[name] = f"{text}{gap}{fields[name]}"
    if "messages" in fields:
        fields["messages"] = [{"role": turn.role, "content": turn.content, **turn.told} for turn in turns]
    return replace(example, messages=tuple(turns), fields=fields)


def concatenated(parts: Sequence[Part]) -> tuple[Dataset, MixedShape]:
    """(the rows of PARTS one after the other, each with the column `_source`; how they are mapped)."""
    columns: dict[str, str] = {}
    for part in parts:
        for column in part.dataset.columns:
            kind = columns.setdefault(column.name, column.type)
            columns[column.name] = kind if kind == column.type else "mixed"
    columns[SOURCE] = "text"
    paths = tuple(path for part in parts for path in part.dataset.files or (part.dataset.path,))
    dataset = Dataset(
        store=ChainStore([_Named(part.dataset.store, part.name) for part in parts]),
        columns=tuple(Column(name, kind) for name, kind in columns.items()),
        format=" + ".join(dict.fromkeys(part.dataset.format for part in parts)),
        encoding=" + ".join(dict.fromkeys(part.dataset.encoding for part in parts)),
        source=" + ".join(part.dataset.source for part in parts),
        details={"sources": [part.name for part in parts]},
        problems=tuple(problem for part in parts for problem in part.dataset.problems),
        files=tuple(path for path in paths if path is not None) if None not in paths else (),
    )
    first = parts[0].shape
    name = first.name if first.name != "instances" else "prompt-completion"
    why = "; ".join(f"{part.name}: {part.shape.why}" for part in parts)
    asked = {part.name: part.instruction for part in parts if part.instruction}
    shapes, whole = {part.name: part.shape for part in parts}, {part.name: part.dataset for part in parts}
    return dataset, MixedShape(name, first.columns, why, (), shapes, asked, whole)


class _Named(Store):
    """The rows of a store, each with its source's name."""

    def __init__(self, store: Store, name: str) -> None:
        self.store, self.name = store, name

    def __len__(self) -> int:
        return len(self.store)

    def row(self, index: int) -> Row:
        return {**self.store.row(index), SOURCE: self.name}


def source_of(dataset: Dataset, index: int) -> str | None:
    """The name of the source of row INDEX; None where the dataset is no mix."""
    return dataset[index].get(SOURCE) if "sources" in dataset.details else None


def capped(dataset: Dataset, cap: int | None, seed: int, name: str) -> Dataset:
    """At most CAP rows of DATASET, drawn by SEED, in their order."""
    if cap is None or len(dataset) <= cap:
        return dataset
    return dataset.select(sorted(random.Random(f"{seed} {name} cap").sample(range(len(dataset)), cap)))


def shares(counts: Sequence[int], weights: Sequence[float] | None, temperature: float | None) -> list[float]:
    """How much of an epoch comes from each source of COUNTS rows; they add up to 1."""
    if weights is not None:
        raw = [weight if count else 0.0 for weight, count in zip(weights, counts, strict=True)]
    else:
        raw = [count ** (1 / temperature) if count else 0.0 for count in counts] if temperature else list(counts)
    total = sum(raw)
    if not total:
        raise UsageError("None of the sources of data.train has a row to train.", "Look at them: ftstudio data.")
    return [value / total for value in raw]


def epoch_counts(counts: Sequence[int], wanted: Sequence[float], rows: int | None) -> list[int]:
    """Rows of each source in an epoch of ROWS (None: as many as need no row twice), by largest remainders.

    COUNTS are the rows there are, WANTED the shares.
    """
    if rows is None:
        fits = [count / share for count, share in zip(counts, wanted, strict=True) if share]
        rows = max(1, int(min(fits) + 1e-6))
    exact = [rows * share for share in wanted]
    found = [int(value + 1e-9) for value in exact]
    rest = rows - sum(found)
    for place in sorted(range(len(exact)), key=lambda place: (found[place] - exact[place], place))[: max(0, rest)]:
        found[place] += 1
    return found


def drawn(rows: Sequence[int], count: int, draw: random.Random) -> list[int]:
    """COUNT of ROWS, each equally often up to one time more, drawn by DRAW."""
    if not rows:
        return []
    whole, rest = divmod(count, len(rows))
    return [*(list(rows) * whole), *draw.sample(list(rows), rest)]


def weighed(dataset: Dataset, rows: Sequence[int], draw: random.Random, cancel: Cancel | None = None) -> list[int]:
    """ROWS of DATASET as often as their weights say: a weight of 2.5 stands for two or three times, by DRAW."""
    if WEIGHT not in dataset.names:
        return list(rows)
    found: list[int] = []
    for row in rows:
        weight = weight_of(dataset[row])
        times = int(weight) + (draw.random() < weight - int(weight))
        found += [row] * times
    return found


@dataclass(frozen=True)
class Epoch:
    """`rows` of the mix in a seeded order, as often as each is trained; `counts` by source, `note` in words.

    `spare`: of each source that an epoch holds a part of, the other rows in the order in which later epochs draw them.
    """

    rows: list[int]
    counts: Mapping[str, int]
    note: str
    spare: Mapping[str, Sequence[int]] = field(default_factory=dict)


def epoch(
    dataset: Dataset,
    train: Sequence[int],
    parts: Sequence[Part],
    *,
    weights: bool,
    temperature: float | None = None,
    rows: int | None = None,
    replay: float | None = None,
    seed: int = 0,
    anew: bool = False,
    cancel: Cancel | None = None,
) -> Epoch:
    """What of the TRAIN rows of DATASET (`concatenated` PARTS) an epoch holds.

    WEIGHTS: shares are those of the parts' weights; else by TEMPERATURE, else all rows. ROWS: how many rows the epoch
    has, without those of the replay, whose share of all is REPLAY. ANEW: each epoch draws other rows of a source that
    it holds a part of. The same for the same SEED.
    """
    starts = [0]
    for part in parts:
        starts.append(starts[-1] + len(part.dataset))
    kept = set(train)
    draw = random.Random(f"{seed} mix")
    there = [
        weighed(dataset, [row for row in range(start, stop) if row in kept], draw, cancel)
        for start, stop in pairwise(starts)
    ]
    main = [place for place, part in enumerate(parts) if not part.replay]
    counts = [len(there[place]) for place in main]
    wanted = shares(counts, [parts[place].weight for place in main] if weights else None, temperature)
    chosen: list[int] = []
    by_name: dict[str, int] = {}
    spare: dict[str, list[int]] = {}

    def take(place: int, count: int) -> None:
        found, name = drawn(there[place], count, draw), parts[place].name
        chosen.extend(found)
        by_name[name] = count
        if 0 < count < len(there[place]):
            rest = list((Counter(there[place]) - Counter(found)).elements())
            random.Random(f"{seed} {name} later").shuffle(rest)
            spare[name] = rest

    for place, count in zip(main, epoch_counts(counts, wanted, rows), strict=True):
        take(place, count)
    total = len(chosen)
    for place, part in enumerate(parts):
        if part.replay and replay is not None:
            take(place, max(1, round(total * replay / (1 - replay))))
    draw.shuffle(chosen)
    said = [_said(part, by_name.get(part.name, 0), len(there[place]), len(chosen)) for place, part in enumerate(parts)]
    fewer = any(by_name.get(part.name, 0) < len(there[place]) for place, part in enumerate(parts))
    how = f"; {', '.join(spare)}: {ANEW}" if anew and spare else f"; {SAME}" if fewer else ""
    return Epoch(chosen, by_name, f"an epoch holds {', '.join(said)}{how}", spare if anew else {})


def _said(part: Part, count: int, there: int, total: int) -> str:
    times = (
        f", each {count / there:.2g} times" if there and count > there else f" of {there:,}" if count < there else ""
    )
    what = "replay " if part.replay else ""
    return f"{count:,} rows{times} ({100 * count / max(1, total):.0f} %) of {what}{part.name}"
