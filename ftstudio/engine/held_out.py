"""The held-out loss: a mean over all trained tokens, whatever the batches, and the task's scores of its predictions."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Protocol

import torch

from ftstudio.engine import gradient_cache, loading
from ftstudio.engine.collate import Row, trained
from ftstudio.engine.levers import Levers
from ftstudio.engine.objective import TaskObjective
from ftstudio.engine.predicting import moved
from ftstudio.engine.trouble import out_of_memory


class Rows(Protocol):
    """Rows by number, as the collator takes them."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Row: ...


def in_turn(rows: Rows, levers: Levers) -> list[int]:
    """The order in which held-out ROWS are looked at: the longest first, or, where the loss depends on which rows
    share a batch, as they come."""
    order = range(len(rows))
    return list(order) if levers.texts is not None else sorted(order, key=lambda row: -len(rows[row]["input_ids"]))


@torch.no_grad()
def held_out_loss(
    model: Any,
    rows: Rows,
    levers: Levers,
    batch: int,
    should_stop: Callable[[], bool] = lambda: False,
    keep: dict[str, Any] | None = None,
    budget: int | None = None,
) -> dict[str, float] | None:
    """`{loss, perplexity, rows, tokens}`: nats a trained token over all ROWS; the same for every BATCH size (rows, or
    as many as BUDGET tokens hold).

    Of a task with a loss of its own `tokens` counts targets, and the task's scores of its predictions come with it
    instead of the perplexity. None where SHOULD_STOP said so before all rows were through. A batch that memory
    won't hold is halved; one whose rows are held against each other is looked at in parts. With KEEP no more than loss,
    rows and tokens are told; it gets the `predicted`, as rows are `in_turn`, and their `task`.
    """
    whole = levers.texts is not None
    order = in_turn(rows, levers)
    parts = gradient_cache.wanted(levers.objective, batch)
    device = next(model.parameters()).device
    training = model.training
    model.eval()
    total, tokens, start, halved = 0.0, 0, 0, 1
    objective, predicted = levers.objective, []
    try:
        if isinstance(objective, TaskObjective):
            objective = objective.fitted(model, getattr(levers.collator, "pad_id", 0))
        while start < len(order):
            if should_stop():
                return None
            some = batch if budget is None else budget // len(rows[order[start]]["input_ids"])
            some = max(1, some // halved)
            inputs = levers.collator([rows[row] for row in order[start : start + some]])
            inputs = moved(inputs, device)
            found = []
            try:
                if isinstance(objective, TaskObjective):
                    outputs = gradient_cache.outputs(objective, model, inputs, parts)
                    loss = float(objective.task.loss(outputs, inputs).double())
                    found = objective.task.predictions(outputs, inputs)
                else:
                    loss = float(objective(model, inputs).double())
            except (RuntimeError, MemoryError) as error:
                if not out_of_memory(error) or (parts if whole else 1) >= len(inputs["lengths"]):
                    raise
                loss = None
            if loss is None:
                loading.free()
                halved, parts = (halved, 2 * parts) if whole else (2 * halved, 1)
                continue
            total += loss
            predicted += found
            tokens += int(trained(inputs))
            start += some
    finally:
        model.train(training)
    mean = total / tokens if tokens else float("nan")
    told = {"loss": mean, "rows": len(rows), "tokens": tokens}
    if keep is not None:
        keep |= {"predicted": predicted, "task": getattr(objective, "task", None)}
        return told
    if isinstance(objective, TaskObjective) and not objective.task.generates:
        return told | objective.task.scores(predicted, [rows[row] for row in order[: len(predicted)]])
    told["perplexity"] = math.exp(min(mean, 700))
    if len(rows) and "bytes" in rows[0]:  # running text: comparable across tokenizers
        told["bits_per_byte"] = total / math.log(2) / max(1, sum(rows[row]["bytes"] for row in order))
    return told
