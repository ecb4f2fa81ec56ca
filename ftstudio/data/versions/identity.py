"""Which row is which: its number in the source (or a name, where it was added), and a hash of what it holds.

A row keeps its key through every version, so that edits, versions and their differences speak of the same row.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from typing import Any

Key = int | str  # number of the row in the source, from 0; of a row that was added `<edit>.<n>`


def _other(value: Any) -> str:
    return f"{type(value).__name__} {value!r}"


def canonical(value: Any) -> str:
    """VALUE as text, equal for equal values only: 1, 1.0, true and "1" differ; the order of keys is no matter."""
    try:
        return json.dumps(value, sort_keys=True, default=_other, separators=(",", ":"))
    except (TypeError, ValueError):  # keys of several types, a list that holds itself
        return repr(value)


def content_hash(row: Any) -> str:
    """16 hex digits that stand for what ROW holds."""
    return hashlib.blake2b(canonical(row).encode(), digest_size=8).hexdigest()


def same(one: Any, other: Any) -> bool:
    """Whether two cells hold the same (1 and 1.0 don't)."""
    if type(one) is not type(other):
        return False
    return one == other if isinstance(one, str) else canonical(one) == canonical(other)


def pack(keys: Iterable[Key]) -> list[Any]:
    """KEYS for JSON: numbers in succession as [first, last]."""
    found: list[Any] = []
    for key in keys:
        if isinstance(key, int) and found and isinstance(found[-1], list) and found[-1][1] == key - 1:
            found[-1][1] = key
        else:
            found.append([key, key] if isinstance(key, int) else key)
    return found


def unpack(packed: Sequence[Any]) -> Sequence[Key]:
    """What `pack` was given. Raises ValueError or TypeError where it is nothing that it makes."""
    if len(packed) == 1 and isinstance(packed[0], list) and packed[0][0] == 0:
        return range(int(packed[0][1]) + 1)
    keys: list[Key] = []
    for item in packed:
        if isinstance(item, str):
            keys.append(item)
        else:
            first, last = item
            keys.extend(range(int(first), int(last) + 1))
    return keys
