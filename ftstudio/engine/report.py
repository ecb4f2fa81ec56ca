"""Step events at a bounded rate: what a tiny model does a thousand times a second is told twenty times a second."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from ftstudio.core.folder import JobFolder

if TYPE_CHECKING:
    from ftstudio.engine.trainer import StudioTrainer

# seconds between two step events at least; steps slower than that are all told
INTERVAL = 0.05


class StepReport:
    """Emits `step` events, at most one every `INTERVAL` seconds. What was held back comes with `flush`.

    `flush` is called before every other event of the run, so that the last step before an evaluation, a checkpoint,
    a pause or the end is always told.
    """

    def __init__(self, folder: JobFolder, clock: Callable[[], float] = time.monotonic) -> None:
        self._folder = folder
        self._clock = clock
        self._last = float("-inf")
        self._held: Callable[[], dict[str, Any]] | None = None

    def step(self, fields: Callable[[], dict[str, Any]]) -> None:
        """Tell of a step, now or later. FIELDS makes the event's fields when it is told."""
        self._held = fields
        if self._clock() - self._last >= INTERVAL:
            self.flush()

    def flush(self) -> None:
        """Tell the step that was held back, if any."""
        held, self._held = self._held, None
        if held is not None:
            self._last = self._clock()
            self._folder.emit("step", **held())


def of_step(
    trainer: StudioTrainer, logs: Mapping[str, float], sources: Mapping[str, float], *, skipped: bool
) -> Callable[[float | None], dict[str, Any]]:
    """What a `step` event tells of the step that TRAINER has just taken, from LOGS and its loss by SOURCES; SKIPPED:
    the weights are as before. To be asked, with the seconds to the end, when it is told."""
    step, epoch = trainer.state.global_step, trainer.state.epoch

    def fields(eta: float | None) -> dict[str, Any]:
        speed = trainer.meter.rate()
        return {
            "step": step,
            "epoch": round(epoch or 0.0, 4),
            "loss": float(logs["loss"]),
            "lr": logs.get("learning_rate"),
            "grad_norm": logs.get("grad_norm"),
            "tokens": trainer.meter.tokens,
            "tokens_per_second": speed,
            "seconds": round(trainer.meter.seconds, 3),
            "eta": eta,
            **({"mfu": share} if (share := trainer.utilisation(speed)) is not None else {}),
            **({"sources": sources} if sources else {}),
            **({"skipped": True} if skipped else {}),
        }

    return fields
