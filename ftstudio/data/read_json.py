"""JSON arrays of any size, read through a moving window and indexed by where each row stands."""

from __future__ import annotations

import codecs
import json
import os
import re
from pathlib import Path
from typing import Any

from ftstudio.core.errors import StudioError
from ftstudio.data.aside import Aside
from ftstudio.data.dataset import Dataset, HeadStore, Kinds, ListStore, Row
from ftstudio.data.encoding import Text, not_utf8, read_all
from ftstudio.data.read_jsonl import kind_of, nothing, parse_row, read_jsonl, reason_of
from ftstudio.data.read_squad import is_squad, squad_rows
from ftstudio.data.spans import SpanStore
from ftstudio.data.watch import NOBODY, Watch

_LIST_KEYS = ("data", "rows", "train", "examples", "items", "records", "instances", "samples")
_OPENING = re.compile(rf'\s*(?:\{{\s*"(?:{"|".join(_LIST_KEYS)})"\s*:\s*)?\[')
_SPACE = re.compile(r"[ \t\r\n,]*")
_BLOCK = 1 << 20
_WHOLE = 512 << 20  # bytes of JSON that is no array of rows: read whole or not at all
_NEAR = 64  # characters from the end of the window at which a fault may be only the cut


class _Window:
    """A piece of the text, decoded, that moves through the file. What is not UTF-8 becomes lone surrogates."""

    def __init__(self, text: Text, watch: Watch) -> None:
        self.text, self.watch = text, watch
        self.buffer, self.at = "", 0  # at: characters of the buffer that are done with
        self.offset = self.place = text.start  # bytes: of buffer[at], and read so far
        self.line = 1
        self._decoder = codecs.getincrementaldecoder("utf-8")("surrogateescape")

    @property
    def ended(self) -> bool:
        """Whether the buffer reaches the end of the file."""
        return self.place >= self.text.size

    def more(self) -> bool:
        """Add to the buffer; False at the end of the file."""
        if self.ended:
            return False
        self.watch.at(self.place, self.text.size)
        if self.at > _BLOCK:
            self.buffer, self.at = self.buffer[self.at :], 0
        wanted = max(_BLOCK, len(self.buffer) - self.at)  # an item longer than the window doubles it
        block = os.pread(self.text.handle, min(wanted, self.text.size - self.place), self.place)
        self.place = self.place + len(block) if block else self.text.size
        self.buffer += self._decoder.decode(block, final=self.ended)
        return True

    def go(self, place: int) -> None:
        """All before PLACE (in the buffer) is done with."""
        part = self.buffer[self.at : place]
        self.offset += len(part) if part.isascii() else len(part.encode("utf-8", "surrogateescape"))
        self.line += part.count("\n")
        self.at = place

    def skip(self) -> None:
        """Go to what is neither white space nor a comma."""
        while True:
            self.go(_SPACE.match(self.buffer, self.at).end())  # type: ignore[union-attr]
            if self.at < len(self.buffer) or not self.more():
                return

    def item(self) -> tuple[Any, int]:
        """(value that begins here, where it ends in the buffer). Raises ValueError or RecursionError."""
        decode = json.JSONDecoder().raw_decode
        while True:
            try:
                value, end = decode(self.buffer, self.at)
                if (end < len(self.buffer) or isinstance(value, (dict, list, str))) or not self.more():
                    return value, end
            except json.JSONDecodeError as error:
                cut = error.pos >= len(self.buffer) - _NEAR or error.msg.startswith("Unterminated")
                if not cut or not self.more():
                    raise


