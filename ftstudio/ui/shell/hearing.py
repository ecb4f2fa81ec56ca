"""What the runs warn of that this process trains, whichever run is in view: their events are read from the moment that
they are handed to the worker. No widgets here."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from ftstudio.core.files import LineReader
from ftstudio.core.jobs import Job, Train
from ftstudio.core.run import RunFolder
from ftstudio.core.text import one_line
from ftstudio.ui.shell.bell import LOUD


@dataclass
class Heard:
    """A run of this process's queue, and what it has told since it was handed over."""

    run: RunFolder
    reader: LineReader
    warned: int = 0
    paused: bool = False


@dataclass(frozen=True)
class News:
    """RUN has something that must be heard: `level` as an alert's, `text` a sentence, of COUNT since the last look."""

    run: RunFolder
    level: str
    text: str
    count: int


class Hearing:
    """Reads the events of the runs that this process trains or will train."""

    def __init__(self) -> None:
        self._runs: dict[Path, Heard] = {}
        self.latest: frozenset[Path] = frozenset()  # the folders that the last `look` has read

    def expect(self, folder: Path) -> Heard:
        """What the run in FOLDER tells from now on is heard; what it told in earlier sessions is old."""
        if folder not in self._runs:
            run = RunFolder(folder)
            try:
                told = run.events_path.stat().st_size
            except OSError:
                told = 0
            self._runs[folder] = Heard(run, LineReader(run.events_path, told))
        return self._runs[folder]

    def of(self, folder: Path) -> Heard | None:
        """What was heard of the run in FOLDER; None where it isn't of this process's queue."""
        return self._runs.get(folder)

    def look(self, jobs: Iterable[Job | None]) -> list[News]:
        """What has come since the last call; JOBS are those that the worker does and has before it, as they were
        before this call: a run that is no more among them has told all."""
        now = {job.folder for job in jobs if isinstance(job, Train)}
        for folder in now:
            self.expect(folder)
        self.latest = frozenset(self._runs)
        found = [news for heard in self._runs.values() if (news := _read(heard)) is not None]
        self._runs = {folder: heard for folder, heard in self._runs.items() if folder in now}
        return found


def _read(heard: Heard) -> News | None:
    """Take in what HEARD's run has told; of what must be heard, if there is any, the gravest, of these the last."""
    found: list[tuple[int, str, str]] = []  # how grave, level, text
    while events := heard.reader.poll():
        for event in events:
            kind, level = event.get("kind"), str(event.get("level"))
            text = one_line(event.get("text") or "", 300)
            if kind == "phase":
                heard.paused = event.get("phase") == "paused"
            elif kind == "failed":
                found.append((len(LOUD), "error", f"failed: {text}"))
            elif kind == "alert" and level in LOUD:
                heard.warned += 1
                found.append((LOUD.index(level), level, text))
    if not found:
        return None
    _, level, text = max(reversed(found), key=lambda one: one[0])
    return News(heard.run, level, text, len(found))
