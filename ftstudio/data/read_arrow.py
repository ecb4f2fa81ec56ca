"""Parquet and Arrow files, through pyarrow: read by row group and batch, never as a whole."""

from __future__ import annotations

import contextlib
import os
import tempfile
import threading
from bisect import bisect_right
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from ftstudio.core.errors import StudioError
from ftstudio.core.files import explain
from ftstudio.data.class_names import ClassNames, of_schema
from ftstudio.data.dataset import Column, Dataset, HeadStore, Row
from ftstudio.data.watch import NOBODY, Watch

_PAGE = 64  # rows turned into Python at once: a screenful costs one or two conversions
_PAGES = 32
_GROUP = 4 << 20  # bytes: bigger row groups and batches are copied once, in small batches, to page quickly
_BATCH = 256  # rows of a copied batch
_READ = 1024  # rows decoded at once on the way there


class BatchStore:
    """Rows in batches (a function from batch number to a pyarrow table or batch), turned into Python a page at a time.

    The last batch and the last few pages stay in memory. STARTS holds the first row of each batch and the total.
    NAMES are those of class numbers.
    """

    def __init__(
        self, starts: list[int], batch: Callable[[int], Any], path: Path | None, names: ClassNames | None = None
    ) -> None:
        self.starts, self.batch, self.path, self.names = starts, batch, path, names
        self._held: tuple[int, Any] | None = None
        self._pages: dict[tuple[int, int], list[Row]] = {}
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return self.starts[-1]

    def row(self, index: int) -> Row:
        """Row INDEX. Raises StudioError where the file can't be read there."""
        number = bisect_right(self.starts, index) - 1
        page, place = divmod(index - self.starts[number], _PAGE)
        with self._lock:
            rows = self._pages.get((number, page))
            if rows is None:
                if self._held is None or self._held[0] != number:
                    self._held = None  # two at once would be twice the memory
                    self._held = (number, self._read(number))
                rows = self._held[1].slice(page * _PAGE, _PAGE).to_pylist()
                if self.names:
                    rows = [self.names.row(row) for row in rows]
                while len(self._pages) >= _PAGES:
                    self._pages.pop(next(iter(self._pages)))
                self._pages[number, page] = rows
        return dict(rows[place])

    def _read(self, number: int) -> Any:
        import pyarrow as pa

        try:
            return self.batch(number)
        except (pa.ArrowException, OSError, ValueError) as error:
            message = f"{self.path} is damaged, or has changed since it was opened ({_short(error)})."
            raise StudioError(message, "Open it again, or copy it again.") from error


def columns_of(table: Any) -> tuple[Column, ...]:
    """The columns of a pyarrow table or schema."""
    schema = getattr(table, "schema", table)
    found = [Column(name, _type(field.type)) for name, field in zip(_unique(schema.names), schema, strict=True)]
    return of_schema(schema).columns(found)


def _unique(names: list[str]) -> list[str]:
    return [name if name not in names[:place] else f"{name}_{place + 1}" for place, name in enumerate(names)]


def _type(kind: Any) -> str:
    import pyarrow as pa

    tests = [
        (pa.types.is_boolean, "boolean"),
        (pa.types.is_integer, "integer"),
        (pa.types.is_floating, "number"),
        (pa.types.is_decimal, "number"),
        (_is_picture, "image"),
        (pa.types.is_struct, "object"),
        (pa.types.is_map, "object"),
        (pa.types.is_null, "empty"),
    ]
    if pa.types.is_dictionary(kind):
        return _type(kind.value_type)
    if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        return "list"
    return next((name for test, name in tests if test(kind)), "text")


def _is_picture(kind: Any) -> bool:
    """How `datasets` stores pictures: their bytes and their path."""
    import pyarrow as pa

    return bool(pa.types.is_struct(kind)) and {kind.field(place).name for place in range(kind.num_fields)} == {
        "bytes", "path",
    }  # fmt: skip


