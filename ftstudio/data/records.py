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
            cells = dialect.split(raw.decode("utf-8"))
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
        line = self.take()
        if line is None:  # a line that can't be read ends the record that was open
            self.cut = True
            raise StopIteration
        self.taken.append(line)
        self.held += len(line[1])
        return line[1].decode("utf-8")

    def take(self) -> _Line | None:
        """The next line; None for one that can't be read, which is put aside. Raises StopIteration at the end."""
        if self.again:
            return self.again.pop()
        start, line = next(self._source)
        self.line += 1
        if line is None:
            self.aside.add(self.line, TOO_LONG, b"")
            return None
        if not line.isascii():
            try:
                line.decode("utf-8")
            except UnicodeDecodeError as error:
                self.aside.add(self.line, not_utf8(error), bare(line, self.mode))
                return None
        return start, line, self.line

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
            line = feed.take()
        except StopIteration:
            return
        if line is None:
            continue
        if b'"' not in line[1]:  # most lines: what the csv reader would do, without it
            raw = bare(line[1], mode)
            if raw:
                cells = dialect.split(raw.decode("utf-8"))
                width = width or len(cells)
                yield Record(cells, line[0], line[0] + len(raw), line[2], raw)
            continue
        if len(line[1]) > _MOST_RECORD:
            aside.add(line[2], f"a row with quotes of more than {_MOST_RECORD >> 20} MiB", line[1])
            continue
        feed.again.append(line)
        record = _with_quotes(feed, reader, dialect, width)
        if record is None:
            reader = dialect.rows(feed)
            raw = bare(line[1], mode)
            cells = dialect.split(raw.decode("utf-8"))
            record = Record(cells, line[0], line[0] + len(raw), line[2], raw, loose=True)
        width = width or len(record.cells)
        yield record


def _with_quotes(feed: _Feed, reader: Iterator[list[str]], dialect: Dialect, width: int) -> Record | None:
    """The record that begins here; None where it has a quote that never closes: its lines but the first come again."""
    try:
        cells = next(reader)
    except (csv.Error, StopIteration):
        cells = []
    if not cells or feed.cut or (len(feed.taken) > 1 and _astray(feed.taken, cells, dialect, width)):
        feed.give_back()
        return None
    raw = b"".join(line for _, line, _ in feed.taken)
    last = feed.taken[-1][1]
    raw = raw[: len(raw) - len(last) + len(bare(last, feed.mode))]
    start, _, number = feed.taken[0]
    return Record(cells, start, start + len(raw), number, raw)


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
