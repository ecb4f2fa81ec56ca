"""What kernels of a GPU hold where those of the CPU, on which a step is followed without numbers, hold more."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

import torch
from torch.nn import functional
from torch.overrides import TorchFunctionMode


class _Masked(torch.autograd.Function):
    """Stands in for CUDA's `native_dropout`: a byte a value is kept of what fell out. The CPU keeps the factors, each
    as wide as a value."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(torch.empty(x.shape, dtype=torch.bool))
        return torch.empty_like(x)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> torch.Tensor:
        return torch.empty_like(gradients[0])


def _dropout(input: torch.Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> torch.Tensor:
    if not training or inplace or not 0 < p < 1:
        return functional.dropout(input, p, training, inplace)
    result: torch.Tensor = _Masked.apply(input)
    return result


def _attention(*args: Any, **named: Any) -> torch.Tensor:
    """Fused kernels of a GPU draw what falls out again on the way back; the CPU's can't, and whole matrices of scores
    would be held instead."""
    whole = dict(zip(("query", "key", "value", "attn_mask", "dropout_p", "is_causal"), args, strict=False)) | named
    found: torch.Tensor = functional.scaled_dot_product_attention(**(whole | {"dropout_p": 0.0}))
    return found


_INSTEAD: dict[Any, Callable[..., torch.Tensor]] = {
    functional.dropout: _dropout,
    functional.scaled_dot_product_attention: _attention,
}


class _Gpu(TorchFunctionMode):
    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _INSTEAD.get(func, func)(*args, **(kwargs or {}))


def kernels(device: str) -> contextlib.AbstractContextManager[Any]:
    """Within, tensors of the CPU are held as DEVICE, `cuda` or `cpu`, would hold them."""
    return _Gpu() if device == "cuda" else contextlib.nullcontext()
