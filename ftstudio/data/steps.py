"""What was done to a table, step by step, in a log of JSON lines; and doing it again without a screen.

Each line is `{"do": …, "time": …, …}`:

open `source` · filter `text` · where `text` · value `column`, `value` · rows `label`, `rows` · back · sheet · describe
sort `column`, `order` (up, down, none) · stopped `rows` (a filter that was stopped after so many) · frequency `column`
select, unselect, toggle `rows` · edit `edit` · undo `edit` · redo `edit` · save `name`. Rows are ranges [first, last].
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ftstudio.core import files
from ftstudio.core.errors import Stopped, StudioError, UsageError
from ftstudio.core.text import one_line
from ftstudio.core.workspace import slug
from ftstudio.data.dataset import Cancel, Dataset
from ftstudio.data.frequency import frequencies, has_value
from ftstudio.data.profile import column_stats
from ftstudio.data.search import Predicate, Where, parse, sort_rows
from ftstudio.data.selected import Selected, unpacked
from ftstudio.data.versions.edit import Drop, Edit, from_plain
from ftstudio.data.versions.identity import Key
from ftstudio.data.versions.working import Working

SHOWN = 20  # values of a frequency table that are told


class StepLog:
    """The log of one opened dataset; the file is made with the first step."""

    def __init__(self, folder: Path, source: str) -> None:
        stamp = time.strftime("%Y%m%d-%H%M%S")
        stem = slug(Path(source).name.split(".")[0] or source)[:40] or "data"
        self.path = folder / f"{stem}-{stamp}-{time.time_ns() % 10**6:06d}.jsonl"
        self.source = source
        self.steps: list[dict[str, Any]] = []
        self._writer: files.LineWriter | None = None

    def add(self, do: str, **values: Any) -> None:
        """Keep a step. Raises StudioError where it can't be written."""
        step = {"do": do, **values, "time": round(time.time(), 3)}
        rows = [step]
        if self._writer is None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._writer = files.LineWriter(self.path)
            rows.insert(0, {"do": "open", "source": self.source, "time": step["time"]})
        self._writer.append(*rows)
        self.steps += rows


