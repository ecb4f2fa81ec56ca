"""An append-only file of JSON lines in which every line counts only once it is on the disk.

Several studios may write to one journal: each line is written under a claim (see `JobFolder.claim`: a link, so it holds
on NFS too), after the lines of others have been read. Nobody's line is ever replaced.
"""

from __future__ import annotations

import contextlib
import json
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ftstudio.core import files
from ftstudio.core.errors import StudioError
from ftstudio.core.folder import JobFolder

PATIENCE = 10.0  # seconds to wait for another studio that is writing


@contextlib.contextmanager
def claimed(folder: Path, seconds: float = PATIENCE) -> Iterator[None]:
    """Be the only one who writes in FOLDER. Raises StudioError where another studio writes for over SECONDS."""
    with _guard:
        here = _doors.setdefault(str(folder), _Door())
    with here.lock:  # threads of this process wait for each other here, not at the file
        if here.inside:
            yield
            return
        job = JobFolder(folder)
        _claim(job, seconds)
        here.inside = True
        try:
            yield
        finally:
            here.inside = False
            job.release()


class _Door:
    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.inside = False


_doors: dict[str, _Door] = {}
_guard = threading.Lock()


def _claim(job: JobFolder, seconds: float) -> None:
    end, pause = time.monotonic() + seconds, 0.002
    while True:
        try:
            job.claim()
            return
        except OSError as error:
            raise files.explain(error, job.path) from error
        except StudioError as error:
            if isinstance(error.__cause__, OSError):
                raise
            if time.monotonic() > end:
                message = f"{job.path} is being written to by another studio."
                raise StudioError(message, "Try again; nothing was changed.") from error
        time.sleep(pause)
        pause = min(0.05, pause * 2)


class Journal:
    """The lines of PATH, read as they are appended by anyone."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._reader = files.LineReader(path)

    def read(self) -> list[dict[str, Any]]:
        """The lines appended since the last call, by this journal too; torn ones are left out."""
        return self._reader.all()

    @property
    def skipped(self) -> int:
        """Lines that could not be read: torn by a crash, never confirmed to anyone."""
        return self._reader.skipped

    def append(self, *entries: dict[str, Any]) -> None:
        """Add ENTRIES, all or none, and return once they are on the disk. Under a claim only.

        Raises StudioError where they can't be written; the file is then as before.
        """
        text = "".join(json.dumps(entry, separators=(",", ":")) + "\n" for entry in entries)
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            fresh = not self.path.exists()
            handle = os.open(self.path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o644)
            try:
                _write(handle, text.encode())
            finally:
                os.close(handle)
            if fresh:
                sync_folder(self.path.parent)
        except OSError as error:
            raise files.explain(error, self.path) from error


def _write(handle: int, data: bytes) -> None:
    end = os.lseek(handle, 0, os.SEEK_END)
    if end and os.pread(handle, 1, end - 1) != b"\n":  # torn by a crash: closed, so that it can't swallow ours
        data = b"\n" + data
    try:
        view = memoryview(data)
        while view:
            view = view[os.write(handle, view) :]
        os.fsync(handle)
    except OSError:
        with contextlib.suppress(OSError):
            os.ftruncate(handle, end)
        raise


def sync_folder(folder: Path) -> None:
    """Make the names in FOLDER survive a power cut, where the file system can."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
