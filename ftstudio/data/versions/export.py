"""Rows as a file for other tools: JSON lines, CSV or Parquet. A file that is there stays, unless it is told otherwise.

CSV knows only text: lists and objects become JSON, what is missing an empty cell, and formulas are made harmless.
"""

from __future__ import annotations

import contextlib
import csv
import io
import json
import os
import uuid
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import IO, Any

from ftstudio.core import files
from ftstudio.core.errors import Stopped, StudioError, UsageError
from ftstudio.core.text import one_line
from ftstudio.data.dataset import Cancel, Dataset, Progress
from ftstudio.data.versions import codec
from ftstudio.data.versions.formulas import neutral

FORMATS = {
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".csv": "csv",
    ".tsv": "tsv",
    ".parquet": "parquet",
}
_STEP = 2048


@dataclass(frozen=True)
class Exported:
    """What was written: `notes` tell what the format couldn't hold as it was."""

    path: Path
    format: str
    rows: int
    bytes: int
    notes: tuple[str, ...] = ()

    def plain(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "path": str(self.path), "format": self.format, "rows": self.rows, "bytes": self.bytes,
            "notes": list(self.notes),
        }  # fmt: skip


def export(
    dataset: Dataset,
    path: Path,
    *,
    force: bool = False,
    neutralise: bool = True,
    progress: Progress | None = None,
    cancel: Cancel | None = None,
) -> Exported:
    """Write the rows of DATASET to PATH, in the format that its ending names. At once: never half a file.

    Raises UsageError for another ending, StudioError where the file is there and FORCE isn't given, or it can't be
    written. NEUTRALISE False leaves formulas in CSV as they are.
    """
    form = FORMATS.get(path.suffix.lower())
    if form is None:
        raise UsageError(
            f"{path} has no ending that says what to write.",
            f"Use one of {', '.join(FORMATS)}.",
        )
    if path.is_dir():
        raise UsageError(f"{path} is a folder.", "Name a file.")
    if not force and os.path.lexists(path):
        raise _there(path)
    new = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        notes = _WRITERS[form](dataset, new, _Teller(len(dataset), progress, cancel), neutralise)
        with open(new, "rb") as file:
            os.fsync(file.fileno())
        _place(new, path, force)
        size = path.stat().st_size
    except OSError as error:
        raise files.explain(error, path) from error
    except _arrow_error() as error:
        message = f"{path} can't be written: {one_line(error, 160)}"
        raise StudioError(message, "Export the rows as .jsonl, which holds anything.") from error
    finally:
        with contextlib.suppress(OSError):
            new.unlink()
    return Exported(path, form, len(dataset), size, tuple(notes))


def _arrow_error() -> type[Exception]:
    """The class of what pyarrow raises; only asked for where something was raised."""
    import pyarrow as pa

    return pa.ArrowException  # type: ignore[no-any-return]


def _there(path: Path) -> StudioError:
    return StudioError(
        f"{path} is there already and stays as it is.",
        "Name another file, or ask for --force.",
    )


def _place(new: Path, path: Path, force: bool) -> None:
    """Give NEW its name; without FORCE only where there is none, however quick somebody else is."""
    if force:
        os.replace(new, path)
        return
    try:
        os.link(new, path)
    except FileExistsError:
        raise _there(path) from None
    except OSError:  # a file system without links
        if os.path.lexists(path):
            raise _there(path) from None
        os.rename(new, path)


class _Teller:
    def __init__(self, total: int, progress: Progress | None, cancel: Cancel | None) -> None:
        self.total, self.progress, self.cancel = total, progress, cancel

    def steps(self) -> Iterator[tuple[int, int]]:
        """(start, stop) of a piece of the rows, again and again."""
        for start in range(0, self.total, _STEP):
            if self.cancel is not None and self.cancel():
                raise Stopped("Stopped while exporting; no file was written.")
            stop = min(self.total, start + _STEP)
            yield start, stop
            if self.progress is not None:
                self.progress(stop, self.total)


def _jsonl(dataset: Dataset, path: Path, teller: _Teller, neutralise: bool) -> list[str]:
    marked = 0
    with open(path, "wb") as out:
        for start, stop in teller.steps():
            lines = []
            for row in dataset.iter(start, stop):
                text, was_tagged = codec.to_line(row)
                marked += was_tagged
                lines.append(text + "\n")
            out.write("".join(lines).encode())
    tagged = f"{marked:,} rows hold what JSON hasn't (bytes, dates, not-a-number); it stands there tagged $ftstudio"
    return [tagged] if marked else []


def _csv(
    dataset: Dataset,
    path: Path,
    teller: _Teller,
    neutralise: bool,
    delimiter: str = ",",
) -> list[str]:
    names, counts = dataset.names, {"formulas": 0, "nested": 0, "surrogates": 0}

    def cell(value: Any) -> str:
        text = cell_text(value)
        counts["nested"] += isinstance(value, (list, dict))
        if neutralise and isinstance(value, str):
            safe = neutral(text)
            counts["formulas"] += safe is not text
            text = safe
        return text

    with (
        open(path, "wb") as raw,
        io.TextIOWrapper(raw, "utf-8", errors="replace", newline="") as out,
    ):
        writer = csv.writer(out, delimiter=delimiter, lineterminator="\r\n")  # \r and \n in cells are quoted then, too
        writer.writerow([neutral(name) if neutralise else name for name in names])
        for start, stop in teller.steps():
            writer.writerows([cell(row.get(name)) for name in names] for row in dataset.iter(start, stop))
    notes = []
    if counts["formulas"]:
        notes.append(f"{counts['formulas']:,} cells begin like a formula: a ' was put in front of each")
    if counts["nested"]:
        notes.append(f"{counts['nested']:,} cells hold lists or objects: they were written as JSON")
    return notes


