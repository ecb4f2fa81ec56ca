"""The workspace: the folder that holds runs, answers on held-out rows and presets of one's own."""

from __future__ import annotations

import os
import re
import shutil
import time
from pathlib import Path

from ftstudio.core import files
from ftstudio.core.errors import StudioError, UsageError
from ftstudio.core.folder import JobFolder
from ftstudio.core.run import RunFolder
from ftstudio.core.turn import holder

# `ftstudio/presets` is a link to the folder at the top of the repository; a wheel holds the files themselves
PRESETS = Path(__file__).resolve().parents[1] / "presets"


def slug(text: str) -> str:
    """TEXT as a name for files: lower case, digits and dashes."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:48] or "run"


class Workspace:
    """Knows where things are; makes folders only when something is written."""

    def __init__(self, path: Path | str | None = None) -> None:
        self.path = Path(path or os.environ.get("FTSTUDIO_WORKSPACE") or "studio").expanduser().absolute()

    @property
    def runs_path(self) -> Path:
        """Folder of the runs."""
        return self.path / "runs"

    @property
    def unread_path(self) -> Path:
        """Folder of the rows that could not be read, a file for each dataset."""
        return self.path / "unread"

    @property
    def answers_path(self) -> Path:
        """Folder of all answers ever given, so that none is generated twice."""
        return self.path / "answers"

    @property
    def presets_path(self) -> Path:
        """Folder of the person's own presets."""
        return self.path / "presets"

    def runs(self) -> list[RunFolder]:
        """All runs, the newest first."""
        try:
            found = [RunFolder(path) for path in self.runs_path.iterdir() if (path / "recipe.yaml").is_file()]
        except OSError:
            return []
        return sorted(found, key=_began, reverse=True)

    def run(self, name: str) -> RunFolder:
        """The run called NAME, by its name, a unique beginning of it, its path, or `last`. Raises UsageError."""
        if not name.strip():
            raise UsageError("The run's name is empty.", "Name a run; `ftstudio runs` lists them.")
        if name == "last" and self.runs():
            return self.runs()[0]
        for path in (self.runs_path / name, Path(name)):
            if (path / "recipe.yaml").is_file():
                return RunFolder(path.absolute())
        names = [run.name for run in self.runs()]
        near = [known for known in names if known.startswith(name)]
        if len(near) == 1:
            return RunFolder(self.runs_path / near[0])
        if near:
            which = ", ".join(near[:5]) + (", …" if len(near) > 5 else "")
            raise UsageError(f"{len(near)} runs begin with {name!r}.", f"Say which: {which}.")
        known = ", ".join(names[:5]) or "none yet"
        raise UsageError(f"There is no run {name!r} in {self.runs_path}.", f"There are: {known}.")

    def new_run(self, stem: str) -> RunFolder:
        """A new, empty run folder `<stem>-<n>`; making the folder is what takes the name, so two can't share it."""
        stem = slug(stem)
        number = 1
        trash = self.path / "trash"
        while True:
            path = self.runs_path / f"{stem}-{number}"
            if any(trash.glob(f"{stem}-{number}-*")):  # a deleted run's name stays its own
                number += 1
                continue
            try:
                self.runs_path.mkdir(parents=True, exist_ok=True)
                path.mkdir()
                return RunFolder(path)
            except FileExistsError:
                number += 1
            except OSError as error:
                raise files.explain(error, path) from error

    def base_errors(self, key: str) -> JobFolder:
        """Where a base model's answers on held-out rows are kept; KEY tells model and data apart."""
        return JobFolder(self.path / "errors" / slug(key))

    def delete_run(self, run: RunFolder) -> Path:
        """Move RUN to the workspace's trash and return where it lies: nothing the person made is ever lost."""
        if run.owner() is not None:
            raise StudioError(f"{run.name} is still being trained.", "Stop it first.")
        if (waits := holder(run.path)) is not None:
            raise StudioError(
                f"{run.name} waits for its turn in {waits.named}.", "Take it out of the queue first: stop."
            )
        chats = sorted(run.chats.iterdir()) if run.chats.is_dir() else []
        for job in (run.compare, run.test, run.errors, *map(JobFolder, chats)):
            if job.owner() is not None:
                raise StudioError(f"{run.name} is still being worked on ({job.name}).", "Stop that first.")
        trash = self.path / "trash" / f"{run.name}-{int(time.time())}"
        try:
            trash.parent.mkdir(parents=True, exist_ok=True)
            shutil.move(str(run.path), str(trash))
        except OSError as error:
            raise files.explain(error, run.path) from error
        return trash

    def presets(self) -> list[Path]:
        """The person's presets, then the shipped ones."""
        own = sorted(self.presets_path.glob("*.yaml")) if self.presets_path.is_dir() else []
        return own + sorted(PRESETS.glob("*.yaml"))


def _began(run: RunFolder) -> float:
    try:
        return run.recipe_path.stat().st_mtime
    except OSError:
        return 0.0
