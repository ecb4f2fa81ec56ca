"""The workspace: the folder that holds runs, answers on held-out rows and presets of one's own."""

from __future__ import annotations

import os
import re
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ftstudio.core import files
from ftstudio.core.errors import StudioError, UsageError
from ftstudio.core.folder import JobFolder
from ftstudio.core.run import RunFolder
from ftstudio.core.turn import holder

RUN = "run:"  # before the name of a run in a recipe: what it made is meant
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
        if (lies := in_trash(self.runs_path / name)) is not None:
            back = self.runs_path / name
            raise UsageError(f"The run {name!r} was deleted, and lies in {lies}.", f"Move that folder back to {back}.")
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
        """Move RUN to the workspace's trash and return where it lies: nothing the person made is ever lost. Raises
        StudioError while something is done with it, and where another run stands on what it made."""
        if (owner := run.owner()) is not None and not owner.through:
            raise StudioError(f"{run.name} is still being trained.", "Stop it first.")
        if (waits := holder(run.path)) is not None:
            raise StudioError(
                f"{run.name} waits for its turn in {waits.named}.", "Take it out of the queue first: stop."
            )
        chats = sorted(run.chats.iterdir()) if run.chats.is_dir() else []
        for job in (run.compare, run.test, run.errors, *map(JobFolder, chats)):
            if (owner := job.owner()) is not None and not owner.through:
                raise StudioError(f"{run.name} is still being worked on ({job.name}).", "Stop that first.")
        if above := self.built_on(run):
            names = ", ".join(above[:3]) + (f" and {len(above) - 3} more" if len(above) > 3 else "")
            stands = "stands" if len(above) == 1 else "stand"
            raise StudioError(
                f"{names} {stands} on what {run.name} made, and can't be resumed, compared or asked without it.",
                f"Delete {'that' if len(above) == 1 else 'those'} first, or keep {run.name}.",
            )
        trash = self.path / "trash" / f"{run.name}-{int(time.time())}"
        try:
            trash.parent.mkdir(parents=True, exist_ok=True)
            shutil.move(str(run.path), str(trash))
        except OSError as error:
            raise files.explain(error, run.path) from error
        return trash

    def built_on(self, run: RunFolder) -> list[str]:
        """The names of the other runs whose recipes name RUN or something in its folder: its model is their base, say.
        Only recipes in which its name occurs are parsed."""
        place = os.path.realpath(run.path)
        found = []
        for other in self.runs():
            if os.path.realpath(other.path) == place:
                continue
            try:
                text = other.recipe_path.read_text("utf-8", "replace")
            except OSError:
                continue
            if run.name in text and any(_within(value, run.name, place) for value in _texts(other.values())):
                found.append(other.name)
        return sorted(found)

    def presets(self) -> list[Path]:
        """The person's presets, then the shipped ones."""
        own = sorted(self.presets_path.glob("*.yaml")) if self.presets_path.is_dir() else []
        return own + sorted(PRESETS.glob("*.yaml"))


def in_trash(path: Path) -> Path | None:
    """Where what was at PATH, in the folder of a run that was deleted, lies now; None where it lies in no trash.
    Of several the one that was deleted last."""
    for run in (path, *path.parents):
        if run.parent.name != "runs" or run.exists():
            continue
        kept = re.compile(re.escape(run.name) + r"-(\d+)")
        try:
            names = [found for entry in (run.parents[1] / "trash").iterdir() if (found := kept.fullmatch(entry.name))]
        except OSError:
            return None
        for name in sorted(names, key=lambda found: int(found[1]), reverse=True):
            lies = run.parents[1] / "trash" / name[0] / path.relative_to(run)
            if lies.exists():
                return lies
    return None


def _texts(value: Any) -> Iterator[str]:
    """All texts in the VALUE of a YAML file."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for one in value.values():
            yield from _texts(one)
    elif isinstance(value, list):
        for one in value:
            yield from _texts(one)


def _within(text: str, name: str, place: str) -> bool:
    """Whether TEXT names the run NAME, whose folder is PLACE, or something in it."""
    if text.startswith(RUN):
        return text.removeprefix(RUN).strip() == name
    if name not in text or not os.path.isabs(text):
        return False
    return os.path.realpath(text).startswith((place + os.sep, place + "@")) or os.path.realpath(text) == place


def _began(run: RunFolder) -> float:
    try:
        return run.recipe_path.stat().st_mtime
    except OSError:
        return 0.0
