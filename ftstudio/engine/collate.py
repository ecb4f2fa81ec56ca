"""Rows to batches: padded on the right to the longest, with the places where the model is asked for a prediction."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ftstudio.data.encode import IGNORED

if TYPE_CHECKING:
    import torch


Row = Mapping[str, Sequence[int]]
"""`input_ids`, and `labels` of the same length: the token itself where it is learnt, -100 elsewhere."""


class Collator:
    """Makes a batch of rows; PAD_ID fills them up on the right, to a MULTIPLE where the device likes that.

    `input_ids` [rows, longest]: padded on the right. No attention mask is needed: attention is causal, so no real token
    ever sees what comes after it, and what padding itself predicts is never asked.
    `positions` [k]: the places after which some row has a trained token; only there the output head runs.
    `targets` [rows, k]: the token to be predicted there, -100 where that row learns nothing at that place.
    `tokens`: how many ids are not padding.
    """

    def __init__(self, pad_id: int, multiple: int = 1) -> None:
        self.pad_id, self.multiple = pad_id, multiple

    def __call__(self, rows: Sequence[Row]) -> dict[str, Any]:
        import torch

        width = max(len(row["input_ids"]) for row in rows)
        width += -width % self.multiple
        ids = torch.full((len(rows), width), self.pad_id, dtype=torch.long)
        labels = torch.full((len(rows), width), IGNORED, dtype=torch.long)
        tokens = 0
        for place, row in enumerate(rows):
            length = len(row["input_ids"])
            tokens += length
            ids[place, :length] = torch.as_tensor(row["input_ids"], dtype=torch.long)
            labels[place, :length] = torch.as_tensor(row["labels"], dtype=torch.long)
        shifted = labels[:, 1:]  # what stands at i is predicted at i - 1
        positions = (shifted != IGNORED).any(0).nonzero().squeeze(1)
        if not len(positions):  # a batch without labels still goes through the model, with loss zero
            positions = torch.zeros(1, dtype=torch.long)
            targets = torch.full((len(rows), 1), IGNORED, dtype=torch.long)
        else:
            targets = shifted[:, positions].contiguous()
        return {"input_ids": ids, "positions": positions, "targets": targets, "tokens": tokens}


def summed_loss(model: Any, inputs: dict[str, Any], narrow: bool) -> torch.Tensor:
    """The negative log-likelihood of a collated batch, summed over its trained tokens, in nats.

    NARROW: the model can run its output head at `positions` alone (`logits_to_keep`). Always call the wrapped MODEL:
    mixed precision and data parallelism live in the wrapper.
    """
    from torch.nn import functional

    positions, targets = inputs["positions"], inputs["targets"]
    if narrow:
        logits = model(input_ids=inputs["input_ids"], logits_to_keep=positions, use_cache=False).logits
    else:
        logits = model(input_ids=inputs["input_ids"], use_cache=False).logits[:, positions]
    return functional.cross_entropy(
        logits.float().flatten(0, 1), targets.flatten(), ignore_index=IGNORED, reduction="sum"
    )


def narrows(model: Any) -> bool:
    """Whether MODEL (peft's wrapper or not) takes `logits_to_keep` as positions."""
    import inspect

    inner = model.get_base_model() if hasattr(model, "get_base_model") else model
    return "logits_to_keep" in inspect.signature(inner.forward).parameters
