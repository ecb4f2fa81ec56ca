"""Tables of an SQLite database, opened for reading only; rows stay in the file."""

from __future__ import annotations

import difflib
import os
import sqlite3
import threading
from array import array
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

from ftstudio.core.errors import StudioError, UsageError
from ftstudio.core.reading import DETECT, Reading
from ftstudio.data.dataset import Column, Dataset, HeadStore, Kinds, Row
from ftstudio.data.watch import NOBODY, Watch

MAGIC = b"SQLite format 3\x00"
_TABLES = "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\' ORDER BY name"
_PAGE = 128
_LOOK = 1000


class TableStore:
    """Rows of one table by their row ids (8 bytes of memory a row), fetched a page at a time.

    KEY is what the row id is called; None: the table has none (WITHOUT ROWID), rows are counted off in its own order.
    """

    def __init__(
        self, connection: sqlite3.Connection, path: Path, table: str, names: list[str], key: str | None
    ) -> None:
        self.connection, self.path, self.names = connection, path, names
        self.ids = array("q")
        self._by_id = key is not None
        columns = ", ".join(_name(name) for name in names)
        self._select = f"SELECT {key or 0}, {columns} FROM {_name(table)} "
        self._select += f"WHERE {key} BETWEEN ? AND ? ORDER BY {key}" if key else "LIMIT ? OFFSET ?"
        self._pages: dict[int, list[Row]] = {}
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self.ids)

    def row(self, index: int) -> Row:
        """Row INDEX. Raises StudioError where the file has changed."""
        number, place = divmod(index, _PAGE)
        with self._lock:
            page = self._pages.get(number)
            if page is None or place >= len(page):
                while len(self._pages) >= 8:
                    self._pages.pop(next(iter(self._pages)))
                page = self._pages[number] = self._fetch(number)
        if place >= len(page):
            raise StudioError(f"{self.path} has changed since it was opened.", "Open it again.")
        return dict(page[place])

    def _fetch(self, number: int) -> list[Row]:
        ids = self.ids[number * _PAGE : (number + 1) * _PAGE]
        try:
            wanted = (ids[0], ids[-1]) if self._by_id else (len(ids), ids[0])
            rows = self.connection.execute(self._select, wanted).fetchall()
            found = (
                {row[0]: row[1:] for row in rows}
                if self._by_id
                else {ids[place]: row[1:] for place, row in enumerate(rows)}
            )
            return [dict(zip(self.names, map(_plain, found[key]), strict=True)) for key in ids]
        except (sqlite3.Error, KeyError) as error:
            raise StudioError(
                f"{self.path} has changed since it was opened, or is damaged.", "Open it again."
            ) from error


def _plain(value: Any) -> Any:
    return value.decode("utf-8", "backslashreplace") if isinstance(value, bytes) else value


def _name(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def read_sqlite(path: Path, source: str, split: str, reading: Reading = DETECT, watch: Watch = NOBODY) -> Dataset:
    """The table that READING names, the only one, or the one called like SPLIT. Raises StudioError, UsageError."""
    try:
        connection = _connect(path)
        tables = [name for (name,) in connection.execute(_TABLES)]
        table = _choose(path, tables, reading.table, split)
        return _read(connection, path, source, table, tables, watch)
    except (sqlite3.Error, UnicodeDecodeError) as error:
        raise StudioError(f"{path} is a damaged SQLite database ({str(error)[:150]}).", "Copy it again.") from error


def _connect(path: Path) -> sqlite3.Connection:
    # immutable: no locks (they fail on network file systems) and nothing is ever written beside the file; where a
    # write-ahead log lies beside it, its rows count too, so it is opened the usual way
    alone = not os.path.exists(f"{path}-wal")
    address = f"file:{quote(str(path.absolute()))}?mode=ro{'&immutable=1' if alone else ''}"
    connection = sqlite3.connect(address, uri=True, check_same_thread=False)
    connection.execute("PRAGMA trusted_schema = OFF")
    connection.execute("PRAGMA cell_size_check = ON")
    connection.text_factory = lambda data: data.decode("utf-8", "backslashreplace")
    return connection


def _choose(path: Path, tables: list[str], wanted: str | None, split: str) -> str:
    have = f"There are: {', '.join(tables[:12])}."
    if not tables:
        raise StudioError(f"{path} is a database without a table.", "Name another file.")
    if wanted is not None:
        if wanted in tables:
            return wanted
        near = difflib.get_close_matches(wanted, tables, 1, 0.5)
        raise UsageError(f"{path} has no table {wanted!r}.", f"Did you mean {near[0]}? {have}" if near else have)
    if len(tables) == 1:
        return tables[0]
    if split in tables:
        return split
    raise UsageError(f"{path} has {len(tables)} tables.", f"Name one, as table={tables[0]}. {have}")


def _read(
    connection: sqlite3.Connection, path: Path, source: str, table: str, tables: list[str], watch: Watch
) -> Dataset:
    names = [row[1] for row in connection.execute(f"PRAGMA table_info({_name(table)})")]
    taken = {name.lower() for name in names}
    key = next((name for name in ("rowid", "_rowid_", "oid") if name not in taken), None)
    try:
        connection.execute(f"SELECT {key} FROM {_name(table)} LIMIT 0")
    except sqlite3.OperationalError:
        key = None
    store = TableStore(connection, path, table, names, key)
    details = {"table": table, **({"tables": len(tables)} if len(tables) > 1 else {})}
    kinds = Kinds()
    for row in connection.execute(f"SELECT * FROM {_name(table)} LIMIT {_LOOK}"):
        kinds.add(dict(zip(names, map(_plain, row), strict=True)))
    columns = kinds.columns() or tuple(Column(name, "empty") for name in names)

    def dataset(store: Any = store) -> Dataset:
        return Dataset(store, columns, "sqlite", "utf-8", source, path, details)

    for place, number in enumerate(_ids(connection, table, key)):
        if place % 8192 == 0:
            watch.at(place, place + 8192)
            if place == 8192:
                watch.found(lambda: dataset(HeadStore(store, len(store))))
        store.ids.append(number)
    if not len(store):
        raise StudioError(f"The table {table} of {path} has no rows.", "Name another table.")
    return dataset()


def _ids(connection: sqlite3.Connection, table: str, key: str | None) -> Iterator[int]:
    if key is None:
        yield from range(connection.execute(f"SELECT count(*) FROM {_name(table)}").fetchone()[0])
        return
    for (number,) in connection.execute(f"SELECT {key} FROM {_name(table)} ORDER BY {key}"):
        yield number
