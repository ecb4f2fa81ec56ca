"""A job's signs of life while its thread computes: heartbeat, and readings of the machine."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable
from typing import Any

from ftstudio.core.errors import StudioError
from ftstudio.core.folder import JobFolder
from ftstudio.engine import quiet
from ftstudio.engine.telemetry import Telemetry

BEAT = 5.0
READ = 2.0
READ_AT_REST = 10.0


class Pulse:
    """A small thread beside the worker's: `beat` every 5 s, a `telemetry` event every 2 s (10 s while paused).

    A thread of its own, because one step, one checkpoint or one load may take longer than that. BESIDE is called with
    each heartbeat.
    """

    def __init__(self, folder: JobFolder, *, telemetry: bool, beside: Callable[[], None] = lambda: None) -> None:
        self._folder, self._beside = folder, beside
        self._telemetry = telemetry
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, name="ftstudio-pulse", daemon=True)
        self.resting = self._troubled = False
        self.watch: Callable[[dict[str, Any] | None], None] | None = None  # looks at each reading, and at the time

    def __enter__(self) -> Pulse:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join()

    def beat(self) -> None:
        """Write a heartbeat now."""
        with contextlib.suppress(StudioError):  # a full disk must not end the job that may free it
            self._folder.beat()

    def _run(self) -> None:
        reader = Telemetry(own=True) if self._telemetry else None
        next_beat = time.monotonic() + BEAT
        next_read = time.monotonic()
        while not self._end.wait(0.5):
            now = time.monotonic()
            if now >= next_beat:
                next_beat = now + BEAT
                self._safely(self.beat)
                self._safely(self._beside)
            reading = None
            if reader is not None and now >= next_read:
                next_read = now + (READ_AT_REST if self.resting else READ)
                reading = self._safely(self._read, reader)
            self._safely(self._look, reading)
        if reader is not None:
            reader.close()

    def _safely(self, work: Callable[..., Any], *args: Any) -> Any:
        """WORK(*ARGS). Nothing may end this thread: without a heartbeat another host takes the run for abandoned."""
        try:
            return work(*args)
        except StudioError:
            pass
        except Exception as error:
            if not self._troubled:  # once: it may come every half second
                self._troubled = True
                quiet.traceback(self._folder.log_path, error)
        return None

    def _read(self, reader: Telemetry) -> dict[str, Any]:
        reading = reader.read()
        with contextlib.suppress(StudioError):
            self._folder.emit("telemetry", **reading)
        return reading

    def _look(self, reading: dict[str, Any] | None) -> None:
        """A method of its own: a name in the loop would hold what watches, with its trainer, after it is through."""
        watch = self.watch
        if watch is not None:
            watch(reading)
