"""Standard input and other pipes: copied into an unnamed file, then read like one."""

from __future__ import annotations

import hashlib
import os
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

from ftstudio.core.errors import UsageError
from ftstudio.core.reading import Reading
from ftstudio.data.dataset import Dataset
from ftstudio.data.read_file import read_handle
from ftstudio.data.watch import Watch

NAME = "standard input"


def read_stream(pipe: Path | None, reading: Reading, split: str, watch: Watch) -> Dataset:
    """The rows that come through PIPE (None: standard input). Raises UsageError where a terminal is at its end."""
    if pipe is None and sys.stdin.isatty():
        raise UsageError("Nothing comes through standard input.", "Pipe rows in: cat rows.jsonl | ftstudio data -")
    digest = hashlib.sha256()
    with tempfile.NamedTemporaryFile(prefix="ftstudio-") as copy:
        source = sys.stdin.buffer if pipe is None else open(pipe, "rb")  # noqa: SIM115 (standard input stays open)
        try:
            while block := source.read(1 << 20):
                copy.write(block)
                digest.update(block)
                watch.at(copy.tell(), copy.tell() + 1)
        finally:
            if pipe is not None:
                source.close()
        copy.flush()
        found = read_handle(Path(copy.name), Path(NAME), "-", split, reading, watch)
    return replace(found, path=None, source="-" if pipe is None else os.fspath(pipe), _hash=[digest.hexdigest()])
