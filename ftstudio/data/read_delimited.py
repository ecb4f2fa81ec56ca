"""CSV, TSV and other delimited text of any size: cells stay in the file, indexed by where each row stands."""

from __future__ import annotations

import csv
from array import array
from bisect import bisect_left
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

from ftstudio.core.errors import StudioError
from ftstudio.core.reading import DETECT, Reading
from ftstudio.data.aside import Aside
from ftstudio.data.dataset import Column, Dataset, HeadStore, Row
from ftstudio.data.dialect import Dialect, detect, has_header, names_of, type_of
from ftstudio.data.encoding import Text
from ftstudio.data.lines import LineEnds
from ftstudio.data.records import Record, records
from ftstudio.data.spans import SpanStore
from ftstudio.data.watch import NOBODY, Watch

_LOOK = 8 << 20  # bytes of the file that decide about delimiter, quoting and header
_FIRST = 1001  # rows that decide about the header, the width and the types of columns


class CellStore(SpanStore):
    """Rows of cells under fixed names, parsed by a dialect when they are asked for.

    Rows in `loose` have a quote that never closes: read as text. Rows shorter than the table are filled up.
    """

    def __init__(self, text: Text, path: Path, dialect: Dialect, names: list[str]) -> None:
        super().__init__(text, path, self._parse)
        self.dialect, self.names = dialect, names
        self.loose = array("q")  # sorted row numbers

    def _parse(self, data: bytes, index: int) -> Row:
        place = bisect_left(self.loose, index)
        loose = place < len(self.loose) and self.loose[place] == index
        dialect = Dialect(self.dialect.delimiter, False) if loose else self.dialect
        try:
            cells = dialect.cells(data.decode("utf-8"))
        except csv.Error as error:
            raise ValueError(str(error)) from error
        cells += [""] * (len(self.names) - len(cells))
        return dict(zip(self.names, cells, strict=False))


def read_delimited(
    text: Text,
    path: Path,
    source: str,
    *,
    delimiters: str = ",;\t|",
    reading: Reading = DETECT,
    watch: Watch = NOBODY,
) -> Dataset:
    """A table of text cells. What READING leaves open is detected; what was found stands in `details`.

    Rows with more cells than the table has columns are put aside; shorter ones are filled up with empty cells and
    noted as problems that were `kept`. Blank lines are no rows.
    """
    csv.field_size_limit(1 << 30)
    dialect, detected = _dialect(text, delimiters, reading)
    aside, ends = Aside(), LineEnds()
    mode = reading.line_ends or "any"
    found = records(text, dialect, aside, ends, watch, mode)
    first: list[Record] = []
    for record in found:
        first.append(record)
        if len(first) >= _FIRST:
            break
    if not first:
        _nothing(path, aside, "no row")
    named = has_header([record.cells for record in first]) if reading.header is None else reading.header
    names = names_of(first[0].cells) if named else None
    width = len(names) if names else Counter(len(record.cells) for record in first).most_common(1)[0][0]
    names = names or [f"column_{number}" for number in range(1, width + 1)]
    body = first[1:] if named else first
    store = CellStore(text, path, dialect, names)
    cells = [record.cells + [""] * (width - len(record.cells)) for record in body]
    columns = tuple(Column(name, type_of(cells, place)) for place, name in enumerate(names))
    form = "tsv" if dialect.delimiter == "\t" else "csv"
    details = {"delimiter": dialect.delimiter, "quoted": dialect.quoted, "header": named}
    details |= {"escapes": '\\"'} if dialect.escaped else {}

    def dataset(store: Any = store) -> Dataset:
        known = {**details, "line_ends": ends.name, **detected}
        problems = tuple(aside.problems)
        return Dataset(store, columns, form, text.encoding, source, path, known, problems, aside=aside)

    watch.found(lambda: dataset(HeadStore(store, len(store))))
    for record in body:
        _take(record, store, width, aside)
    for record in found:
        _take(record, store, width, aside)
    if not len(store):
        _nothing(path, aside, "a header but no row" if named else "no row")
    return dataset()


def _dialect(text: Text, delimiters: str, reading: Reading) -> tuple[Dialect, dict[str, Any]]:
    """The dialect, and what to tell of how it was found."""
    if reading.delimiter is not None and reading.quoted is not None:
        return Dialect(reading.delimiter, reading.quoted), {}
    sample = text.read(_LOOK)
    whole = text.size - text.start <= _LOOK
    if not whole and (cut := max(sample.rfind("\n"), sample.rfind("\r"))) > 0:
        sample = sample[: cut + 1]
    found = detect(sample, reading.delimiter or delimiters)
    if not whole and '"' not in sample:  # quotes may come later: as CSV has it, they wrap
        found = Dialect(found.delimiter, found.delimiter != "\t")
    told = {} if whole else {"detected_on": f"the first {_LOOK >> 20} MiB"}
    quoted = found.quoted if reading.quoted is None else reading.quoted
    return replace(found, delimiter=reading.delimiter or found.delimiter, quoted=quoted), told


def _take(record: Record, store: CellStore, width: int, aside: Aside) -> None:
    """RECORD into STORE, or ASIDE."""
    cells, line = record.cells, record.line
    if len(cells) > width and any(cell.strip() for cell in cells[width:]):
        aside.add(line, f"{len(cells)} cells where the table has {width} columns", record.raw)
        return
    if record.loose:
        aside.add(line, "a quote that never closes: read as text", record.raw, kept=True)
        store.loose.append(len(store))
    elif len(cells) < width:
        aside.add(line, f"{len(cells)} of {width} cells", record.raw, kept=True)
    store.add(record.start, record.end)


def _nothing(path: Path, aside: Aside, what: str) -> None:
    why = ""
    if aside.problems:
        first = aside.problems[0]
        why = f" that can be read: line {first.line} is {first.reason}"
        if "cells" in first.reason:
            why = f" that fits it ({first.reason} in line {first.line})"
    raise StudioError(f"{path} has {what}{why}.", "Name a file with at least one row, or say how to read it.")
