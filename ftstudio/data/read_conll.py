"""CoNLL columns: a word a line with its tag, sentences between blank lines, documents at `-DOCSTART-`."""

from __future__ import annotations

import re
from array import array
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ftstudio.core.errors import StudioError
from ftstudio.core.reading import DETECT, Reading
from ftstudio.data.aside import Aside
from ftstudio.data.dataset import Column, Dataset, HeadStore, Row
from ftstudio.data.dialect import split_lines
from ftstudio.data.encoding import Text, not_utf8
from ftstudio.data.lines import TOO_LONG, LineEnds, bare, lines
from ftstudio.data.spans import SpanStore
from ftstudio.data.watch import NOBODY, Watch

_TAG = re.compile(r"O|[BIESLU]-\S+")
_DOCUMENT = "-DOCSTART-"
_LOOK = 1 << 17
_BLANK = " \t\r\n\x0b\x0c"


def is_conll(text: Text) -> bool:
    """Whether nearly all lines are words with a tag (`O`, `B-…`, `I-…`) in their last column."""
    words = _words(text)
    if len(words) < 3:
        return False
    width = Counter(map(len, words)).most_common(1)[0][0]
    fit = sum(len(cells) == width and bool(_TAG.fullmatch(cells[-1])) for cells in words)
    tagged = any(cells[-1] != "O" for cells in words)
    return width >= 2 and tagged and fit >= 0.98 * len(words)


def _words(text: Text) -> list[list[str]]:
    """The columns of the first lines of TEXT."""
    found = list(split_lines(text.read(_LOOK)))
    if text.size - text.start > _LOOK:
        found.pop()
    lines = [cells for line in found if (cells := _cells(line)) and cells[0] != _DOCUMENT]
    form = _form([cells for cells in lines if not cells[0].startswith("#")])
    return [cells for cells in lines if not _is_aside(cells, form)]


def _cells(line: str) -> list[str]:
    """The columns of LINE: between tabs where there are any, else between blanks. Other white space is text."""
    bare_line = line.strip(_BLANK)
    if not bare_line:
        return []
    if "\t" in bare_line:
        return [cell.strip(" ") for cell in line.strip("\r\n").split("\t")]
    return [cell for cell in bare_line.split(" ") if cell]


@dataclass(frozen=True)
class _Form:
    """What tells words from comments: the number of columns, and the tags in the last one of the first lines."""

    width: int
    tags: frozenset[str]


def _form(words: Sequence[Sequence[str]]) -> _Form:
    width = Counter(map(len, words)).most_common(1)[0][0] if words else 2
    return _Form(max(2, width), frozenset(cells[-1] for cells in words if len(cells) == width))


def _is_aside(cells: Sequence[str], form: _Form) -> bool:
    """Whether CELLS are a document break or a comment rather than a word: `# SYM` and `#sun HT` are words."""
    if cells[0] == _DOCUMENT:
        return True
    if not cells[0].startswith("#") or _TAG.fullmatch(cells[-1]):
        return False
    named = any(_TAG.fullmatch(tag) for tag in form.tags)  # entities: tags of another kind are no tags there
    return len(cells) != form.width or not (cells[-1] in form.tags or (cells[-1].isupper() and not named))


class ConllStore(SpanStore):
    """Sentences by their spans; `documents` counts from 1, `scheme` is that of the file, tags come out as BIO."""

    def __init__(self, text: Text, path: Path, names: Sequence[str], form: _Form) -> None:
        super().__init__(text, path, self._parse)
        self.names, self.form, self.scheme = tuple(names), form, "keep"
        self.documents = array("l")

    def _parse(self, data: bytes, index: int) -> Row:
        words = [cells for line in data.splitlines() if (cells := _cells(line.decode("utf-8")))]
        words = [cells for cells in words if not _is_aside(cells, self.form)]
        row: Row = {name: [cells[place] for cells in words] for place, name in enumerate(self.names)}
        row["tags"] = as_bio(row["tags"], self.scheme)
        if self.documents:
            row["document"] = self.documents[index]
        return row


