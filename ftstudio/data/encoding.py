"""Bytes to text: is it text at all, in which encoding, and as UTF-8 that can be read at any place."""

from __future__ import annotations

import codecs
import gzip
import os
import tempfile
import weakref
import zlib
from dataclasses import dataclass
from pathlib import Path

from ftstudio.core.errors import StudioError
from ftstudio.core.files import explain

_BLOCK = 1 << 20
_MAGIC = {
    b"PK\x03\x04": "a zip archive or an office document",
    b"%PDF-": "a PDF document",
    b"\x89PNG": "a PNG picture",
    b"\xff\xd8\xff": "a JPEG picture",
    b"GIF8": "a GIF picture",
    b"\x7fELF": "a program",
    b"SQLite format 3": "an SQLite database",
    b"\x28\xb5\x2f\xfd": "a zstd archive",
    b"BZh": "a bzip2 archive",
    b"\xfd7zXZ": "an xz archive",
    b"7z\xbc\xaf": "a 7z archive",
    b"\x89HDF": "an HDF5 file",
    b"\x93NUMPY": "a numpy array",
    b"\x80\x04\x95": "a Python pickle",
    b"\xd0\xcf\x11\xe0": "an old office document",
}
_BOMS = [
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
]
_FORMATS = "JSONL, JSON, CSV, TSV, Parquet, Arrow and text can be read; convert it to one of these."


def open_bytes(path: Path) -> int:
    """A file descriptor on PATH for `os.pread`; a gzip file is unpacked into an unnamed temporary file first.

    Raises StudioError where it is missing, unreadable, a folder or damaged.
    """
    try:
        handle = os.open(path, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0))
    except (OSError, ValueError) as error:
        raise _explain(error, path) from error
    try:
        if os.pread(handle, 2, 0) != b"\x1f\x8b":
            return handle
    except OSError as error:
        os.close(handle)
        raise _explain(error, path) from error
    os.close(handle)
    try:
        with gzip.open(path, "rb") as packed, tempfile.TemporaryFile() as plain:
            while block := packed.read(_BLOCK):
                plain.write(block)
            plain.flush()
            return os.dup(plain.fileno())
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise StudioError(f"{path} is a damaged gzip file ({error}).", "Copy or download it again.") from error
    except OSError as error:
        raise _explain(error, path) from error


def _explain(error: Exception, path: Path) -> StudioError:
    if isinstance(error, OSError):
        return explain(error, path)
    return StudioError(f"Not a usable path: {str(path)!r}.", "Check the path.")


@dataclass(frozen=True, eq=False)
class Text:
    """UTF-8 text behind a file descriptor: bytes START to SIZE. `encoding` is what the file had.

    The descriptor is closed with the last reference to this.
    """

    handle: int
    start: int
    size: int
    encoding: str
    faulty: bool = False  # not all of it is UTF-8

    def __post_init__(self) -> None:
        weakref.finalize(self, os.close, self.handle)

    def read(self) -> str:
        """All of it, as one string."""
        return read_all(self.handle, self.start, self.size).decode("utf-8", "replace")


def read_all(handle: int, start: int, size: int) -> bytes:
    """Bytes START to SIZE of HANDLE."""
    parts = []
    while start < size and (block := os.pread(handle, min(64 << 20, size - start), start)):
        parts.append(block)
        start += len(block)
    return b"".join(parts)


def text_of(handle: int, path: Path, *, strict_utf8: bool = False) -> Text:
    """What HANDLE holds as text. Takes over HANDLE: it is closed on failure and where another one replaces it.

    UTF-8 (with or without byte order mark) is used in place; UTF-16, UTF-32 and 8-bit encodings are rewritten as
    UTF-8 into an unnamed temporary file. With STRICT_UTF8 (JSON, which has to be UTF-8) bytes that are not are left
    for the reader to report line by line. Raises StudioError for binary files.
    """
    try:
        found = _text_of(handle, path, strict_utf8)
    except BaseException:
        os.close(handle)
        raise
    if found.handle != handle:
        os.close(handle)
    return found


