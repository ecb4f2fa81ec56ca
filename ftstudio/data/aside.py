"""Rows that could not be read: counted, and kept whole in a file, so that none is lost in silence."""

from __future__ import annotations

import contextlib
import json
import os
import re
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import IO, Any

from ftstudio.core import files
from ftstudio.core.text import one_line
from ftstudio.data.dataset import Dataset, Problem

MOST_SHOWN = 10_000
_MOST_BYTES = 8 << 20  # of one row: more is cut, and said
_IN_MEMORY = 1 << 20


class Aside:
    """Collects rows that could not be read (`gone`) or had to be mended (`kept`); the first 10,000 as `problems`.

    What is gone is also written, whole, to an unnamed temporary file, from which `save` makes one with a name.
    """

    def __init__(self) -> None:
        self.problems: list[Problem] = []
        self.gone = self.kept = 0
        self._spool: IO[bytes] | None = None
        self._lock = threading.Lock()

    def add(self, line: int, reason: str, raw: str | bytes, *, kept: bool = False, file: str = "") -> None:
        """Row RAW of LINE (from 1) can't be read because of REASON; KEPT: it is in the table all the same."""
        shown = raw[:400].decode("utf-8", "replace") if isinstance(raw, bytes) else raw[:400]
        if file:
            reason = f"{reason} ({file})"
        if len(self.problems) < MOST_SHOWN:
            self.problems.append(Problem(line, reason, one_line(shown, 120), kept))
        if kept:
            self.kept += 1
            return
        self.gone += 1
        whole = raw.decode("utf-8", "backslashreplace") if isinstance(raw, bytes) else raw
        self._write({"line": line, "reason": reason, "raw": whole})

    def _write(self, entry: dict[str, Any]) -> None:
        if len(entry["raw"]) > _MOST_BYTES:
            entry = {**entry, "raw": entry["raw"][:_MOST_BYTES], "cut": True}
        text = json.dumps(entry, ensure_ascii=False).encode("utf-8", "backslashreplace")
        with self._lock, contextlib.suppress(OSError):  # a full /tmp: counted and shown all the same
            if self._spool is None:
                self._spool = tempfile.SpooledTemporaryFile(_IN_MEMORY)  # noqa: SIM115 (as long as this lives)
            self._spool.seek(0, os.SEEK_END)
            self._spool.write(text + b"\n")

    def take(self, other: Aside, file: str) -> None:
        """All that OTHER holds, of FILE."""
        room = MOST_SHOWN - len(self.problems)
        named = f" ({file})" if file else ""
        self.problems += [replace(known, reason=known.reason + named) for known in other.problems[:room]]
        self.gone, self.kept = self.gone + other.gone, self.kept + other.kept
        for entry in other.entries():
            self._write({"file": file, **entry})

    def entries(self) -> Iterator[dict[str, Any]]:
        """What is gone, in order: line, reason, raw."""
        with self._lock:
            if self._spool is None:
                return
            self._spool.seek(0)
            for line in self._spool:
                yield json.loads(line)

    def save(self, path: Path) -> None:
        """Replace PATH by what is gone, a JSON line each: line, reason, raw. Raises StudioError."""
        temporary = path.with_name(f".{path.name}.{os.getpid()}")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with self._lock, open(temporary, "wb") as out:
                if self._spool is not None:
                    self._spool.seek(0)
                    while block := self._spool.read(1 << 20):
                        out.write(block)
            os.replace(temporary, path)
        except OSError as error:
            with contextlib.suppress(OSError):
                os.unlink(temporary)
            raise files.explain(error, path) from error


def keep_aside(dataset: Dataset, folder: Path) -> Path | None:
    """Write what could not be read of DATASET to `FOLDER/<name>.unread.jsonl`; None where all of it could.

    A file of the same name that tells of other rows is not replaced: the new one gets a number.
    """
    aside = dataset.aside
    if aside is None or not aside.gone:
        return None
    name = dataset.path.name if dataset.path is not None else Path(dataset.source).name
    stem = re.sub(r"[^\w.-]+", "-", name).strip("-") or "standard-input"
    new = folder / f".{stem}.unread.new"
    aside.save(new)
    number = 1
    while True:
        path = folder / f"{stem}.unread{'' if number == 1 else f'-{number}'}.jsonl"
        try:
            if not path.exists() or path.read_bytes() == new.read_bytes():
                os.replace(new, path)
                return path
        except OSError as error:
            raise files.explain(error, path) from error
        number += 1
