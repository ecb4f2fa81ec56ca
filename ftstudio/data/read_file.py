"""One file as a `Dataset`: its format is told by its first bytes, its ending, or what is in it."""

from __future__ import annotations

import os
import tempfile
from dataclasses import replace
from pathlib import Path

from ftstudio.core.errors import StudioError
from ftstudio.core.reading import Reading
from ftstudio.data.dataset import Dataset
from ftstudio.data.dialect import split_lines
from ftstudio.data.encoding import Text, open_bytes, text_of
from ftstudio.data.pictures import picture_folders, with_pictures
from ftstudio.data.places import kind_of
from ftstudio.data.read_arrow import read_arrow, read_parquet
from ftstudio.data.read_conll import is_conll, read_conll
from ftstudio.data.read_delimited import read_delimited
from ftstudio.data.read_json import read_json
from ftstudio.data.read_jsonl import read_jsonl
from ftstudio.data.read_sqlite import MAGIC, read_sqlite
from ftstudio.data.read_text import read_text
from ftstudio.data.watch import Watch

_BIG = 8 << 20  # bytes: of bigger files the first rows are shown before the rest is read
_HEAD = 1 << 20


def read_file(path: Path, source: str, split: str, reading: Reading, watch: Watch) -> Dataset:
    """The rows of PATH, with the pictures that they name. Raises StudioError."""
    found = read_handle(path, path, source, split, reading, watch)
    if reading.images is not None:
        folder = path.parent / Path(reading.images).expanduser()
        if not folder.is_dir():
            raise StudioError(f"There is no folder {folder} of pictures (data.reading.images).", "Check the path.")
        return with_pictures(found, [folder], wanted=True)
    if found.format in ("csv", "tsv", "jsonl"):
        return with_pictures(found, picture_folders(path.parent))
    return found


def read_handle(path: Path, shown: Path, source: str, split: str, reading: Reading, watch: Watch) -> Dataset:
    """The rows of the file PATH, called SHOWN in messages and in the dataset."""
    kind = reading.format or kind_of(shown)
    if watch.show is not None and path.stat().st_size > _BIG // (4 if _is_packed(path) else 1):
        _show_head(path, shown, source, kind, reading, watch)
    handle, packed = open_bytes(path, watch)
    found = _read(handle, path, shown, source, split, kind, reading, watch)
    return replace(found, details={**found.details, "packed": packed}) if packed else found


def _is_packed(path: Path) -> bool:
    return path.suffix.lower() in (".gz", ".zst", ".zstd", ".bz2")


def _show_head(path: Path, shown: Path, source: str, kind: str | None, reading: Reading, watch: Watch) -> None:
    """Show the first rows. What goes wrong here (the head is cut anywhere) is no matter: the whole will tell."""
    try:
        handle, _ = open_bytes(path, watch.quiet, most=_HEAD)
        try:
            head = os.pread(handle, _HEAD, 0)
        finally:
            os.close(handle)
        if head.startswith((b"PAR1", b"ARROW1", MAGIC)) or kind in ("parquet", "arrow", "sqlite", "squad"):
            return
        cut = head.rfind(b"\n") + 1
        with tempfile.TemporaryFile() as copy:
            copy.write(head[:cut] if cut and not head.startswith((b"\xff\xfe", b"\xfe\xff")) else head)
            copy.flush()
            found = _read(os.dup(copy.fileno()), path, shown, source, "train", kind, reading, watch.quiet)
    except (StudioError, OSError, ValueError):
        return
    first = replace(found, problems=(), aside=None)
    watch.found(lambda: first)


def _read(
    handle: int, path: Path, shown: Path, source: str, split: str, kind: str | None, reading: Reading, watch: Watch
) -> Dataset:
    """What HANDLE (taken over) holds, as KIND or as it looks."""
    head = os.pread(handle, 16, 0)
    told = reading.format is not None
    if (head.startswith(MAGIC) and not told) or kind == "sqlite":
        packed = os.fstat(handle).st_ino != path.stat().st_ino
        os.close(handle)
        if not head.startswith(MAGIC):
            raise StudioError(f"{shown} is no SQLite database.", "Check the file, or copy it again.")
        if packed:
            raise StudioError(f"{shown} is a packed SQLite database.", "Unpack it, and name what comes out.")
        return read_sqlite(path, source, split, reading, watch)
    if head.startswith(b"PAR1") and not told:
        kind = "parquet"
    if kind == "parquet":
        if not head.startswith(b"PAR1"):
            os.close(handle)
            raise StudioError(f"{shown} is no Parquet file.", "Check the file, or copy it again.")
        return read_parquet(handle, shown, source, watch)
    if (head.startswith(b"ARROW1") and not told) or kind == "arrow":
        return read_arrow(handle, shown, source, watch)
    strict = kind in ("json", "jsonl", "squad")
    text = text_of(handle, shown, strict_utf8=strict, encoding=reading.encoding, watch=watch)
    return _read_text(text, shown, source, kind, told, reading, watch)


def _read_text(
    text: Text, path: Path, source: str, kind: str | None, told: bool, reading: Reading, watch: Watch
) -> Dataset:
    first = os.pread(text.handle, 4096, text.start).lstrip()[:1]
    if kind == "jsonl" or (kind is None and first == b"{" and _is_json(text)):
        if (first == b"[" and not told) or _is_spread(text):
            return read_json(text, path, source, watch)
        return read_jsonl(text, path, source, watch)
    if kind in ("json", "squad") or (kind is None and first == b"[" and _is_json(text)):
        return read_json(text, path, source, watch, squad=kind == "squad")
    if kind in ("csv", "tsv"):
        order = ",;\t|" if kind == "csv" else "\t,;|"
        return read_delimited(text, path, source, delimiters=order, reading=reading, watch=watch)
    if kind == "conll" or (not told and _plain(reading) and is_conll(text)):
        return read_conll(text, path, source, reading, watch)
    if reading.delimiter is not None or (not told and _plain(reading) and _is_table(text)):
        return read_delimited(text, path, source, delimiters="\t", reading=reading, watch=watch)
    return read_text(text, path, source, reading, watch)


def _plain(reading: Reading) -> bool:
    """Whether nothing says that the text is plain text."""
    return reading.unit is None and reading.chunk is None and reading.label is None


def _is_json(text: Text) -> bool:
    """Whether what begins with a bracket goes on as JSON does, rather than as a text in brackets."""
    head = text.read(4096).lstrip()
    rest = head[1:].lstrip()
    return rest[:1] in ('"', "}", "") if head[0] == "{" else rest[:1] in '[{"]-0123456789tfn'


def _is_spread(text: Text) -> bool:
    """Whether the first line only begins a JSON object."""
    return text.read(4096).lstrip().split("\n", 1)[0].strip() == "{"


def _is_table(text: Text) -> bool:
    """Whether plain text is a table with tabs: nearly all of at least two lines have equally many, at least one."""
    sample = text.read(1 << 17)
    lines = [line.rstrip("\r\n") for line in split_lines(sample)]
    if text.size - text.start > 1 << 17:
        lines.pop()
    lines = [line for line in lines if line]
    if len(lines) < 2 or "\t" not in lines[0]:
        return False
    tabs = lines[0].count("\t")
    return sum(line.count("\t") == tabs for line in lines) >= 0.95 * len(lines)
