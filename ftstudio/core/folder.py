"""A job's folder: events out, requests in, and who owns it. The truth about a job, in plain files.

events.jsonl   append-only, written by the owner alone
control.jsonl  append-only, written by anyone
owner.json     who works on this now: process, host, heartbeat; on a full disk also the state that has no room elsewhere
log.txt        all that libraries print
"""

from __future__ import annotations

import contextlib
import json
import os
import threading
import time
import uuid
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from ftstudio.core import files
from ftstudio.core.backlog import STATE_KINDS as STATE_KINDS
from ftstudio.core.backlog import Backlog
from ftstudio.core.errors import DiskFull, StudioError
from ftstudio.core.owner import Owner, alone, here, recorded

STATES = ("queued", "running", "paused", "stopped", "failed", "interrupted", "done")
ENDS = ("done", "failed", "stopped")
"""The kinds of events that a job ends with; a run that is gone on with begins with another `start`."""
REQUESTS = ("pause", "resume", "checkpoint", "stop", "evaluate", "learning_rate", "steps")
BEAT_SECONDS = 12.0  # a heartbeat comes every 5 s: so long is waited for one before a run is taken from another host

_held_here: dict[str, dict[str, Any]] = {}  # by folder: what this process can't write, for a disk that takes nothing
SIGNED = 2048  # bytes that owner.json takes up, so that all there is to say has room in it on a full disk


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
        self._backlog = Backlog()
        self._emitting = threading.RLock()  # the job's thread and its pulse's
        self._over = False  # the last event is an end
        self.patient = False  # an event that finds no room waits in memory, and `emit` doesn't raise for that
        self.unwritten: StudioError | None = None  # why events wait in memory, as long as some do

    @property
    def name(self) -> str:
        """The folder's own name."""
        return self.path.name

    # -- who owns it -------------------------------------------------------------------------------------------
    def owner(self) -> Owner | None:
        """Who works on it now; None where nobody does (no owner, or its process is gone)."""
        found = self._recorded_owner()
        if found is None or not found.alive():
            return None
        held = _held_here.get(os.path.abspath(self.path)) if found.here else None
        return found if held is None else replace(found, held=held)

    def _recorded_owner(self) -> Owner | None:
        return recorded(self.owner_path)

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
        try:
            with alone(self.path / ".claiming", self.name):
                if self.owner() is not None:
                    raise StudioError(f"{self.name} was just taken by another process.", "Watch it there.")
                files.write_json(self.owner_path, asdict(here(token)), SIGNED)
        except OSError as error:
            raise files.explain(error, self.owner_path) from error
        self._token, self._taken = token, None
        _held_here.pop(os.path.abspath(self.path), None)

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

    def beat(self) -> None:
        """Write a new heartbeat. Called by the owner every few seconds. Raises StudioError where it is the owner no
        more: after a long silence (a machine that slept, a file system that hung) another one may have taken over."""
        if self._token is None:
            return
        self.keep()
        try:
            files.write_json(self.owner_path, self._sign(self._token), SIGNED)
        except DiskFull:
            self._sign_in_place()

    def _sign(self, token: str) -> dict[str, Any]:
        """What owner.json holds: who works on it, and what it can't write of that."""
        with self._emitting:
            held = self._backlog.told(self.unwritten.message) if self.unwritten is not None and self._backlog else None
        return asdict(here(token, held))

    def _sign_in_place(self) -> None:
        """A sign of life on a full disk: within the room that owner.json has already."""
        recorded = self._recorded_owner()
        if self._token is not None and recorded is not None and recorded.token == self._token:
            with contextlib.suppress(OSError):  # a file system that writes nothing in place
                files.overwrite_json(self.owner_path, self._sign(self._token))

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

        Raises StudioError where it can't be written, or another process took over. What can't be written is kept, and
        written before the next event that can be; where this object is `patient`, a full disk raises nothing.
        """
        self.keep(look=False)
        event = {"kind": kind, "time": time.time(), **{key: _finite(value) for key, value in fields.items()}}
        with self._emitting:
            if kind == "telemetry" and self._over:  # read while it ended: the end is what comes last
                return event
            self._over = kind in ENDS or (self._over and kind != "start")
            self._backlog.add(event)
            try:
                self._write()
            except DiskFull:
                if not self.patient:
                    raise
        return event

    def _write(self) -> None:
        """Write what waits; raises StudioError where that isn't possible, and tells so beside the events."""
        try:
            while self._backlog:
                self._writer.append(self._backlog.first)
                self._backlog.written()
        except StudioError as error:
            self.unwritten = error
            _held_here[os.path.abspath(self.path)] = self._backlog.told(error.message)
            self._sign_in_place()
            raise
        if self.unwritten is not None:
            self.unwritten = None
            _held_here.pop(os.path.abspath(self.path), None)
            with contextlib.suppress(StudioError):  # another one took over: nothing is to be signed
                self.beat()

    @property
    def ended(self) -> bool:
        """Whether the job has come to an end that only waits to be written."""
        return (self._backlog.state or {}).get("kind") in ENDS

    def catch_up(self) -> bool:
        """Write the events that wait in memory, if any, and there is room by now. Whether none is left."""
        with self._emitting:
            if self.unwritten is not None and self._taken is None:
                with contextlib.suppress(StudioError):
                    self._write()
            return self.unwritten is None

    def events(self) -> list[dict[str, Any]]:
        """All events so far; the owner's with those that wait for room on the disk."""
        with self._emitting:  # the pulse's thread may write what waits
            return files.read_lines(self.events_path) + self._backlog.waiting()

    def rare_events(self, step: int | None = None) -> Iterator[dict[str, Any]]:
        """The events so far, one after another, but for those of every step and of the machine, which are nearly all:
        of the former only that of STEP. A run of many steps is read in a moment, and takes no memory. The owner's with
        those that wait for room on the disk: else what was done there would be told, and not remembered."""
        own = b'"step":%d,' % step if step is not None else None

        def wanted(line: bytes) -> bool:
            often = line.startswith(OFTEN)
            return not often or (own is not None and own in line and line.startswith(OFTEN[0]))

        with self._emitting:  # the pulse's thread may write what waits
            waiting = [event for event in self._backlog.waiting() if _rare(event, step)]
            kept = list(files.each_line(self.events_path, wanted)) if waiting else []
        yield from (*kept, *waiting) if waiting else files.each_line(self.events_path, wanted)

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
    def state(self, last: dict[str, Any] | None = None, owner: Owner | None = None) -> str:
        """One of STATES. LAST is the last event of a kind in STATE_KINDS, OWNER who works on it, where the caller knows
        that already."""
        if last is None:
            last = next((event for event in reversed(self._tail()) if event.get("kind") in STATE_KINDS), None)
        owner = owner or self.owner()
        if owner is not None and owner.held is not None and isinstance(owner.held.get("state"), dict):
            last = owner.held["state"]  # which has no room among the events
        kind = last.get("kind") if last else None
        if kind in ENDS:
            return str(kind)
        if owner is None:
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


OFTEN = (b'{"kind":"step","time":', b'{"kind":"telemetry","time":')  # as `emit` writes them


def _rare(event: dict[str, Any], step: int | None) -> bool:
    """Whether EVENT is none of every step, but for that of STEP, and none of the machine."""
    if event["kind"] == "step":
        return step is not None and event.get("step") == step
    return bool(event["kind"] != "telemetry")


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
