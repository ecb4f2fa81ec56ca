"""Weights that learn are kept in 32 bits while they do, whatever the model is stored in (Micikevicius et al. 2018,
"Mixed Precision Training", section 3.1): a step of 1e-5 on a weight of 0.02 is below what 16 bits can tell apart.

peft does so with its own small matrices alone; heads and other modules that learn whole (`modules_to_save`) come in the
precision of the base, in which bf16 loses most of each step and fp16 can't be scaled back at all.
"""

from __future__ import annotations

from typing import Any

import torch

HALF = (torch.float16, torch.bfloat16)


def widen(model: Any) -> None:
    """MODEL's learning weights in 32 bits; `narrow` puts them back. The base's own are never touched by this: peft lets
    copies of them learn."""
    places = getattr(model, "ftstudio_narrow", [])
    for module in model.modules():
        for name, weight in module._parameters.items():
            if weight is not None and weight.requires_grad and weight.dtype in HALF:
                places.append((module, name, weight.dtype))
    for module, name, _ in places:  # a tied one has several places
        weight = module._parameters[name]
        weight.data = weight.data.float()
    model.ftstudio_narrow = places


def narrow(model: Any) -> None:
    """Round what `widen` widened in MODEL to what it was stored in: as the saved model will be read back, and as it can
    be called without mixed precision around it."""
    for module, name, kind in getattr(model, "ftstudio_narrow", ()):
        weight = module._parameters[name]
        if hasattr(weight, "full_tensor"):  # in parts on several processes: such a model is made anew
            continue
        weight.grad = None
        weight.data = weight.data.to(kind)
    model.ftstudio_narrow = []
