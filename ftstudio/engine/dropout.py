"""Dropout of an adapter's inputs on the CPU: the few places that fall out are drawn, not a number for every place."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import nn

RARE = 0.25  # above this share of places a mask costs less


def dropped(count: int, p: float) -> torch.Tensor:
    """Which of COUNT places fall out, each with probability P by itself: int64, ascending.

    The gaps between them follow the geometric distribution (Devroye 1986, section X.2.3). Drawn from torch's global
    generator.
    """
    expected = count * p
    draws = int(expected + 6 * math.sqrt(expected)) + 16  # nearly always enough to get past the end
    found = []
    last = -1
    while last < count - 1:
        gaps = torch.empty(draws).exponential_(-math.log1p(-p)).to(torch.int64).add_(1)
        gaps[0] += last
        found.append(gaps.cumsum(0))
        last = int(found[-1][-1])
    places = torch.cat(found) if len(found) > 1 else found[0]
    return places[: int(torch.searchsorted(places, count))]


class _Drop(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, p: float) -> torch.Tensor:
        places = dropped(x.numel(), p)
        ctx.save_for_backward(places)
        ctx.scale = 1 / (1 - p)
        return _without(x, places, ctx.scale)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor, None]:
        (places,) = ctx.saved_tensors
        return _without(gradients[0], places, ctx.scale), None


def _without(x: torch.Tensor, places: torch.Tensor, scale: float) -> torch.Tensor:
    scaled = (x * scale).contiguous()
    scaled.view(-1).index_fill_(0, places, 0)
    return scaled


class SparseDropout(nn.Dropout):
    """Like `nn.Dropout` on the CPU, at half its time, and keeps places instead of a mask for the way back."""

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """INPUT with a share `p` of its values zero and the others scaled up, while training."""
        if not self.training or not 0 < self.p <= RARE or input.device.type != "cpu":
            return super().forward(input)
        result: torch.Tensor = _Drop.apply(input, self.p)
        return result


def speed_up(model: nn.Module) -> float:
    """Put SparseDropout in place of the dropout of every adapter in MODEL; the share that falls out, 0 for none."""
    share = 0.0
    for module in model.modules():
        held = getattr(module, "lora_dropout", None)
        if not isinstance(held, nn.ModuleDict):
            continue
        for name, layer in held.items():
            if type(layer) is nn.Dropout and 0 < layer.p <= RARE:
                held[name] = SparseDropout(layer.p)
                share = layer.p
    return share
