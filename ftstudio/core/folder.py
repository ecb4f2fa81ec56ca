"""A job's folder: events out, requests in, and who owns it. The truth about a job, in plain files.

events.jsonl   append-only, written by the owner alone
control.jsonl  append-only, written by anyone
owner.json     who works on this now: process, host, heartbeat
log.txt        all that libraries print
"""

from __future__ import annotations

import json
import os
import socket
import time
import uuid
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ftstudio.core import files
from ftstudio.core.errors import StudioError
from ftstudio.core.text import one_line

STATES = ("queued", "running", "paused", "stopped", "failed", "interrupted", "done")
REQUESTS = ("pause", "resume", "checkpoint", "stop", "evaluate", "learning_rate", "steps")
# A heartbeat of another host older than this counts as gone. Its clock may differ from ours; on our own host
# the process itself is asked, so there a jumping clock can't end anything.
STALE_SECONDS = 90.0
EMPTY_SECONDS = 10.0  # a claim that names nobody for so long was given up
BEAT_SECONDS = 12.0  # a heartbeat comes every 5 s: so long is waited for one before a run is taken from another host


@dataclass(frozen=True)
class Owner:
    """The process that works on a job: id, host, when that process began (against reused ids), last sign of life."""

    process: int
    host: str
    began: float
    heartbeat: float
    token: str

    @property
    def near(self) -> bool:
        """Whether it is a process of this host, which can be asked."""
        return self.host == socket.gethostname()

    @property
    def here(self) -> bool:
        """Whether it is this process."""
        return self.near and self.process == os.getpid()

    @property
    def named(self) -> str:
        """In words: `process 4242`, with its host where that is another."""
        return f"process {self.process}" + ("" if self.near else f" on {one_line(self.host, 40)}")

    def alive(self) -> bool:
        """Whether that process is still there."""
        if self.near:
            began = _process_began(self.process)
            return began is not None and abs(began - self.began) < 2
        return _beats(self)


_seen: dict[str, tuple[float, float]] = {}  # of each owner elsewhere its last heartbeat, and when it was seen (here)


def _beats(owner: Owner) -> bool:
    """Whether an OWNER on another host gave a sign of life of late.

    The first look goes by its clock, which may differ from ours; from then on a new heartbeat counts, whatever time it
    tells, and one that stays the same doesn't.
    """
    before, now = _seen.get(owner.token), time.monotonic()
    if before is None:
        fresh = abs(time.time() - owner.heartbeat) < STALE_SECONDS
        _seen[owner.token] = (owner.heartbeat, now if fresh else now - STALE_SECONDS)
        return fresh
    if owner.heartbeat != before[0]:
        _seen[owner.token] = (owner.heartbeat, now)
        return True
    return now - before[1] < STALE_SECONDS


def _process_began(process: int) -> float | None:
    """When PROCESS began, in seconds since boot (a clock that never jumps); None where there is no such process."""
    try:
        with open(f"/proc/{process}/stat", "rb") as file:
            fields = file.read().rpartition(b")")[2].split()
        if fields[0] in (b"Z", b"X"):
            return None
        return int(fields[19]) / os.sysconf("SC_CLK_TCK")
    except (OSError, IndexError, ValueError):
        pass
    if os.path.exists("/proc/self/stat"):
        return None
    import psutil  # not Linux

    try:
        return float(psutil.Process(process).create_time())
    except psutil.Error:
        return None


def here(token: str = "") -> Owner:
    """This process, with a sign of life of now."""
    process = os.getpid()
    return Owner(process, socket.gethostname(), _process_began(process) or 0.0, time.time(), token)


