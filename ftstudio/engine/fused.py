"""Head and cross-entropy in one: the logits of a batch never lie in memory whole. By torch's own function or Liger's.

Worth it on a GPU, for batches whose logits take much memory (LARGE): each chunk reads the head again, and the way back
computes the logits once more. On the CPU `loss.SummedCrossEntropy` is faster (1.4 to 1.9 times, measured). Used where
it says the same as the plain loss: see `fused_probe`.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import nn

from ftstudio.data.encode import IGNORED

LARGE = 1 << 30  # bytes of logits and their gradient from which on they aren't kept whole
# Places whose logits are there at once. torch's own choice for CUDA is 1 to 64 of them: less memory than the hidden
# states take, and the head (up to a gigabyte) read hundreds of times. From some 300 on a GPU's units are the limit, not
# its memory (H100: 295 operations a byte in bf16).
CHUNK = 512

TORCH, LIGER = "torch's linear_cross_entropy", "Liger's kernel"
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
        found[TORCH] = by_torch
    try:
        import liger_kernel.ops.fused_linear_cross_entropy  # noqa: F401
    except ImportError:
        pass
    else:
        found[LIGER] = by_liger
    return found


def worth_from(vocabulary: int, size: int) -> int:
    """From how many places on, of whole logits of so many numbers of SIZE bytes each, this is worth its while. The same
    for every batch of a run, so that a resumed one computes what it would have."""
    return LARGE // (2 * vocabulary * size) + 1


def chunk_rows(name: str, places: int, width: int, vocabulary: int) -> int:
    """Of PLACES how many what is called NAME looks at at once. Liger makes a chunk of logits as large as the hidden
    states (WIDTH each), whatever it is asked for."""
    if name == LIGER:
        share = -(-places // -(-vocabulary // width))
        return min(1 << (share - 1).bit_length(), places)
    return min(CHUNK, places)


def by_torch(hidden: torch.Tensor, head: nn.Linear, targets: torch.Tensor) -> torch.Tensor:
    """torch's function, in chunks of CHUNK places."""
    function = nn.functional.linear_cross_entropy  # type: ignore[attr-defined]
    options = nn.LinearCrossEntropyOptions(batch_chunk_size=CHUNK)  # type: ignore[attr-defined]
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
