"""Following an answer or compare job by its folder: what it is doing, how far it is, what went wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ftstudio.core.files import LineReader
from ftstudio.core.folder import STATE_KINDS, JobFolder
from ftstudio.core.jobs import Answer, Chat, Compare, Job, Train
from ftstudio.core.run import RunFolder
from ftstudio.core.text import duration, one_line
from ftstudio.core.turn import holder
from ftstudio.ui.shell.session import Session
from ftstudio.ui.text.lines import Line
from ftstudio.ui.text.said import wrapped

RUNNING = ("running", "paused")


class Following:
    """The events of one job so far. `poll` is cheap where nothing came."""

    def __init__(self, folder: JobFolder) -> None:
        self.folder = folder
        self.start: dict[str, Any] = {}
        self.phase: dict[str, Any] = {}
        self.progress: dict[str, dict[str, Any]] = {}  # by arm
        self.last_arm = ""
        self.alerts: list[str] = []
        self.failure: dict[str, Any] | None = None
        self.done: dict[str, Any] | None = None
        self.state = ""
        self._last: dict[str, Any] | None = None
        self._reader = LineReader(folder.events_path)
        self._polls = 0

    def poll(self) -> bool:
        """Take in what came; True where the state or anything else changed."""
        events = self._reader.poll()
        for event in events:
            self._take(event)
        before = self.state
        self._polls += 1
        if events or not before or self._polls % 8 == 0:  # an owner can vanish without a word
            owner = self.folder.owner()
            self.state = self.folder.state(self._last, owner) if self._last is not None else "queued"
            if self._last is None and owner is not None:
                self.state = "running"
            if self.state == "failed" and owner is not None and owner.through and owner.held:
                self.failure = owner.held["state"]  # which found no room among the events
        return bool(events) or before != self.state

    def _take(self, event: dict[str, Any]) -> None:
        kind = event.get("kind")
        if kind in STATE_KINDS:
            self._last = event
        if kind == "start":
            self.start, self.progress, self.alerts = event, {}, []
            self.phase, self.failure, self.done = {}, None, None
            self._last = self._last if self._last and self._last.get("kind") == "phase" else {"kind": "phase"}
        elif kind == "phase":
            self.phase = event
        elif kind == "progress":
            self.last_arm = str(event.get("arm") or "")
            self.progress[self.last_arm] = event
        elif kind == "alert":
            self.alerts.append(one_line(event.get("text"), 300))
        elif kind == "failed":
            self.failure = event
        elif kind == "done":
            self.done = event

    @property
    def running(self) -> bool:
        """Whether someone works on it now."""
        return self.state in RUNNING

    def bar(self, width: int = 12) -> Line:
        """What it is doing: phase, a bar, done/total, speed, time left."""
        phase = one_line(self.phase.get("phase") or "starting", 30)
        progress = self.progress.get(self.last_arm)
        if not progress or self.phase.get("phase") not in ("answering", "judging", None):
            text = one_line(self.phase.get("text"), 50)
            return (("▶ ", "good"), (phase, "strong"), (f" · {text}" if text else "", "dim"))
        done, total = int(progress.get("done") or 0), int(progress.get("total") or 0)
        full = min(width, width * done // total) if total else 0
        arm = f"{one_line(self.last_arm, 24)} " if len(self.start.get("arms") or ()) > 1 and self.last_arm else ""
        parts = [("▶ ", "good"), (f"{phase} {arm}", "strong"), ("█" * full, "good"), ("░" * (width - full), "rule")]
        parts.append((f" {done}/{total}", ""))
        speed, eta = progress.get("tokens_per_second"), progress.get("eta")
        if speed:
            parts.append((f"  {speed:,.0f} tok/s", "dim"))
        if eta is not None:
            parts.append((f"  ETA {duration(eta)}", ""))
        return tuple(parts)

    def failed_lines(self, width: int) -> list[Line]:
        """What failed and the way out, in at most three lines of WIDTH cells; none where nothing did."""
        if self.failure is None or self.running:
            return []
        text = one_line(self.failure.get("text") or "it failed", 300)
        hint = one_line(self.failure.get("hint") or "", 200)
        return [*wrapped(f"✗ {text}", width, "bad"), *(wrapped(f"  {hint}", width, "", 1) if hint else [])]


def described(job: Job | None) -> str:
    """JOB in words, to be named while another waits for it."""
    if isinstance(job, Train):
        return f"training {job.folder.name}"
    if isinstance(job, Compare):
        return f"comparing {job.folder.parent.name}"
    if isinstance(job, Answer):
        return f"answering with {job.run.name if job.run else 'the base model'}"
    if isinstance(job, Chat):
        return f"answering in the chat with {RunFolder(job.runs[0]).name}"
    return "another job"


def pending(session: Session, folder: Path) -> bool:
    """Whether this process's worker has, or is about to have, the job in FOLDER at hand."""
    worker = session.worker if session.busy else None
    if worker is None:
        return False
    return any(getattr(job, "folder", None) == folder for job in (worker.current, *worker.waiting))


def queued_behind(session: Session, folder: Path) -> str | None:
    """What the job in FOLDER waits for in this process's worker; None where it doesn't wait."""
    worker = session.worker if session.busy else None
    if worker is None or not any(getattr(job, "folder", None) == folder for job in worker.waiting):
        return None
    current = worker.current
    return described(current) if current is not None else None


def waits(session: Session, run: RunFolder) -> str | None:
    """What RUN waits for before it is trained, by this process's worker or by another's; None where it doesn't wait."""
    behind = queued_behind(session, run.path)
    if behind is not None:
        return behind
    found = holder(run.path)
    if found is None:
        return None
    return "its turn" if found.here else f"its turn in {found.named}"
