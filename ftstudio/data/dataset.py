"""`Dataset`: an immutable table of rows with random access, whatever file they came from."""

from __future__ import annotations

import hashlib
import json
import os
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from ftstudio.core.errors import Stopped
from ftstudio.core.files import explain

if TYPE_CHECKING:
    from ftstudio.data.aside import Aside

Row = dict[str, Any]
Progress = Callable[[int, int], None]  # (done, total): rows or bytes
Cancel = Callable[[], bool]  # True: stop now


@dataclass(frozen=True)
class Column:
    """A column: its name and what it holds (text, number, integer, boolean, list, object, mixed, empty)."""

    name: str
    type: str


@dataclass(frozen=True)
class Problem:
    """A row that could not be read as it stands. `line` counts from 1; `kept` rows are in the table all the same."""

    line: int
    reason: str
    text: str = ""
    kept: bool = False


class Store(Protocol):
    """Where rows come from. Thread-safe."""

    def __len__(self) -> int: ...

    def row(self, index: int) -> Row:
        """Row INDEX (0 ≤ index < len)."""


class ListStore:
    """Rows that are dicts in memory already."""

    def __init__(self, rows: Sequence[Row]) -> None:
        self.rows = rows

    def __len__(self) -> int:
        return len(self.rows)

    def row(self, index: int) -> Row:
        return dict(self.rows[index])


class CellStore:
    """Rows of equally many cells under fixed names: CSV, TSV and text."""

    def __init__(self, names: Sequence[str], cells: Sequence[Sequence[str]]) -> None:
        self.names, self.cells = tuple(names), cells

    def __len__(self) -> int:
        return len(self.cells)

    def row(self, index: int) -> Row:
        return dict(zip(self.names, self.cells[index], strict=True))


class HeadStore:
    """The first COUNT rows of another store, which may go on growing."""

    def __init__(self, store: Store, count: int) -> None:
        self.store, self.count = store, count

    def __len__(self) -> int:
        return self.count

    def row(self, index: int) -> Row:
        return self.store.row(index)


class PickStore:
    """Some rows of another store, in the order given."""

    def __init__(self, store: Store, indices: Sequence[int]) -> None:
        self.store, self.indices = store, indices

    def __len__(self) -> int:
        return len(self.indices)

    def row(self, index: int) -> Row:
        return self.store.row(self.indices[index])


@dataclass(frozen=True, eq=False)
class Dataset:
    """An immutable table. `dataset[i]` is row i as a dict; absent keys are absent, not None.

    `path` is the file (None for the hub and where there are several: those are `files`), `source` what the person
    named, `format` and `encoding` what was detected, `details` further findings (delimiter, quoting, header, line
    ends), `problems` what could not be read (at most 10,000 of them), `aside` all of it. Safe to use from several
    threads.
    """

    store: Store
    columns: tuple[Column, ...]
    format: str
    encoding: str
    source: str
    path: Path | None = None
    details: Mapping[str, Any] = field(default_factory=dict)
    problems: tuple[Problem, ...] = ()
    origin: tuple[int, ...] | None = None  # of a selection: the rows of the whole it is made of
    files: tuple[Path, ...] = ()
    aside: Aside | None = field(default=None, repr=False)
    _hash: list[str] = field(default_factory=list, repr=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def __len__(self) -> int:
        return len(self.store)

    def __getitem__(self, index: int) -> Row:
        count = len(self.store)
        if not -count <= index < count:
            raise IndexError(f"row {index} of {count}")
        return self.store.row(index % count)

    def __iter__(self) -> Iterator[Row]:
        return self.iter()

    @property
    def names(self) -> list[str]:
        """The columns' names."""
        return [column.name for column in self.columns]

    @property
    def unread(self) -> int:
        """How many rows could not be read and are not in the table."""
        return self.aside.gone if self.aside is not None else sum(not problem.kept for problem in self.problems)

    def iter(self, start: int = 0, stop: int | None = None, *, cancel: Cancel | None = None) -> Iterator[Row]:
        """Rows START to STOP in order. CANCEL is asked every 256 rows and ends it with `Stopped`."""
        end = len(self) if stop is None else min(stop, len(self))
        for index in range(start, end):
            if cancel is not None and index % 256 == 0 and cancel():
                raise Stopped("Stopped while reading the rows.")
            yield self.store.row(index)

    def select(self, indices: Sequence[int]) -> Dataset:
        """The rows INDICES as a dataset of its own, in that order. Problems stay with the whole."""
        chosen = tuple(int(index) for index in indices)
        origin = chosen if self.origin is None else tuple(self.origin[index] for index in chosen)
        return Dataset(
            store=PickStore(self.store, chosen),
            columns=self.columns,
            format=self.format,
            encoding=self.encoding,
            source=self.source,
            path=self.path,
            details=self.details,
            origin=origin,
            files=self.files,
        )

    def origin_of(self, index: int) -> int:
        """The row number in the file's table of row INDEX of this dataset (they differ in a selection)."""
        return index if self.origin is None else self.origin[index]

    @property
    def hash(self) -> str:
        """SHA-256 (hex) of the file's bytes (of several files: of their hashes in order); of the rows where there is no
        file or only some rows of it are used."""
        with self._lock:
            if not self._hash:
                self._hash.append(self._digest())
            return self._hash[0]

    def _digest(self) -> str:
        if self.origin is None and self.files:
            whole = hashlib.sha256()
            for path in self.files:
                whole.update(_file_digest(path).encode())
            return whole.hexdigest()
        if self.origin is None and self.path is not None:
            return _file_digest(self.path)
        digest = hashlib.sha256()
        for row in self.iter():
            line = json.dumps(row, sort_keys=True, default=str, ensure_ascii=False)
            digest.update(line.encode("utf-8", "surrogatepass") + b"\n")
        return digest.hexdigest()


def _file_digest(path: Path) -> str:
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise explain(error, path) from error


def from_rows(rows: Sequence[Row], source: str = "rows") -> Dataset:
    """A dataset of ROWS in memory: for tests, edited rows and the like."""
    kinds = Kinds()
    for row in rows:
        kinds.add(row)
    return Dataset(ListStore(list(rows)), kinds.columns(), format="memory", encoding="utf-8", source=source)


class Kinds:
    """Collects the columns and their types, in the order in which they first appear."""

    _NAMES = {str: "text", bool: "boolean", int: "integer", float: "number", list: "list", dict: "object"}

    def __init__(self) -> None:
        self._seen: dict[str, set[type]] = {}

    def add(self, row: Mapping[str, Any]) -> None:
        """Take note of ROW's keys and the types of its values."""
        seen = self._seen
        for name, value in row.items():
            kind = type(value)
            kinds = seen.get(name)
            if kinds is None:
                seen[name] = {kind}
            elif kind not in kinds:
                kinds.add(kind)

    def columns(self) -> tuple[Column, ...]:
        """What was seen."""
        return tuple(Column(name, self._name(kinds)) for name, kinds in list(self._seen.items()))

    def _name(self, kinds: set[type]) -> str:
        names = {self._NAMES.get(kind, "text") for kind in tuple(kinds) if kind is not type(None)}
        if not names:
            return "empty"
        if names == {"integer", "number"}:
            return "number"
        return names.pop() if len(names) == 1 else "mixed"


def file_size(handle: int) -> int:
    """Bytes in the open file HANDLE."""
    return os.fstat(handle).st_size
