"""Full fine-tuning: every weight learns."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ftstudio.core.errors import StudioError
from ftstudio.methods.base import Method, Settings

if TYPE_CHECKING:
    from torch import nn


class FullSettings(Settings):
    """Full fine-tuning has no settings of its own."""


class Full(Method):
    """Every weight of the model learns."""

    name = "full"
    title = "Full fine-tuning: every weight learns"
    help = (
        "Changes the whole model. Learns the most and forgets the most; needs memory for weights, gradients and two "
        "optimiser states (about 16 bytes a parameter). For small models, or much data."
    )
    limits = (
        "The tuned model is a whole copy: comparing it with the base loads both.",
        "Quantised weights can't learn, so the base is loaded in 32 bits.",
    )
    learning_rate = 2e-5
    adapter = False
    model = FullSettings

    def apply(self, model: nn.Module, settings: Any) -> nn.Module:
        """MODEL with every weight set to learn. A quantised model is refused."""
        if getattr(model, "is_loaded_in_4bit", False) or getattr(model, "is_loaded_in_8bit", False):
            raise StudioError(
                "Full fine-tuning can't train quantised weights.", "Use method qlora, or load the model unquantised."
            )
        for parameter in model.parameters():
            parameter.requires_grad_(True)
        return model
