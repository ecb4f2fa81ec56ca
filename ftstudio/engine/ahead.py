"""How many evaluations and checkpoints a run has before it: those of its rhythm, and those of its best evaluations."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

from ftstudio.engine.meter import Meter

SAVING = 0.05  # of the time trained: a checkpoint that isn't in the rhythm may take so much
BEST = "the best so far"  # the reason of such a checkpoint


class Ahead:
    """EVERY and SAVE are steps between evaluations (None: none) and checkpoints. BEST: an evaluation that is the best
    so far is saved too, where that costs little; whatever it costs, where the run is to end with it (EARLY)."""

    def __init__(self, every: int | None, save: int, best: bool, early: bool) -> None:
        self.every, self.save, self.best, self.early = every, save, best, early
        self.chances = self.kept = 0  # evaluations with no checkpoint of the rhythm, and how many were saved

    def goes_on(self, events: Iterable[Mapping[str, Any]], first: int) -> None:
        """EVENTS tell what became of the evaluations up to step FIRST."""
        judged, saved = set(), {}
        for event in events:
            step = event.get("step")
            if isinstance(step, int) and 0 < step <= first and event.get("kind") == "eval":
                judged.add(step)
            elif isinstance(step, int) and event.get("kind") == "checkpoint":
                saved[step] = event.get("reason")
        chances = [step for step in judged if saved.get(step, BEST) == BEST]
        self.chances, self.kept = len(chances), sum(step in saved for step in chances)

    def chance(self, kept: bool) -> None:
        """An evaluation was made after a step whose weights aren't saved anyway; whether they were KEPT as the best."""
        self.chances += 1
        self.kept += kept

    def affords(self, meter: Meter, evaluating: float, saved: float) -> bool:
        """Whether a checkpoint costs little beside EVALUATING, the seconds that this evaluation took, and the training
        since the last one, which was SAVED at so many seconds of it, by METER. With early stopping it is the model that
        the run is to end with, whatever it costs."""
        little = max(evaluating, meter.last("evaluating"), SAVING * (meter.seconds - saved))
        return self.early or meter.last("saving") <= little

    def counts(self, step: int, last: int, tokens: float, meter: Meter) -> dict[str, float]:
        """How often from STEP of LAST on each kind of work that METER knows is to come, the saved model included; steps
        have TOKENS on average."""
        before = step - 1  # what is due at this very step is to come: it is told before it is judged and saved
        found: dict[str, float] = {"saving": last // self.save - before // self.save + (last % self.save > 0) + 1}
        if self.every is not None:
            found["evaluating"] = last // self.every - before // self.every + (last % self.every > 0)
            if self.best and step < last:
                found["saving"] += self._best(before, last, tokens, meter)
        return found

    def _best(self, before: int, last: int, tokens: float, meter: Meter) -> float:
        """How many evaluations are to be the best and saved for it: by those so far (Laplace's rule of succession), and
        no more than there is time for."""
        assert self.every is not None
        both = math.lcm(self.every, self.save)
        left = (last - 1) // self.every - before // self.every - ((last - 1) // both - before // both)
        found = left * (self.kept + 1) / (self.chances + 2)
        took = meter.last("saving")
        if not self.early and took > meter.last("evaluating"):
            found = min(found, SAVING * (meter.eta(last - before - 1, tokens, {}) or 0.0) / took)
        return found
