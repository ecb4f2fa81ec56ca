"""The trainer of weights that lie in parts on several processes (`training.shard`): what is whole, and when.

Whole for the step of a layer only while training; whole on every process while held-out rows are looked at, prompts
answered and checkpoints written. A checkpoint holds what one process's would: it can be gone on from by any number.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from ftstudio.engine import gradient_cache, gradients, sharding
from ftstudio.engine.collate import split
from ftstudio.engine.ranked import RankedTrainer


class ShardedTrainer(RankedTrainer):
    """`RankedTrainer` whose weights, gradients and optimiser states lie in parts."""

    shards = True

    def __init__(self, *args: Any, **named: Any) -> None:
        super().__init__(*args, **named)
        if any(map(gradients.leaves_out, self.model.modules())):
            self.levers.told["sharding"] += "; no layer is left out at random (layerdrop): all processes need it"
        sharding.spread(self.model, self.args.device.type)
        self._whole_state: dict[str, Any] | None = None

    def _clip_grad_norm(self, model: nn.Module) -> Any:
        return _full(super()._clip_grad_norm(model))

    def _get_grad_norm(self, model: nn.Module, grad_norm: Any = None) -> Any:
        return _full(super()._get_grad_norm(model, grad_norm))

    # -- passes: each of a process waits for one of every other, so all make as many ------------------------------
    def _doubts(self, batches: Sequence[Mapping[str, Any]]) -> bool:
        """Whether one of BATCHES may come in more parts than one: nothing is tried that isn't known to fail."""
        held, objective = self.held, self.levers.objective
        whole = all(gradient_cache.wanted(objective, len(batch["lengths"])) == 1 for batch in batches)
        return bool(held.failed) or held.parts > 1 or not whole

    def _cut(self, batch: dict[str, Any]) -> list[dict[str, Any]]:
        """See StudioTrainer. As many as in the process with the most: at the end some that teach nothing."""
        parts = super()._cut(batch)
        if not self._doubted:
            return parts
        counts: Any = self.accelerator.gather(torch.tensor([len(parts)], device=self.args.device))
        nothing = {**split(batch, len(batch["lengths"]))[0], "rows": (), "void": True, "tokens": 0}
        return parts + [dict(nothing) for _ in range(int(counts.max()) - len(parts))]

    def evaluate(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """See RankedTrainer. Each looks at rows of its own, so none may wait for another's parts."""
        with sharding.whole(self.model):
            return super().evaluate(*args, **kwargs)

    def _save_checkpoint(self, model: nn.Module, trial: Any) -> None:
        self._whole_state = sharding.optimizer_state(self.optimizer)
        try:
            with sharding.whole(self.model):
                super()._save_checkpoint(model, trial)
        finally:
            self._whole_state = None

    def _save_optimizer_and_scheduler(self, output_dir: str) -> None:
        with _instead(self.optimizer, "state_dict", lambda: self._whole_state):
            super()._save_optimizer_and_scheduler(output_dir)

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        load = self.optimizer.load_state_dict

        def in_parts(state: dict[str, Any]) -> None:
            load(sharding.in_parts(state, self.optimizer))

        with _instead(self.optimizer, "load_state_dict", in_parts):
            super()._load_optimizer_and_scheduler(checkpoint)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        with sharding.whole(self.model, written=True):
            super()._load_from_checkpoint(resume_from_checkpoint, model)


@contextmanager
def _instead(owner: Any, name: str, function: Callable[..., Any]) -> Iterator[None]:
    """FUNCTION as OWNER's method called NAME."""
    setattr(owner, name, function)
    try:
        yield
    finally:
        delattr(owner, name)


def _full(value: Any) -> Any:
    """A number that all processes know, of one that each knows a part of."""
    return value.full_tensor() if hasattr(value, "full_tensor") else value
