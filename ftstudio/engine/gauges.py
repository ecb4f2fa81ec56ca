"""What looks at the model while it trains and isn't needed for that: scores, samples, the gauge of forgetting."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from ftstudio.core.errors import DiskFull, Stopped
from ftstudio.engine import loading, quiet, trouble

SCORES = "scores of the held-out rows"
AGAIN = "Training goes on, and the next evaluation tries again."


class Gauges:
    """Lets them look, and tells by TELL (text, hint) where an evaluation goes without one: once for each cause, since
    it may be so at every evaluation. The traceback goes to LOG every time."""

    def __init__(self, log: Path, tell: Callable[[str, str], None]) -> None:
        self.log, self.tell = log, tell
        self._told: set[tuple[str, str]] = set()

    def look(self, what: str, gauge: Callable[[Any, int], None], trainer: Any, step: int) -> None:
        """Let GAUGE look at TRAINER's model, for WHAT.

        Raises what training can't go on after or decides elsewhere: a full disk, a stop, a GPU that failed. That
        another process has taken over is seen as soon as it is told.
        """
        try:
            gauge(trainer, step)
            return
        except (DiskFull, Stopped):
            raise
        except Exception as error:
            if trouble.of_gpu(error):
                raise
            why = trouble.explain(error).message
            quiet.traceback(self.log, error)
            trouble.drop_frames(error)
        loading.free()  # out here, where nothing holds the frames any more
        self._without(what, why, step)

    def unscored(self, error: Exception, step: int | None) -> None:
        """The evaluation of STEP has no scores, by ERROR."""
        quiet.traceback(self.log, error)
        self._without(SCORES, trouble.explain(error).message, step)

    def _without(self, what: str, why: str, step: int | None) -> None:
        if (what, why) not in self._told:
            self._told.add((what, why))
            self.tell(f"The evaluation of step {step} has no {what}: {why}", AGAIN)
