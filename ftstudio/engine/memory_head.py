"""What output head and loss hold of a step whose numbers aren't there: the logits whole, or, fused, a piece of them."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from ftstudio.engine import fused
from ftstudio.engine.loss import PIECES


class Whole(torch.autograd.Function):
    """Stands in for `loss.SummedCrossEntropy` on a DEVICE: the logits are kept, their gradient is made beside them; on
    both ways a piece of them at a time is there once more in 32 bits, twice where they come in half precision."""

    @staticmethod
    def forward(ctx: Any, logits: torch.Tensor, device: str) -> torch.Tensor:
        """See torch.autograd.Function."""
        ctx.save_for_backward(logits)
        ctx.device = device
        _piece(logits, device)
        return logits.new_zeros((), dtype=torch.float32)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor, None]:
        """See torch.autograd.Function."""
        (logits,) = ctx.saved_tensors
        found = torch.empty_like(logits)
        _piece(logits, ctx.device)
        return found, None


def _piece(logits: torch.Tensor, device: str) -> None:
    size = max(1, PIECES[device] // logits.shape[-1])
    rows = min(size, len(logits))
    copies = 1 if logits.dtype == torch.float32 else 2  # 32 bits aren't made of 32 bits
    piece = [logits.new_empty((rows, logits.shape[-1]), dtype=torch.float32) for _ in range(copies)]
    del piece


class InChunks(torch.autograd.Function):
    """Stands in for torch's `linear_cross_entropy` or Liger's kernel: hidden states and head are kept. A chunk of
    logits is there in 32 bits, on the way back in the hidden states' precision too, beside what learns from it."""

    @staticmethod
    def forward(ctx: Any, hidden: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        """See torch.autograd.Function."""
        ctx.save_for_backward(hidden, weight)
        chunk = _chunk(hidden, weight)
        del chunk
        return hidden.new_zeros(len(hidden))

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, torch.Tensor | None]:
        """See torch.autograd.Function."""
        hidden, weight = ctx.saved_tensors
        chunk = _chunk(hidden, weight)
        low = chunk.to(hidden.dtype)
        of_hidden, of_weight = (
            torch.empty_like(one) if asked else None
            for one, asked in zip((hidden, weight), ctx.needs_input_grad, strict=True)
        )
        del chunk, low
        return of_hidden, of_weight


def _chunk(hidden: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    return hidden.new_empty((chunk_rows(len(hidden), weight), weight.shape[0]), dtype=torch.float32)


def chunk_rows(places: int, weight: torch.Tensor) -> int:
    """Of PLACES how many are looked at at once, with a head of WEIGHT, by what would be tried first on a GPU."""
    vocabulary, width = weight.shape
    return fused.chunk_rows(next(iter(fused.candidates("cuda"))), places, width, vocabulary)


def head_fused(model: Any, device: str, narrow: bool) -> nn.Linear | None:
    """The head of MODEL where a training on DEVICE would compute it with the loss in one (see `fused_probe`); NARROW:
    whether it runs at labels alone. Only trying tells whether that says the same: here it is believed."""
    if device != "cuda" or not narrow or not fused.candidates(device):
        return None
    head = fused.head_under(model)
    return None if isinstance(head, str) else head
