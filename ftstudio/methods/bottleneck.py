"""Bottleneck adapters as a method of peft: saved, loaded, switched off and taken off like its own.

    y = f(x) + up(act(down(f(x))))

behind the layer f that hands a sublayer's result to the residual (Houlsby et al. 2019: attention and feed-forward;
Pfeiffer et al. 2021: feed-forward alone). `up` begins at zero, so the model begins as the base. Importing this imports
torch and peft, and makes the method known to peft.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import torch
from peft import PeftConfig, PeftType
from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING
from peft.tuners.tuners_utils import BaseTuner, BaseTunerLayer
from peft.utils import register_peft_method
from torch import nn

NAME = "bottleneck"
PREFIX = "bottleneck_"
_ACTIVATIONS = {"relu": nn.ReLU, "gelu": nn.GELU, "silu": nn.SiLU, "tanh": nn.Tanh}


@dataclass
class BottleneckConfig(PeftConfig):
    """Where bottlenecks go, `widths` of what they follow (by full name), and their shape."""

    target_modules: list[str] | str | None = None
    exclude_modules: list[str] | str | None = None
    modules_to_save: list[str] | None = None
    widths: dict[str, int] = field(default_factory=dict)
    reduction: int = 16
    activation: str = "relu"
    dropout: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        self.peft_type = _peft_type()
        if isinstance(self.target_modules, list):
            self.target_modules = set(self.target_modules)  # type: ignore[assignment]  # as peft's own do


class BottleneckLayer(nn.Module, BaseTunerLayer):
    """A layer with bottlenecks behind it, one an adapter."""

    adapter_layer_names = ("bottleneck_down", "bottleneck_up")
    other_param_names = ("bottleneck_dropout",)

    def __init__(self, base_layer: nn.Module, width: int) -> None:
        super().__init__()
        self.base_layer = base_layer
        self.width = width
        self.bottleneck_down = nn.ModuleDict({})
        self.bottleneck_up = nn.ModuleDict({})
        self.bottleneck_dropout = nn.ModuleDict({})
        self.bottleneck_activation = nn.ModuleDict({})
        self._disable_adapters = False
        self.merged_adapters: list[str] = []

    def update_layer(self, adapter_name: str, config: BottleneckConfig, inference_mode: bool = False) -> None:
        """Put the bottleneck ADAPTER_NAME of CONFIG here."""
        inner = max(1, self.width // config.reduction)
        device = next(self.base_layer.parameters()).device
        down = nn.Linear(self.width, inner, device=device, dtype=torch.float32)
        up = nn.Linear(inner, self.width, device=device, dtype=torch.float32)
        if down.weight.device.type != "meta":
            nn.init.kaiming_uniform_(down.weight, a=math.sqrt(5))
            for part in (down.bias, up.weight, up.bias):
                nn.init.zeros_(part)
        self.bottleneck_down[adapter_name] = down
        self.bottleneck_up[adapter_name] = up
        self.bottleneck_dropout[adapter_name] = nn.Dropout(config.dropout) if config.dropout else nn.Identity()
        self.bottleneck_activation[adapter_name] = _ACTIVATIONS[config.activation]()
        self.set_adapter(self.active_adapters, inference_mode=inference_mode)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """What the layer says, and behind it what each active bottleneck makes of it."""
        result = self.base_layer(*args, **kwargs)
        if self.disable_adapters:
            return result
        first = result[0] if isinstance(result, tuple) else result
        for name in self.active_adapters:
            if name not in self.bottleneck_down:
                continue
            down, up = self.bottleneck_down[name], self.bottleneck_up[name]
            inner = self._cast_input_dtype(self.bottleneck_dropout[name](first), down.weight.dtype)
            first = first + up(self.bottleneck_activation[name](down(inner))).to(first.dtype)
        return (first, *result[1:]) if isinstance(result, tuple) else first

    def merge(self, safe_merge: bool = False, adapter_names: list[str] | None = None) -> None:
        """Not possible: it isn't linear."""
        raise ValueError("a bottleneck adapter can't be merged into the base: it isn't linear")

    def unmerge(self) -> None:
        """Nothing is ever merged."""


class BottleneckModel(BaseTuner):
    """A model with bottlenecks in it."""

    prefix = PREFIX
    tuner_layer_cls = BottleneckLayer
    target_module_mapping: dict[str, Any] = {}

    def _create_and_replace(
        self, config: Any, adapter_name: str, target: Any, target_name: str, parent: Any, current_key: str
    ) -> None:
        if isinstance(target, BottleneckLayer):
            target.update_layer(adapter_name, config)
            return
        new = BottleneckLayer(target, config.widths[current_key])
        new.update_layer(adapter_name, config)
        if adapter_name not in self.active_adapters:
            new.requires_grad_(False)
        setattr(parent, target_name, new)

    def _replace_module(self, parent: Any, child_name: str, new_module: Any, child: Any) -> None:
        setattr(parent, child_name, new_module)  # the layer itself comes back when an adapter is taken off

    @staticmethod
    def _create_new_module(*args: Any, **kwargs: Any) -> None:
        raise NotImplementedError


def _peft_type() -> Any:
    """peft's list of methods is closed: a member of our own is added to it."""
    word = NAME.upper()
    if word not in PeftType.__members__:
        member = str.__new__(PeftType, word)
        member._name_, member._value_ = word, word
        member._sort_order_ = len(PeftType.__members__)
        PeftType._member_map_[word] = member
        PeftType._value2member_map_[word] = member
        PeftType._member_names_.append(word)
        type.__setattr__(PeftType, word, member)
    return PeftType[word]


if _peft_type() not in PEFT_TYPE_TO_CONFIG_MAPPING:
    register_peft_method(name=NAME, config_cls=BottleneckConfig, model_cls=BottleneckModel, prefix=PREFIX)
