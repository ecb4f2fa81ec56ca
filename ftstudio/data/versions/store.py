"""One version of a dataset: a folder that is written once, whole, and never touched again.

rows.jsonl      the rows; plain JSON lines, as any tool reads them
keys.json       which row of the source each is
repairs.jsonl   the edits since the parent, whole
version.json    parent, source, counts, who and when, SHA-256 of rows.jsonl
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import time
import uuid
import weakref
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ftstudio.core import files
from ftstudio.core.errors import Stopped, StudioError, UsageError
from ftstudio.data.dataset import Cancel, Column, Dataset, Progress, Row, Store
from ftstudio.data.versions import codec
from ftstudio.data.versions.edit import me
from ftstudio.data.versions.identity import Key, pack, unpack
from ftstudio.data.versions.journal import sync_folder
from ftstudio.data.versions.shelf import SOURCE, DatasetFolder
from ftstudio.data.versions.working import Working

_BLOCK = 4 << 20
ROWS, KEYS, REPAIRS, ABOUT = "rows.jsonl", "keys.json", "repairs.jsonl", "version.json"


@dataclass(frozen=True)
class Version:
    """A saved version. `about` is its version.json."""

    folder: DatasetFolder
    number: int
    about: Mapping[str, Any]

    @property
    def name(self) -> str:
        """`<dataset>@<number>`."""
        return f"{self.folder.name}@{self.number}"

    @property
    def path(self) -> Path:
        """Its folder."""
        return self.folder.path / str(self.number)

    @property
    def address(self) -> str:
        """What names it from anywhere: its name behind the path of the shelf."""
        return str(self.folder.path.parent / self.name)

    @property
    def parent(self) -> str:
        """`source`, or the number of the version it was made from."""
        return str(self.about.get("parent", SOURCE))

    def plain(self) -> dict[str, Any]:
        """For JSON."""
        return {"version": self.name, "path": str(self.path), **self.about}


def versions(folder: DatasetFolder) -> list[Version]:
    """All versions in FOLDER, the oldest first."""
    return [read(folder, number) for number in folder.numbers()]


def read(folder: DatasetFolder, number: int | str) -> Version:
    """Version NUMBER (or `latest`) of FOLDER. Raises UsageError where there is none."""
    numbers = folder.numbers()
    wanted = (numbers[-1] if numbers else None) if number == "latest" else int(str(number).removeprefix("v"))
    if wanted not in numbers:
        known = ", ".join(f"{folder.name}@{item}" for item in numbers[-5:]) or "none yet; saving repairs makes one"
        raise UsageError(f"There is no version {folder.name}@{number}.", f"There are: {known}.")
    about = files.read_json(folder.path / str(wanted) / ABOUT)
    return Version(folder, int(wanted or 0), about if isinstance(about, dict) and _told(about) else {})


def _told(about: Mapping[str, Any]) -> bool:
    """Whether ABOUT is what `write` says of a version; a damaged one says nothing, and can't be opened."""
    kinds = {"rows": int, "bytes": int, "sha256": str, "parent": str, "source": dict, "counts": dict, "details": dict,
             "columns": list, "repairs": list}  # fmt: skip
    if not all(isinstance(about.get(key), kind) for key, kind in kinds.items()):
        return False
    pairs = all(isinstance(pair, list) and len(pair) == 2 for pair in about["columns"])
    return pairs and all(isinstance(repair, dict) for repair in about["repairs"])


def write(
    folder: DatasetFolder,
    working: Working,
    parent: str,
    source: Mapping[str, Any],
    why: str = "",
    *,
    progress: Progress | None = None,
    cancel: Cancel | None = None,
) -> Version:
    """WORKING as a new version of FOLDER, made from PARENT (`source` or a number), which began with SOURCE.

    Under a claim of `folder.pending`. Raises StudioError where it can't be written, Stopped when CANCEL says so; then
    there is no new version.
    """
    for torn in folder.path.glob(".new-*"):  # of a process that was killed: nobody else saves under our claim
        shutil.rmtree(torn, ignore_errors=True)
    beside = folder.path / f".new-{uuid.uuid4().hex[:8]}"
    try:
        beside.mkdir(parents=True)
        rows, size, sha, was_tagged = _rows(beside / ROWS, working.dataset, progress, cancel)
        files.write(beside / KEYS, json.dumps(pack(working.all_keys())))
        text = "".join(json.dumps(edit.plain()) + "\n" for edit in working.edits)
        files.write(beside / REPAIRS, text)
        counts = {"rows": rows, "changed": 0, "dropped": 0, "added": 0}
        for edit in working.edits:
            for name, count in edit.counts.items():
                counts[name] += count
        about = {
            "parent": parent, "source": dict(source), "created": time.time(), "who": me(), "why": why,
            "rows": rows, "bytes": size, "sha256": sha, "tagged": was_tagged, "counts": counts,
            "columns": [[column.name, column.type] for column in working.dataset.columns],
            "format": working.base.format, "encoding": working.base.encoding, "details": _details(working.base),
            "repairs": [edit.told() for edit in working.edits],
        }  # fmt: skip
        files.write_json(beside / ABOUT, about)
        for name in (ROWS, KEYS, REPAIRS, ABOUT):
            os.chmod(beside / name, 0o444)
        sync_folder(beside)
        number = _place(beside, folder)
        sync_folder(folder.path)
    except OSError as error:
        raise files.explain(error, folder.path) from error
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    return read(folder, number)


