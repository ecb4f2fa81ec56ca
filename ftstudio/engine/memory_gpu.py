"""What kernels of a GPU hold where those of the CPU, on which a step is followed without numbers, hold more."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS

SDPA = "ftstudio_gpu_sdpa"


class _Masked(torch.autograd.Function):
    """CUDA's `native_dropout` keeps a byte a value of what fell out; the CPU keeps the factors, each as wide as a
    value."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(torch.empty(x.shape, dtype=torch.bool))
        return torch.empty_like(x)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> torch.Tensor:
        return torch.empty_like(gradients[0])


class GpuDropout(nn.Dropout):
    """Stands in for nn.Dropout on a GPU."""

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """See nn.Dropout."""
        if not self.training or not 0 < self.p < 1:
            return super().forward(input)
        result: torch.Tensor = _Masked.apply(input)
        return result


def attends(module: Any, query: Any, key: Any, value: Any, mask: Any, **named: Any) -> Any:
    """transformers' SDPA as a GPU holds it: its fused kernels draw again on the way back what falls out, where the CPU
    has none with dropout and would hold whole matrices of scores."""
    return sdpa_attention_forward(module, query, key, value, mask, **(named | {"dropout": 0.0}))


def on_gpu(model: nn.Module) -> None:
    """Let MODEL hold in a step what it would hold on a GPU."""
    for module in model.modules():
        for name, child in module._modules.items():
            if type(child) is nn.Dropout:
                module._modules[name] = GpuDropout(child.p).train(child.training)
    inner: Any = model.get_base_model() if hasattr(model, "get_base_model") else model
    if getattr(getattr(inner, "config", None), "_attn_implementation", None) == "sdpa":
        AttentionInterface.register(SDPA, attends)
        AttentionMaskInterface.register(SDPA, ALL_MASK_ATTENTION_FUNCTIONS["sdpa"])
        inner.set_attn_implementation(SDPA)