@dataclass
class Replay:
    """A table on which the steps of a log are done again. `rows` are those in view, by their numbers."""

    dataset: Dataset
    keys: Sequence[Key] | None = None  # of a version: by what its edits name its rows
    cancel: Cancel | None = None
    layers: list[tuple[str, Sequence[int], bool]] = field(default_factory=list)  # label, rows, whether it is a sort
    edits: list[Edit] = field(default_factory=list)
    told: list[dict[str, Any]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.base = self.dataset
        self.selected = Selected(len(self.dataset))
        self.dropped: set[int] = set()

    @property
    def rows(self) -> Sequence[int]:
        """The rows in view, dropped ones among them."""
        return self.layers[-1][1] if self.layers else range(len(self.dataset))

    @property
    def result(self) -> Dataset:
        """The rows in view that were not dropped."""
        return self.dataset.select([row for row in self.rows if row not in self.dropped])

    def run(self, steps: Sequence[dict[str, Any]]) -> None:
        """Do STEPS. Raises UsageError for one that can't be done, with its number."""
        for number, step in enumerate(steps, 1):
            do = step.get("do")
            work = getattr(self, f"_{do}", None) if isinstance(do, str) and do in KNOWN else None
            if work is None:
                raise UsageError(f"Step {number} of the log is unknown: {one_line(do, 40)!r}.", "Is it a log of data?")
            try:
                more = work(step) or {}
            except (StudioError, KeyError, TypeError, ValueError, IndexError) as error:
                if isinstance(error, Stopped):
                    raise
                told = one_line(f"{step}", 80)
                raise UsageError(f"Step {number} of the log can't be done again: {told}: {one_line(error, 200)}.",
                                 "The log fits only the data it was made on.") from error  # fmt: skip
            plain = {key: value for key, value in step.items() if key not in ("time", "rows", "edit")}
            self.told.append({**plain, **more, "in_view": len(self.rows), "selected": len(self.selected)})

    # -- the steps ---------------------------------------------------------------------------------------------------
    def _open(self, step: dict[str, Any]) -> None:
        pass

    _save = _open

    def _lay(self, label: str, test: Predicate) -> None:
        rows = [row for place, row in enumerate(self.rows) if not self._stop(place) and test(row, self.dataset[row])]
        self.layers.append((label, rows, False))

    def _stop(self, place: int) -> bool:
        if place % 256 == 0 and self.cancel is not None and self.cancel():
            raise Stopped("Stopped while doing the steps again.")
        return False

    def _filter(self, step: dict[str, Any]) -> None:
        self._lay(step["text"], parse(step["text"], self.dataset.names))

    def _where(self, step: dict[str, Any]) -> dict[str, Any]:
        test = Where(step["text"], self.dataset.names)
        self._lay(step["text"], test)
        return {"unjudged": test.told} if test.told else {}

    def _value(self, step: dict[str, Any]) -> None:
        self._lay(f"{step['column']} = {step['value']}", has_value(step["column"], step["value"]))

    def _rows(self, step: dict[str, Any]) -> None:
        rows = unpacked(step["rows"])
        if any(not 0 <= row < len(self.dataset) for row in rows):
            raise IndexError(f"there are only {len(self.dataset):,} rows")
        self.layers.append((str(step.get("label")), rows, False))

    def _stopped(self, step: dict[str, Any]) -> None:
        label, rows, kind = self.layers.pop()
        self.layers.append((label, list(rows)[: int(step["rows"])], kind))

    def _sort(self, step: dict[str, Any]) -> None:
        if self.layers and self.layers[-1][2]:
            self.layers.pop()
        if step["order"] != "none":
            down = step["order"] == "down"
            rows = sort_rows(self.dataset, step["column"], descending=down, rows=list(self.rows), cancel=self.cancel)
            self.layers.append((f"sorted by {step['column']}", rows, True))

    def _back(self, step: dict[str, Any]) -> None:
        self.layers.pop()

    def _select(self, step: dict[str, Any]) -> None:
        self.selected.put(unpacked(step["rows"]), step["do"])

    _unselect = _toggle = _select

    def _sheet(self, step: dict[str, Any]) -> None:
        self.layers.append(("selected", self.selected.rows(), False))

    def _frequency(self, step: dict[str, Any]) -> dict[str, Any]:
        found = frequencies(self.dataset, step["column"], self.rows, cancel=self.cancel)
        counts = [{"value": one_line(value, 120), "count": count} for value, count in found.counts[:SHOWN]]
        return {"distinct": len(found.counts), "values": counts}

    def _describe(self, step: dict[str, Any]) -> dict[str, Any]:
        stats = column_stats(self.dataset, cancel=self.cancel)
        return {"columns": [{"name": one.name, "empty": one.empty, "distinct": one.unique} for one in stats]}

    def _edit(self, step: dict[str, Any]) -> None:
        self.edits.append(from_plain(step["edit"]))
        self._again()

    def _undo(self, step: dict[str, Any]) -> None:
        self.edits = [edit for edit in self.edits if edit.id != step["edit"]]
        self._again()

    _redo = _edit

    def _again(self) -> None:
        """The table with the edits so far; dropped rows keep their place, as on the screen."""
        shown = [_without_drops(edit) for edit in self.edits]
        display = Working(self.base, range(len(self.base)) if self.keys is None else self.keys, shown)
        self.dataset = display.dataset
        gone = [patch.key for edit in self.edits for patch in edit.patches if isinstance(patch, Drop)]
        self.dropped = set(display.places(gone).values())
        self.selected.resize(len(self.dataset))


KNOWN = ("open", "save", "filter", "where", "value", "rows", "stopped", "sort", "back", "select", "unselect", "toggle",
         "sheet", "frequency", "describe", "edit", "undo", "redo")  # fmt: skip


def _without_drops(edit: Edit) -> Edit:
    return replace(edit, patches=tuple(patch for patch in edit.patches if not isinstance(patch, Drop)))


def read_steps(path: Path) -> list[dict[str, Any]]:
    """The steps in the log PATH. Raises StudioError where there are none."""
    try:
        lines = path.read_text("utf-8").split("\n")  # other line ends may stand in texts
        steps = [json.loads(line) for line in lines if line.strip()]
    except OSError as error:
        raise files.explain(error, path) from error
    except (ValueError, RecursionError) as error:
        raise StudioError(f"{path} is no log of steps: {one_line(error, 100)}.", "Name a log of the studio.") from error
    if not steps or not all(isinstance(step, dict) for step in steps):
        raise StudioError(f"{path} holds no steps.", "Name a log of the studio, from its workspace's logs folder.")
    return steps
