"""PiSSA and OLoRA: adapters that begin as a part of the base's weights, saved as plain LoRA over the untouched base.

They train W = W' + s·B·A, where W' is what is left of W when the first s·B₀·A₀ is taken out. So switching the adapter
off does not give the base back. What was learnt is s·(B·A - B₀·A₀), which is LoRA of twice the rank over W itself:
[B, -B₀]·[A; A₀] (peft's `subtract_mutated_init`; Meng et al. 2024, appendix C).
"""

from __future__ import annotations

import copy
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

_KEPT = "ftstudio_first_weights"


def off_is_base(model: Any) -> bool:
    """Whether MODEL with its adapter off is the base."""
    configs = getattr(model, "peft_config", None) or {}
    return bool(configs) and not any(_mutating(config) for config in configs.values())


def _mutating(config: Any) -> bool:
    return str(getattr(config, "init_lora_weights", "")).lower().startswith(("pissa", "olora"))


def remember(model: Any) -> None:
    """Keep the adapter's first weights on MODEL, on the CPU."""
    setattr(model, _KEPT, {name: value.detach().cpu().clone() for name, value in _matrices(model).items()})


def _matrices(model: Any) -> dict[str, torch.Tensor]:
    from peft import get_peft_model_state_dict

    state = get_peft_model_state_dict(model, save_embedding_layers=False)
    return {name: value for name, value in state.items() if "lora_A" in name or "lora_B" in name}


def convert(model: Any, folder: Path) -> None:
    """Write what MODEL has learnt into FOLDER as plain LoRA: weights and configuration."""
    import torch
    from peft import get_peft_model_state_dict
    from safetensors.torch import save_file

    first = getattr(model, _KEPT)
    state = get_peft_model_state_dict(model, save_embedding_layers=False)
    found = {}
    for name, value in state.items():
        value = value.detach().cpu()
        if name in first and "lora_A" in name:
            value = torch.cat([value, first[name].to(value.dtype)], 0)
        elif name in first:
            value = torch.cat([value, -first[name].to(value.dtype)], 1)
        found[name] = value.contiguous()
    save_file(found, str(folder / "adapter_model.safetensors"), metadata={"format": "pt"})
    config = copy.deepcopy(model.peft_config[model.active_adapter])
    config.init_lora_weights = True
    config.r *= 2
    config.lora_alpha *= math.sqrt(2) if config.use_rslora else 2  # the scaling s stays
    config.inference_mode = True
    config.save_pretrained(str(folder))
