"""Parquet and Arrow files, through pyarrow."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import Any

from ftstudio.core.errors import StudioError
from ftstudio.data.dataset import Column, Dataset, Row

_PAGE = 256  # rows turned into Python at once: a screenful costs one conversion


class TableStore:
    """Rows of a pyarrow table, turned into Python a page at a time; the last few pages stay."""

    def __init__(self, table: Any) -> None:
        self.table = table
        self._pages: dict[int, list[Row]] = {}
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return int(self.table.num_rows)

    def row(self, index: int) -> Row:
        number, place = divmod(index, _PAGE)
        with self._lock:
            page = self._pages.get(number)
            if page is None:
                page = self.table.slice(number * _PAGE, _PAGE).to_pylist()
                while len(self._pages) >= 8:
                    self._pages.pop(next(iter(self._pages)))
                self._pages[number] = page
        return dict(page[place])


def columns_of(table: Any) -> tuple[Column, ...]:
    """The columns of a pyarrow table."""
    return tuple(Column(field.name, _type(field.type)) for field in table.schema)


def _type(kind: Any) -> str:
    import pyarrow as pa

    tests = [
        (pa.types.is_boolean, "boolean"),
        (pa.types.is_integer, "integer"),
        (pa.types.is_floating, "number"),
        (pa.types.is_decimal, "number"),
        (pa.types.is_struct, "object"),
        (pa.types.is_map, "object"),
        (pa.types.is_null, "empty"),
    ]
    if pa.types.is_dictionary(kind):
        return _type(kind.value_type)
    if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        return "list"
    return next((name for test, name in tests if test(kind)), "text")


def from_table(table: Any, form: str, source: str, path: Path | None) -> Dataset:
    """A dataset over a pyarrow table. Raises StudioError where it has no rows or columns."""
    if table.num_rows == 0 or table.num_columns == 0:
        raise StudioError(f"{source} has no rows.", "Name a dataset with at least one row.")
    seen = list(table.column_names)
    if len(set(seen)) < len(seen):
        names = [name if name not in seen[:place] else f"{name}_{place + 1}" for place, name in enumerate(seen)]
        table = table.rename_columns(names)
    return Dataset(TableStore(table), columns_of(table), form, "utf-8", source, path)


def read_parquet(handle: int, path: Path, source: str) -> Dataset:
    """A Parquet file. Takes over the file descriptor HANDLE."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with os.fdopen(handle, "rb") as file:
            table = pq.read_table(file)
    except (pa.ArrowException, OSError, ValueError) as error:
        raise StudioError(f"{path} is a damaged Parquet file ({_short(error)}).", "Copy it again.") from error
    return from_table(table, "parquet", source, path)


def read_arrow(handle: int, path: Path, source: str) -> Dataset:
    """An Arrow file or stream (IPC, Feather 2). Takes over the file descriptor HANDLE."""
    import pyarrow as pa

    try:
        with os.fdopen(handle, "rb") as file:
            is_file = file.read(6) == b"ARROW1"
            file.seek(0)
            table = (pa.ipc.open_file(file) if is_file else pa.ipc.open_stream(file)).read_all()
    except (pa.ArrowException, OSError, ValueError) as error:
        raise StudioError(f"{path} is no readable Arrow file ({_short(error)}).", "Copy it again.") from error
    return from_table(table, "arrow", source, path)


def _short(error: Exception) -> str:
    return str(error).split("\n")[0].rstrip(". ")[:150]