def exclusive(mine: Path, door: Path) -> None:
    """Make DOOR with what MINE holds, or raise FileExistsError: exactly one of several succeeds.

    Making a link is atomic, also on NFS where locks are not to be trusted. Where the file system knows no hard links
    (FAT, many FUSE mounts), the door is made where there is none and filled then.
    """
    try:
        os.link(mine, door)
        return
    except FileExistsError:
        raise
    except OSError:  # EPERM, ENOTSUP, ENOSYS, EMLINK, …: a fault of another kind comes again here
        handle = os.open(door, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(mine.read_bytes())
    except OSError:
        door.unlink(missing_ok=True)
        raise


def forsaken(door: Path, mine: Path) -> bool:
    """Whether DOOR, which names nobody, is much older than MINE of just now: who made it was killed before filling
    it. The file system's own clock tells."""
    try:
        return mine.stat().st_mtime - door.stat().st_mtime > EMPTY_SECONDS
    except OSError:
        return False


class JobFolder:
    """One job's folder. Cheap to make; reading never writes."""

    def __init__(self, path: Path) -> None:
        self.path = Path(path)
        self.events_path = self.path / "events.jsonl"
        self.control_path = self.path / "control.jsonl"
        self.owner_path = self.path / "owner.json"
        self.log_path = self.path / "log.txt"
        self._token: str | None = None
        self._taken: StudioError | None = None  # by another process, while this one gave no sign of life
        self._writer = files.LineWriter(self.events_path)

    @property
    def name(self) -> str:
        """The folder's own name."""
        return self.path.name

    # -- who owns it -------------------------------------------------------------------------------------------
    def owner(self) -> Owner | None:
        """Who works on it now; None where nobody does (no owner, or its process is gone)."""
        found = self._recorded_owner()
        return found if found is not None and found.alive() else None

    def _recorded_owner(self) -> Owner | None:
        return self._read_owner(self.owner_path)

    @staticmethod
    def _read_owner(path: Path) -> Owner | None:
        value = files.read_json(path)
        try:
            return Owner(**{key: value[key] for key in Owner.__dataclass_fields__}) if value else None
        except (KeyError, TypeError):
            return None

    def claim(self) -> None:
        """Become the owner, or raise StudioError naming who is. Exactly one of several claimants succeeds."""
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise files.explain(error, self.path) from error
        present = self.owner()
        if present is not None:
            raise StudioError(
                f"{self.name} is being worked on by process {present.process} on {present.host}.",
                "Watch it in the studio, or stop it there first.",
            )
        self._wait_for_a_beat()
        token = uuid.uuid4().hex
        mine = self.path / f".owner.{token}"
        files.write_json(mine, asdict(here(token)))
        door = self.path / ".claiming"
        try:
            self._enter(mine, door, token)
            try:
                if self.owner() is not None:
                    raise StudioError(f"{self.name} was just taken by another process.", "Watch it there.")
                os.replace(mine, self.owner_path)
            finally:
                door.unlink(missing_ok=True)
        except OSError as error:
            raise files.explain(error, self.owner_path) from error
        finally:
            mine.unlink(missing_ok=True)
        self._token, self._taken = token, None

    def _wait_for_a_beat(self) -> None:
        """Where an owner on another host seems gone, wait for its next heartbeat: clocks of two hosts may differ.

        Raises StudioError where it comes.
        """
        gone = self._recorded_owner()
        until = time.monotonic() + BEAT_SECONDS
        while gone is not None and not gone.near and time.monotonic() < until:
            time.sleep(0.2)
            now = self._recorded_owner()
            if now is not None and now.alive():
                raise StudioError(
                    f"{self.name} is being worked on by process {now.process} on {now.host}.", "Watch it."
                )

    def _enter(self, mine: Path, door: Path, token: str) -> None:
        """Be alone in looking and claiming."""
        for _ in range(100):
            try:
                exclusive(mine, door)
                return
            except FileExistsError:
                inside = self._read_owner(door)
                if inside is not None and inside.token == token:  # over NFS: made, but the answer was lost
                    return
                gone = not inside.alive() if inside is not None else forsaken(door, mine)
                if gone:  # killed within the few microseconds at the door
                    self._clear(door, mine, inside)
                time.sleep(0.02)
        raise StudioError(f"{self.name} is being claimed by another process.", f"If none runs, delete {door}.")

    def _clear(self, door: Path, mine: Path, seen: Owner | None) -> None:
        """Remove DOOR where it is still that of the dead process SEEN there: one claimant at a time, or a slow one
        would take away the door of who entered after another had removed the dead one's."""
        guard = door.with_name(".claiming.gone")
        try:
            exclusive(mine, guard)
        except FileExistsError:
            if forsaken(guard, mine):
                guard.unlink(missing_ok=True)
            return
        try:
            inside = self._read_owner(door)
            if inside is None or seen is None:
                same = inside is seen and forsaken(door, mine)
            else:
                same = inside.token == seen.token
            if same:
                door.unlink(missing_ok=True)
        finally:
            guard.unlink(missing_ok=True)

    def beat(self) -> None:
        """Write a new heartbeat. Called by the owner every few seconds. Raises StudioError where it is the owner no
        more: after a long silence (a machine that slept, a file system that hung) another one may have taken over."""
        if self._token is not None:
            self.keep()
            files.write_json(self.owner_path, asdict(here(self._token)))

    def keep(self, *, look: bool = True) -> None:
        """Raise StudioError where another process took over what this one had claimed: from then on it must write
        nothing here, and `emit` refuses. Without LOOK, into owner.json, as far as it is known already."""
        if look and self._token is not None and self._taken is None:
            recorded = self._recorded_owner()
            mine = recorded is not None and recorded.token == self._token
            if not mine and (recorded is not None or not self.owner_path.exists()):  # else it can't be read just now
                by = f" by process {recorded.process} on {recorded.host}" if recorded is not None else ""
                self._taken = StudioError(
                    f"{self.name} was taken over{by}, since this process gave no sign of life for a while.",
                    "It goes on there; this process has stopped and writes nothing more.",
                )
        if self._taken is not None:
            raise StudioError(self._taken.message, self._taken.hint)

    def release(self) -> None:
        """Stop being the owner."""
        if self._token is None:
            return
        recorded = self._recorded_owner()
        if recorded is not None and recorded.token == self._token:
            self.owner_path.unlink(missing_ok=True)
        self._token = None

    @property
    def owned_here(self) -> bool:
        """Whether this object holds the claim."""
        return self._token is not None

    # -- events and requests -----------------------------------------------------------------------------------
    def emit(self, kind: str, **fields: Any) -> dict[str, Any]:
        """Append an event and return it. Non-finite numbers become null, so that every line is strict JSON.

        Raises StudioError where it can't be written, or another process took over.
        """
        self.keep(look=False)
        event = {"kind": kind, "time": time.time(), **{key: _finite(value) for key, value in fields.items()}}
        self._writer.append(event)
        return event

    def events(self) -> list[dict[str, Any]]:
        """All events so far."""
        return files.read_lines(self.events_path)

    def rare_events(self, step: int | None = None) -> Iterator[dict[str, Any]]:
        """The events so far, one after another, but for those of every step and of the machine, which are nearly all:
        of the former only that of STEP. A run of many steps is read in a moment, and takes no memory."""
        own = b'"step":%d,' % step if step is not None else None

        def wanted(line: bytes) -> bool:
            often = line.startswith(OFTEN)
            return not often or (own is not None and own in line and line.startswith(OFTEN[0]))

        return files.each_line(self.events_path, wanted)

    def request(self, what: str, **fields: Any) -> None:
        """Ask the owner for WHAT (one of REQUESTS)."""
        if what not in REQUESTS:
            raise ValueError(what)
        files.LineWriter(self.control_path).append({"kind": "request", "request": what, "time": time.time(), **fields})

    def requests(self) -> files.LineReader:
        """A reader that yields the requests made from now on."""
        try:
            offset = self.control_path.stat().st_size
        except OSError:
            offset = 0
        return files.LineReader(self.control_path, offset)

    # -- state -------------------------------------------------------------------------------------------------
    def state(self, last: dict[str, Any] | None = None) -> str:
        """One of STATES. LAST is the last event of a kind in STATE_KINDS, where the caller knows it already."""
        if last is None:
            last = next((event for event in reversed(self._tail()) if event.get("kind") in STATE_KINDS), None)
        kind = last.get("kind") if last else None
        if kind in ("done", "failed", "stopped"):
            return str(kind) if self.owner() is None or kind != "stopped" else "stopped"
        if self.owner() is None:
            return "interrupted" if self.events_path.exists() and kind is not None else "queued"
        return "paused" if kind == "phase" and last is not None and last.get("phase") == "paused" else "running"

    def _tail(self, span: int = 1 << 16) -> list[dict[str, Any]]:
        """The last events, and all of them where the last SPAN bytes hold none that tells the state."""
        try:
            size = self.events_path.stat().st_size
        except OSError:
            return []
        while True:
            start = max(0, size - span)
            rows = files.LineReader(self.events_path, start).all()
            if start == 0 or any(row.get("kind") in STATE_KINDS for row in rows):
                return rows
            span *= 16


OFTEN = (b'{"kind":"step",', b'{"kind":"telemetry",')  # as `emit` writes them
# the kinds of events a state is read from
STATE_KINDS = ("phase", "failed", "done", "stopped")


def _finite(value: Any) -> Any:
    if isinstance(value, float) and (value != value or value in (float("inf"), float("-inf"))):
        return None
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    if isinstance(value, (str, int, float, bool)) or value is None:
        return value
    return json.loads(json.dumps(value, default=str))
