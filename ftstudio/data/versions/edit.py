"""One edit of a dataset's rows: immutable, and made of patches that say which row they expect and what becomes of it.

What is written down is the outcome, not the wish: an edit done again, on another day or by a newer release, changes
the same cells to the same values, or says which row isn't what it was.
"""

from __future__ import annotations

import getpass
import os
import socket
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from ftstudio.core.errors import StudioError
from ftstudio.data.dataset import Row
from ftstudio.data.versions import codec
from ftstudio.data.versions.identity import Key

WEIGHT = "_weight"  # the column with how often a row is trained, where it isn't once
HEAVIEST = 100.0


class Conflict(StudioError):
    """A row isn't what an edit expects: someone else changed it, or the source did."""


@dataclass(frozen=True)
class Change:
    """The row KEY, which hashes to `before`, gets the values of `cells`, and loses the columns in `gone`."""

    key: Key
    before: str
    cells: Mapping[str, Any]
    gone: tuple[str, ...] = ()


@dataclass(frozen=True)
class Drop:
    """The row KEY, which hashes to `before`, is left out."""

    key: Key
    before: str


@dataclass(frozen=True)
class Insert:
    """A new row called `key` stands right after the row AFTER; at the end where that is None."""

    key: str
    after: Key | None
    row: Mapping[str, Any]


Patch = Change | Drop | Insert


@dataclass(frozen=True)
class Edit:
    """`action` is one word of `ACTIONS`, `text` says it to people, `why` is what the person or check said."""

    action: str
    text: str
    patches: tuple[Patch, ...] = ()
    why: str = ""
    details: Mapping[str, Any] = field(default_factory=dict)
    id: str = field(default_factory=lambda: uuid.uuid4().hex[:16])
    who: str = ""
    time: float = 0.0
    session: str = ""

    def signed(self, session: str) -> Edit:
        """The same, by this person, now, in SESSION."""
        return replace(self, who=self.who or me(), time=self.time or time.time(), session=session)

    @property
    def counts(self) -> dict[str, int]:
        """How many rows are changed, dropped and added."""
        found = {"changed": 0, "dropped": 0, "added": 0}
        for patch in self.patches:
            found["changed" if isinstance(patch, Change) else "dropped" if isinstance(patch, Drop) else "added"] += 1
        return found

    @property
    def keys(self) -> list[Key]:
        """The rows it touches, each once, in order."""
        return list(dict.fromkeys(patch.key for patch in self.patches))

    def told(self) -> dict[str, Any]:
        """For `version.json`: all but the patches."""
        return {
            "id": self.id, "action": self.action, "text": self.text, "why": self.why, "who": self.who,
            "time": self.time, "rows": self.counts, **({"details": dict(self.details)} if self.details else {}),
        }  # fmt: skip

    def plain(self) -> dict[str, Any]:
        """For JSON, whole."""
        fields = {key: value for key, value in self.told().items() if key != "rows"}
        return {
            **fields,
            "session": self.session,
            "patches": [_plain(patch) for patch in self.patches],
        }


ACTIONS = ("cell", "row", "drop", "duplicate", "add", "replace", "repair", "weight")


def weight_of(row: Mapping[str, Any]) -> float:
    """How often ROW is trained in an epoch; 1 where it doesn't say, or says nothing usable."""
    value = row.get(WEIGHT, 1.0)
    if isinstance(value, str):
        try:
            value = float(value)
        except ValueError:
            return 1.0
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= HEAVIEST:
        return 1.0
    return float(value)


def me() -> str:
    """Who is at work: `name@host`."""
    try:
        name = getpass.getuser()
    except (OSError, KeyError):  # a container whose user has no name
        name = str(os.getuid())
    return f"{name}@{socket.gethostname()}"


def _plain(patch: Patch) -> dict[str, Any]:
    if isinstance(patch, Change):
        gone = {"gone": list(patch.gone)} if patch.gone else {}
        return {
            "change": patch.key,
            "before": patch.before,
            "cells": codec.tagged(dict(patch.cells)),
            **gone,
        }
    if isinstance(patch, Drop):
        return {"drop": patch.key, "before": patch.before}
    return {
        "insert": patch.key,
        "after": patch.after,
        "row": codec.tagged(dict(patch.row)),
    }


def from_plain(value: Mapping[str, Any]) -> Edit:
    """The edit that `plain` told. Raises KeyError, TypeError or ValueError where it tells none."""
    return Edit(
        action=_is(value["action"], str), text=_is(value["text"], str), why=_is(value.get("why", ""), str),
        patches=tuple(_patch(_is(patch, dict)) for patch in _is(value["patches"], list)),
        details=_is(value.get("details") or {}, dict), id=_is(value["id"], str), who=_is(value.get("who", ""), str),
        time=float(value.get("time") or 0.0), session=_is(value.get("session", ""), str),
    )  # fmt: skip


def _patch(value: Mapping[str, Any]) -> Patch:
    if "change" in value:
        cells, gone = _row(value["cells"]), [_is(name, str) for name in _is(value.get("gone", []), list)]
        return Change(_key(value["change"]), _is(value["before"], str), cells, tuple(gone))
    if "drop" in value:
        return Drop(_key(value["drop"]), _is(value["before"], str))
    after = value["after"]
    return Insert(_is(value["insert"], str), None if after is None else _key(after), _row(value["row"]))


T = TypeVar("T")


def _is(value: Any, kind: type[T]) -> T:
    """VALUE, which must be of KIND: a journal may be damaged."""
    if not isinstance(value, kind):
        raise TypeError(f"{kind.__name__} expected")
    return value


def _key(value: Any) -> Key:
    return value if isinstance(value, str) else abs(int(_is(value, int)))


def _row(value: Any) -> Row:
    return _is(codec.untagged(_is(value, dict)), dict)