def read_conll(text: Text, path: Path, source: str, reading: Reading = DETECT, watch: Watch = NOBODY) -> Dataset:
    """A row a sentence: `tokens`, `tags` (converted to BIO), columns between them as lists, `document` where the file
    marks documents. Sentences with a line that has other columns than the file are put aside."""
    aside, ends, evidence = Aside(), LineEnds(), Evidence()
    mode = reading.line_ends or "any"
    form = _form(_words(text))
    width = form.width
    names = ["tokens", *(f"column_{number}" for number in range(2, width)), "tags"]
    store = ConllStore(text, path, names, form)
    document = 0

    def dataset(store: Any = store, whole: ConllStore = store) -> Dataset:
        columns = [Column(name, "list") for name in names]
        if whole.documents:
            columns.append(Column("document", "integer"))
        details: dict[str, Any] = {"scheme": evidence.told(reading.scheme), "line_ends": ends.name}
        details |= {"documents": whole.documents[-1]} if whole.documents else {}
        problems = tuple(aside.problems)
        return Dataset(store, tuple(columns), "conll", text.encoding, source, path, details, problems, aside=aside)

    def shown() -> Dataset:
        store.scheme = reading.scheme or evidence.scheme
        return dataset(HeadStore(store, len(store)))

    watch.found(shown)
    for sentence in _sentences(text, form, mode, ends, watch):
        if sentence.breaks:
            if document == 0 and len(store):  # rows before the first mark are a document too
                store.documents, document = array("l", [1] * len(store)), 1
            document += sentence.breaks
        if not sentence.words:
            continue
        fault = sentence.fault or next((_misfit(cells, width) for cells in sentence.words if len(cells) != width), "")
        if fault:
            aside.add(sentence.line, fault, b"".join(sentence.raw))
            continue
        evidence.add([cells[-1] for cells in sentence.words])
        if document:
            store.documents.append(document)
        store.add(sentence.start, sentence.end)
    if not len(store):
        why = f": line {aside.problems[0].line} has {aside.problems[0].reason}" if aside.problems else ""
        raise StudioError(f"{path} has no sentence{why}.", "Each line needs a word and its tag.")
    store.scheme = reading.scheme or evidence.scheme
    return dataset()


def _misfit(cells: Sequence[str], width: int) -> str:
    return f"{len(cells)} columns where the file has {width}"


class _Sentence:
    """Lines up to a blank one. `breaks` counts the document marks before its first word."""

    def __init__(self, line: int, start: int) -> None:
        self.line, self.start, self.end = line, start, start
        self.words: list[list[str]] = []
        self.raw: list[bytes] = []
        self.fault, self.breaks = "", 0


def _sentences(text: Text, form: _Form, mode: str, ends: LineEnds, watch: Watch) -> Iterator[_Sentence]:
    held: _Sentence | None = None
    for number, (offset, line) in enumerate(lines(text, watch, ends, mode), 1):
        raw = bare(line or b"", mode)
        cells: list[str] = []
        fault = TOO_LONG if line is None else ""
        try:
            cells = _cells(raw.decode("utf-8"))
        except UnicodeDecodeError as error:
            fault, cells = not_utf8(error), ["?"]
        if not cells and not fault:
            if held is not None:
                yield held
            held = None
            continue
        mark = cells[:1] == [_DOCUMENT]
        if mark and held is not None and held.words:
            yield held
            held = None
        if held is None:
            held = _Sentence(number, offset)
        held.raw.append(line or b"")
        held.fault = held.fault or fault
        if mark:
            held.breaks += 1
        elif not _is_aside(cells, form):
            held.words.append(cells)
            held.end = offset + len(raw)
    if held is not None:
        yield held


class Evidence:
    """Counts how the tags it is shown begin and end entities, which tells IOB1, BIO and BIOES apart."""

    def __init__(self) -> None:
        self.inside_first = self.begin_first = self.ends = 0

    def add(self, tags: Sequence[str]) -> None:
        """The TAGS of one sentence."""
        before = "O"
        for tag in tags:
            mark, kind = tag[:1], tag[2:]
            first = before[2:] != kind or before == "O"
            self.inside_first += mark == "I" and first
            self.begin_first += mark == "B" and first
            self.ends += mark in "ESLU" and tag[1:2] == "-"
            before = tag

    @property
    def scheme(self) -> str:
        """bioes, iob1 (I- begins entities, B- only next to one of the same kind) or bio."""
        if self.ends:
            return "bioes"
        return "iob1" if self.inside_first > self.begin_first else "bio"

    def told(self, wanted: str | None) -> str:
        """The scheme for people."""
        scheme = wanted or self.scheme
        return {"iob1": "IOB1, read as BIO", "bioes": "BIOES, read as BIO", "bio": "BIO"}.get(scheme, "as it stands")


def as_bio(tags: Sequence[str], scheme: str) -> list[str]:
    """TAGS of SCHEME (iob1, bioes; others stay) as BIO: every entity begins with B-."""
    if scheme not in ("iob1", "bioes"):
        return list(tags)
    found: list[str] = []
    before = "O"
    for tag in tags:
        mark, kind = tag[:1], tag[2:]
        if tag == "O" or tag[1:2] != "-":
            found.append(tag)
        elif mark in "BSU" or before[2:] != kind or before[:1] in "OSEUL":
            found.append(f"B-{kind}")
        else:
            found.append(f"I-{kind}")
        before = tag
    return found
