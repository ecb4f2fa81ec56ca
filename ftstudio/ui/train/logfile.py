"""Reading a log of any size by place: a screenful forwards or backwards, and the next place of a text."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ftstudio.core.text import clean

BLOCK = 1 << 16
LONGEST = 1 << 20  # bytes a line may have; longer ones are broken
SHOWN = 2000  # characters of a line that are shown


@dataclass(frozen=True)
class LogLine:
    """A line: where it begins and ends in the file (with its end of line), and its text, safe to show."""

    start: int
    end: int
    text: str


def readable(raw: bytes) -> str:
    """A line as a terminal would end up showing it: what a progress bar overwrote is gone, nothing in it acts."""
    parts = [part for part in raw.rstrip(b"\r\n").split(b"\r") if part]
    return clean((parts[-1] if parts else b"")[: SHOWN * 4].decode("utf-8", "replace"), SHOWN)


class LogFile:
    """Never holds more of the file than a screenful needs."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def size(self) -> int:
        """Bytes in the file; 0 where there is none."""
        try:
            return os.stat(self.path).st_size
        except OSError:
            return 0

    def _read(self, start: int, count: int) -> bytes:
        try:
            with open(self.path, "rb") as file:
                file.seek(start)
                return file.read(count)
        except OSError:
            return b""

    def after(self, start: int, count: int) -> list[LogLine]:
        """Up to COUNT lines from START, which is the beginning of a line."""
        data, span = self._read(start, BLOCK), BLOCK
        while data.count(b"\n") < count and len(data) == span and span < LONGEST:
            span *= 4
            data = self._read(start, span)
        return _lines(data, start, count)

    def before(self, end: int, count: int) -> list[LogLine]:
        """Up to COUNT lines that end at END, which is the end of a line or of the file."""
        span = BLOCK
        while True:
            start = max(0, end - span)
            data = self._read(start, end - start)
            if start == 0 or data.count(b"\n") > count or span >= LONGEST:
                break
            span *= 4
        if start > 0:  # the first piece is the tail of a line, unless that line is longer than all we read
            first = data.find(b"\n") + 1
            if 0 < first < len(data):
                data, start = data[first:], start + first
        return _lines(data, start, None)[-count:] if count > 0 else []

    def line_start(self, place: int) -> int:
        """Where the line that holds PLACE begins."""
        start = max(0, place - LONGEST)
        data = self._read(start, place - start)
        return start + data.rfind(b"\n") + 1

    def find(
        self, text: str, start: int, *, backwards: bool = False, stop: Callable[[], bool] = lambda: False
    ) -> int | None:
        """Where the next line with TEXT begins, from START on (or before START); large and small letters alike."""
        wanted = text.encode("utf-8", "replace").lower()
        if not wanted:
            return None
        step, size = 1 << 22, self.size()
        place = start
        while (place > 0) if backwards else (place < size):
            if stop():
                return None
            if backwards:
                low = max(0, place - step)
                data = self._read(low, place - low + (len(wanted) - 1 if place < start else 0)).lower()
                found = data.rfind(wanted)
                place, base = low, low
            else:
                data = self._read(place, step + len(wanted) - 1).lower()
                found, base = data.find(wanted), place
                place += step
            if found >= 0:
                return self.line_start(base + found)
        return None


def _lines(data: bytes, start: int, count: int | None) -> list[LogLine]:
    result: list[LogLine] = []
    at = 0
    while at < len(data) and (count is None or len(result) < count):
        end = data.find(b"\n", at) + 1 or len(data)
        result.append(LogLine(start + at, start + end, readable(data[at:end])))
        at = end
    return result
