"""What a person says about rows: categories added to and removed from those of the detectors, with history."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ftstudio.core.files import LineWriter, read_lines

ACTIONS = ("add", "remove", "reset")
UNDO = "undo"  # the note of a line that takes one back


@dataclass(frozen=True)
class Tag:
    """One decision: who put ROW in a category (`add`), out of it (`remove`) or left it to the detector (`reset`)."""

    time: float
    row: int
    category: str
    action: str
    who: str = ""
    note: str = ""

    def to_line(self) -> dict[str, Any]:
        """For tags.jsonl."""
        line = {"time": self.time, "row": self.row, "category": self.category, "action": self.action}
        return line | ({"who": self.who} if self.who else {}) | ({"note": self.note} if self.note else {})


@dataclass(frozen=True)
class Agreement:
    """How a person's decisions and the detector of one category agree, over the rows the person decided on."""

    both: int = 0
    person_only: int = 0
    detector_only: int = 0
    neither: int = 0

    @property
    def total(self) -> int:
        """Rows or decisions in all."""
        return self.both + self.person_only + self.detector_only + self.neither

    @property
    def share(self) -> float | None:
        """Share of the decisions that agree with the detector; None without any."""
        return (self.both + self.neither) / self.total if self.total else None


class Tags:
    """The decisions in one tags.jsonl: kept by line, never rewritten, so that the history stays.

    The last decision on a row and category counts; `undo` takes back the last of all by appending its opposite.
    """

    def __init__(self, path: Path, history: Iterable[Tag] = ()) -> None:
        self.path = path
        self.history: list[Tag] = []
        self._state: dict[tuple[int, str], str] = {}
        self._undo: list[tuple[int, str, str]] = []
        self._writer = LineWriter(path)
        for tag in history:
            self._take(tag)

    @classmethod
    def load(cls, path: Path) -> Tags:
        """The decisions in PATH; none where the file is absent. Lines that are no decisions are passed over."""
        tags = []
        for line in read_lines(path):
            row, category, action = line.get("row"), line.get("category"), line.get("action")
            if isinstance(row, int) and isinstance(category, str) and category and action in ACTIONS:
                moment = line.get("time")
                tags.append(
                    Tag(
                        float(moment) if isinstance(moment, int | float) else 0.0,
                        row,
                        category,
                        action,
                        str(line.get("who") or ""),
                        str(line.get("note") or ""),
                    )
                )
        return cls(path, tags)

    def add(self, row: int, category: str, *, who: str = "", note: str = "") -> None:
        """Put ROW in CATEGORY, whatever the detector says."""
        self._decide(row, category, "add", who, note)

    def remove(self, row: int, category: str, *, who: str = "", note: str = "") -> None:
        """Take ROW out of CATEGORY, whatever the detector says."""
        self._decide(row, category, "remove", who, note)

    def reset(self, row: int, category: str, *, who: str = "", note: str = "") -> None:
        """Leave ROW and CATEGORY to the detector again."""
        self._decide(row, category, "reset", who, note)

    def toggle(self, row: int, category: str, auto: Iterable[str], *, who: str = "", note: str = "") -> bool:
        """Turn CATEGORY on or off for ROW, whose detectors say AUTO; whether it is on now."""
        on = category in self.apply(row, auto)
        self._decide(row, category, "remove" if on else "add", who, note)
        return not on

    def undo(self) -> Tag | None:
        """Take back this session's last decision; the line that was appended for it, None if there is nothing left."""
        if not self._undo:
            return None
        row, category, before = self._undo.pop()
        tag = Tag(time.time(), row, category, before, note=UNDO)
        self._writer.append(tag.to_line())
        self._take(tag)
        return tag

    def note(self, row: int, category: str) -> str:
        """The note that the last decision on ROW and CATEGORY that had one bears; empty where it was taken back."""
        notes: list[str] = []
        for tag in self.history:
            if (tag.row, tag.category) != (row, category):
                continue
            if tag.note == UNDO:
                notes = notes[:-1]
            else:
                notes.append(tag.note if tag.action != "reset" else "")
        return notes[-1] if notes else ""

    def apply(self, row: int, auto: Iterable[str]) -> set[str]:
        """The categories of ROW: those the detectors found, AUTO, as the person has corrected them."""
        found = set(auto)
        for category, action in self.of(row).items():
            if action == "add":
                found.add(category)
            else:
                found.discard(category)
        return found

    def of(self, row: int) -> dict[str, str]:
        """The decisions on ROW that count: category to `add` or `remove`."""
        return {category: action for (number, category), action in self._state.items() if number == row}

    @property
    def decided(self) -> set[int]:
        """The rows with a decision that counts."""
        return {row for row, _ in self._state}

    def agreement(self, auto: Mapping[int, Iterable[str]]) -> dict[str, Agreement]:
        """Per category, how the decisions agree with the detectors, which say AUTO (categories by row)."""
        counts: dict[str, list[int]] = {}
        for (row, category), action in self._state.items():
            fired = category in auto.get(row, ())
            place = (0 if fired else 1) if action == "add" else (2 if fired else 3)
            counts.setdefault(category, [0, 0, 0, 0])[place] += 1
        return {category: Agreement(*numbers) for category, numbers in counts.items()}

    def _decide(self, row: int, category: str, action: str, who: str, note: str) -> None:
        tag = Tag(time.time(), row, category, action, who, note)
        self._writer.append(tag.to_line())
        self._undo.append((row, category, self._state.get((row, category), "reset")))
        self._take(tag)

    def _take(self, tag: Tag) -> None:
        self.history.append(tag)
        if tag.action == "reset":
            self._state.pop((tag.row, tag.category), None)
        else:
            self._state[tag.row, tag.category] = tag.action
