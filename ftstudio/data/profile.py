"""A dataset in figures: every column, the lengths in tokens, and what the checks found."""

from __future__ import annotations

import math
from array import array
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from ftstudio.core.text import one_line
from ftstudio.data.checks import CHECKS, Check, left_out, names_of
from ftstudio.data.checks.found import blind
from ftstudio.data.dataset import Cancel, Dataset, Progress
from ftstudio.data.encoded_set import EncodedSet
from ftstudio.data.examined import ByTask, Encode, examine
from ftstudio.data.example import BadRow, text_of
from ftstudio.data.meant import meant
from ftstudio.data.mixture import Mixture, mixture
from ftstudio.data.shape import Shape, Suggestion
from ftstudio.data.template import Template
from ftstudio.data.tokenizer import Tokenizer

_MOST_VALUES = 20_000  # distinct short values counted for `top`


@dataclass(frozen=True)
class ColumnStats:
    """One column. Lengths are in characters; `low`, `mean_value` and `high` are for numbers. `top`: (value, count)."""

    name: str
    type: str
    rows: int
    empty: int
    unique: int
    min_length: int
    mean_length: float
    max_length: int
    top: tuple[tuple[str, int], ...]
    low: float | None = None
    mean_value: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Lengths:
    """A distribution of lengths. `edges` has one value more than `counts`: bin i holds edges[i] ≤ length < edges[i+1],
    the last bin its upper edge too. `cut` is the share of rows over the limit (0 to 1)."""

    unit: str
    count: int
    mean: float
    p50: int
    p95: int
    max: int
    edges: tuple[int, ...]
    counts: tuple[int, ...]
    cut: float = 0.0


