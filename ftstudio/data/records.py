"""Records of delimited text: cells with where they stand; quotes that never close don't swallow the rows after them."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import dataclass

from ftstudio.data.aside import Aside
from ftstudio.data.dialect import Dialect
from ftstudio.data.encoding import Text, not_utf8
from ftstudio.data.lines import TOO_LONG, LineEnds, bare, lines
from ftstudio.data.watch import Watch

_MOST_RECORD = 64 << 20  # bytes of one record of several lines: a quote that closes later than that doesn't close


@dataclass
class Record:
    """One row: its cells, its bytes, its first line (from 1). `loose`: read with quotes as text."""

    cells: list[str]
    start: int
    end: int
    line: int
    raw: bytes
    loose: bool = False


def records(
    text: Text, dialect: Dialect, aside: Aside, ends: LineEnds, watch: Watch, mode: str = "any"
) -> Iterator[Record]:
    """The rows of TEXT in order, blank lines left out; lines that are no text are put ASIDE."""
    if dialect.quoted:
        yield from _quoted(text, dialect, aside, ends, watch, mode)
        return
    for number, (start, line) in enumerate(lines(text, watch, ends, mode), 1):
        if line is None:
            aside.add(number, TOO_LONG, b"")
            continue
        raw = bare(line, mode)
        if not raw:
            continue
        try:
            cells = raw.decode("utf-8").split(dialect.delimiter)
        except UnicodeDecodeError as error:
            aside.add(number, not_utf8(error), raw)
            continue
        yield Record(cells, start, start + len(raw), number, raw)


_Line = tuple[int, bytes, int]  # offset, line, number


class _Feed:
    """Lines for the csv reader, which takes as many as a record needs; keeps those of the record at hand."""

    def __init__(self, text: Text, aside: Aside, ends: LineEnds, watch: Watch, mode: str) -> None:
        self.text, self.aside, self.ends, self.watch, self.mode = text, aside, ends, watch, mode
        self.line = 0
        self.again: list[_Line] = []  # lines given back, the next one last
        self.taken: list[_Line] = []  # (offset, line, number) of the record at hand
        self.held = 0
        self.cut = False  # the record at hand was ended because it is too long
        self._source = lines(text, watch, ends, mode)

    def __iter__(self) -> _Feed:
        return self

    def __next__(self) -> str:
        if self.held > _MOST_RECORD:
            self.cut = True
            raise StopIteration
        while True:
            if self.again:
                start, line, number = self.again.pop()
            else:
                start, found = next(self._source)
                self.line += 1
                number = self.line
                if found is None:
                    self.aside.add(number, TOO_LONG, b"")
                    continue
                line = found
            try:
                decoded = line.decode("utf-8")
            except UnicodeDecodeError as error:
                self.aside.add(number, not_utf8(error), bare(line, self.mode))
                continue
            self.taken.append((start, line, number))
            self.held += len(line)
            return decoded

    def begin(self) -> None:
        """The next record begins."""
        self.taken.clear()
        self.held, self.cut = 0, False

    def give_back(self) -> None:
        """All lines of the record at hand but the first come again."""
        self.again += reversed(self.taken[1:])
        del self.taken[1:]


def _quoted(text: Text, dialect: Dialect, aside: Aside, ends: LineEnds, watch: Watch, mode: str) -> Iterator[Record]:
    feed = _Feed(text, aside, ends, watch, mode)
    reader = dialect.rows(feed)
    width = 0
    while True:
        feed.begin()
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error:
            cells = []
            if not feed.taken:
                continue
            feed.give_back()
            reader = dialect.rows(feed)
        if not feed.taken:
            continue
        start, _, number = feed.taken[0]
        if len(feed.taken) > 1 and (feed.cut or _astray(feed.taken, cells, dialect, width)):
            feed.give_back()
            reader = dialect.rows(feed)
            cells = []
        raw = b"".join(line for _, line, _ in feed.taken)
        last = feed.taken[-1]
        raw = raw[: len(raw) - len(last[1]) + len(bare(last[1], mode))]
        loose = not cells and bool(raw)
        if loose:
            cells = raw.decode("utf-8").split(dialect.delimiter)
        if not cells:
            continue
        width = width or len(cells)
        yield Record(cells, start, start + len(raw), number, raw, loose)


def _astray(taken: list[_Line], cells: list[str], dialect: Dialect, width: int) -> bool:
    """Whether a record of several lines comes of a quote that never closes: quotes are misused in it, and its cells
    don't fit the table, or those of its first line alone do."""
    if _proper([line.decode("utf-8") for _, line, _ in taken], dialect):
        return False
    return len(cells) != width or len(taken[0][1].decode("utf-8").split(dialect.delimiter)) == width


def _proper(decoded: list[str], dialect: Dialect) -> bool:
    try:
        return sum(1 for _ in dialect.rows(decoded, strict=True)) == 1
    except csv.Error:
        return False
