"""The answers a person would have given: typed in, or taken from a suggestion; kept beside the model's answers."""

from __future__ import annotations

import time
from pathlib import Path

from ftstudio.core.files import LineWriter, read_lines

FILE = "corrections.jsonl"


class Corrections:
    """Corrected answers by row, in one file that only grows; the last line of a row counts."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.texts: dict[int, str] = {}
        self._writer = LineWriter(path)
        for line in read_lines(path):
            self._take(line.get("row"), line.get("text"))

    def _take(self, row: object, text: object) -> None:
        if isinstance(row, int) and not isinstance(row, bool):
            if isinstance(text, str):
                self.texts[row] = text
            elif text is None:
                self.texts.pop(row, None)

    def set(self, row: int, text: str | None, *, who: str = "person") -> None:
        """ROW should have been answered with TEXT; None takes the correction back. WHO made it: a person or a model
        whose suggestion a person accepted. Raises StudioError."""
        self._writer.append({"time": time.time(), "row": row, "text": text, "who": who})
        self._take(row, text)
