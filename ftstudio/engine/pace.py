"""How much of the time goes into evaluations: their rhythm counts steps, and knows nothing of time."""

from __future__ import annotations

from ftstudio.engine.meter import Meter

MUCH = 1 / 3  # of the time
SHORT = 30.0  # seconds: nobody waits for less
HINT = "Next time a larger evaluation.every, fewer evaluation.samples or a smaller data.eval leave more to training."


class Pace:
    """Asked before every evaluation. It speaks once."""

    def __init__(self) -> None:
        self._trained: float | None = None  # training seconds at the last evaluation
        self._said = False

    def judged(self, meter: Meter) -> str:
        """What is to be said of the evaluation before and the training since, by METER; empty for nothing."""
        took, now = meter.last("evaluating"), meter.seconds
        before, self._trained = self._trained, now
        if before is None or self._said or took < SHORT:
            return ""
        share = took / (took + now - before)
        self._said = share > MUCH
        if not self._said:
            return ""
        return (
            f"Evaluations take {share:.0%} of the time: the last one {took:.0f} s, the training since then "
            f"{now - before:.0f} s."
        )
