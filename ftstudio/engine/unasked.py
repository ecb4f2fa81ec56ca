"""Weights that are set to learn and that the loss never reaches: told once, they would be counted as learning."""

from __future__ import annotations

from typing import Any

from transformers import TrainerCallback

from ftstudio.core.run import RunFolder
from ftstudio.core.watch import Watch
from ftstudio.engine import alerting

STEPS = 10  # without a gradient before it is told: an expert may see no token in a step


class Unasked(TrainerCallback):
    """Looks at the first steps of the run in FOLDER for weights that get no gradient at all; WATCH says who is told.

    An encoder's pooler is left out: it is there for one task, and the others don't mind.
    """

    def __init__(self, folder: RunFolder, watch: Watch) -> None:
        self.folder, self.watch = folder, watch
        self.left: set[str] | None = None
        self.steps = 0

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, model: Any = None, **_: Any) -> Any:
        """See TrainerCallback."""
        if self.left == set() or model is None:
            return control
        without = {
            name
            for name, weight in model.named_parameters()
            if weight.requires_grad and weight.grad is None and "pooler" not in name.split(".")
        }
        self.left = without if self.left is None else self.left & without
        self.steps += 1
        if self.left and (self.steps >= STEPS or state.global_step + 1 >= state.max_steps):
            names = sorted(self.left)
            text = f"{len(names)} of the weights that should learn got no gradient in {self.steps} steps, such as "
            text += f"{names[0]}: they learn nothing."
            alerting.say(self.folder, self.watch, "warning", text, "Leave them out of what learns.")
            self.left = set()
        return control
