"""Who works on a thing, as a file beside it tells, and how one of several processes is alone in taking it.

Nothing here waits for a lock of the operating system: on NFS those are not to be trusted.
"""

from __future__ import annotations

import json
import os
import socket
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

from ftstudio.core import files
from ftstudio.core.errors import StudioError
from ftstudio.core.text import one_line

# A heartbeat of another host older than this counts as gone. Its clock may differ from ours; on our own host
# the process itself is asked, so there a jumping clock can't end anything.
STALE_SECONDS = 90.0
EMPTY_SECONDS = 10.0  # a claim that names nobody for so long was given up
TRIES, PAUSE = 250, 0.02  # at a door; seconds between them


@dataclass(frozen=True)
class Owner:
    """The process that works on a job: id, host, when that process began (against reused ids), last sign of life,
    among which processes the id counts (see `_processes`; empty: not written down), and what it would have written of
    the job if there were room on the disk (see `Backlog.told`; None: all is written)."""

    process: int
    host: str
    began: float
    heartbeat: float
    token: str
    processes: str = ""
    held: dict[str, Any] | None = None

    @property
    def near(self) -> bool:
        """Whether it is a process of this host, which can be asked: containers may share a host's name, but no ids."""
        return self.host == socket.gethostname() and self.processes in ("", _processes())

    @property
    def through(self) -> bool:
        """Whether the job is, and only how it ended has no room on the disk."""
        state = (self.held or {}).get("state")
        return isinstance(state, dict) and state.get("kind") in ("done", "failed", "stopped")

    @classmethod
    def of(cls, value: Any) -> Owner | None:
        """What VALUE, read from a file, tells; None where it tells of none."""
        try:
            told = {key: value[key] for key in ("process", "host", "began", "heartbeat", "token")}
            held = value.get("held")
            held = held if isinstance(held, dict) else None
            return cls(**told, processes=str(value.get("processes") or ""), held=held)
        except (KeyError, TypeError, AttributeError):
            return None

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


@cache
def _processes() -> str:
    """Among which processes an id counts: those of this boot, and of this container. Empty where that can't be told."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot} {os.readlink('/proc/self/ns/pid')}"
    except (OSError, ValueError):
        return ""


def here(token: str = "", held: dict[str, Any] | None = None) -> Owner:
    """This process, with a sign of life of now, and what it holds back."""
    process = os.getpid()
    began = _process_began(process) or 0.0
    return Owner(process, socket.gethostname(), began, time.time(), token, _processes(), held)


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


def recorded(path: Path) -> Owner | None:
    """The owner that PATH tells of, alive or not; None where there is none, or it is half written."""
    return Owner.of(files.read_json(path))


@contextmanager
def alone(door: Path, what: str) -> Iterator[None]:
    """Be the only one within, of all processes that come to DOOR, a path that nothing else uses, to take WHAT.

    Raises StudioError where another stays within, OSError where nothing can be written there.
    """
    token = uuid.uuid4().hex
    mine = door.with_name(f"{door.name}.{token}")
    try:
        mine.write_text(json.dumps(asdict(here(token))))  # not synced: after a power cut nobody is within
        _enter(mine, door, token, what)
        try:
            yield
        finally:
            door.unlink(missing_ok=True)
    finally:
        mine.unlink(missing_ok=True)


def _enter(mine: Path, door: Path, token: str, what: str) -> None:
    for _ in range(TRIES):
        try:
            exclusive(mine, door)
            return
        except FileExistsError:
            inside = recorded(door)
            if inside is not None and inside.token == token:  # over NFS: made, but the answer was lost
                return
            gone = not inside.alive() if inside is not None else forsaken(door, mine)
            if gone:  # killed within the few microseconds at the door
                _clear(door, mine, inside)
            time.sleep(PAUSE)
    raise StudioError(f"{what} is being claimed by another process.", f"If none runs, delete {door}.")


def _clear(door: Path, mine: Path, seen: Owner | None) -> None:
    """Remove DOOR where it is still that of the dead process SEEN there: one claimant at a time, or a slow one
    would take away the door of who entered after another had removed the dead one's."""
    guard = door.with_name(f"{door.name}.gone")
    try:
        exclusive(mine, guard)
    except FileExistsError:
        if forsaken(guard, mine):
            guard.unlink(missing_ok=True)
        return
    try:
        inside = recorded(door)
        if inside is None or seen is None:
            same = inside is seen and forsaken(door, mine)
        else:
            same = inside.token == seen.token
        if same:
            door.unlink(missing_ok=True)
    finally:
        guard.unlink(missing_ok=True)
