"""Files that survive a kill: replaced whole or appended by line, and read while another process writes."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from ftstudio.core.errors import DiskFull, StudioError


def explain(error: OSError, path: Path | str) -> StudioError:
    """What an operating system error on PATH means to a person."""
    what = {
        errno.ENOSPC: ("The disk is full", "Free some space or choose another --workspace."),
        errno.EDQUOT: ("Your disk quota is used up", "Free some space or choose another --workspace."),
        errno.EROFS: ("The file system is read-only", "Choose another --workspace."),
        errno.EACCES: ("Permission denied", "Check who owns it, or choose another --workspace."),
        errno.EPERM: ("Permission denied", "Check who owns it, or choose another --workspace."),
        errno.ENOENT: ("No such file", "Check the path; it is relative to where you are."),
        errno.EISDIR: ("That is a folder", "Name a file."),
        errno.ENOTDIR: ("A part of that path is a file, not a folder", "Choose another path."),
    }.get(error.errno or 0, (error.strerror or str(error), ""))
    kind = DiskFull if error.errno in (errno.ENOSPC, errno.EDQUOT) else StudioError
    return kind(f"{what[0]}: {path}.", what[1])


def write(path: Path, content: str | bytes) -> None:
    """Replace PATH by CONTENT at once: readers see the old file or the new one, also after a power cut."""
    data = content.encode("utf-8", "replace") if isinstance(content, str) else content
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    except OSError as error:
        raise explain(error, path) from error
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        with contextlib.suppress(PermissionError):  # FAT has no rights to give
            os.chmod(name, 0o644)
        os.replace(name, path)
    except OSError as error:
        with contextlib.suppress(OSError):
            os.unlink(name)
        raise explain(error, path) from error


def write_json(path: Path, value: Any, room: int = 0) -> None:
    """Replace PATH by VALUE as indented JSON, with blanks behind it up to ROOM bytes: see `overwrite_json`."""
    text = json.dumps(value, ensure_ascii=False, indent=1)
    if not text.isascii() and any("\ud800" <= sign <= "\udfff" for sign in text):  # a path that is no UTF-8: \udce9
        text = json.dumps(value, indent=1)
    write(path, text.ljust(room - 1) + "\n")


def overwrite_json(path: Path, value: Any) -> None:
    """Write VALUE over what PATH holds, as one line of JSON, and blanks up to the old end: for a small file on a full
    disk, which has no room for another one beside it. Raises OSError where that isn't possible."""
    data = json.dumps(value).encode("ascii")
    handle = os.open(path, os.O_WRONLY)
    try:
        length = os.fstat(handle).st_size
        os.pwrite(handle, data.ljust(length - 1) + b"\n", 0)
    finally:
        os.close(handle)


def read_json(path: Path) -> Any | None:
    """The JSON in PATH; None where it is missing, torn or no JSON."""
    try:
        return json.loads(path.read_bytes())
    except (OSError, ValueError):
        return None


class LineWriter:
    """Appends JSON lines to a file. A line torn by an earlier kill is closed first, so it can't swallow ours; of what
    the disk took a part of, whole lines stay and the torn one is cut off."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def append(self, *rows: dict[str, Any]) -> None:
        """Append ROWS, one line each, in one write."""
        text = "".join(json.dumps(row, ensure_ascii=False, separators=(",", ":")) + "\n" for row in rows)
        data = text.encode("utf-8", "replace")
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            handle = os.open(self.path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o644)
            try:
                end = os.lseek(handle, 0, os.SEEK_END)
                if end and os.pread(handle, 1, end - 1) != b"\n":
                    data = b"\n" + data
                written = 0
                try:
                    while written < len(data):
                        written += os.write(handle, data[written:])
                except OSError:
                    _cut_torn(handle, end, data[:written])
                    raise
            finally:
                os.close(handle)
        except OSError as error:
            raise explain(error, self.path) from error


def _cut_torn(handle: int, end: int, written: bytes) -> None:
    """Take the torn line off that WRITTEN, appended to HANDLE's file at END, ends in; not where others wrote, too."""
    whole = written.rfind(b"\n") + 1
    with contextlib.suppress(OSError):
        if whole < len(written) and os.fstat(handle).st_size == end + len(written):
            os.ftruncate(handle, end + whole)


class LineReader:
    """Reads JSON lines as they are appended, each once. Torn or foreign lines are skipped and counted.

    Where another file has taken the place of the one that was read, it is read from its beginning; `restarted` says
    whether the last `poll` met that.
    """

    def __init__(self, path: Path, offset: int = 0) -> None:
        self.path = path
        self.offset = offset
        self.skipped = 0
        self.restarted = False
        self._file: tuple[int, int] | None = None  # device and inode of what was read last

    def poll(self, limit: int = 4 << 20) -> list[dict[str, Any]]:
        """What was appended since the last call: whole lines only, about LIMIT bytes at most."""
        rows = []
        for line in self.lines(limit):
            try:
                row = json.loads(line)
            except ValueError:
                self.skipped += 1
                continue
            if isinstance(row, dict):
                rows.append(row)
            else:
                self.skipped += 1
        return rows

    def lines(self, limit: int = 4 << 20) -> list[bytes]:
        """The same as it stands there, without blank lines."""
        self.restarted = False
        try:
            status = os.stat(self.path)
            if status.st_size == self.offset and self._file in (None, _identity(status)):
                return []
            with open(self.path, "rb") as file:
                status = os.fstat(file.fileno())
                if status.st_size < self.offset or self._file not in (None, _identity(status)):
                    self.offset, self.restarted = 0, True
                self._file = _identity(status)
                file.seek(self.offset)
                data = file.read(limit)
                while data and b"\n" not in data:  # one line longer than the limit
                    more = file.read(limit)
                    if not more:
                        return []
                    data += more
        except OSError:
            return []
        whole = data.rfind(b"\n") + 1
        self.offset += whole
        return [line for line in data[:whole].split(b"\n") if line and not line.isspace()]

    def all(self) -> list[dict[str, Any]]:
        """Everything from here to the end."""
        rows: list[dict[str, Any]] = []
        while True:
            before = self.offset
            rows += self.poll()
            if self.offset == before:
                return rows


def _identity(status: os.stat_result) -> tuple[int, int]:
    return status.st_dev, status.st_ino


def read_lines(path: Path) -> list[dict[str, Any]]:
    """All JSON objects in PATH; an absent file is empty, a torn last line is left out."""
    return LineReader(path).all()


def each_line(path: Path, wanted: Callable[[bytes], bool] = lambda line: True) -> Iterator[dict[str, Any]]:
    """The JSON objects in PATH one after another, of lines that are WANTED: the others aren't parsed, and none is kept.
    An absent file is empty; torn and foreign lines are left out."""
    try:
        with open(path, "rb") as file:
            for line in file:
                if not line.endswith(b"\n") or not wanted(line):
                    continue
                try:
                    row = json.loads(line)
                except ValueError:
                    continue
                if isinstance(row, dict):
                    yield row
    except OSError:
        return


def write_lines(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    """Replace PATH by ROWS as JSON lines."""
    write(path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
