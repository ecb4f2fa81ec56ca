"""JSON lines and JSON arrays, kept on disk and indexed by where each row stands."""

from __future__ import annotations

import json
import os
import re
from array import array
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from ftstudio.core.errors import Stopped, StudioError
from ftstudio.core.text import one_line
from ftstudio.data.dataset import Cancel, Dataset, Kinds, ListStore, Problem, Progress, Row
from ftstudio.data.encoding import Text, read_all

_LIST_KEYS = ("data", "rows", "train", "examples", "items", "records", "instances", "samples")
_SPACE = re.compile(r"[ \t\r\n,]*")
_MOST_PROBLEMS = 10_000


class SpanStore:
    """JSON objects by their byte spans in an open file: 16 bytes of memory a row."""

    def __init__(self, text: Text, starts: array[int], ends: array[int], name: Path) -> None:
        self.text, self.starts, self.ends, self.name = text, starts, ends, name

    def __len__(self) -> int:
        return len(self.starts)

    def row(self, index: int) -> Row:
        start = self.starts[index]
        try:
            value = json.loads(os.pread(self.text.handle, self.ends[index] - start, start))
        except (ValueError, RecursionError, OSError) as error:
            raise StudioError(f"{self.name} has changed since it was opened.", "Open it again.") from error
        return value if isinstance(value, dict) else {"text": value}


def read_jsonl(
    text: Text, path: Path, source: str, progress: Progress | None = None, cancel: Cancel | None = None
) -> Dataset:
    """One JSON object a line. Lines that are none become `problems`.

    Every line is parsed once (so that counts and columns are exact), only the spans stay in memory. Lines that are
    all JSON strings become a `text` column.
    """
    starts, ends = array("q"), array("q")
    kinds, wrong, strings = Kinds(), 0, None
    problems: list[Problem] = []
    decode = json.JSONDecoder().decode
    for number, (start, line) in enumerate(_lines(text, progress, cancel), 1):
        line = line.strip(b" \t\r\n")
        if not line:
            continue
        try:
            value = decode(line.decode("utf-8"))
            if isinstance(value, str) and strings is not False:
                strings, value = True, {"text": value}
            elif not isinstance(value, dict):
                raise ValueError(f"a JSON {_kind(value)} where an object belongs")
            else:
                strings = strings or False
        except (ValueError, RecursionError) as error:
            wrong += 1
            if len(problems) < _MOST_PROBLEMS:
                problems.append(Problem(number, _reason(error), one_line(line[:400].decode("utf-8", "replace"), 120)))
            continue
        kinds.add(value)
        starts.append(start)
        ends.append(start + len(line))
    store = SpanStore(text, starts, ends, path)
    if not starts:
        _nothing(path, problems)
    details: dict[str, Any] = {}
    if wrong > len(problems):
        details["more_problems"] = wrong - len(problems)
    return Dataset(store, kinds.columns(), "jsonl", text.encoding, source, path, details, tuple(problems))


def _lines(text: Text, progress: Progress | None, cancel: Cancel | None) -> Iterator[tuple[int, bytes]]:
    """(offset of the first byte that is not white space, line), splitting at \\n alone."""
    place, rest = text.start, b""
    while True:
        if cancel is not None and cancel():
            raise Stopped("Stopped while reading the file.")
        block = os.pread(text.handle, 1 << 20, place) if place < text.size else b""
        place += len(block)
        if progress is not None:
            progress(place, text.size)
        lines = (rest + block).split(b"\n")
        offset = place - len(rest) - len(block)
        rest = lines.pop() if block else b""
        for line in lines:
            yield offset + len(line) - len(line.lstrip(b" \t\r\n")), line
            offset += len(line) + 1
        if not block:
            return


def _kind(value: object) -> str:
    names = {list: "array", str: "string", bool: "boolean", int: "number", float: "number", type(None): "null"}
    return names.get(type(value), type(value).__name__)


def _reason(error: Exception) -> str:
    if isinstance(error, UnicodeDecodeError):
        return f"not UTF-8 (byte 0x{error.object[error.start]:02x} at {error.start})"
    if isinstance(error, json.JSONDecodeError):
        return f"not JSON: {error.msg} at character {error.pos + 1}"
    return "nested too deeply" if isinstance(error, RecursionError) else str(error)[:200]


def _nothing(path: Path, problems: Sequence[Problem]) -> None:
    if problems:
        first = problems[0]
        hint = "Convert it to UTF-8, e.g. iconv -f latin1 -t utf-8." if "UTF-8" in first.reason else "Check the file."
        raise StudioError(f"{path} has no row that can be read: line {first.line} is {first.reason}.", hint)
    raise StudioError(f"{path} has no rows.", "Name a file with at least one row.")


