"""What a person says about rows: categories added to and removed from those of the detectors, with history.

A decision is about one answer to one question, and bears their mark. Where a row is asked or answered otherwise now, it
stays in the file and counts no more; should the old answer come back, it counts again.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ftstudio.core.files import LineWriter, read_lines
from ftstudio.evaluation.predictions import Prediction
from ftstudio.evaluation.votes.ballot import mark

ACTIONS = ("add", "remove", "reset")
UNDO = "undo"  # the note of a line that takes one back


@dataclass(frozen=True)
class Tag:
    """One decision: who put ROW in a category (`add`), out of it (`remove`) or left it to the detector (`reset`).

    `answer` is the mark of what was answered then; empty where that is unknown: such a decision counts on any answer.
    """

    time: float
    row: int
    category: str
    action: str
    who: str = ""
    note: str = ""
    answer: str = ""

    def to_line(self) -> dict[str, Any]:
        """For tags.jsonl."""
        line = {"time": self.time, "row": self.row, "category": self.category, "action": self.action}
        more = {"who": self.who, "note": self.note, "answer": self.answer}
        return line | {name: value for name, value in more.items() if value}


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
        self._state: dict[tuple[int, str], Tag] = {}
        self._undo: list[tuple[int, str, Tag | None]] = []
        self._answers: dict[int, str] = {}  # the marks of what is answered now, as far as it was seen
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
                        str(line.get("answer") or ""),
                    )
                )
        return cls(path, tags)

    def see(self, predictions: Iterable[Prediction]) -> None:
        """PREDICTIONS are what is answered now."""
        self._answers |= {one.row: mark(one.prompt, one.output) for one in predictions}

    def _counts(self, row: int, answer: str) -> bool:
        """Whether what was said of an ANSWER to ROW is about the present one."""
        return not answer or self._answers.get(row, answer) == answer

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
        was = ("reset", "") if before is None else (before.action, before.answer)
        tag = Tag(time.time(), row, category, was[0], note=UNDO, answer=was[1])
        self._writer.append(tag.to_line())
        self._take(tag)
        return tag

    def note(self, row: int, category: str) -> str:
        """The note that the last decision on ROW and CATEGORY that had one bears; empty where it was taken back."""
        notes: list[tuple[str, str]] = []
        for tag in self.history:
            if (tag.row, tag.category) != (row, category):
                continue
            if tag.note == UNDO:
                notes = notes[:-1]
            else:
                notes.append((tag.note if tag.action != "reset" else "", tag.answer))
        return notes[-1][0] if notes and self._counts(row, notes[-1][1]) else ""

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
        return {
            category: tag.action
            for (number, category), tag in self._state.items()
            if number == row and self._counts(row, tag.answer)
        }

    @property
    def decided(self) -> set[int]:
        """The rows with a decision that counts."""
        return {row for (row, _), tag in self._state.items() if self._counts(row, tag.answer)}

    @property
    def outdated(self) -> set[int]:
        """The rows of which all that was decided is about an earlier answer."""
        return {row for row, _ in self._state} - self.decided

    def agreement(self, auto: Mapping[int, Iterable[str]]) -> dict[str, Agreement]:
        """Per category, how the decisions agree with the detectors, which say AUTO (categories by row)."""
        counts: dict[str, list[int]] = {}
        for (row, category), tag in self._state.items():
            if not self._counts(row, tag.answer):
                continue
            fired = category in auto.get(row, ())
            place = (0 if fired else 1) if tag.action == "add" else (2 if fired else 3)
            counts.setdefault(category, [0, 0, 0, 0])[place] += 1
        return {category: Agreement(*numbers) for category, numbers in counts.items()}

    def _decide(self, row: int, category: str, action: str, who: str, note: str) -> None:
        tag = Tag(time.time(), row, category, action, who, note, self._answers.get(row, ""))
        self._writer.append(tag.to_line())
        self._undo.append((row, category, self._state.get((row, category))))
        self._take(tag)

    def _take(self, tag: Tag) -> None:
        self.history.append(tag)
        if tag.action == "reset":
            self._state.pop((tag.row, tag.category), None)
        else:
            self._state[tag.row, tag.category] = tag
