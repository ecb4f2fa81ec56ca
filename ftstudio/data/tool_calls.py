"""Tools that a conversation may call, and calls of them, in the one form that chat templates read.

OpenAI's form, which transformers' templates expect: a tool is `{"type": "function", "function": {name, description,
parameters}}`, a call `{"type": "function", "function": {name, arguments}}` with its arguments as an object.

Parquet and Arrow fill every object up with the keys of all others, so keys without a value are taken out: a schema has
none but `default` and `const`, and of arguments only JSON text tells a null that is meant.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any


def tools_of(value: Any) -> tuple[dict[str, Any], ...]:
    """The tools in a cell: a list of them, or JSON text of one; none where it is empty. Raises ValueError where it is
    something else."""
    found = []
    for one in _list(value):
        tool = _json(one) if isinstance(one, str) else one
        if not isinstance(tool, Mapping):
            raise ValueError("the tools are no list of functions")
        bare = "function" not in tool and "type" not in tool and isinstance(tool.get("name"), str)
        found.append({"type": "function", "function": filled(tool)} if bare else filled(tool))
    return tuple(found)


def calls_of(value: Any) -> tuple[dict[str, Any], ...]:
    """The calls in VALUE: a list of them or a single one, or JSON text of either; empty where it holds none."""
    try:
        given = _list(value)
    except ValueError:
        return ()
    found = []
    for one in given:
        call = _json(one) if isinstance(one, str) else one
        if not isinstance(call, Mapping):
            return ()
        inner = call.get("function", call)
        if not isinstance(inner, Mapping) or not isinstance(inner.get("name"), str):
            return ()
        function = filled(inner)
        arguments = function.get("arguments")
        if isinstance(arguments, str):
            read = _json(arguments)
            function["arguments"] = read if isinstance(read, dict) else arguments
        beside = call if inner is not call else {"type": "function", "function": inner}
        found.append(
            {key: function if key == "function" else filled(part) for key, part in beside.items() if part is not None}
        )
    return tuple(found)


def filled(value: Any) -> Any:
    """VALUE as `plain` has it, without keys that have no value."""
    if isinstance(value, Mapping):
        kept = {str(key): part for key, part in value.items() if part is not None or key in ("default", "const")}
        return {key: filled(part) for key, part in kept.items()}
    return [filled(part) for part in value] if isinstance(value, (list, tuple)) else plain(value)


def plain(value: Any) -> Any:
    """VALUE of plain dicts, lists and scalars: nothing else is shown to a template."""
    if isinstance(value, Mapping):
        return {str(key): plain(part) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(part) for part in value]
    if value is None or isinstance(value, (str, int, float, bool)):
        return value
    return str(value)


def _list(value: Any) -> list[Any]:
    if isinstance(value, str):
        if not value.strip():
            return []
        read = _json(value)
        if read is None and value.strip() != "null":
            raise ValueError("the tools are text that is no JSON")
        value = read
    if value is None:
        return []
    if isinstance(value, Mapping):
        return [value]
    if not isinstance(value, (list, tuple)):
        raise ValueError("the tools are no list of functions")
    return list(value)


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None
