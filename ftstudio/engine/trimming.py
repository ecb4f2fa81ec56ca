"""A part of a padded batch, no wider than its own longest row: as its rows would have been collated by themselves."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ftstudio.data.encode import IGNORED

if TYPE_CHECKING:
    import torch

BY_TOKEN = ("input_ids", "attention_mask", "token_type_ids")  # [rows, longest], padded on the right: see tasks.padding


def trimmed(part: Mapping[str, Any]) -> dict[str, Any]:
    """PART of a task's batch (see `Task.collate`) without the columns that are padding in all of its rows: of the ids,
    of each column of texts by itself, of an encoder-decoder's targets. What stands by token goes along.

    As it is where anything in it isn't known to stand by token, such as the places of pictures.
    """
    inputs, multiple = part["inputs"], int(part.get("multiple", 1))
    if inputs and all(isinstance(value, Mapping) for value in inputs.values()):
        columns = inputs.values()
        if not all(_known(column) for column in columns):
            return dict(part)
        return {**part, "inputs": {name: _narrow(column, _read(column, multiple)) for name, column in inputs.items()}}
    texts = {name: value for name, value in inputs.items() if name != "labels"}
    if not _known(texts):
        return dict(part)
    width = _read(texts, multiple)
    found, targets = _narrow(texts, width), part["targets"]
    if "labels" in inputs:
        told = (targets != IGNORED).any(0)
        targets = targets[:, : _up_to(told, multiple)]
        return {**part, "inputs": {**found, "labels": targets}, "targets": targets}
    if _by_token(targets, texts["input_ids"]):
        if bool((targets[:, width:] != IGNORED).any()):
            return dict(part)
        targets = targets[:, :width]
    return {**part, "inputs": found, "targets": targets}


def _known(texts: Mapping[str, Any]) -> bool:
    """Whether all of TEXTS is known to stand by token, and which of them are padding."""
    return {"input_ids", "attention_mask"} <= texts.keys() and texts.keys() <= set(BY_TOKEN)


def _read(texts: Mapping[str, Any], multiple: int) -> int:
    return _up_to(texts["attention_mask"].any(0), multiple)


def _up_to(asked: torch.Tensor, multiple: int) -> int:
    """Up to which column, a MULTIPLE, anything is ASKED [columns]; one at least."""
    places = asked.nonzero()
    last = int(places[-1]) + 1 if len(places) else 1
    return min(len(asked), last + -last % multiple)


def _narrow(texts: Mapping[str, Any], width: int) -> dict[str, Any]:
    return {name: value[:, :width] for name, value in texts.items()}


def _by_token(targets: torch.Tensor, ids: torch.Tensor) -> bool:
    """Whether TARGETS are a token's each; of several labels they are 0 and 1, as fractions."""
    return targets.dim() == 2 and not targets.is_floating_point() and targets.shape == ids.shape
