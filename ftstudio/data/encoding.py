"""Bytes to text: is it text at all, in which encoding, and as UTF-8 that can be read at any place."""

from __future__ import annotations

import codecs
import os
import re
import tempfile
import weakref
from dataclasses import dataclass
from pathlib import Path

from ftstudio.core.errors import StudioError
from ftstudio.core.files import explain
from ftstudio.data.unpack import packing, unpack
from ftstudio.data.watch import NOBODY, Watch

_BLOCK = 1 << 20
_BEYOND, _ESCAPED = re.compile(r"[^\x00-\x7f]"), re.compile("[\udc80-\udcff]")
_MAGIC = {
    b"PK\x03\x04": "a zip archive or an office document",
    b"%PDF-": "a PDF document",
    b"\x89PNG": "a PNG picture",
    b"\xff\xd8\xff": "a JPEG picture",
    b"GIF8": "a GIF picture",
    b"\x7fELF": "a program",
    b"SQLite format 3": "an SQLite database",
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
_FORMATS = "JSONL, JSON, CSV, TSV, Parquet, Arrow, SQLite, CoNLL and text can be read; convert it to one of these."


def open_bytes(path: Path, watch: Watch = NOBODY, most: int | None = None) -> tuple[int, str | None]:
    """(a file descriptor on PATH for `os.pread`, how it was packed or None).

    A packed file is unpacked into an unnamed temporary file first (its first MOST bytes; None: all of it). Raises
    StudioError where it is missing, unreadable, a folder or damaged.
    """
    try:
        handle = os.open(path, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0))
    except (OSError, ValueError) as error:
        raise _explain(error, path) from error
    try:
        kind = packing(handle)
    except OSError as error:
        os.close(handle)
        raise _explain(error, path) from error
    if kind is None:
        return handle, None
    os.close(handle)
    return unpack(path, kind, watch, most), kind


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

    def __post_init__(self) -> None:
        weakref.finalize(self, os.close, self.handle)

    def read(self, most: int | None = None) -> str:
        """Its first MOST bytes (None: all of it) as one string; what is not UTF-8 becomes U+FFFD."""
        stop = self.size if most is None else min(self.size, self.start + most)
        return read_all(self.handle, self.start, stop).decode("utf-8", "replace")

    def head(self, most: int) -> Text:
        """Its first MOST bytes, up to the last line end among them, with a descriptor of its own."""
        first = read_all(self.handle, self.start, min(self.size, self.start + most))
        cut = max(first.rfind(b"\n"), first.rfind(b"\r")) + 1
        return Text(os.dup(self.handle), self.start, self.start + (cut or len(first)), self.encoding)


def read_all(handle: int, start: int, size: int) -> bytes:
    """Bytes START to SIZE of HANDLE."""
    parts = []
    while start < size and (block := os.pread(handle, min(64 << 20, size - start), start)):
        parts.append(block)
        start += len(block)
    return b"".join(parts)


def text_of(
    handle: int, path: Path, *, strict_utf8: bool = False, encoding: str | None = None, watch: Watch = NOBODY
) -> Text:
    """What HANDLE holds as text. Takes over HANDLE: it is closed on failure and where another one replaces it.

    UTF-8 (with or without byte order mark) is used in place; UTF-16, UTF-32 and 8-bit encodings are rewritten as
    UTF-8 into an unnamed temporary file. With STRICT_UTF8 (JSON, which has to be UTF-8) bytes that are not are left
    for the reader to report line by line. ENCODING is taken at its word. Raises StudioError for binary files, and
    where ENCODING doesn't fit.
    """
    try:
        found = _text_of(handle, path, strict_utf8, encoding, watch)
    except BaseException:
        os.close(handle)
        raise
    if found.handle != handle:
        os.close(handle)
    return found


