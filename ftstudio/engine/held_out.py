"""The held-out loss: a mean over all trained tokens, whatever the batches, and the task's scores of its predictions."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import torch

from ftstudio.engine import gradient_cache, loading
from ftstudio.engine.collate import Row, trained
from ftstudio.engine.held import Held, load_of
from ftstudio.engine.levers import Levers
from ftstudio.engine.objective import TaskObjective
from ftstudio.engine.predicting import moved
from ftstudio.engine.trouble import of_gpu, out_of_memory
from ftstudio.tasks.base import Predicted, Task


class Rows(Protocol):
    """Rows by number, as the collator takes them."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Row: ...


def in_turn(rows: Rows, levers: Levers) -> list[int]:
    """The order in which held-out ROWS are looked at: the longest first, or, where the loss depends on which rows
    share a batch, as they come."""
    order = range(len(rows))
    return list(order) if levers.texts is not None else sorted(order, key=lambda row: -len(rows[row]["input_ids"]))


def room_for(device: str, tokens: int) -> int | None:
    """How many tokens a batch of held-out rows may have on DEVICE, whose longest ones have so many TOKENS in a batch of
    the training's size; None where the number of rows decides.

    A GPU is filled: shorter rows go through as many at once as take no more than the longest do. On a CPU larger
    batches are no faster.
    """
    return tokens if device == "cuda" else None


Missed = Callable[[Exception], None]
"""Is told why an evaluation has no scores: the loss needs none, and neither does training."""


def scored(task: Task, predicted: Sequence[Predicted], rows: Sequence[Row], missed: Missed | None) -> dict[str, float]:
    """TASK's scores of what was PREDICTED for ROWS. Where they can't be made MISSED is told why, and there are none.
    Raises only where nobody is to be told, or the GPU failed."""
    try:
        return task.scores(predicted, rows)
    except Exception as error:
        if missed is None or of_gpu(error):
            raise
        missed(error)
        return {}


class _Reader:
    """What TASK reads of each batch for its scores, `predicted`, until that fails: MISSED is told, and it stays so."""

    def __init__(self, task: Task | None, missed: Missed | None) -> None:
        self.task, self.missed = task, missed
        self.predicted: list[Predicted] = []
        self.failed = False
        self.unfit: Exception | None = None  # why the task isn't ready to read

    def read(self, outputs: Any, inputs: Any, *, smaller: bool) -> None:
        """OUTPUTS on INPUTS. Raises where memory didn't do and may do for SMALLER ones, where nobody is to be told, and
        where the GPU failed."""
        if self.failed or self.task is None:
            return
        try:
            self.predicted += self.task.predictions(outputs, inputs)
        except Exception as error:
            if smaller and out_of_memory(error):
                raise
            self.give_up(error)

    def give_up(self, error: Exception) -> None:
        """There are no scores, by ERROR. Raises it where nobody is to be told, or the GPU failed."""
        if self.missed is None or of_gpu(error):
            raise error
        self.failed, self.predicted = True, []
        self.missed(error)

    def fit(self, objective: TaskObjective, model: Any, pad_id: int) -> TaskObjective:
        """OBJECTIVE, its task ready to read what MODEL says; as it is where that fails, and then nothing is read. It is
        told by `end`: the loss of some tasks needs that, too."""
        try:
            found = objective.fitted(model, pad_id)
        except Exception as error:
            if self.missed is None or of_gpu(error):
                raise
            self.failed, self.unfit = True, error
            return objective
        self.task = found.task
        return found

    def end(self) -> None:
        """All rows are through, and have a loss."""
        if self.unfit is not None:
            self.give_up(self.unfit)


@torch.no_grad()
def held_out_loss(
    model: Any,
    rows: Rows,
    levers: Levers,
    batch: int,
    should_stop: Callable[[], bool] = lambda: False,
    keep: dict[str, Any] | None = None,
    budget: int | None = None,
    held: Held | None = None,
    missed: Missed | None = None,
) -> dict[str, float] | None:
    """`{loss, perplexity, rows, tokens}`: nats a trained token over all ROWS; the same for every BATCH size (rows, or
    as many as BUDGET tokens hold).

    Of a task with a loss of its own `tokens` counts targets, and the task's scores of its predictions come with it
    instead of the perplexity. None where SHOULD_STOP said so before all rows were through. A batch that memory
    won't hold is halved, which HELD remembers; one whose rows are held against each other is looked at in parts. With
    KEEP no more than loss, rows and tokens are told; it gets the `predicted`, as rows are `in_turn`, and their `task`.
    MISSED is told where predicting or scoring failed, so that there are no scores; without it that is raised.
    """
    whole = levers.texts is not None
    order = in_turn(rows, levers)
    parts = gradient_cache.wanted(levers.objective, batch)
    device = next(model.parameters()).device
    training = model.training
    model.eval()
    total, tokens, start = 0.0, 0, 0
    held = held or Held()
    if budget is None and not whole and len(order):
        budget = room_for(device.type, batch * len(rows[order[0]]["input_ids"]))
    objective = levers.objective
    reader = _Reader(objective.task if isinstance(objective, TaskObjective) else None, missed)
    try:
        if isinstance(objective, TaskObjective):
            objective = reader.fit(objective, model, getattr(levers.collator, "pad_id", 0))
        while start < len(order):
            if should_stop():
                return None
            some = batch if budget is None else budget // len(rows[order[start]]["input_ids"])
            inputs = levers.collator([rows[row] for row in order[start : start + max(1, some)]])
            some = len(inputs["lengths"])
            while not whole and some > 1 and not held.fits(load_of(inputs)):
                some = -(-some // 2)
                inputs = levers.collator([rows[row] for row in order[start : start + some]])
            inputs = moved(inputs, device)
            smaller = len(inputs["lengths"]) > (parts if whole else 1)
            try:
                if isinstance(objective, TaskObjective):
                    outputs = gradient_cache.outputs(objective, model, inputs, parts)
                    loss = float(objective.task.loss(outputs, inputs).double())
                    reader.read(outputs, inputs, smaller=smaller)
                else:
                    loss = float(objective(model, inputs).double())
            except (RuntimeError, MemoryError) as error:
                if not out_of_memory(error) or not smaller:
                    raise
                loss = None
            if loss is None:
                loading.free()
                if whole:
                    parts *= 2
                else:
                    held.ran_out(load_of(inputs))
                continue
            held.took(load_of(inputs))
            total += loss
            tokens += int(trained(inputs))
            start += some
    except Exception as error:
        if reader.unfit is not None:  # a task whose loss needs that, too
            raise reader.unfit from error
        raise
    finally:
        model.train(training)
    reader.end()
    mean = total / tokens if tokens else float("nan")
    told = {"loss": mean, "rows": len(rows), "tokens": tokens}
    if keep is not None:
        keep |= {"predicted": reader.predicted, "task": reader.task}
        return told
    if isinstance(objective, TaskObjective) and not objective.task.generates:
        predicted = reader.predicted
        if reader.failed:
            return told
        return told | scored(objective.task, predicted, [rows[row] for row in order[: len(predicted)]], missed)
    told["perplexity"] = math.exp(min(mean, 700))
    if len(rows) and "bytes" in rows[0]:  # running text: comparable across tokenizers
        told["bits_per_byte"] = total / math.log(2) / max(1, sum(rows[row]["bytes"] for row in order))
    return told
