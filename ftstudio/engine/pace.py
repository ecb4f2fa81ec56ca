"""How much of the time goes into evaluations and checkpoints: their rhythm counts steps, and knows nothing of time."""

from __future__ import annotations

from collections.abc import Mapping

from ftstudio.core.text import duration
from ftstudio.engine.meter import Meter

MUCH = 0.25  # of the time
SHORT = 60.0  # seconds of a run that all its evaluations and checkpoints may take, whatever their share
EVALUATE = (
    "Next time a larger evaluation.every, fewer evaluation.samples or a smaller data.eval leave more to training."
)
SAVE = "Next time a larger training.save_steps leaves more to training."
HINTS = (EVALUATE, SAVE)


def beside_training(seconds: Mapping[str, float]) -> str:
    """What of the SECONDS of a run (see `plan`) isn't training, for people: what is added to its time."""
    names = (("evaluations", "evaluating"), ("checkpoints", "saving"))
    found = [f"{name} {duration(seconds[key])}" for name, key in names if seconds.get(key)]
    told = f"; {' and '.join(found)} of it" if found else ""
    return told if "saving" in seconds else f"{told}; checkpoints not counted"


class Pace:
    """Asked before every evaluation. It speaks once in a run: SAID tells whether it has.

    It goes by the recipe's rhythm, EVERY steps an evaluation, SAVE steps a checkpoint, so that what a person asks for
    in between, and what the last step brings with it, don't count.
    """

    def __init__(self, every: int | None = None, save: int | None = None, said: bool = False) -> None:
        self.every, self.save, self.said = every, save, said
        self._first: tuple[float, int] | None = None  # training seconds and step at the first evaluation

    def judged(self, meter: Meter, step: int, last: int) -> tuple[str, str]:
        """What is to be said at STEP of LAST, by METER, and how to have it otherwise; empty for nothing."""
        if self._first is None:
            self._first = meter.seconds, step
        seconds, steps = meter.seconds - self._first[0], step - self._first[1]
        if self.said or self.every is None or steps < self.every:
            return "", ""
        trained = seconds / steps
        times = {name: meter.last(name) for name in ("evaluating", "saving")}
        each = {"evaluating": times["evaluating"] / self.every, "saving": times["saving"] / (self.save or last)}
        share = sum(each.values()) / max(1e-9, sum(each.values()) + trained)
        if share <= MUCH or sum(each.values()) * last < SHORT:
            return "", ""
        self.said = True
        text = (
            f"Evaluations and checkpoints take {share:.0%} of the time: {self.every} steps of training take "
            f"{duration(trained * self.every)}, an evaluation after them {duration(times['evaluating'])}"
        )
        if self.save and times["saving"]:
            text += f", a checkpoint every {self.save} steps {duration(times['saving'])}"
        return f"{text}.", EVALUATE if each["evaluating"] >= each["saving"] else SAVE
