"""Values of a dataset as text: one line for a table's cell, whole and laid out for a row's page. No widgets."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from ftstudio.core.text import clean, one_line

CELL = 400  # characters of a value that a table's cell looks at


def cell(value: Any, limit: int = CELL) -> str:
    """VALUE on one line, safe to show, at most LIMIT characters. Nothing is an empty cell; turns read as a dialogue."""
    if value is None:
        return ""
    if isinstance(value, str):
        return one_line(_apart(value[: 4 * limit]) if not value.isascii() else value, limit)
    if isinstance(value, (bool, int, float)):
        return str(value)
    turns = _turns(value)
    if turns is not None:
        return one_line("  ".join(f"{role}: {content[:limit]}" for role, content in turns[:8]), limit)
    return one_line(_json(value, limit * 4, None), limit)


_JOINED = re.compile("\u200d(?=[\u2600-\u27bf\U0001f000-\U0001faff])|\ufe0f|[\U0001f3fb-\U0001f3ff]")


def _apart(text: str) -> str:
    """TEXT with emoji that are joined into one picture set apart: no two terminals agree how wide the picture is."""
    return _JOINED.sub("", text)


def whole(value: Any) -> list[tuple[str, str]]:
    """VALUE in full, as (heading, text) pieces: a list of turns has one a turn, all else a single one without."""
    if value is None:
        return [("", "")]
    if isinstance(value, str):
        return [("", value)]
    turns = _turns(value)
    if turns is not None:
        return turns
    if isinstance(value, (Mapping, list, tuple)):
        return [("", _json(value, None, 2))]
    return [("", str(value))]


def as_text(value: Any) -> str:
    """VALUE as it is searched, filtered, sorted and copied: text as it is, all else as JSON."""
    if value is None:
        return ""
    return value if isinstance(value, str) else _json(value, None, None)


def row_text(row: Mapping[str, Any]) -> str:
    """A row as one line of JSON, for the clipboard."""
    return json.dumps(dict(row), ensure_ascii=False, default=_other)


def _turns(value: Any) -> list[tuple[str, str]] | None:
    """(who, what) of a conversation; None where VALUE is none."""
    if not isinstance(value, (list, tuple)) or not value:
        return None
    found = []
    for part in value:
        if not isinstance(part, Mapping):
            return None
        who = part.get("role", part.get("from"))
        what = part.get("content", part.get("value"))
        if not isinstance(who, str) or not isinstance(what, (str, type(None))):
            return None
        found.append((clean(who, 40), what or ""))
    return found


def _json(value: Any, limit: int | None, indent: int | None) -> str:
    if limit is not None and isinstance(value, (list, tuple)) and len(value) > 50:
        value = value[:50]  # a cell shows its beginning: no need to write out ten thousand numbers
    try:
        return json.dumps(value, ensure_ascii=False, default=_other, indent=indent)
    except (ValueError, RecursionError):
        return clean(value, limit)


def _other(value: Any) -> str:
    if isinstance(value, (bytes, bytearray)):
        return f"<{len(value):,} bytes>"
    return str(value)


def widths(natural: Sequence[int], room: int, gap: int = 2, least: int = 14, most: int = 32) -> list[int]:
    """Cells wide for columns that would like NATURAL, in ROOM cells: narrow ones get all they want, the others share.

    Where not even LEAST each fits, every column gets up to MOST and the table scrolls sideways.
    """
    if not natural:
        return []
    room -= gap * (len(natural) - 1)
    result = [min(want, least) for want in natural]
    left = room - sum(result)
    if left < 0:
        return [max(4, min(want, most)) for want in natural]
    while left > 0:
        hungry = [place for place, want in enumerate(natural) if result[place] < want]
        if not hungry:
            break
        share = max(1, left // len(hungry))
        for place in hungry:
            more = min(share, natural[place] - result[place], left)
            result[place] += more
            left -= more
    return result
