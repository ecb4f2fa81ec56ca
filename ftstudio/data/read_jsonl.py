"""JSON lines, kept on disk and indexed by where each row stands."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from ftstudio.core.errors import StudioError
from ftstudio.data.aside import Aside
from ftstudio.data.dataset import Dataset, HeadStore, Kinds, Row
from ftstudio.data.encoding import Text, not_utf8
from ftstudio.data.lines import TOO_LONG, LineEnds, lines
from ftstudio.data.spans import SpanStore
from ftstudio.data.watch import NOBODY, Watch

_decode = json.JSONDecoder().decode


def read_jsonl(text: Text, path: Path, source: str, watch: Watch = NOBODY) -> Dataset:
    """One JSON object a line. Lines that are none are put aside.

    Every line is parsed once (so that counts and columns are exact), only the spans stay in memory. Lines that are
    all JSON strings become a `text` column.
    """
    store, kinds, aside, ends = SpanStore(text, path, parse_row), Kinds(), Aside(), LineEnds()

    def dataset(store: Any = store) -> Dataset:
        details = {"line_ends": ends.name}
        problems = tuple(aside.problems)
        return Dataset(
            store, kinds.columns(), "jsonl", text.encoding, source, path, details, problems, aside=aside
        )  # fmt: skip

    watch.found(lambda: dataset(HeadStore(store, len(store))))
    decode, add, strings = json.JSONDecoder().decode, store.add, None
    mode = "lf" if _has_feeds(text) else "cr"
    for number, (start, line) in enumerate(lines(text, watch, ends, mode), 1):
        try:
            if line is None:
                raise ValueError(TOO_LONG)
            if line.isspace():
                continue
            value = decode(line.decode("utf-8"))
            if isinstance(value, str) and strings is not False:
                strings, value = True, {"text": value}
            elif not isinstance(value, dict):
                raise ValueError(f"a JSON {kind_of(value)} where an object belongs")
            else:
                strings = strings or False
        except (ValueError, RecursionError) as error:
            aside.add(number, reason_of(error), (line or b"").strip(b" \t\r\n"))
            continue
        kinds.add(value)
        add(start, start + len(line))
    if not len(store):
        nothing(path, aside)
    return dataset()


def parse_row(data: bytes, index: int = 0) -> Row:
    """The JSON object (or string) in DATA."""
    value = _decode(data.decode("utf-8"))
    return value if isinstance(value, dict) else {"text": value}


def _has_feeds(text: Text) -> bool:
    """Whether lines end in line feeds; carriage returns alone do only where the first lines have nothing else."""
    head = os.pread(text.handle, min(1 << 20, text.size - text.start), text.start)
    return b"\n" in head or b"\r" not in head


def kind_of(value: object) -> str:
    """What JSON calls VALUE."""
    names = {list: "array", str: "string", bool: "boolean", int: "number", float: "number", type(None): "null"}
    return names.get(type(value), type(value).__name__)


def reason_of(error: Exception) -> str:
    """ERROR of the JSON parser as the reason why a row can't be read."""
    if isinstance(error, UnicodeDecodeError):
        return not_utf8(error)
    if isinstance(error, json.JSONDecodeError):
        return f"not JSON: {error.msg} at character {error.pos + 1}"
    return "nested too deeply" if isinstance(error, RecursionError) else str(error)[:200]


def nothing(path: Path, aside: Aside) -> None:
    """Raise StudioError: no row of PATH could be read, and why."""
    if aside.problems:
        first = aside.problems[0]
        hint = "Name its encoding, such as encoding=latin-1." if "UTF-8" in first.reason else "Check the file."
        raise StudioError(f"{path} has no row that can be read: line {first.line} is {first.reason}.", hint)
    raise StudioError(f"{path} has no rows.", "Name a file with at least one row.")
