"""What the studio is working on: the workspace, the worker, the recipe at hand, the run in view. No widgets here."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ftstudio.core.errors import StudioError
from ftstudio.core.files import LineReader
from ftstudio.core.folder import JobFolder
from ftstudio.core.jobs import Job, Train, Unload
from ftstudio.core.run import RunFolder, Story
from ftstudio.core.text import one_line
from ftstudio.core.workspace import Workspace
from ftstudio.ui.shell.hearing import Hearing

PIECE = 1 << 18  # bytes of events that are read at once
UNLOADED = 60.0  # seconds in which the worker lets go of its models, if nothing else was begun

if TYPE_CHECKING:
    from ftstudio.core.recipe import Recipe
    from ftstudio.data.dataset import Dataset
    from ftstudio.engine.worker import Worker


class RunFeed:
    """Follows one run's events, whoever writes them. `poll` is cheap where nothing came."""

    def __init__(self, run: RunFolder) -> None:
        self.run = run
        self.story = Story()
        self._reader = LineReader(run.events_path)
        self.behind = False  # whether more was there than the last `poll` had time for
        self.held: dict[str, Any] | None = None  # why events are missing just now: see `core.backlog.Backlog.told`
        self._state = ""
        self._checked = 0

    def poll(self, seconds: float = 0.05) -> bool:
        """Take in what came, for so many SECONDS: a long history comes in pieces, at least one a call. True where
        something came."""
        end = time.monotonic() + seconds
        events = self.behind = False
        while more := self._reader.poll(PIECE):
            events = True
            self.story.feed(more)
            if time.monotonic() > end:
                self.behind = True
                break
        self._checked += 1
        before = self._state, self.held
        if events or not self._state or self._checked % 8 == 0:  # an owner can vanish without a word
            owner = self.run.owner()
            self._state = self.run.state(self.story.last_state, owner)
            self.held = {**owner.held, "heard": owner.heartbeat} if owner is not None and owner.held else None
        return events or before != (self._state, self.held)

    @property
    def state(self) -> str:
        """One of `folder.STATES`."""
        return self._state or self.run.state()


@dataclass(frozen=True)
class RowsAsked:
    """The ROWS of a dataset that the Data screen is asked to show, under LABEL: by their numbers in the source as RUN
    read it, with COUNT rows and the hash SHA256 (None: that isn't known). The cursor goes to row AT."""

    label: str
    rows: list[int]
    run: str
    sha256: str | None = None
    count: int | None = None
    at: int | None = None

    def check(self, dataset: Dataset, *, whole: bool) -> None:
        """Raises StudioError where DATASET isn't what the numbers are of, or where it isn't read WHOLE."""
        name, none = one_line(dataset.source, 200), f"so no {self.label} are shown"
        if not whole:
            raise StudioError(f"{name} isn't read to its end, {none}.", "o opens it again.")
        if self.sha256 not in (None, dataset.hash) or self.count not in (None, len(dataset)):
            message = f"{name} has changed since {self.run} was trained: row numbers mean other rows now, {none}."
            raise StudioError(message, "Put the old file back, or train on the new one and look at that run's rows.")


class Session:
    """The explicit state that screens share. Screens read it; they hold only their own view."""

    def __init__(self, workspace: Workspace, recipe: Recipe | None = None, recipe_source: str = "") -> None:
        self.workspace = workspace
        self.recipe = recipe  # the draft the wizard edits and Data/Errors look at; immutable, replaced whole
        self.recipe_source = recipe_source
        train = recipe.data.first if recipe else None
        self.data_source = train if isinstance(train, str) else None  # what the Data screen shows
        self.data_rows: RowsAsked | None = None  # the rows of it that it shows next
        self.feed: RunFeed | None = None  # the run in view on Train, Compare and the strip
        self.hearing = Hearing()
        self._worker: Worker | None = None

    @property
    def worker(self) -> Worker:
        """The worker; its thread starts with the first job."""
        if self._worker is None:
            from ftstudio.engine.worker import Worker

            self._worker = Worker()
        return self._worker

    @property
    def busy(self) -> bool:
        """Whether this process works on a job."""
        return self._worker is not None and self._worker.busy

    def refusal(self) -> StudioError | None:
        """Why a job wasn't begun, told once."""
        worker = self._worker
        if worker is None or worker.refused is None:
            return None
        told, worker.refused = worker.refused, None
        return told

    def submit(self, job: Any) -> None:
        """Hand JOB to the worker; of a training all is heard from here on."""
        if isinstance(job, Train):
            self.hearing.expect(job.folder)
        self.worker.submit(job)

    @property
    def jobs(self) -> tuple[Job, ...]:
        """The jobs of this process: the one in work, then those that wait."""
        if self._worker is None:
            return ()
        waiting = tuple(self._worker.waiting)  # first: a job that begins in between stands in both, not in neither
        current = self._worker.current
        return (current, *(job for job in waiting if job is not current)) if current is not None else waiting

    @property
    def training(self) -> RunFolder | None:
        """The run that this process trains now; None where it trains none."""
        job = self._worker.current if self._worker is not None else None
        return RunFolder(job.folder) if isinstance(job, Train) else None

    def holds(self, recipe: Recipe) -> int | None:
        """Bytes of models in memory that a training of RECIPE takes over or lets go of: see `Worker.holds`."""
        return self._worker.holds(recipe) if self._worker is not None else 0

    def unload(self) -> None:
        """Have the worker let go of its models, and wait until it has. Not for the screen's thread."""
        if self._worker is not None and self._worker.keeps:
            self._worker.submit(Unload())
            self._worker.join(UNLOADED)

    def close(self) -> None:
        """Let the worker's thread end; waits for what it still does."""
        if self._worker is not None:
            self._worker.stop()

    def view_run(self, run: RunFolder | None) -> None:
        """Make RUN the one in view."""
        if run is None:
            self.feed = None
        elif self.feed is None or self.feed.run.path != run.path:
            self.feed = RunFeed(run)
            self.feed.poll()

    def adopt(self) -> None:
        """At start: bring the run that is being trained now, by whichever process, into view; else the newest."""
        runs = self.workspace.runs()
        live = next((run for run in runs[:20] if run.owner() is not None), None)
        if live is not None or runs:
            self.view_run(live or runs[0])

    @property
    def live(self) -> bool:
        """Whether the run in view is being trained now."""
        return self.feed is not None and self.feed.run.owner() is not None

    def current_folder(self) -> JobFolder | None:
        """The folder of the job this process works on."""
        job = self._worker.current if self._worker is not None else None
        folder: Path | None = getattr(job, "folder", None)
        return JobFolder(folder) if folder is not None else None
