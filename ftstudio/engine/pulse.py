"""A job's signs of life while its thread computes: heartbeat, and readings of the machine."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable
from typing import Any

from ftstudio.core.errors import StudioError
from ftstudio.core.folder import JobFolder
from ftstudio.engine.telemetry import Telemetry

BEAT = 5.0
READ = 2.0
READ_AT_REST = 10.0


class Pulse:
    """A small thread beside the worker's: `beat` every 5 s, a `telemetry` event every 2 s (10 s while paused).

    A thread of its own, because one step, one checkpoint or one load may take longer than that.
    """

    def __init__(self, folder: JobFolder, *, telemetry: bool) -> None:
        self._folder = folder
        self._telemetry = telemetry
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, name="ftstudio-pulse", daemon=True)
        self.resting = False
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
                self.beat()
            if reader is not None and now >= next_read:
                next_read = now + (READ_AT_REST if self.resting else READ)
                reading = reader.read()
                with contextlib.suppress(StudioError):
                    self._folder.emit("telemetry", **reading)
            else:
                reading = None
            watch = self.watch
            if watch is not None:
                with contextlib.suppress(StudioError):
                    watch(reading)
        if reader is not None:
            reader.close()
