"""Batches whose rows are held against each other, looked at a part at a time: the gradients are those of the whole.

Gao et al. 2021, "Scaling Deep Contrastive Learning Batch Size under Memory Limited Setup" (arXiv 2101.06983), as in
sentence-transformers' Cached… losses: the outputs of all parts without gradients, the loss of the whole and its
gradients with regard to those outputs, then each part once more, with the same dropout, handed its gradients.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch

from ftstudio.engine.collate import split
from ftstudio.engine.objective import TaskObjective


class Draws:
    """Where chance stood when it was made: on the CPU and on DEVICE. As a context, chance goes on from there."""

    def __init__(self, device: torch.device) -> None:
        self.devices = [device] if device.type == "cuda" else []
        self.cpu = torch.random.get_rng_state()
        self.cuda = [torch.cuda.get_rng_state(one) for one in self.devices]

    @contextlib.contextmanager
    def again(self) -> Iterator[None]:
        """Draw what was drawn; afterwards chance goes on as if nothing had been."""
        with torch.random.fork_rng(self.devices):
            torch.random.set_rng_state(self.cpu)
            for device, state in zip(self.devices, self.cuda, strict=True):
                torch.cuda.set_rng_state(state, device)
            yield


def wanted(objective: Any, rows: int) -> int:
    """In how many parts a batch of ROWS is looked at, by the options of OBJECTIVE's task."""
    chunk = objective.task.chunk if isinstance(objective, TaskObjective) else None
    return -(-rows // chunk) if chunk else 1


def look(
    objective: TaskObjective, model: Any, batch: Mapping[str, Any], parts: Sequence[Mapping[str, Any]]
) -> tuple[torch.Tensor, list[list[torch.Tensor]], list[Draws]]:
    """Of BATCH, which is PARTS: its summed loss; the gradients of that with regard to the outputs of each part, and
    where chance stood before each. Parts that are `void` are no part of it: others wait for their passes."""
    found, draws = [], []
    with torch.no_grad():
        for part in parts:
            draws.append(Draws(batch["targets"].device))
            found.append(objective.outputs(model, part))
    nothing = [[torch.zeros_like(column) for column in columns] for columns in found]
    real = [at for at, part in enumerate(parts) if not part.get("void")]
    if not real:
        return torch.zeros((), device=batch["targets"].device), nothing, draws
    whole = [torch.cat(columns).detach().requires_grad_() for columns in zip(*(found[at] for at in real), strict=True)]
    loss = objective.task.loss(whole, batch)
    pulls = torch.autograd.grad(loss, whole)
    sizes = [len(parts[at]["lengths"]) for at in real]
    each = dict(zip(real, zip(*(pull.split(sizes) for pull in pulls), strict=True), strict=True))
    return loss.detach(), [list(each.get(at, nothing[at])) for at in range(len(parts))], draws


def pulled(objective: TaskObjective, model: Any, part: Mapping[str, Any]) -> torch.Tensor:
    """What has, on the way back, the gradients of the whole batch for PART: it carries them as `pulls`."""
    outputs = objective.outputs(model, part)
    return torch.stack([(own * pull).sum() for own, pull in zip(outputs, part["pulls"], strict=True)]).sum()


def outputs(objective: TaskObjective, model: Any, batch: Mapping[str, Any], parts: int) -> Any:
    """What MODEL says on BATCH, which is looked at in PARTS."""
    if parts == 1:
        return objective.outputs(model, batch)
    found = (objective.outputs(model, part) for part in split(batch, parts))
    return [torch.cat(columns) for columns in zip(*found, strict=True)]