def _rows(path: Path, dataset: Dataset, progress: Progress | None, cancel: Cancel | None) -> tuple[int, int, str, bool]:
    """Write the rows; (how many, bytes, SHA-256, whether any is tagged)."""
    digest, size, count, marked = hashlib.sha256(), 0, len(dataset), False
    with open(path, "wb") as out:
        for start in range(0, count, 512):
            if cancel is not None and cancel():
                raise Stopped("Stopped while saving; no version was made.")
            lines = []
            for row in dataset.iter(start, start + 512):
                text, was_tagged = codec.to_line(row)
                marked |= was_tagged
                lines.append(text + "\n")
            data = "".join(lines).encode()
            digest.update(data)
            size += len(data)
            out.write(data)
            if progress is not None:
                progress(min(count, start + 512), count)
        out.flush()
        os.fsync(out.fileno())
    return count, size, digest.hexdigest(), marked


def _place(beside: Path, folder: DatasetFolder) -> int:
    """Give BESIDE the next number; a folder of that name that somebody else made stays as it is."""
    number = max(folder.numbers(), default=0) + 1
    while True:
        path = folder.path / str(number)
        if not path.exists():
            try:
                os.rename(beside, path)
                return number
            except OSError:
                if not path.exists():
                    raise
        number += 1


def _details(dataset: Dataset) -> dict[str, Any]:
    """What was found about the file, as far as JSON has it: where pictures lie, how it was read."""
    found = {str(key): value for key, value in dataset.details.items() if key != "more_problems"}
    if dataset.path is not None:
        found.setdefault("folder", str(dataset.path.parent))
    return {key: value for key, value in found.items() if isinstance(value, (str, int, float, bool))}


def open_version(
    version: Version, *, progress: Progress | None = None, cancel: Cancel | None = None
) -> tuple[Dataset, Sequence[Key]]:
    """(the rows of VERSION, their keys). Raises StudioError where its files aren't what was written."""
    about, path = version.about, version.path / ROWS
    columns = tuple(Column(str(name), str(kind)) for name, kind in about.get("columns", ()))
    details = {
        **(about.get("details") or {}),
        "version": version.name,
        "version_sha256": about.get("sha256"),
    }
    keys = keys_of(version)
    try:
        store = _Lines(path, bool(about.get("tagged")), progress, cancel)
    except OSError as error:
        raise files.explain(error, path) from error
    if store.size != about.get("bytes") or len(store) != about.get("rows") or len(keys) != len(store):
        raise _damaged(version)
    dataset = Dataset(
        store,
        columns,
        str(about.get("format")),
        "utf-8",
        version.address,
        path,
        details,
    )
    return dataset, keys


def keys_of(version: Version) -> Sequence[Key]:
    """The keys of the rows of VERSION, in order. Raises StudioError where its files aren't what was written."""
    path = version.path / KEYS
    try:
        return unpack(json.loads(path.read_bytes()))
    except OSError as error:
        raise files.explain(error, path) from error
    except (ValueError, TypeError, IndexError, RecursionError) as error:
        raise _damaged(version) from error


def verify(version: Version) -> bool:
    """Whether the rows of VERSION are still the bytes that were written."""
    try:
        with open(version.path / ROWS, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest() == version.about.get("sha256")
    except OSError:
        return False


def _damaged(version: Version) -> StudioError:
    return StudioError(
        f"{version.name} in {version.path} isn't what was saved.",
        "Use its parent, or make the version anew.",
    )


class _Lines(Store):
    """Rows of a file of ours, by where its lines begin; nothing is parsed before it is asked for."""

    def __init__(
        self,
        path: Path,
        was_tagged: bool,
        progress: Progress | None,
        cancel: Cancel | None,
    ) -> None:
        self.path = path
        self.handle = os.open(path, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0))
        weakref.finalize(self, os.close, self.handle)
        self.size, self.tagged = os.fstat(self.handle).st_size, was_tagged
        ends = [np.zeros(1, np.int64)]
        for place in range(0, self.size, _BLOCK):
            if cancel is not None and cancel():
                raise Stopped("Stopped while reading the version.")
            block = np.frombuffer(os.pread(self.handle, _BLOCK, place), np.uint8)
            ends.append(np.flatnonzero(block == 10) + (place + 1))
            if progress is not None:
                progress(min(self.size, place + _BLOCK), self.size)
        self.starts = np.concatenate(ends)

    def __len__(self) -> int:
        return len(self.starts) - 1

    def row(self, index: int) -> Row:
        start, stop = int(self.starts[index]), int(self.starts[index + 1])
        try:
            value = json.loads(os.pread(self.handle, stop - start, start))
            row: Row = codec.untagged(value) if self.tagged else value
            if isinstance(row, dict):
                return row
        except (ValueError, TypeError, KeyError, ArithmeticError, RecursionError):
            pass
        raise StudioError(f"Row {index:,} of {self.path} isn't what was saved.", "Use another version.")
