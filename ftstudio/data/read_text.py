"""Plain text: a row a line, a paragraph or a file; cut into chunks; or lines that begin with their label."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ftstudio.core.errors import StudioError
from ftstudio.core.reading import DETECT, Reading
from ftstudio.data.aside import Aside
from ftstudio.data.chunks import chunks
from ftstudio.data.dataset import Column, Dataset, HeadStore, Row
from ftstudio.data.encoding import Text, not_utf8
from ftstudio.data.lines import TOO_LONG, LineEnds, bare, lines
from ftstudio.data.spans import SpanStore
from ftstudio.data.watch import NOBODY, Watch

_LOOK = 1 << 20
# what a label at the beginning of a line looks like: a number, fastText's __label__, TREC's DESC:manner
_LABEL = re.compile(r"-?\d{1,4}|__label__\S+|[A-Z]{2,12}(:\w+)?")
_FASTTEXT = "__label__"
_SEVERAL = re.compile(rf"(?m)^{_FASTTEXT}\S+ +{_FASTTEXT}\S")
Span = tuple[int, int]


def read_text(text: Text, path: Path, source: str, reading: Reading = DETECT, watch: Watch = NOBODY) -> Dataset:
    """Rows with a `text` column. By line (the default) blank lines stay rows, so row and line numbers agree; a
    paragraph is what stands between blank lines; `chunk` cuts each unit at blanks into at most so many characters.

    Lines that all begin with one of a few labels become `label` and `text`.
    """
    aside, ends = Aside(), LineEnds()
    unit = reading.unit or ("whole" if reading.chunk else "line")
    details: dict[str, Any] = {}
    labelled = unit == "line" and not reading.chunk and reading.label is not False
    if labelled and (reading.label or _is_labelled(text)):
        details["label"] = "first word"
        several = bool(_SEVERAL.search(text.read(_LOOK)))
        columns: tuple[Column, ...] = (Column("label", "list" if several else "text"), Column("text", "text"))
        store = SpanStore(text, path, _with_labels if several else _labelled)
    else:
        labelled = False
        details |= {} if unit == "line" else {"unit": unit}
        columns = (Column("text", "text"),)
        store = SpanStore(text, path, _plain)
    if reading.chunk:
        details |= {"chunk": reading.chunk, **({"overlap": reading.overlap} if reading.overlap else {})}

    def dataset(store: Any = store) -> Dataset:
        known, problems = {**details, "line_ends": ends.name}, tuple(aside.problems)
        return Dataset(store, columns, "text", text.encoding, source, path, known, problems, aside=aside)

    watch.found(lambda: dataset(HeadStore(store, len(store))))
    spans = _units(text, unit, reading.line_ends or "any", aside, ends, watch)
    for start, end in chunks(text, spans, reading.chunk, reading.overlap) if reading.chunk else spans:
        store.add(start, end)
    if not len(store):
        why = f": line {aside.problems[0].line} is {aside.problems[0].reason}" if aside.problems else ""
        raise StudioError(f"{path} has no row that can be read{why}.", "Name its encoding, such as encoding=latin-1.")
    return dataset()


def _plain(data: bytes, index: int) -> Row:
    return {"text": data.decode("utf-8")}


def _labelled(data: bytes, index: int) -> Row:
    label, _, rest = data.decode("utf-8").strip().partition(" ")
    labels = [label.removeprefix(_FASTTEXT)]
    while label.startswith(_FASTTEXT) and rest.lstrip().startswith(_FASTTEXT):  # fastText: several labels a line
        more, _, rest = rest.lstrip().partition(" ")
        labels.append(more.removeprefix(_FASTTEXT))
    return {"label": labels if len(labels) > 1 else labels[0], "text": rest.strip()}


def _with_labels(data: bytes, index: int) -> Row:
    row = _labelled(data, index)
    return row if isinstance(row["label"], list) else {**row, "label": [row["label"]]}


def _is_labelled(text: Text) -> bool:
    """Whether nearly all lines begin with one of a few words that look like labels, and go on with text."""
    sample = bytes(text.read(_LOOK), "utf-8", "replace").splitlines()
    if text.size - text.start > _LOOK:
        sample = sample[:-1]
    found = [line.decode("utf-8", "replace").split(" ", 1) for line in sample if line.strip()]
    if len(found) < 10:
        return False
    labels = Counter(parts[0] for parts in found if len(parts) == 2 and parts[1].strip())
    fit = sum(count for label, count in labels.items() if _LABEL.fullmatch(label))
    counting = len(labels) > max(2, len(found) // 4)  # line numbers and the like: hardly any comes twice
    return fit >= 0.99 * len(found) and len(labels) >= 2 and not counting


def _units(text: Text, unit: str, mode: str, aside: Aside, ends: LineEnds, watch: Watch) -> Iterator[Span]:
    """The spans of lines, of paragraphs or of the whole; lines that are not text are put aside."""
    start = last = text.start
    open_unit = False
    for number, (offset, line) in enumerate(lines(text, watch, ends, mode), 1):
        fault = TOO_LONG if line is None else _fault(line)
        if fault:
            aside.add(number, fault, line or b"")
        content = bare(line or b"", mode)
        if unit == "line":
            if not fault:
                yield offset, offset + len(content)
            continue
        blank = unit == "paragraph" and not content.strip()
        if open_unit and (blank or fault):
            yield start, last
            open_unit = False
        if fault or blank:
            continue
        if not open_unit:
            start, open_unit = offset, bool(content.strip()) or unit == "whole"
        last = offset + (len(line or b"") if unit == "whole" else len(content))
    if open_unit:
        yield start, last


def _fault(line: bytes) -> str:
    if line.isascii():
        return ""
    try:
        line.decode("utf-8")
    except UnicodeDecodeError as error:
        return not_utf8(error)
    return ""
