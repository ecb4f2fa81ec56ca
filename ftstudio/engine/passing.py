"""A trainer that takes a step without learning from it: see `passed_over`."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Any

import torch
from torch import nn
from transformers import Trainer, TrainerCallback


class Idle(TrainerCallback):
    """Keeps TRAINER's optimiser from a step that is passed over. Adam without gradients changes nothing anyway, but
    the scaler of fp16 refuses to look at none."""

    def __init__(self, trainer: PassingTrainer) -> None:
        self.trainer = trainer

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **_: Any) -> Any:
        """See TrainerCallback."""
        optimizer: Any = self.trainer.optimizer
        if self.trainer.passes:

            def nothing(closure: Any = None) -> None:
                optimizer._is_overflow = False  # nor did the scaler skip this one: the schedule goes on

            optimizer.step = nothing
        return control

    def on_optimizer_step(self, args: Any, state: Any, control: Any, **_: Any) -> Any:
        """See TrainerCallback."""
        if self.trainer.passes:
            del self.trainer.optimizer.step
        return control


class PassingTrainer(Trainer):
    """transformers' own, which fetches the rows of the steps `passed_over` and leaves it at that."""

    def __init__(self, *args: Any, **named: Any) -> None:
        super().__init__(*args, **named)
        self.passed_over: frozenset[int] = frozenset()
        self.add_callback(Idle(self))

    @property
    def passes(self) -> bool:
        """Whether the step under way is one."""
        return self.state.global_step + 1 in self.passed_over

    def get_batch_samples(
        self, epoch_iterator: Iterator[Any], num_batches: int, device: torch.device
    ) -> tuple[list[Any], torch.Tensor | int | None]:
        """transformers' own; what is passed over isn't counted."""
        if not self.passes:
            return super().get_batch_samples(epoch_iterator, num_batches, device)
        return list(islice(epoch_iterator, num_batches)), None

    def nothing(self) -> torch.Tensor:
        """The loss of a micro-batch that is passed over."""
        return torch.zeros((), device=self.args.device)

    def _clip_grad_norm(self, model: nn.Module) -> Any:
        return self.nothing() if self.passes else super()._clip_grad_norm(model)

    def _get_grad_norm(self, model: nn.Module, grad_norm: Any = None) -> Any:
        return grad_norm if self.passes else super()._get_grad_norm(model, grad_norm)