def _text_of(handle: int, path: Path, strict_utf8: bool) -> Text:
    size = os.fstat(handle).st_size
    head = os.pread(handle, 1 << 16, 0)
    if not head.strip(b"\xef\xbb\xbf\xff\xfe \t\r\n\x00"):
        raise StudioError(f"{path} is empty.", "Name a file with at least one row.")
    for magic, what in _MAGIC.items():
        if head.startswith(magic):
            raise StudioError(f"{path} is {what}, not a dataset.", _FORMATS)
    for bom, name in _BOMS:
        if head.startswith(bom):
            if name == "utf-8-sig":
                good, _ = _scan(handle, len(bom), size)
                if good or strict_utf8:
                    return Text(handle, len(bom), size, "utf-8-sig", faulty=not good)
                break
            return _rewrite(handle, path, name)
    if guess := _utf16_without_mark(head):
        return _rewrite(handle, path, guess)
    good, control = _scan(handle, 0, size)
    if control > (0.1 if good else 0.02):
        raise StudioError(f"{path} is a binary file, not a dataset.", _FORMATS)
    if good:
        return Text(handle, 0, size, "utf-8")
    if strict_utf8:
        return Text(handle, 0, size, "utf-8", faulty=True)
    return _rewrite(handle, path, "cp1252" if _is_windows(handle, size) else "latin-1")


def _scan(handle: int, start: int, size: int) -> tuple[bool, float]:
    """Whether all bytes are UTF-8, and the share of control bytes in the first block."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    first = os.pread(handle, _BLOCK, start)
    odd = sum(first.count(code) for code in [*range(9), *range(14, 27), *range(28, 32), 127])
    share = odd / max(1, len(first))
    place = start
    try:
        while place < size and (block := os.pread(handle, _BLOCK, place)):
            place += len(block)
            if not block.isascii() or decoder.getstate()[0]:
                decoder.decode(block)
        decoder.decode(b"", final=True)
    except UnicodeDecodeError:
        return False, share
    return True, share


def _utf16_without_mark(head: bytes) -> str | None:
    """UTF-16 of mostly Latin text shows as a NUL in nearly every second byte."""
    half = len(head) // 2
    if half < 4:
        return None
    even, odd = head[0::2].count(0) / half, head[1::2].count(0) / half
    if odd > 0.6 and even < 0.1:
        return "utf-16-le"
    return "utf-16-be" if even > 0.6 and odd < 0.1 else None


def _is_windows(handle: int, size: int) -> bool:
    """Whether bytes 0x80–0x9F appear (letters in Windows-1252, unused control codes in Latin-1) and all are defined."""
    used: set[int] = set()
    place = 0
    while place < size and (block := os.pread(handle, _BLOCK, place)):
        place += len(block)
        used |= {code for code in range(0x80, 0xA0) if code in block}
    return bool(used) and not used & {0x81, 0x8D, 0x8F, 0x90, 0x9D}


def _rewrite(handle: int, path: Path, name: str) -> Text:
    decoder = codecs.getincrementaldecoder(name)()
    shown = "utf-16" if name.startswith("utf-16") else name
    place = 0
    try:
        with tempfile.TemporaryFile() as plain:
            while block := os.pread(handle, _BLOCK, place):
                place += len(block)
                plain.write(decoder.decode(block).encode("utf-8", "surrogatepass"))
            plain.write(decoder.decode(b"", final=True).encode("utf-8", "surrogatepass"))
            plain.flush()
            copy = os.dup(plain.fileno())
    except UnicodeDecodeError as error:
        hint = f"Check the file, or convert it: iconv -f {shown} -t utf-8."
        raise StudioError(f"{path} begins like {shown} but is not ({error.reason}).", hint) from error
    except OSError as error:
        raise explain(error, path) from error
    start = 3 if os.pread(copy, 3, 0) == codecs.BOM_UTF8 else 0
    return Text(copy, start, os.fstat(copy).st_size, shown)
