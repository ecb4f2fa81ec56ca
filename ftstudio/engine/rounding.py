"""Products in half precision of weights in 32 bits, without a rounded copy of each that waits for the way back.

autocast rounds a weight for its product, and autograd keeps the copy until the gradients are known: of all layers
together 2 bytes a weight, on every process, however small its part of the weights is. Here the weight itself is what
is kept, and rounded once more on the way back: one copy at a time, and the same numbers.
"""

from __future__ import annotations

import functools
from typing import Any

import torch
from torch import nn
from torch.nn import functional
from transformers.pytorch_utils import Conv1D


class _Product(torch.autograd.Function):
    """`functional.linear` of INPUTS [..., in] in half precision; WEIGHT [out, in] ([in, out] where TURNED) and BIAS
    are rounded to it. Gradients are computed in half precision, and handed over as wide as what they are of."""

    @staticmethod
    def forward(ctx: Any, inputs: torch.Tensor, weight: torch.Tensor, bias: Any, turned: bool) -> torch.Tensor:
        """See torch.autograd.Function."""
        ctx.save_for_backward(inputs, weight)
        ctx.turned, ctx.bias = turned, None if bias is None else bias.dtype
        matrix = weight.to(inputs.dtype)
        return functional.linear(
            inputs, matrix.t() if turned else matrix, None if bias is None else bias.to(inputs.dtype)
        )

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        """See torch.autograd.Function."""
        inputs, weight = ctx.saved_tensors
        flat, of_inputs, of_weight, of_bias = gradient.reshape(-1, gradient.shape[-1]), None, None, None
        if ctx.needs_input_grad[0]:
            matrix = weight.to(gradient.dtype)
            of_inputs = gradient @ (matrix.t() if ctx.turned else matrix)
        if ctx.needs_input_grad[1]:
            rows = inputs.reshape(-1, inputs.shape[-1])
            of_weight = (rows.t() @ flat if ctx.turned else flat.t() @ rows).to(weight.dtype)
        if ctx.needs_input_grad[2]:
            of_bias = flat.sum(0).to(ctx.bias)
        return of_inputs, of_weight, of_bias, None


def lean(model: nn.Module) -> int:
    """Let the plain linear layers of MODEL multiply so, wherever autocast would round their weights; how many can.
    `release` takes it back."""
    found = [module for module in model.modules() if type(module) in (nn.Linear, Conv1D)]
    for module in found:
        if "forward" not in module.__dict__:
            module.forward = functools.partial(_forward, module)
    return len(found)


def release(model: nn.Module) -> None:
    """Put MODEL's layers back as they were before `lean`."""
    for module in model.modules():
        own = module.__dict__.get("forward")
        if isinstance(own, functools.partial) and own.func is _forward:
            del module.__dict__["forward"]


def _forward(module: Any, inputs: torch.Tensor) -> torch.Tensor:
    kind, weight = inputs.device.type, module.weight
    half = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else weight.dtype
    if weight.dtype != torch.float32 or half == torch.float32 or not inputs.is_floating_point():
        found: torch.Tensor = type(module).forward(module, inputs)
        return found
    product: torch.Tensor = _Product.apply(inputs.to(half), weight, module.bias, type(module) is Conv1D)
    return product