def _tsv(dataset: Dataset, path: Path, teller: _Teller, neutralise: bool) -> list[str]:
    return _csv(dataset, path, teller, neutralise, "\t")


def cell_text(value: Any) -> str:
    """VALUE as the text of a CSV cell: nothing for None, `true` and `false`, lists and objects as JSON."""
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return repr(value)
    if isinstance(value, (list, dict)):
        return json.dumps(codec.tagged(value), ensure_ascii=False)
    tagged = codec.tagged(value)
    return str(tagged["value"]) if isinstance(tagged, dict) else str(tagged)


def _parquet(dataset: Dataset, path: Path, teller: _Teller, neutralise: bool) -> list[str]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    mixed = {name for name, kind in ((column.name, column.type) for column in dataset.columns) if kind == "mixed"}
    schema, as_text = _schema(dataset, mixed, teller)
    table_file: IO[bytes]
    with open(path, "wb") as table_file, pq.ParquetWriter(table_file, schema) as out:
        for start, stop in teller.steps():
            rows = list(dataset.iter(start, stop))
            columns = [
                pa.array(
                    [_cell(row.get(field.name), field.name in as_text) for row in rows],
                    field.type,
                )
                for field in schema
            ]
            out.write_table(pa.Table.from_arrays(columns, schema=schema))
    names = ", ".join(sorted(as_text))
    return [f"columns of several types were written as JSON text: {names}"] if as_text else []


def _cell(value: Any, as_text: bool) -> Any:
    if as_text and value is not None:
        return json.dumps(codec.tagged(value), ensure_ascii=False).encode("utf-8", "replace").decode()
    return _utf8(value)


def _utf8(value: Any) -> Any:
    """VALUE with lone surrogates replaced, which Arrow can't hold."""
    if isinstance(value, str):
        return value if value.isascii() else value.encode("utf-8", "replace").decode()
    if isinstance(value, list):
        return [_utf8(item) for item in value]
    return {key: _utf8(item) for key, item in value.items()} if isinstance(value, dict) else value


def _schema(dataset: Dataset, mixed: set[str], teller: _Teller) -> tuple[Any, set[str]]:
    """(the Arrow schema that all rows fit, the columns that only fit as JSON text)."""
    import pyarrow as pa

    kinds: dict[str, Any] = dict.fromkeys(dataset.names, pa.null())
    as_text = set(mixed)
    for start, stop in teller.steps():
        rows = list(dataset.iter(start, stop))
        for name in dataset.names:
            if name in as_text:
                continue
            try:
                cells = [_utf8(row.get(name)) for row in rows]
                found = pa.array(cells).type
                if _clash(kinds[name], found) or _clashing(found, cells):
                    as_text.add(name)
                    continue
                fields = [pa.field(name, kinds[name]), pa.field(name, found)]
                kinds[name] = pa.unify_schemas(
                    [pa.schema([field]) for field in fields], promote_options="permissive"
                ).field(0).type  # fmt: skip
                if _is_hollow(kinds[name]):
                    as_text.add(name)
            except (pa.ArrowException, OverflowError, TypeError, ValueError):
                as_text.add(name)
    fields = [pa.field(name, pa.string() if name in as_text else kinds[name]) for name in dataset.names]
    return pa.schema(fields), as_text


def _is_hollow(kind: Any) -> bool:
    """Whether there are objects without fields in the Arrow type KIND, which Parquet hasn't."""
    import pyarrow as pa

    if pa.types.is_struct(kind):
        return not kind.num_fields or any(_is_hollow(kind.field(place).type) for place in range(kind.num_fields))
    return pa.types.is_list(kind) and _is_hollow(kind.value_type)


def _leaf(kind: Any) -> Any:
    import pyarrow as pa

    while pa.types.is_list(kind):
        kind = kind.value_type
    return kind


def _clash(first: Any, second: Any) -> bool:
    """Whether values of the Arrow types FIRST and SECOND would become all the same in one column, unasked."""
    kinds = {str(_leaf(kind)).partition("[")[0] for kind in (first, second)}
    return kinds in ({"string", "binary"}, {"date32", "timestamp"})


def _clashing(kind: Any, cells: Iterable[Any]) -> bool:
    """Whether Arrow, which made CELLS the type KIND, has taken texts for bytes or times for days."""
    import pyarrow as pa

    leaf = _leaf(kind)
    other = str if pa.types.is_binary(leaf) else datetime if pa.types.is_date(leaf) else None
    return other is not None and any(isinstance(value, other) for value in _flat(cells))


def _flat(values: Iterable[Any]) -> Iterator[Any]:
    for value in values:
        if isinstance(value, list):
            yield from _flat(value)
        else:
            yield value


_WRITERS = {"jsonl": _jsonl, "csv": _csv, "tsv": _tsv, "parquet": _parquet}
