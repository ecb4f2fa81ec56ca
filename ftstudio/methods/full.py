"""Full fine-tuning: every weight learns."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ftstudio.methods.base import Encode, Method, Settings, refuse_quantised

if TYPE_CHECKING:
    from torch import nn


class FullSettings(Settings):
    """Full fine-tuning has no settings of its own."""


class Full(Method):
    """Every weight of the model learns."""

    name = "full"
    title = "Full fine-tuning: every weight learns"
    changes = "Changes the whole model."
    choose = (
        "For small models, for encoders with a new head, or for much data: it learns the most and forgets the most."
    )
    costs = (
        "Needs memory for weights, gradients and two optimiser states (about 16 bytes a parameter); every run saves a "
        "whole copy of the model."
    )
    limits = (
        "The tuned model is a whole copy: comparing it with the base loads both.",
        "Quantised weights can't learn, so the base is loaded in 32 bits.",
    )
    learning_rate = 2e-5
    adapter = False
    forgets = "most"
    model = FullSettings

    def apply(self, model: nn.Module, settings: Any, encode: Encode | None = None) -> nn.Module:
        """MODEL with every weight set to learn but those that its files never hold (Marian's positions, which are
        computed): what they learnt would be lost. A quantised model is refused."""
        refuse_quantised(model, "Full fine-tuning")
        computed = getattr(model, "_keys_to_ignore_on_save", None) or ()
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(name not in computed)
        return model
