"""What stands in a batch is looked at as it is, while the model has no weights.

A vision-language model looks for the places where its pictures go, and how large they are: that needs the numbers of
the batch. So the batch stays real here, and only what a weight had a hand in is fake: torch then makes it of shapes
alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch._subclasses.fake_tensor import FakeTensor
from torch.utils._python_dispatch import TorchDispatchMode

_aten = torch.ops.aten
_PICKS = (_aten.index.Tensor, _aten.index_put.default, _aten.index_put_.default)


class Placed(TorchDispatchMode):
    """Where something fake is picked from, or put into, by a mask that is real, by the numbers of its places: how many
    they are is known then."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """See TorchDispatchMode."""
        if func in _PICKS:
            args = (args[0], _numbered(args[1]), *args[2:])
        elif func is _aten.masked_select.default and isinstance(args[0], FakeTensor) and _is_mask(args[1]):
            return args[0].new_empty(int(args[1].expand(args[0].shape).sum()))
        return func(*args, **(kwargs or {}))


def pictured(batch: Mapping[str, Any]) -> int:
    """How many bytes the pictures of BATCH take."""
    parts = (value for row in batch["inputs"]["pictures"] for picture in row for value in picture.values())
    return sum(part.nbytes for part in parts if isinstance(part, torch.Tensor))


def _is_mask(value: Any) -> bool:
    return isinstance(value, torch.Tensor) and value.dtype == torch.bool and not isinstance(value, FakeTensor)


def _numbered(picks: Any) -> list[Any]:
    """PICKS of an indexing, the masks among them as the numbers of their places, one tensor a dimension."""
    found: list[Any] = []
    for one in picks:
        found += one.nonzero().unbind(1) if _is_mask(one) else [one]
    return found