def _text_of(handle: int, path: Path, strict_utf8: bool, encoding: str | None, watch: Watch) -> Text:
    size = os.fstat(handle).st_size
    head = os.pread(handle, 1 << 16, 0)
    if not head.strip(b"\xef\xbb\xbf\xff\xfe \t\r\n\x00"):
        raise StudioError(f"{path} is empty.", "Name a file with at least one row.")
    for magic, what in _MAGIC.items():
        if head.startswith(magic):
            raise StudioError(f"{path} is {what}, not a dataset.", _FORMATS)
    if encoding is not None:
        return _as_told(handle, path, size, head, encoding, watch)
    for bom, name in _BOMS:
        if head.startswith(bom):
            if name == "utf-8-sig":
                if strict_utf8 or _scan(handle, len(bom), size, watch) or _is_nearly_utf8(handle, size):
                    return Text(handle, len(bom), size, "utf-8-sig")
                break
            return _rewrite(handle, path, name, watch)
    if guess := _utf16_without_mark(head):
        return _rewrite(handle, path, guess, watch)
    control = _control(handle)
    if control > 0.1:
        raise StudioError(f"{path} is a binary file, not a dataset.", _FORMATS)
    if strict_utf8:
        return Text(handle, 0, size, "utf-8")
    if _scan(handle, 0, size, watch):
        return Text(handle, 0, size, "utf-8")
    if control > 0.02:
        raise StudioError(f"{path} is a binary file, not a dataset.", _FORMATS)
    if _is_nearly_utf8(handle, size):
        return Text(handle, 0, size, "utf-8")
    return _rewrite(handle, path, "cp1252" if _is_windows(handle, size) else "latin-1", watch)


def _as_told(handle: int, path: Path, size: int, head: bytes, encoding: str, watch: Watch) -> Text:
    name = codecs.lookup(encoding).name
    if name in ("utf-8", "utf-8-sig", "ascii"):
        start = 3 if head.startswith(codecs.BOM_UTF8) else 0
        return Text(handle, start, size, "utf-8-sig" if start else "utf-8")
    return _rewrite(handle, path, encoding, watch)


def _control(handle: int) -> float:
    """The share of control bytes in the first block."""
    first = os.pread(handle, _BLOCK, 0)
    odd = sum(first.count(code) for code in [*range(9), *range(14, 27), *range(28, 32), 127])
    return odd / max(1, len(first))


def _scan(handle: int, start: int, size: int, watch: Watch) -> bool:
    """Whether all bytes from START are UTF-8."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    place = start
    try:
        while place < size and (block := os.pread(handle, _BLOCK, place)):
            place += len(block)
            watch.at(0, size)  # a look before reading begins
            if not block.isascii() or decoder.getstate()[0]:
                decoder.decode(block)
        decoder.decode(b"", final=True)
    except UnicodeDecodeError:
        return False
    return True


def _is_nearly_utf8(handle: int, size: int) -> bool:
    """Whether ten times as many characters beyond ASCII are UTF-8 as bytes are not: readers put these lines aside."""
    decoder = codecs.getincrementaldecoder("utf-8")("surrogateescape")
    place = good = bad = 0
    while place < size and (block := os.pread(handle, _BLOCK, place)):
        place += len(block)
        text = decoder.decode(block)
        if not text.isascii():
            odd = len(_ESCAPED.findall(text))
            bad, good = bad + odd, good + len(_BEYOND.findall(text)) - odd
    return good >= 10 * max(1, bad)


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


def _rewrite(handle: int, path: Path, name: str, watch: Watch) -> Text:
    decoder = codecs.getincrementaldecoder(name)()
    shown = "utf-16" if name.startswith("utf-16") else name
    size = os.fstat(handle).st_size
    place = 0
    try:
        with tempfile.TemporaryFile() as plain:
            while block := os.pread(handle, _BLOCK, place):
                place += len(block)
                watch.at(place // 4, size)
                plain.write(decoder.decode(block).encode("utf-8", "surrogatepass"))
            plain.write(decoder.decode(b"", final=True).encode("utf-8", "surrogatepass"))
            plain.flush()
            copy = os.dup(plain.fileno())
    except UnicodeError as error:
        hint = "Name another encoding (data.reading.encoding), or convert the file with iconv."
        reason = getattr(error, "reason", str(error))
        raise StudioError(f"{path} is not all {shown} ({reason}).", hint) from error
    except OSError as error:
        raise explain(error, path) from error
    start = 3 if os.pread(copy, 3, 0) == codecs.BOM_UTF8 else 0
    return Text(copy, start, os.fstat(copy).st_size, shown)


def not_utf8(error: UnicodeDecodeError) -> str:
    """ERROR as the reason why a row can't be read."""
    return f"not UTF-8 (byte 0x{error.object[error.start]:02x} at {error.start})"
