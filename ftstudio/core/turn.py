"""A run's turn: which process will train it once that is done with what comes before. No other one takes it for free.

waiting.json in the run's folder names the process, as owner.json names the one that works on it; the file's time is its
last sign of life. A process that is gone holds no turn.
"""

from __future__ import annotations

import contextlib
import json
import os
import uuid
from dataclasses import asdict
from pathlib import Path

from ftstudio.core import files
from ftstudio.core.errors import StudioError
from ftstudio.core.folder import JobFolder
from ftstudio.core.owner import Owner, here

FILE = "waiting.json"
QUEUE = "queue"  # by which a run is said to have been stopped that was taken out before it began


def holder(folder: Path) -> Owner | None:
    """The process in whose queue the run in FOLDER waits for its turn; None where nobody will train it by itself."""
    found = _recorded(folder)
    return found if found is not None and found.alive() else None


def _recorded(folder: Path) -> Owner | None:
    try:
        with open(folder / FILE, "rb") as file:
            beat = os.fstat(file.fileno()).st_mtime
            value = json.loads(file.read())
        return Owner.of({**value, "heartbeat": beat})
    except (OSError, ValueError, TypeError):
        return None


class Turn:
    """That of RUN in this process. What is asked of the run from now on counts once its turn has come.

    Raises StudioError where it waits for its turn in another process. A folder that can't be written to keeps nobody
    from waiting: only others don't know of it.
    """

    def __init__(self, run: JobFolder) -> None:
        self.run, self.requests = run, run.requests()
        self._path, self._token = run.path / FILE, uuid.uuid4().hex
        present = holder(run.path)
        if present is not None and not present.here:
            raise StudioError(
                f"{run.name} waits for its turn in {present.named}.", f"`ftstudio stop {run.name}` takes it out there."
            )
        if run.path.is_dir():  # a deleted run isn't made again
            beside = self._path.with_name(f".{FILE}.{self._token}")
            with contextlib.suppress(OSError):  # not synced: after a power cut nobody waits any more
                beside.write_text(json.dumps(asdict(here(self._token))))
                os.replace(beside, self._path)

    def beat(self) -> None:
        """Give a sign of life."""
        if self._mine():
            with contextlib.suppress(OSError):
                os.utime(self._path)

    def given_up(self) -> bool:
        """Whether a stop was asked for since it waits. Looks without taking the requests away from who reads them."""
        asked = files.LineReader(self.run.control_path, self.requests.offset)
        return any(row.get("request") == "stop" for row in asked.poll())

    def check(self) -> None:
        """Raise StudioError where another process took the turn: two may have asked in the same moment."""
        found = None if self._mine() else holder(self.run.path)
        if found is not None:
            raise StudioError(f"{self.run.name} waits for its turn in {found.named}, too.", "It is trained there.")

    def leave(self) -> None:
        """It waits no more."""
        if self._mine():
            self._path.unlink(missing_ok=True)

    def _mine(self) -> bool:
        found = _recorded(self.run.path)
        return found is not None and found.token == self._token
