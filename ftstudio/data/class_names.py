"""Names for class numbers: `datasets` stores a ClassLabel as a number and its names in the file's metadata."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from ftstudio.data.dataset import Column, Row

Named = Callable[[Any], Any]


class ClassNames:
    """The columns of a dataset that hold ClassLabels, by what `datasets` says of its features.

    FEATURES is the form of `Features.to_dict()`, which the metadata of Parquet and Arrow files have too.
    """

    def __init__(self, features: Any) -> None:
        columns = features.items() if isinstance(features, Mapping) else ()
        self._named = {str(name): named for name, feature in columns if (named := _naming(feature)) is not None}
        self._whole = {str(name) for name, feature in columns if _names(feature) is not None}

    def __bool__(self) -> bool:
        return bool(self._named)

    def row(self, row: Row) -> Row:
        """ROW with names where class numbers stand."""
        for name, named in self._named.items():
            if name in row:
                row[name] = named(row[name])
        return row

    def columns(self, columns: Sequence[Column]) -> tuple[Column, ...]:
        """COLUMNS, those of class numbers as the texts that they become."""
        return tuple(replace(column, type="text") if column.name in self._whole else column for column in columns)


def of_schema(schema: Any) -> ClassNames:
    """The class names in the metadata of a pyarrow SCHEMA; none where `datasets` didn't write it."""
    text = (schema.metadata or {}).get(b"huggingface")
    try:
        found = json.loads(text) if text else None
        return ClassNames(found["info"]["features"] if found else None)
    except (ValueError, KeyError, TypeError, RecursionError):
        return ClassNames(None)


def _names(feature: Any) -> list[str] | None:
    if not isinstance(feature, Mapping) or feature.get("_type") != "ClassLabel":
        return None
    names = feature.get("names")
    return [str(name) for name in names] if isinstance(names, list) and names else None


def _naming(feature: Any) -> Named | None:
    """What turns the numbers in values of FEATURE into names; None where there are none in it."""
    names = _names(feature)
    if names is not None:
        return lambda value: _name(names, value)
    if isinstance(feature, list):
        feature = {"_type": "List", "feature": feature[0]} if len(feature) == 1 else None
    if not isinstance(feature, Mapping):
        return None
    if isinstance(feature.get("_type"), str):
        inner = _naming(feature.get("feature"))
        return None if inner is None else lambda value: _in_list(inner, value)
    parts = {str(name): named for name, part in feature.items() if (named := _naming(part)) is not None}
    return (lambda value: _in_object(parts, value)) if parts else None


def _name(names: Sequence[str], value: Any) -> Any:
    """The name of class VALUE; None for -1, by which `datasets` says that there is no label."""
    if not isinstance(value, int) or isinstance(value, bool):
        return value
    if value == -1:
        return None
    return names[value] if 0 <= value < len(names) else value


def _in_list(named: Named, value: Any) -> Any:
    """A list of what NAMED is for; `datasets` stores a sequence of objects as an object of lists."""
    if isinstance(value, Mapping):
        lengths = {len(part) if isinstance(part, (list, tuple)) else -1 for part in value.values()}
        count = lengths.pop() if len(lengths) == 1 else -1
        if count < 0:
            return value
        rows = [named({name: part[place] for name, part in value.items()}) for place in range(count)]
        return {name: [row[name] for row in rows] for name in value}
    return [named(part) for part in value] if isinstance(value, (list, tuple)) else value


def _in_object(parts: Mapping[str, Named], value: Any) -> Any:
    if not isinstance(value, Mapping):
        return value
    return {name: parts[name](part) if name in parts else part for name, part in value.items()}