def read_json(
    text: Text, path: Path, source: str, progress: Progress | None = None, cancel: Cancel | None = None
) -> Dataset:
    """A JSON array of objects, an object that holds one (`{"data": [...]}`), columns, or JSON lines after all.

    Arrays are scanned item by item, so no single call holds the interpreter for long; items that are no objects
    become `problems`. Raises StudioError where it is none of these.
    """
    try:
        whole = read_all(text.handle, text.start, text.size).decode("utf-8")
    except UnicodeDecodeError as error:
        message = f"{path} is not UTF-8, which JSON has to be (byte {error.start})."
        raise StudioError(message, "Convert it, e.g. iconv -f latin1 -t utf-8.") from error
    opening = _opening(whole)
    if opening is not None:
        return _array(text, whole, opening, path, source, progress, cancel)
    try:
        first, end = json.JSONDecoder().raw_decode(whole, _SPACE.match(whole).end())  # type: ignore[union-attr]
    except (ValueError, RecursionError):
        first, end = None, 0
    if first is None or whole[end:].strip():
        return read_jsonl(text, path, source, progress, cancel)
    rows = _rows_in(first)
    if not rows:
        hint = 'Rows belong in an array: [{"prompt": …}, …], or one object a line.'
        raise StudioError(f"{path} is JSON without an array of rows.", hint)
    kinds = Kinds()
    for row in rows:
        kinds.add(row)
    return Dataset(ListStore(rows), kinds.columns(), "json", text.encoding, source, path)


def _opening(whole: str) -> int | None:
    """Where the first item of the array of rows may stand; None where the text does not begin with one."""
    keys = "|".join(_LIST_KEYS)
    match = re.match(rf'\s*(?:\{{\s*"(?:{keys})"\s*:\s*)?\[', whole)
    return match.end() if match else None


def _array(
    text: Text, whole: str, place: int, path: Path, source: str, progress: Progress | None, cancel: Cancel | None
) -> Dataset:
    decode = json.JSONDecoder().raw_decode
    alone = whole.lstrip().startswith("[")  # not inside an object, where other keys may follow
    ascii_only, bytes_done, chars_done = whole.isascii(), text.start, 0
    starts, ends = array("q"), array("q")
    kinds, number, strings = Kinds(), 0, None
    problems: list[Problem] = []
    while True:
        if number % 256 == 0:
            if cancel is not None and cancel():
                raise Stopped("Stopped while reading the file.")
            if progress is not None:
                progress(place, len(whole))
        place = _SPACE.match(whole, place).end()  # type: ignore[union-attr]
        if whole.startswith("]", place):
            rest = whole[place + 1 : place + 400].strip()
            if rest and alone:
                line = whole.count("\n", 0, place) + 1
                problems.append(Problem(line, "text after the end of the array", one_line(rest, 120)))
            break
        number += 1
        try:
            value, end = decode(whole, place)
        except (ValueError, RecursionError) as error:
            line = whole.count("\n", 0, place) + 1
            problems.append(Problem(line, _reason(error), one_line(whole[place : place + 400], 120)))
            break
        if isinstance(value, str) and strings is not False:
            strings, value = True, {"text": value}
        elif isinstance(value, dict):
            strings = strings or False
        else:
            line = whole.count("\n", 0, place) + 1
            reason = f"item {number} is a JSON {_kind(value)} where an object belongs"
            problems.append(Problem(line, reason, one_line(whole[place : place + 400], 120)))
            place = end
            if len(problems) >= _MOST_PROBLEMS:
                break
            continue
        kinds.add(value)
        if ascii_only:
            first, last = text.start + place, text.start + end
        else:
            first = bytes_done + len(whole[chars_done:place].encode("utf-8", "surrogatepass"))
            last = first + len(whole[place:end].encode("utf-8", "surrogatepass"))
            bytes_done, chars_done = last, end
        starts.append(first)
        ends.append(last)
        place = end
    store = SpanStore(text, starts, ends, path)
    if not starts:
        _nothing(path, problems)
    return Dataset(store, kinds.columns(), "json", text.encoding, source, path, {}, tuple(problems))


def _rows_in(value: Any) -> list[Row]:
    """Rows in an object: its longest list of objects, else equally long lists as columns, else itself as one row."""
    if not isinstance(value, dict):
        return []
    lists = [part for part in value.values() if isinstance(part, list) and part]
    tables = [part for part in lists if all(isinstance(row, dict) for row in part)]
    if tables and not _is_row(value):
        return max(tables, key=len)
    if lists and len(lists) == len(value) and len({len(part) for part in lists}) == 1:
        return [dict(zip(value, cells, strict=True)) for cells in zip(*value.values(), strict=True)]
    return [value] if value else []


def _is_row(value: dict[str, Any]) -> bool:
    return any(name in value for name in ("messages", "conversations", "instruction", "prompt"))
