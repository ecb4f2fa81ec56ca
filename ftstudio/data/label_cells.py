"""Cells that hold a label, several, or a number; and labels that mean the same in another form."""

from __future__ import annotations

import ast
import functools
import io
import json
import re
import tokenize
import warnings
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from itertools import pairwise
from typing import Any

from ftstudio.core.text import one_line
from ftstudio.data.example import BadRow, text_of

SEPARATOR = " | "  # between the labels of an answer that has several
MARKS = ("|", ";", ",", "/")
"""What people put between several labels in one text."""
_LONGEST = 1_000_000  # characters of a list written as text
_RECUR = 0.9  # of the parts of joined labels must stand in other cells too
_WHOLE = re.compile(r"(-?(?:0|[1-9]\d*))\.0+")
_EXACT = 2.0**53  # whole floats up to here are exact


def label_of(value: Any) -> str:
    """A cell as the name of a label, a whole float (3.0) as the whole number; a ` | ` in it becomes ` ¦ `, for that is
    what stands between several labels. A list of one is that one. Raises BadRow for a list of none or several, for an
    empty cell and for what pandas writes for none (NaN)."""
    if isinstance(value, (list, tuple)):
        if len(value) != 1:
            raise BadRow(f"the row has {len(value) or 'no'} labels, and one is wanted")
        value = value[0]
    if isinstance(value, float) and value.is_integer() and abs(value) <= _EXACT:
        value = int(value)
    text = text_of(value).strip() if not isinstance(value, bool) else str(value).lower()
    if is_missing(value) or not text:
        raise BadRow("the label is empty")
    return text.replace(SEPARATOR, " ¦ ")


def is_missing(value: Any) -> bool:
    """Whether a cell says nothing: None, an empty text, or NaN."""
    return value is None or value == "" or (isinstance(value, float) and value != value)


def several(value: Any, mark: str | None = None) -> list[str]:
    """A cell as some labels: a list, a list written as JSON or as Python does it, or a text with MARK between them; an
    empty list says that none fits. Raises BadRow for a cell that is empty: nobody has said what the row's labels are.
    """
    if isinstance(value, str):
        parts = listed(value)
        if parts is None and mark is not None:
            parts = [part for part in value.split(mark) if part.strip()] or None
        value = value if parts is None else parts
    if isinstance(value, (list, tuple)):
        return list(dict.fromkeys(label_of(part) for part in value))
    if is_missing(value) or not text_of(value).strip():
        raise BadRow("the label is missing")
    return [label_of(value)]


def listed(text: str) -> list[Any] | None:
    """The list that TEXT is written as: by JSON, by Python (`['a', 'b']`) or by numpy (`['a' 'b']`); None where it
    begins like none. Raises BadRow where it only begins like one."""
    bare = text.strip()
    if not bare.startswith("["):
        return None
    found: Any = None
    try:
        found = json.loads(bare)
    except (ValueError, RecursionError):
        if len(bare) <= _LONGEST and bare.endswith("]"):
            found = _python(bare)
    if not isinstance(found, list):
        raise BadRow("the cell begins like a list but is none")
    return found


def _python(text: str) -> Any:
    """TEXT as a Python literal; of texts without commas between them, which Python would run together, each one."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about backslashes
            if re.search(r"['\"]\s+['\"]", text):
                tokens = [
                    part.string
                    for part in tokenize.generate_tokens(io.StringIO(text).readline)
                    if part.type in (tokenize.STRING, tokenize.OP, tokenize.NUMBER, tokenize.NAME)
                ]
                inner = tokens[1:-1]
                if "," not in inner:
                    return [ast.literal_eval(part) for part in inner]
                if any(a != "," and b != "," for a, b in pairwise(inner)):
                    return None
            return ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError, tokenize.TokenError):
        return None


def number_of(value: Any) -> float:
    """A cell as a number; 0,5 has a decimal comma. Raises BadRow where it is none, or may be either of two."""
    if isinstance(value, str) and re.fullmatch(r"\s*[-+]?[1-9]\d{0,2},\d{3}\s*", value):
        told = value.strip()
        raise BadRow(f"the score {told!r} may mean {told.replace(',', '')} or {told.replace(',', '.')}: write it so")
    try:
        found = float(text_of(value).strip().replace(",", ".") if isinstance(value, str) else value)
    except (TypeError, ValueError):
        raise BadRow(f"the score is no number: {one_line(text_of(value), 40)!r}") from None
    if found != found or found in (float("inf"), float("-inf")):
        raise BadRow("the score is no finite number")
    return found


# -- labels in another form ------------------------------------------------------------------------------------------
def known_as(name: str, labels: Sequence[str]) -> str:
    """NAME as LABELS have it: the same, or the one that says the same whole number (1 and 1.0) or truth (True and
    true), as another file may write it. Raises BadRow, with the label that differs in case or space only."""
    same, near = _forms(tuple(labels))
    if (found := same.get(name) or same.get(_value(name))) is not None:
        return found
    other = near.get(_spelled(name))
    raise BadRow(
        f"the label {name[:40]!r} is in no training row" + (f" (training has {other[:40]!r})" if other else "")
    )


@functools.lru_cache(maxsize=16)
def _forms(labels: tuple[str, ...]) -> tuple[Mapping[str, str], Mapping[str, str]]:
    same = {_value(name): name for name in reversed(labels)} | {name: name for name in labels}
    return same, {_spelled(name): name for name in reversed(labels)}


def _value(name: str) -> str:
    whole = _WHOLE.fullmatch(name)
    if whole is not None:
        return whole[1]
    return name.lower() if name.lower() in ("true", "false") else name


def _spelled(name: str) -> str:
    return re.sub(r"[\s_-]+", " ", _value(name).casefold()).strip()


def same_label(one: str, other: str) -> bool:
    """Whether two labels are one: the same text, whole number or truth."""
    return _value(one) == _value(other)


def spelled_alike(labels: Collection[str]) -> list[list[str]]:
    """LABELS that differ in case, space or form (1 and 1.0) only, as groups."""
    groups: dict[str, list[str]] = {}
    for name in labels:
        groups.setdefault(_spelled(name), []).append(name)
    return [group for group in groups.values() if len(group) > 1]


def mark_between(names: Collection[str]) -> str | None:
    """What stands between several labels in texts NAMES: the mark whose parts recur in other cells (`a,b`, `a`, `b,c`).
    None where there is none."""
    for mark in MARKS:
        parted = {name: [part.strip() for part in name.split(mark)] for name in names}
        joined = [parts for parts in parted.values() if len(parts) > 1]
        if not joined or not all(part for parts in joined for part in parts):
            continue
        seen = Counter(part for parts in parted.values() for part in set(parts))
        again = sum(seen[part] > 1 for parts in joined for part in parts)
        if again >= _RECUR * sum(map(len, joined)):
            return mark
    return None