def lengths(values: Sequence[int], *, unit: str = "tokens", limit: int | None = None, bins: int = 20) -> Lengths:
    """The distribution of VALUES in at most BINS equal bins of whole numbers, percentiles by nearest rank."""
    count = len(values)
    if not count:
        return Lengths(unit, 0, 0.0, 0, 0, 0, (0, 1), (0,))
    ordered = sorted(values)
    low, high = ordered[0], ordered[-1]
    width = max(1, -(-(high - low + 1) // bins))
    slots = (high - low) // width + 1
    counts = [0] * slots
    for value in ordered:
        counts[(value - low) // width] += 1
    edges = tuple(low + width * slot for slot in range(slots + 1))
    over = 0.0 if limit is None else sum(value > limit for value in ordered) / count
    p50, p95 = (ordered[max(0, -(-count * share // 100) - 1)] for share in (50, 95))
    return Lengths(unit, count, sum(ordered) / count, p50, p95, high, edges, tuple(counts), over)


def column_stats(
    dataset: Dataset, *, progress: Progress | None = None, cancel: Cancel | None = None
) -> list[ColumnStats]:
    """Every column of DATASET in one pass. Raises Stopped when CANCEL says so."""
    gatherers = {column.name: _Gatherer() for column in dataset.columns}
    total = len(dataset)
    for index, row in enumerate(dataset.iter(cancel=cancel)):
        if progress is not None and index % 1024 == 0:
            progress(index, total)
        for name, gatherer in gatherers.items():
            gatherer.add(row.get(name))
    return [gatherers[column.name].stats(column.name, column.type, total) for column in dataset.columns]


class _Gatherer:
    def __init__(self) -> None:
        self.empty = self.filled = self.sum_length = self.max_length = 0
        self.min_length: int | None = None
        self.seen = array("q")  # 8 bytes a row: a set of a million would take ten times as much
        self.top: Counter[str] = Counter()
        self.numbers = 0
        self.low, self.high, self.sum = float("inf"), float("-inf"), 0.0

    def add(self, value: Any) -> None:
        text = value if isinstance(value, str) else text_of(value)
        if not text or text.isspace():
            self.empty += 1
            return
        self.filled += 1
        length = len(text)
        self.sum_length += length
        self.max_length = max(self.max_length, length)
        self.min_length = length if self.min_length is None else min(self.min_length, length)
        self.seen.append(hash(text))
        if length <= 120 and (text in self.top or len(self.top) < _MOST_VALUES):
            self.top[text] += 1
        if isinstance(value, bool):
            return
        if isinstance(value, (int, float)) or (
            isinstance(value, str) and length < 25 and self.numbers == self.filled - 1
        ):
            try:
                number = float(value)
            except (ValueError, OverflowError):
                return
            if not math.isfinite(number):
                return
            self.numbers += 1
            self.low, self.high, self.sum = min(self.low, number), max(self.high, number), self.sum + number

    def stats(self, name: str, kind: str, rows: int) -> ColumnStats:
        numeric = self.numbers == self.filled > 0
        top = tuple((text, count) for text, count in self.top.most_common(10) if count > 1)
        mean = self.sum_length / self.filled if self.filled else 0.0
        values = (self.low, self.sum / self.numbers, self.high) if numeric else (None, None, None)
        return ColumnStats(
            name,
            kind,
            rows,
            self.empty,
            _distinct(self.seen),
            self.min_length or 0,
            mean,
            self.max_length,
            top,
            *values,
        )


def _distinct(hashes: array[int]) -> int:
    """How many different values HASHES (64 bits each) stand for."""
    import numpy as np

    return len(np.unique(np.frombuffer(hashes, dtype=np.int64))) if hashes else 0


def token_lengths(encoded: EncodedSet, max_length: int | None) -> dict[str, Lengths]:
    """Lengths in tokens before the cut: prompt (all that is masked), completion (all that is trained) and total."""
    usable = [row for row, total in enumerate(encoded.table["total"]) if total]
    return {
        name: lengths([encoded.table[name][row] for row in usable], limit=max_length if name == "total" else None)
        for name in ("prompt", "completion", "total")
    }


def character_lengths(dataset: Dataset, shape: Shape, *, cancel: Cancel | None = None) -> dict[str, Lengths]:
    """Lengths in characters, where no tokenizer is known."""
    found: dict[str, list[int]] = {"prompt": [], "completion": [], "total": []}
    for row in dataset.iter(cancel=cancel):
        try:
            example = shape.example(row)
        except BadRow:
            continue
        total = sum(len(turn.content) for turn in example.messages)
        answers = sum(len(turn.content) for turn in example.messages if turn.role in ("assistant", "text"))
        for name, value in (("prompt", total - answers), ("completion", answers), ("total", total)):
            found[name].append(value)
    return {name: lengths(values, unit="characters") for name, values in found.items()}


@dataclass(frozen=True)
class Profile:
    """All that is known about a dataset. `shape` is None where no columns are recognised; `unmapped` then says why."""

    dataset: Dataset
    shape: Shape | None
    unmapped: str
    template: Template | None
    columns: list[ColumnStats]
    lengths: dict[str, Lengths]
    checks: list[Check]
    encoded: EncodedSet | None
    task: str
    suggestions: tuple[Suggestion, ...] = ()
    mixture: Mixture = field(default_factory=Mixture)
    left_out: Mapping[str, str] = field(default_factory=dict)  # checks that couldn't be done: why
    checked: tuple[str, ...] = ()  # the checks that were asked for

    def plain(self) -> dict[str, Any]:
        """For `ftstudio data --json`."""
        dataset = self.dataset
        tokens = None if self.encoded is None else asdict(self.encoded.stats)
        return {
            "rows": len(dataset),
            "unread": dataset.unread,
            "source": dataset.source,
            "path": None if dataset.path is None else str(dataset.path),
            "hash": dataset.hash,
            "format": dataset.format,
            "encoding": dataset.encoding,
            "details": dict(dataset.details),
            "files": [str(path) for path in dataset.files[:1000]],
            "columns": [_column(stats) for stats in self.columns],
            "task": self.task if self.shape else None,
            "shape": self.shape.name if self.shape else None,
            "mapping": dict(self.shape.columns) if self.shape else {},
            "why": self.shape.why if self.shape else self.unmapped,
            "tasks": [
                {"task": one.task, "shape": one.shape.name, "mapping": dict(one.shape.columns), "why": one.shape.why}
                for one in self.suggestions
            ],
            "template": self.template.name if self.template else None,
            "lengths": {name: asdict(found) for name, found in self.lengths.items()},
            "tokens": tokens,
            "checks": [check.plain() for check in self.checks],
            "checked": list(self.checked),
            "left_out": self.left_out,
            "mixture": self.mixture.plain(),
        }


def _column(stats: ColumnStats) -> dict[str, Any]:
    found = asdict(stats)
    found["top"] = [{"value": one_line(value, 120), "count": count} for value, count in stats.top]
    return found


def profile(
    dataset: Dataset,
    *,
    columns: Mapping[str, str | None] | None = None,
    tokenizer: Tokenizer | None = None,
    template: str | None = None,
    max_length: int | None = None,
    held_out: Dataset | None = None,
    checks: str | Collection[str] | None = None,
    task: str | None = None,
    by_task: ByTask | None = None,
    encode: Encode | None = None,
    progress: Progress | None = None,
    cancel: Cancel | None = None,
) -> Profile:
    """DATASET in figures. Without TOKENIZER lengths are in characters and checks on tokens are left out. TASK is what
    the rows are wanted for; None: what they suit best. BY_TASK gives the checks of that task (its name, the rows, their
    shape, whether a person named it), ENCODE its tokens where it reads rows in a way of its own.

    Where nothing is recognised and no COLUMNS are given, columns are described all the same. Raises UsageError for
    faulty COLUMNS, TEMPLATE or CHECKS, Stopped when CANCEL says so.
    """
    wanted = names_of(checks)
    taken = meant(dataset, columns, task)
    shape = taken.shape
    stats = column_stats(dataset, progress=progress, cancel=cancel)
    seen = examine(
        dataset, taken, columns=columns, tokenizer=tokenizer, template=template, max_length=max_length,
        held_out=held_out, only=wanted, by_task=by_task, encode=encode, whole=True, progress=progress, cancel=cancel,
    )  # fmt: skip
    found: dict[str, Lengths] = {}
    if seen.encoded is not None:
        found = token_lengths(seen.encoded, max_length)
    elif shape is not None:
        found = character_lengths(dataset, shape, cancel=cancel)
    made_of = mixture(dataset, shape, cancel=cancel)
    lacking = left_out(wanted)
    if len(wanted) < len(CHECKS):  # asked for by name: it is told why they have nothing to say
        told = blind(wanted, model=tokenizer is not None, cut=max_length is not None, held_out=held_out is not None)
        lacking |= {name: f"it needs {what}" for name, what in told.items()}
    return Profile(
        dataset, shape, taken.why_not, seen.template, stats, found, seen.checks, seen.encoded, taken.task or "sft",
        taken.suggestions, made_of, lacking, wanted,
    )  # fmt: skip


def profile_dataset(dataset: Dataset, **settings: Any) -> dict[str, Any]:
    """`profile(...)` as the JSON of `ftstudio data`: rows, format, encoding, columns, task, mapping, lengths, checks
    and more."""
    return profile(dataset, **settings).plain()