def read_json(text: Text, path: Path, source: str, watch: Watch = NOBODY, squad: bool = False) -> Dataset:
    """A JSON array of objects, an object that holds one (`{"data": [...]}`), columns, SQuAD, objects one after the
    other, or JSON lines after all.

    Arrays are read item by item, whatever their size; items that are no objects are put aside. SQUAD: it is SQuAD.
    Raises StudioError where it is none of these.
    """
    window = _Window(text, watch)
    window.more()
    opening = _OPENING.match(window.buffer)
    lines = opening is not None and _is_jsonl(window.buffer, objects=True)  # of objects that hold such an array each
    if opening is not None and not squad and not lines:
        alone = window.buffer.lstrip().startswith("[")  # not inside an object, where other keys may follow
        window.go(opening.end())
        window.skip()
        if not _is_squad_ahead(window) and (found := _array(window, alone, path, source)) is not None:
            return found
    if _is_jsonl(window.buffer):
        return read_jsonl(text, path, source, watch)
    several = opening is None and not squad and _is_several(window)
    if several and (found := _array(window, True, path, source, bare=True)) is not None:
        return found
    if text.size - text.start > _WHOLE:
        raise StudioError(f"{path} is JSON without an array of rows, and too big to look for them.", "Write JSONL.")
    return _whole(text, path, source, watch, squad)


def _is_squad_ahead(window: _Window) -> bool:
    """Whether the first item is an article of SQuAD; a long one shows it in its first characters."""
    head = window.buffer[window.at : window.at + 4096]
    return bool(re.match(r'\{\s*("title"\s*:\s*"(?:[^"\\]|\\.)*"\s*,\s*)?"paragraphs"\s*:\s*\[', head))


def _is_jsonl(head: str, objects: bool = False) -> bool:
    """Whether the first line of HEAD is a value of its own and others follow; OBJECTS: and the next is an object."""
    first, _, rest = head.strip().partition("\n")
    if objects and not (first.startswith("{") and rest.lstrip().startswith("{")):
        return False
    try:
        return bool(rest.strip()) and isinstance(json.loads(first), (dict, str))
    except (ValueError, RecursionError):
        return False


def _is_several(window: _Window) -> bool:
    """Whether the first value is followed by another: objects one after the other, over several lines each."""
    window.skip()
    if not window.buffer.startswith("{", window.at):
        return False
    try:
        _, end = window.item()
    except (ValueError, RecursionError):
        return False
    return window.buffer[end : end + 1000].lstrip(" \t\r\n,").startswith("{")


def _whole(text: Text, path: Path, source: str, watch: Watch, squad: bool) -> Dataset:
    whole = read_all(text.handle, text.start, text.size)
    try:
        value = json.loads(whole)
    except UnicodeDecodeError as error:
        message = f"{path} is not UTF-8, which JSON has to be (byte {error.start})."
        raise StudioError(message, "Name its encoding, such as encoding=latin-1.") from error
    except (ValueError, RecursionError):
        return read_jsonl(text, path, source, watch)
    aside, form = Aside(), "json"
    if squad or is_squad(value):
        rows, form = squad_rows(value, aside), "squad"
    else:
        rows = _rows_in(value)
    if not rows and aside.problems:
        nothing(path, aside)
    if not rows:
        hint = 'Rows belong in an array: [{"prompt": …}, …], or one object a line.'
        raise StudioError(f"{path} is JSON without an array of rows.", hint)
    kinds = Kinds()
    for row in rows:
        kinds.add(row)
    return Dataset(
        ListStore(rows), kinds.columns(), form, text.encoding, source, path, {}, tuple(aside.problems), aside=aside
    )  # fmt: skip


