"""Head and cross-entropy in one: the logits of a batch never lie in memory whole. By torch's own function or Liger's.

Worth it on a GPU, where logits of a large vocabulary take the most memory; on the CPU `loss.SummedCrossEntropy` is
faster (1.4 to 1.9 times, measured). Used where it says the same as the plain loss: see `fused_probe`.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import nn

from ftstudio.data.encode import IGNORED

Fused = Callable[[torch.Tensor, nn.Linear, torch.Tensor], torch.Tensor]
"""(hidden states [k, width], head, targets [k]) to the loss of each target, [k] in nats. Its gradient is right where
all of them have the same weight, as in a sum."""


@functools.cache
def candidates(device: str) -> dict[str, Fused]:
    """What computes it on DEVICE, by the name told to people, the one to be tried first first."""
    if device != "cuda":
        return {}
    found: dict[str, Fused] = {}
    if hasattr(nn.functional, "linear_cross_entropy"):  # from torch 2.13 on
        found["torch's linear_cross_entropy"] = by_torch
    try:
        import liger_kernel.ops.fused_linear_cross_entropy  # noqa: F401
    except ImportError:
        pass
    else:
        found["Liger's kernel"] = by_liger
    return found


def by_torch(hidden: torch.Tensor, head: nn.Linear, targets: torch.Tensor) -> torch.Tensor:
    """torch's function, in chunks."""
    function = nn.functional.linear_cross_entropy  # type: ignore[attr-defined]
    options = nn.LinearCrossEntropyOptions()  # type: ignore[attr-defined]
    found: torch.Tensor = function(
        hidden, head.weight.to(hidden.dtype), targets, linear_bias=_bias(head, hidden), reduction="none",
        ignore_index=IGNORED, options=options,
    )  # fmt: skip
    return found


def by_liger(hidden: torch.Tensor, head: nn.Linear, targets: torch.Tensor) -> torch.Tensor:
    """liger-kernel's function, where that package is installed."""
    from liger_kernel.ops.fused_linear_cross_entropy import LigerFusedLinearCrossEntropyFunction as Function

    found = Function.apply(
        hidden, head.weight.to(hidden.dtype), targets, _bias(head, hidden), None, IGNORED, 0.0, 0.0, "none"
    )
    each: torch.Tensor = found[0] if isinstance(found, tuple) else found
    return each


def _bias(head: nn.Linear, like: torch.Tensor) -> torch.Tensor | None:
    return None if head.bias is None else head.bias.to(like.dtype)


def head_under(model: Any) -> nn.Linear | str:
    """The output head of MODEL (however wrapped), or why it can't be taken apart from its loss."""
    inner = getattr(model, "module", model)
    inner = inner.get_base_model() if hasattr(inner, "get_base_model") else inner
    head = inner.get_output_embeddings() if hasattr(inner, "get_output_embeddings") else None
    if type(head) is not nn.Linear:
        return "its head isn't a plain linear layer"
    if "forward" in head.__dict__:  # accelerate's hooks do that, for weights that lie elsewhere
        return "something stands around its head"
    return head


@contextlib.contextmanager
def without_head(head: nn.Linear) -> Iterator[None]:
    """A pass inside ends before HEAD: where logits would be, the hidden states are."""
    head.forward = lambda input: input  # type: ignore[method-assign,assignment]
    try:
        yield
    finally:
        del head.forward
