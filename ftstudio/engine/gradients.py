"""Gradients of several processes, averaged by hand: for losses that ask their model more than once, or parts beside it.

torch's DistributedDataParallel counts on one pass before each way back, and on a gradient for every weight.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import torch
from torch import distributed, nn

from ftstudio.methods import anatomy

BUCKET = 25 << 20  # bytes that are exchanged together


def _buckets(weights: Iterable[nn.Parameter]) -> Iterator[list[nn.Parameter]]:
    """WEIGHTS of one type and device, about BUCKET bytes at once, in the same order everywhere."""
    some: list[nn.Parameter] = []
    for weight in weights:
        kind = (weight.dtype, weight.device)
        if some and (kind != (some[0].dtype, some[0].device) or sum(one.nbytes for one in some) > BUCKET):
            yield some
            some = []
        some.append(weight)
    if some:
        yield some


def learning(model: nn.Module) -> list[nn.Parameter]:
    """MODEL's weights that learn."""
    return [weight for weight in model.parameters() if weight.requires_grad]


def size(model: nn.Module) -> int:
    """Bytes of MODEL's gradients."""
    return sum(weight.nbytes for weight in learning(model))


def leaves_out(module: nn.Module) -> bool:
    """Whether MODULE is a stack that leaves out layers at random while it trains (Fan et al. 2020, "LayerDrop"; M2M100
    and its kin): which ones, each process would draw by itself."""
    return isinstance(rate := getattr(module, "layerdrop", None), float) and rate > 0


def unsteady(model: nn.Module) -> bool:
    """Whether a pass through MODEL may reach only a part of the weights that learn: its eyes see nothing in text alone,
    or layers are left out at random."""
    names = (name for name, weight in model.named_parameters() if weight.requires_grad)
    return any(anatomy.side(name) == "vision" for name in names) or any(map(leaves_out, model.modules()))


@torch.no_grad()
def begin(model: nn.Module) -> None:
    """Let MODEL's weights that learn be those of the first process."""
    for weight in learning(model):
        distributed.broadcast(weight.data, 0)


@torch.no_grad()
def average(model: nn.Module) -> None:
    """Let the gradients of MODEL be their mean over all processes. What learnt nothing in any of them has none."""
    weights = learning(model)
    if not weights:
        return
    known = torch.tensor([weight.grad is not None for weight in weights], dtype=torch.int32, device=weights[0].device)
    distributed.all_reduce(known)
    asked = [weight for weight, count in zip(weights, known.tolist(), strict=True) if count]
    count = distributed.get_world_size()
    for some in _buckets(asked):
        for weight in some:
            if weight.grad is None:
                weight.grad = torch.zeros_like(weight)
        flat = torch.cat([weight.grad.reshape(-1) for weight in some if weight.grad is not None])
        distributed.all_reduce(flat)
        flat /= count
        parts = flat.split([weight.numel() for weight in some])
        for weight, part in zip(some, parts, strict=True):
            assert weight.grad is not None
            weight.grad.copy_(part.view_as(weight))
