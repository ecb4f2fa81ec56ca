"""Padded batches for encoders. Torch is imported when a batch is made."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ftstudio.data.encode import IGNORED
from ftstudio.tasks.base import Row

if TYPE_CHECKING:
    import torch


def padded_inputs(rows: Sequence[Row], pad_id: int, multiple: int = 1) -> dict[str, Any]:
    """`input_ids` and `attention_mask` [rows, longest] (and `token_type_ids`, where any row has them), padded on the
    right to a MULTIPLE."""
    import torch

    width = max(len(row["input_ids"]) for row in rows)
    width += -width % multiple
    shape = (len(rows), width)
    found = {"input_ids": torch.full(shape, pad_id), "attention_mask": torch.zeros(shape, dtype=torch.long)}
    if any(row.get("token_type_ids") for row in rows):
        found["token_type_ids"] = torch.zeros(shape, dtype=torch.long)
    for place, row in enumerate(rows):
        length = len(row["input_ids"])
        found["input_ids"][place, :length] = torch.as_tensor(row["input_ids"], dtype=torch.long)
        found["attention_mask"][place, :length] = 1
        if row.get("token_type_ids"):
            found["token_type_ids"][place, :length] = torch.as_tensor(row["token_type_ids"], dtype=torch.long)
    return found


def padded_labels(rows: Sequence[Row], width: int) -> Any:
    """`labels` of each row, padded with -100 to [rows, WIDTH]."""
    import torch

    found = torch.full((len(rows), width), IGNORED, dtype=torch.long)
    for place, row in enumerate(rows):
        found[place, : len(row["labels"])] = torch.as_tensor(row["labels"], dtype=torch.long)
    return found


def asked_places(targets: torch.Tensor) -> torch.Tensor:
    """Where TARGETS [rows, longest] ask for something (are not -100), as numbers within rows × longest: [asked]."""
    return (targets.flatten() != IGNORED).nonzero()[:, 0]


def sizes(rows: Sequence[Row]) -> dict[str, Any]:
    """`lengths` of ROWS and their `tokens` together."""
    lengths = tuple(len(row["input_ids"]) for row in rows)
    return {"lengths": lengths, "tokens": sum(lengths)}


def cross_entropies(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """The loss of each of TARGETS [rows, places] by LOGITS [rows, places, choices], in 32 bits; 0 where it is -100."""
    from torch.nn import functional

    found = functional.cross_entropy(
        logits.flatten(0, 1).float(), targets.flatten(), ignore_index=IGNORED, reduction="none"
    )
    return found.view(targets.shape)
