"""What a job is handed by the worker: its folder, the loaded models, and when to stop."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ftstudio.core.errors import Stopped
from ftstudio.core.folder import JobFolder

if TYPE_CHECKING:
    from ftstudio.engine.models import ModelStore


@dataclass
class JobContext:
    """One job's surroundings. Made by the worker on its own thread; nothing here touches the screen.

    `folder` is claimed already and gets heartbeats from the worker's pulse. `models` keeps the base model loaded
    between jobs. `should_stop()` is cheap: ask it once a token or batch. `phase(name, text)` tells what a person waits
    for now. Leave with `raise Stopped(...)` (or `context.check()`): the worker writes the `stopped` event; any other
    exception becomes `failed`. A job that ends by itself emits its own `done`.
    """

    folder: JobFolder
    models: ModelStore
    should_stop: Callable[[], bool]
    phase: Callable[[str, str], None]
    heartbeat: Callable[[], None]

    def check(self) -> None:
        """Raise Stopped where someone asked for a stop."""
        if self.should_stop():
            raise Stopped("Stopped.", "What was done so far is kept.")