def _array(window: _Window, alone: bool, path: Path, source: str, bare: bool = False) -> Dataset | None:
    """The items of an array; BARE: of one without its brackets; not ALONE: it stands in an object. None where the
    array isn't the rows of that object (what follows it is, or goes with it)."""
    text = window.text
    store, kinds, aside = SpanStore(text, path, parse_row), Kinds(), Aside()

    def dataset(store: Any = store) -> Dataset:
        problems = tuple(aside.problems)
        return Dataset(store, kinds.columns(), "json", text.encoding, source, path, {}, problems, aside=aside)

    window.watch.found(lambda: dataset(HeadStore(store, len(store))))
    number, strings = 0, None
    while True:
        window.skip()
        if bare and window.at >= len(window.buffer):
            break
        if not bare and window.buffer.startswith("]", window.at):
            window.go(window.at + 1)
            window.skip()
            rest = window.buffer[window.at : window.at + 400].strip()
            if rest and alone:
                aside.add(window.line, "text after the end of the array", rest)
            elif not alone and not _is_rows_of(window, number, strings is True, aside):
                return None
            break
        number += 1
        try:
            value, end = window.item()
        except (ValueError, RecursionError) as error:
            raw = window.buffer[window.at :].encode("utf-8", "surrogateescape")
            aside.add(window.line, f"{_reason(error, window)}; the array can't be read from here on", raw)
            break
        part = window.buffer[window.at : end]
        start, line = window.offset, window.line
        window.go(end)
        reason = _not_text(part)
        if not reason and isinstance(value, str) and strings is not False:
            strings, value = True, {"text": value}
        elif not reason and isinstance(value, dict):
            strings = strings or False
        else:
            reason = reason or f"item {number} is a JSON {kind_of(value)} where an object belongs"
            aside.add(line, reason, part.encode("utf-8", "surrogateescape"))
            continue
        kinds.add(value)
        store.add(start, window.offset)
    window.watch.at(text.size, text.size)
    if not len(store):
        nothing(path, aside)
    return dataset()


def _is_rows_of(window: _Window, count: int, strings: bool, aside: Aside) -> bool:
    """Whether the array of COUNT items (STRINGS: texts), which has ended, is the rows of the object it stands in.
    Lists that are left out are told."""
    if window.text.size - window.text.start > _WHOLE:
        return True
    while window.more():
        pass
    try:
        others = json.JSONDecoder().raw_decode("{" + window.buffer[window.at :])[0]
    except (ValueError, RecursionError):
        return True  # cut off: the rows are here all the same
    lists = {name: value for name, value in others.items() if isinstance(value, list) and value}
    if strings and lists and all(len(value) == count for value in lists.values()):
        return len(lists) < len(others)  # columns
    tables = {name: value for name, value in lists.items() if all(isinstance(row, dict) for row in value)}
    if any(name in _LIST_KEYS and len(value) > count for name, value in tables.items()):
        return False
    if tables:
        aside.add(window.line, f"other rows beside these are left out: {', '.join(tables)}", "", kept=True)
    return True


def _reason(error: Exception, window: _Window) -> str:
    if isinstance(error, json.JSONDecodeError):
        return f"not JSON: {error.msg} at character {error.pos - window.at + 1} of the item"
    return reason_of(error)


def _not_text(part: str) -> str:
    """Why PART is no text: bytes in it that are not UTF-8; empty where it is."""
    if part.isascii():
        return ""
    try:
        part.encode("utf-8", "surrogateescape").decode("utf-8")
    except UnicodeDecodeError as error:
        return not_utf8(error)
    return ""


def _rows_in(value: Any) -> list[Row]:
    """Rows in an object: its longest list of objects (one of `_LIST_KEYS` first), else equally long lists as columns,
    else itself as one row."""
    if not isinstance(value, dict):
        return []
    lists = [part for part in value.values() if isinstance(part, list) and part]
    tables = [part for part in lists if all(isinstance(row, dict) for row in part)]
    tables = [part for part in tables if any(part is value.get(name) for name in _LIST_KEYS)] or tables
    if tables and not _is_row(value):
        return max(tables, key=len)
    if lists and len(lists) == len(value) and len({len(part) for part in lists}) == 1:
        return [dict(zip(value, cells, strict=True)) for cells in zip(*value.values(), strict=True)]
    return [value] if value else []


def _is_row(value: dict[str, Any]) -> bool:
    return any(name in value for name in ("messages", "conversations", "instruction", "prompt"))
