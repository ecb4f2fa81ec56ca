"""A whole dataset as token ids in flat arrays, with the account of what is trained, cut and left out."""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from ftstudio.core.errors import Stopped
from ftstudio.data.dataset import Cancel, Dataset, Progress
from ftstudio.data.encode import IGNORED, Tokens, end_ids, ends_after, tokens_of
from ftstudio.data.example import BadRow, Example
from ftstudio.data.shape import Shape
from ftstudio.data.template import Template, Unread
from ftstudio.data.tokenizer import Tokenizer

if TYPE_CHECKING:
    import numpy as np

_CHUNK = 512
_TABLE = ("prompt", "completion", "total", "lost_prompt", "lost_completion", "ends", "merged", "trained")


@dataclass(frozen=True)
class Stats:
    """The account of an encoded dataset. Tokens: `tokens` and `trained` of the rows kept, after the cut; `lost` all
    that max_length cut off (`lost_completion` of it would have been trained), in rows left out too."""

    rows: int
    kept: int
    tokens: int
    trained: int
    lost: int
    lost_completion: int
    truncated: int
    all_masked: int
    unusable: int
    not_ended: int
    merged: int


@dataclass
class EncodedSet:
    """Rows ready for training. `encoded[i]` is `{"input_ids", "labels"}` of the i-th row that is kept.

    Rows whose labels are all masked, and rows that the mapping or template can't use, are left out and listed in
    `excluded` as (row of the dataset, reason). `table` holds for every row of the dataset, in order:
    prompt, completion (trained) and total tokens before the cut, lost_prompt, lost_completion, ends, merged, trained.
    `unread` lists the rows whose tools or thoughts the template doesn't write, and those whose calls of tools it has no
    form for.
    """

    ids: array[int] = field(default_factory=lambda: array("i"))
    flags: bytearray = field(default_factory=bytearray)
    starts: array[int] = field(default_factory=lambda: array("q", [0]))
    rows: array[int] = field(default_factory=lambda: array("q"))
    excluded: list[tuple[int, str]] = field(default_factory=list)
    all_masked: list[int] = field(default_factory=list)
    unread: dict[Unread, list[int]] = field(default_factory=dict)
    uncut: array[int] = field(default_factory=lambda: array("i"))  # tokens of each text kept, before the cut
    table: dict[str, array[int]] = field(default_factory=lambda: {name: array("i") for name in _TABLE})

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> dict[str, list[int]]:
        if not -len(self.rows) <= index < len(self.rows):
            raise IndexError(index)
        index %= len(self.rows)
        start, stop = self.starts[index], self.starts[index + 1]
        ids = self.ids[start:stop].tolist()
        flags = self.flags[start:stop]
        return {
            "input_ids": ids,
            "labels": [token if flag else IGNORED for token, flag in zip(ids, flags, strict=True)],
        }

    def __iter__(self) -> Iterator[dict[str, list[int]]]:
        return (self[index] for index in range(len(self)))

    @cached_property
    def lengths(self) -> np.ndarray[Any, Any]:
        """Tokens of each row kept, after the cut (int64)."""
        import numpy as np

        return np.diff(np.frombuffer(self.starts, dtype=np.int64))

    @property
    def batch_lengths(self) -> np.ndarray[Any, Any]:
        """Tokens that each row kept has in a batch: what batches are made up by."""
        return self.lengths

    @cached_property
    def stats(self) -> Stats:
        """The account of all rows."""
        table = self.table
        return Stats(
            rows=len(table["total"]),
            kept=len(self.rows),
            tokens=len(self.ids),
            trained=self.flags.count(1),
            lost=sum(table["lost_prompt"]) + sum(table["lost_completion"]),
            lost_completion=sum(table["lost_completion"]),
            truncated=sum(1 for a, b in zip(table["lost_prompt"], table["lost_completion"], strict=True) if a or b),
            all_masked=len(self.all_masked),
            unusable=len(self.excluded) - len(self.all_masked),
            not_ended=sum(1 for row in self.rows if not table["ends"][row]),
            merged=sum(table["merged"]),
        )

    def add(self, row: int, tokens: Tokens, ends: frozenset[int], max_length: int | None) -> None:
        """Take up TOKENS, cut to MAX_LENGTH, as row ROW of the dataset (rows come in order)."""
        total = len(tokens.ids)
        keep = total if max_length is None else min(total, max_length)
        whole, trained = tokens.flags.count(1), tokens.flags.count(1, 0, keep)
        lost = whole - trained
        table = self.table
        table["completion"].append(whole)
        table["prompt"].append(total - whole)
        table["total"].append(total)
        table["lost_prompt"].append(total - keep - lost)
        table["lost_completion"].append(lost)
        table["ends"].append(ends_after(tokens, keep, ends))
        table["merged"].append(tokens.merged)
        table["trained"].append(trained)
        if not trained:
            self.all_masked.append(row)
            why = "the prompt alone fills max_length" if lost else "there is nothing to learn"
            self.excluded.append((row, f"all labels are masked: {why}"))
            return
        self.ids.extend(tokens.ids[:keep])
        self.flags += tokens.flags[:keep]
        self.starts.append(len(self.ids))
        self.rows.append(row)
        self.uncut.append(total)

    def note_unread(self, row: int, example: Example, template: Template) -> None:
        """Note what of EXAMPLE, row ROW, TEMPLATE doesn't write as its model's servers do."""
        for part in template.unread(example):
            self.unread.setdefault(part, []).append(row)

    def leave_out(self, row: int, reason: str) -> None:
        """Note that ROW can't be used."""
        for column in self.table.values():
            column.append(0)
        self.excluded.append((row, reason))


def encode_dataset(
    dataset: Dataset,
    shape: Shape,
    template: Template,
    tokenizer: Tokenizer,
    max_length: int | None = None,
    *,
    progress: Progress | None = None,
    cancel: Cancel | None = None,
) -> EncodedSet:
    """All rows of DATASET as ids and labels, cut to MAX_LENGTH tokens; no row vanishes uncounted.

    Raises Stopped when CANCEL says so.
    """
    found = EncodedSet()
    count = len(dataset)
    ends = frozenset(end_ids(template, tokenizer))
    for start in range(0, count, _CHUNK):
        if cancel is not None and cancel():
            raise Stopped("Stopped while tokenising.")
        stop = min(start + _CHUNK, count)
        usable, faulty = [], {}
        for row in range(start, stop):
            try:
                example = shape.example(dataset[row])
                usable.append((row, template.segments(example)))
                found.note_unread(row, example, template)
            except BadRow as error:
                faulty[row] = str(error)
        encoded = tokens_of([segments for _, segments in usable], template, tokenizer)
        done = dict(zip((row for row, _ in usable), encoded, strict=True))
        for row in range(start, stop):
            if row in done:
                found.add(row, done[row], ends, max_length)
            else:
                found.leave_out(row, faulty[row])
        if progress is not None:
            progress(stop, count)
    return found