def read_parquet(handle: int, path: Path, source: str, watch: Watch = NOBODY) -> Dataset:
    """A Parquet file, by row group. Takes over the file descriptor HANDLE."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    file = os.fdopen(handle, "rb")
    try:
        parquet = pq.ParquetFile(file, pre_buffer=False, buffer_size=1 << 20)
        facts = parquet.metadata
        _some(facts.num_rows, facts.num_columns, path)
        groups = [facts.row_group(number) for number in range(facts.num_row_groups)]
        if any(group.total_byte_size > _GROUP for group in groups):
            batches = parquet.iter_batches(batch_size=_READ, use_threads=False)
            return _copied(batches, parquet.schema_arrow, facts.num_rows, "parquet", path, source, watch)
        starts = _starts(group.num_rows for group in groups)
        names = _unique(parquet.schema_arrow.names)
        lock = threading.Lock()

        def batch(number: int) -> Any:
            with lock:
                return parquet.read_row_group(number, use_threads=False).rename_columns(names)

        return Dataset(
            BatchStore(starts, batch, path, of_schema(parquet.schema_arrow)), columns_of(parquet.schema_arrow),
            "parquet", "utf-8", source, path, {"row_groups": len(groups)},
        )  # fmt: skip
    except (pa.ArrowException, OSError, ValueError) as error:
        file.close()
        raise StudioError(f"{path} is a damaged Parquet file ({_short(error)}).", "Copy it again.") from error
    except StudioError:
        file.close()
        raise


def read_arrow(handle: int, path: Path, source: str, watch: Watch = NOBODY) -> Dataset:
    """An Arrow file or stream (IPC, Feather 2). Takes over the file descriptor HANDLE."""
    import pyarrow as pa

    file = os.fdopen(handle, "rb")
    try:
        is_file = file.read(6) == b"ARROW1"
        file.seek(0)
        if not is_file:
            stream = pa.ipc.open_stream(file)
            return _copied(stream, stream.schema, None, "arrow", path, source, watch)
        reader = pa.ipc.open_file(file)
        total = [reader.get_batch(number).num_rows for number in range(reader.num_record_batches)]
        _some(sum(total), len(reader.schema.names), path)
        if file.seek(0, os.SEEK_END) > _GROUP * max(1, len(total)):
            batches = (reader.get_batch(number) for number in range(len(total)))
            return _copied(batches, reader.schema, sum(total), "arrow", path, source, watch)
        names, lock = _unique(reader.schema.names), threading.Lock()

        def batch(number: int) -> Any:
            with lock:
                return reader.get_batch(number).rename_columns(names)

        store = BatchStore(_starts(total), batch, path, of_schema(reader.schema))
        return Dataset(store, columns_of(reader.schema), "arrow", "utf-8", source, path)
    except (pa.ArrowException, OSError, ValueError) as error:
        file.close()
        raise StudioError(f"{path} is no readable Arrow file ({_short(error)}).", "Copy it again.") from error
    except StudioError:
        file.close()
        raise


def _starts(counts: Any) -> list[int]:
    starts = [0]
    for count in counts:
        starts.append(starts[-1] + count)
    return starts


def _some(rows: int, columns: int, path: Path) -> None:
    if rows == 0 or columns == 0:
        raise StudioError(f"{path} has no rows.", "Name a dataset with at least one row.")


def _copied(
    batches: Iterator[Any], schema: Any, total: int | None, form: str, path: Path, source: str, watch: Watch
) -> Dataset:
    """BATCHES copied into small ones in an unnamed temporary file, so that any row is near the start of its batch."""
    import pyarrow as pa

    names = _unique(schema.names)
    plain = [field.type.value_type if pa.types.is_dictionary(field.type) else field.type for field in schema]
    named, classes = pa.schema(list(zip(names, plain, strict=True))), of_schema(schema)
    columns = classes.columns(columns_of(named))
    sink, reading = _temporary()
    first: list[Any] = []
    counts: list[int] = []
    try:
        with sink, pa.ipc.new_file(sink, named) as writer:
            done = 0
            for batch in batches:
                for place in range(0, batch.num_rows, _BATCH):
                    cells = [_decoded(column) for column in batch.slice(place, _BATCH).columns]
                    piece = pa.RecordBatch.from_arrays(cells, schema=named)
                    writer.write_batch(piece)
                    counts.append(piece.num_rows)
                    if not first:
                        first.append(piece)
                        head = BatchStore([0, piece.num_rows], lambda number: first[0], path, classes)
                        start = Dataset(HeadStore(head, len(head)), columns, form, "utf-8", source, path)
                        watch.found(partial(_same, start))
                done += batch.num_rows
                watch.at(done, total or done)
        _some(done, len(names), path)
    except BaseException:
        os.close(reading)
        raise
    reader = pa.ipc.open_file(_again(reading))
    lock = threading.Lock()

    def read(number: int) -> Any:
        with lock:
            return reader.get_batch(number)

    return Dataset(BatchStore(_starts(counts), read, path, classes), columns, form, "utf-8", source, path)


def _temporary() -> tuple[Any, int]:
    """(an unnamed file to write, its descriptor to read it by). Arrow writes it itself: no Python for each batch, which
    would keep pages waiting that are looked at meanwhile."""
    import pyarrow as pa

    try:
        handle, path = tempfile.mkstemp(prefix="ftstudio-", suffix=".arrow")
        sink = pa.OSFile(path, "wb")
    except OSError as error:
        raise explain(error, tempfile.gettempdir()) from error
    with contextlib.suppress(OSError):
        os.unlink(path)
    return sink, handle


def _again(handle: int) -> Any:
    """The file of the descriptor HANDLE, read by Arrow itself where the system lets it open it once more."""
    import pyarrow as pa

    try:
        found = pa.OSFile(f"/proc/self/fd/{handle}", "rb")
    except OSError:
        return os.fdopen(handle, "rb")
    os.close(handle)
    return found


def _same(dataset: Dataset) -> Dataset:
    return dataset


def _decoded(column: Any) -> Any:
    """COLUMN without a dictionary: an Arrow file can hold only one for all its batches."""
    return column.dictionary_decode() if hasattr(column, "dictionary_decode") else column


def _short(error: Exception) -> str:
    return str(error).split("\n")[0].rstrip(". ")[:150]
