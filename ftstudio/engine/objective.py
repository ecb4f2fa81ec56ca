"""The loss of tasks that bring batches and loss of their own: a classifier's, a tagger's, an encoder-decoder's."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch

from ftstudio.engine.asked_head import only_at
from ftstudio.engine.collate import Row
from ftstudio.tasks.base import Task


@dataclass(frozen=True)
class TaskCollator:
    """Makes TASK's padded batches of rows, to a MULTIPLE of ids where the device likes that."""

    task: Task
    pad_id: int
    multiple: int = 1

    def __call__(self, rows: Any, /) -> dict[str, Any]:
        found: list[Row] = list(rows)
        return {**self.task.collate(found, self.pad_id, self.multiple), "multiple": self.multiple}


@dataclass(frozen=True)
class TaskObjective:
    """The summed loss of a batch that TASK collated. `autocast`: the half precision of the forward pass on `device`,
    None for none. Always call the wrapped model: data parallelism lives in the wrapper."""

    task: Task
    device: str = "cpu"
    autocast: torch.dtype | None = None
    head: str = ""  # the part of the model that says something at the batch's `places` alone (see asked_head)

    def __call__(self, model: Any, batch: Mapping[str, Any], each: list[torch.Tensor] | None = None) -> torch.Tensor:
        """The loss of BATCH, summed over its targets; a scalar in 32 bits.

        EACH gets the loss of every target, by rows, as it is before targets are weighed (see `Task.losses`); nothing
        where rows have none of their own.
        """
        outputs = self.outputs(model, batch)
        found = None if each is None else self.task.losses(outputs, batch)
        if each is None or found is None:
            return self.task.loss(outputs, batch)
        each.append(found.detach())
        return self.task.weighed(found, batch).sum()

    def outputs(self, model: Any, batch: Mapping[str, Any]) -> Any:
        """What MODEL says on BATCH."""
        with self.precision(), only_at(model, self.head, batch.get("places")):
            return self.task.outputs(model, batch["inputs"])

    def fitted(self, model: Any, pad_id: int) -> TaskObjective:
        """This objective, its task ready to read what MODEL says."""
        with self.precision():
            return replace(self, task=self.task.fitted(getattr(model, "module", model), pad_id))

    def precision(self) -> contextlib.AbstractContextManager[Any]:
        """The half precision of the forward pass, as a context; none for 32 bits."""
        if self.autocast is None:
            return contextlib.nullcontext()
        return torch.autocast(self.device, self.autocast)
