"""Jobs that are through, but whose last events found no room on the disk: this process stays their owner, and so tells
the truth of them, until there is room or it ends."""

from __future__ import annotations

import contextlib
import threading
from pathlib import Path

from ftstudio.core.errors import StudioError
from ftstudio.core.folder import JobFolder

LOOK = 2.0  # seconds between two tries


class Lingering:
    """All methods may be called from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._folders: dict[Path, JobFolder] = {}
        self._thread: threading.Thread | None = None

    def release(self, folder: JobFolder, *, stays: bool) -> None:
        """The job in FOLDER is through. Where events of it wait for room, and this process STAYS, it is released once
        they are written."""
        if folder.catch_up() or not stays:
            _release(folder)
            return
        with self._lock:
            self._folders[folder.path] = folder
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="ftstudio-unwritten", daemon=True)
                self._thread.start()

    def leave(self, path: Path) -> None:
        """The job in the folder PATH is begun again: what couldn't be written of the last time is given up."""
        with self._lock:
            folder = self._folders.pop(path, None)
            if folder is not None:
                if path.is_dir():
                    folder.catch_up()
                _release(folder)

    def _run(self) -> None:
        while True:
            threading.Event().wait(LOOK)
            with self._lock:
                for path, folder in list(self._folders.items()):
                    if not path.is_dir():  # it was deleted
                        del self._folders[path]
                    elif folder.catch_up():
                        _release(folder)
                        del self._folders[path]
                    else:
                        with contextlib.suppress(StudioError, OSError):
                            folder.beat()
                if not self._folders:
                    self._thread = None
                    return


def _release(folder: JobFolder) -> None:
    with contextlib.suppress(StudioError, OSError):
        folder.release()
