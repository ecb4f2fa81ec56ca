"""The journal as a list of edits: which are done, undone, done again, and saved.

Undo takes back the last edit, but never one that another studio made since this one looked: nobody loses what somebody
else has just done. A new edit ends what could be done again.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ftstudio.data.versions.edit import Edit, from_plain


class History:
    """What the lines of a journal come to. SESSION is this studio; lines read by `feed(…, old=True)` are everyone's."""

    def __init__(self, session: str) -> None:
        self.session = session
        self.base: dict[str, Any] = {}
        self.saved: dict[str, Any] | None = None  # the version that holds all edits up to here
        self.faulty = 0
        self._edits: dict[str, Edit] = {}
        self._undone: list[str] = []  # in the order of undoing
        self._redoable: list[str] = []
        self._ours: set[str] = set()

    def feed(self, lines: Iterable[dict[str, Any]], *, old: bool = False) -> int:
        """Take in LINES, in order; OLD: they were there before this studio looked. How many told something."""
        told = 0
        for line in lines:
            kind = line.get("kind")
            try:
                told += self._take(str(kind), line, old or line.get("session") == self.session)
            except (KeyError, TypeError, ValueError, AttributeError):
                self.faulty += 1
        return told

    def _take(self, kind: str, line: dict[str, Any], ours: bool) -> bool:
        if kind == "base":
            self.base = line
        elif kind == "edit":
            edit = from_plain(line)
            self._edits[edit.id] = edit
            if ours:
                self._ours.add(edit.id)
                self._redoable.clear()
        elif kind in ("undo", "redo"):
            name = str(line["edit"])
            if name not in self._edits or (kind == "undo") == (name in self._undone):
                return False
            (self._undone.append if kind == "undo" else self._undone.remove)(name)
            if kind == "undo" and ours:
                self._redoable.append(name)
            elif name in self._redoable:
                self._redoable.remove(name)
        elif kind in ("saved", "rebased"):
            version, base = line.get("version"), line.get("base")
            edits = [from_plain(value) for value in line["edits"]] if kind == "rebased" else []
            if not isinstance(version if kind == "saved" else base, int if kind == "saved" else dict):
                return False
            self._clear()
            if isinstance(base, dict):
                self.base = base
            else:
                self.saved = line
            self._edits = {edit.id: edit for edit in edits}
            self._ours = set(self._edits)
        else:
            return False
        return True

    def _clear(self) -> None:
        self._edits, self._ours = {}, set()
        self._undone, self._redoable = [], []

    @property
    def active(self) -> tuple[Edit, ...]:
        """The edits that count, in the order in which they were made."""
        return tuple(edit for name, edit in self._edits.items() if name not in self._undone)

    @property
    def undoable(self) -> Edit | None:
        """The edit that undo takes back."""
        return next((edit for edit in reversed(self.active) if edit.id in self._ours), None)

    @property
    def redoable(self) -> Edit | None:
        """The edit that redo does again."""
        return self._edits[self._redoable[-1]] if self._redoable else None

    def without(self, name: str) -> tuple[Edit, ...]:
        """The active edits but NAME."""
        return tuple(edit for edit in self.active if edit.id != name)

    def with_again(self, name: str) -> tuple[Edit, ...]:
        """The active edits and NAME, each in its place."""
        return tuple(edit for key, edit in self._edits.items() if key == name or key not in self._undone)
