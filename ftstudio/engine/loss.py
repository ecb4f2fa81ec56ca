"""The loss of a batch: the output head only where a label is, summed over trained tokens, computed in small pieces."""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from transformers import modeling_utils

from ftstudio.data.encode import IGNORED
from ftstudio.engine import attention, fused

# Logits looked at together: on the CPU they stay in a core's cache; a GPU wants enough to do for all its units, or the
# loop of small kernels takes longer than the model, in no more memory than there is to spare (64 MiB in 32 bits).
PIECES = {"cpu": 1 << 19, "cuda": 1 << 24}

Head = Literal["mask", "places", "all"]
_LAYOUT = ("input_ids", "position_ids", "cu_seq_lens_q", "cu_seq_lens_k", "max_length_q", "max_length_k")


def head_of(model: Any) -> Head:
    """Where MODEL (peft's wrapper or not) can run its output head.

    `mask`: at any places of any row. `places`: at the same places of all rows (transformers before
    it had `slice_logits_to_keep`). `all`: everywhere.
    """
    inner = model.get_base_model() if hasattr(model, "get_base_model") else model
    if soft_prompt(model) == "inside":
        return "all"
    if "logits_to_keep" not in inspect.signature(inner.forward).parameters:
        return "all"
    return "mask" if hasattr(modeling_utils, "slice_logits_to_keep") else "places"


def soft_prompt(model: Any) -> Literal["", "inside", "beside"]:
    """Where MODEL's soft prompt stands: `inside` the row as tokens, `beside` it as keys and values; "" for none."""
    config: Any = getattr(getattr(model, "module", model), "active_peft_config", None)
    if not getattr(config, "is_prompt_learning", False):
        return ""
    return "beside" if str(config.peft_type).endswith("PREFIX_TUNING") else "inside"


@dataclass(frozen=True)
class Objective:
    """The summed loss of a collated batch in nats, and the logits it comes from.

    `head`: see `head_of`. `autocast`: the half precision of the forward pass on `device`, None for none. It lies around
    the wrapped model here, not inside it: accelerate's wrapper would copy all logits to 32 bits. Always call the
    wrapped model: data parallelism lives in the wrapper. `fused`: the name of what computes head and loss in one (see
    `fused.candidates`) of batches with `fused_from` targets or more, empty for none.
    """

    head: Head
    device: str = "cpu"
    autocast: torch.dtype | None = None
    fused: str = ""
    fused_from: int = 0

    def __call__(self, model: Any, batch: Mapping[str, Any], each: list[torch.Tensor] | None = None) -> torch.Tensor:
        """The negative log-likelihood of BATCH, summed over its trained tokens; a scalar in 32 bits.

        EACH gets the loss of every token of `targets`, [k] in 32 bits, 0 where it is -100.
        """
        targets = batch["targets"]
        if self.fused and len(targets) >= self.fused_from:
            return self._fused(model, batch, each)
        into = None if each is None else torch.empty(targets.shape, dtype=torch.float32, device=targets.device)
        loss: torch.Tensor = SummedCrossEntropy.apply(self.logits(model, batch), targets, into)
        if each is not None and into is not None:
            each.append(into)
        return loss

    def _fused(self, model: Any, batch: Mapping[str, Any], each: list[torch.Tensor] | None) -> torch.Tensor:
        """The same without logits: MODEL's pass ends before its head, which is handed to the fused function."""
        head = fused.head_under(model)
        if isinstance(head, str):
            raise ValueError(head)
        with fused.without_head(head):
            hidden = self.logits(model, batch)
        if self.autocast is not None:
            hidden = hidden.to(self.autocast)
        losses = fused.candidates(self.device)[self.fused](hidden, head, batch["targets"])
        if each is not None:
            each.append(losses.detach().float())
        return losses.float().sum()

    def logits(self, model: Any, batch: Mapping[str, Any]) -> torch.Tensor:
        """What MODEL says at the places that are asked, [k, vocabulary], in the order of `targets`."""
        keep = batch["keep"]
        inputs = {name: batch[name] for name in _LAYOUT if name in batch}
        bare = "cu_seq_lens_q" in inputs
        if bare:
            attention.know_ends(inputs["cu_seq_lens_q"], batch["lengths"])
        with self.precision(), attention.without_padding() if bare else contextlib.nullcontext():
            if self.head == "all":
                logits = self._call(model, inputs)[:, -inputs["input_ids"].shape[1] :]  # without a soft prompt's own
                return logits[(0, keep) if bare else keep]
            if bare or self.head == "mask":
                return self._call(model, inputs, logits_to_keep=keep).flatten(0, -2)
            places = keep.any(0).nonzero().squeeze(1)
            return self._call(model, inputs, logits_to_keep=places)[keep[:, places]]

    def _call(self, model: Any, inputs: dict[str, Any], **named: Any) -> torch.Tensor:
        logits: torch.Tensor = model(**inputs, **named, use_cache=False).logits
        return logits

    def precision(self) -> contextlib.AbstractContextManager[Any]:
        """The half precision of the forward pass, as a context; none for 32 bits."""
        if self.autocast is None:
            return contextlib.nullcontext()
        return torch.autocast(self.device, self.autocast)


def rows_at_once(logits: torch.Tensor) -> int:
    """How many rows of LOGITS [k, vocabulary] are looked at together."""
    return max(1, PIECES["cuda" if logits.is_cuda else "cpu"] // logits.shape[-1])


class SummedCrossEntropy(torch.autograd.Function):
    """Cross-entropy of LOGITS [k, vocabulary] and TARGETS [k] (-100: none), summed, in 32 bits whatever the logits are.

    Like `functional.cross_entropy(logits.float(), targets, reduction="sum")`, in pieces that stay in the cache: no
    copy of the logits in 32 bits, no log-softmax beside them. The gradient is softmax - onehot, from the log-sum-exp
    kept of each row.
    """

    @staticmethod
    def forward(
        ctx: Any, logits: torch.Tensor, targets: torch.Tensor, into: torch.Tensor | None = None
    ) -> torch.Tensor:
        """See torch.autograd.Function. INTO [k] gets the loss of every token."""
        size = rows_at_once(logits)
        asked = targets != IGNORED
        found = targets.clamp(min=0)[:, None]
        total = torch.cat([piece.float().logsumexp(-1) for piece in logits.split(size)])
        ctx.save_for_backward(logits, found, asked, total)
        each = (total - logits.gather(-1, found).squeeze(1).float()) * asked
        if into is not None:
            into.copy_(each)
        return each.sum()

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor, None, None]:
        """See torch.autograd.Function."""
        logits, found, asked, total = ctx.saved_tensors
        size = rows_at_once(logits)
        weight = (asked * gradients[0].float())[:, None]
        result = torch.empty_like(logits)
        rows = (item.split(size) for item in (result, logits, found, total[:, None], weight))
        for into, piece, at, normaliser, scale in zip(*rows, strict=True):
            share = (piece.float() - normaliser).exp_().mul_(scale)
            into.copy_(share.scatter_add_(-1, at, -scale))
            del share  # or it lay there while that of the next piece is made
        return result, None, None
