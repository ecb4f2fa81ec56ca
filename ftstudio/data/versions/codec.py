"""Rows as strict JSON and back without loss: bytes, times and numbers that JSON hasn't are tagged.

Nearly all rows need no tags and are plain JSON lines, as any tool reads them.
"""

from __future__ import annotations

import base64
import datetime
import decimal
import json
import math
import uuid
from typing import Any

TAG = "$ftstudio"


def _refuse(value: Any) -> Any:
    raise TypeError(type(value).__name__)


def to_line(row: Any) -> tuple[str, bool]:
    """(ROW as one line of JSON without its end, whether anything in it is tagged)."""
    try:
        text = json.dumps(row, ensure_ascii=False, allow_nan=False, default=_refuse)
        if TAG not in text:
            return (text if text.isascii() or _is_utf8(text) else json.dumps(row)), False
    except (TypeError, ValueError):
        pass
    return json.dumps(tagged(row), allow_nan=False), True


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:  # a lone surrogate: JSON can write it only as an escape
        return False
    return True


def tagged(value: Any) -> Any:
    """VALUE made of what JSON has; what it hasn't becomes `{"$ftstudio": kind, "value": …}`."""
    if value is None or isinstance(value, (bool, str)):
        return value
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else {TAG: "float", "value": repr(value)}
    if isinstance(value, dict):
        inner = {str(key): tagged(item) for key, item in value.items()}
        return {TAG: "object", "value": inner} if TAG in inner else inner
    if isinstance(value, (list, tuple)):
        return [tagged(item) for item in value]
    if isinstance(value, (bytes, bytearray, memoryview)):
        return {TAG: "bytes", "value": base64.b64encode(bytes(value)).decode()}
    for name, (kind, write, _) in _KINDS.items():
        if type(value) is kind:
            return {TAG: name, "value": write(value)}
    return {TAG: "text", "value": str(value)}


def untagged(value: Any) -> Any:
    """What `tagged` was given. Raises ValueError for a tag that there isn't."""
    if isinstance(value, list):
        return [untagged(item) for item in value]
    if not isinstance(value, dict):
        return value
    name = value.get(TAG)
    if not isinstance(name, str) or len(value) != 2 or "value" not in value:
        return {key: untagged(item) for key, item in value.items()}
    inner = value["value"]
    if name == "object":
        return {key: untagged(item) for key, item in inner.items()}
    if name == "bytes":
        return base64.b64decode(inner)
    if name in ("float", "text"):
        return float(inner) if name == "float" else str(inner)
    if name in _KINDS:
        return _KINDS[name][2](inner)
    raise ValueError(f"there is no kind {name!r}")


_KINDS: dict[str, tuple[type, Any, Any]] = {
    "datetime": (
        datetime.datetime,
        datetime.datetime.isoformat,
        datetime.datetime.fromisoformat,
    ),
    "date": (datetime.date, datetime.date.isoformat, datetime.date.fromisoformat),
    "time": (datetime.time, datetime.time.isoformat, datetime.time.fromisoformat),
    "duration": (
        datetime.timedelta,
        lambda value: [value.days, value.seconds, value.microseconds],
        lambda value: datetime.timedelta(*value),
    ),
    "decimal": (decimal.Decimal, str, decimal.Decimal),
    "uuid": (uuid.UUID, str, uuid.UUID),
}
