"""What a step of a task with batches and a loss of its own takes: the whole model followed, on real rows' shapes.

Such models are small against decoders, so all layers are followed, with nothing drawn on: a second for a BERT, two for
an encoder-decoder of billions. As in `memory_fake` nothing is computed and no memory taken.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
from torch._subclasses.fake_tensor import (
    DataDependentOutputException,
    DynamicOutputShapeException,
    FakeTensorMode,
)
from torch.nn import functional

from ftstudio.engine import asked_head
from ftstudio.engine.memory import CONTEXT, cache_bytes
from ftstudio.engine.memory_fake import dressed, fake
from ftstudio.engine.memory_pictures import Placed, pictured
from ftstudio.engine.memory_track import Tracker
from ftstudio.engine.objective import TaskObjective

if TYPE_CHECKING:
    from ftstudio.core.recipe import Recipe
    from ftstudio.engine.collate import Row
    from ftstudio.engine.hardware import Hardware
    from ftstudio.engine.memory_fake import Method
    from ftstudio.tasks.base import Task

IGNORED = -100


@dataclass(frozen=True)
class TaskLoads:
    """The batches that decide: the heaviest one of training `rows`, of `held_out` ones, and `prompts` that are answered
    together by up to `new` tokens (only where the task writes); `pieces` are all that the heaviest batch is cut into,
    `rows` the one with most tokens."""

    rows: Sequence[Row]
    held_out: Sequence[Row] = ()
    prompts: Sequence[Row] = ()
    new: int = 0
    pieces: Sequence[Sequence[Row]] = ()


def estimate(
    config: Any,
    recipe: Recipe,
    task: Task,
    method: Method,
    machine: Hardware,
    counted: Mapping[str, int],
    loads: TaskLoads,
) -> dict[str, Any]:
    """As `memory.estimate`. Raises what torch raises where an operation depends on numbers that aren't there."""
    task = task.hollow()
    half = None if machine.precision == "fp32" else machine.dtype
    real = [task.collate(list(rows), 0) for rows in (loads.rows, loads.held_out, loads.prompts) if rows]
    asked = [int((batch["targets"] != IGNORED).sum()) for batch in real]
    model = _model(recipe, method, machine, half)
    objective = TaskObjective(task, "cpu", half)
    mode = FakeTensorMode(allow_non_fake_inputs=True)
    with mode:
        fake(model)
    seen = task.kind == "image-text-to-text"  # the model looks at what stands in a batch
    with Placed() if seen else mode:
        batches = real if seen else [_faked(dict(batch)) for batch in real]
        if task.kind == "masked-lm":
            name = asked_head.first_called(model, lambda: objective.outputs(model, batches[0]))
            objective = replace(objective, head=name)
        steps = [(*_step(model, objective, batches[0], asked[0]), _first(loads, loads.rows))]
        if seen and (other := _most_pictured(task, loads)) is not None:
            steps.append((*_step(model, objective, task.collate(list(other), 0), 0), _first(loads, other)))
        still = [_still(model, objective, batch, count) for batch, count in zip(batches[1:], asked[1:], strict=True)]
    found = []
    for peak, others, first in steps:
        if recipe.training.gradient_accumulation > 1 or not first:  # those of what went before lie there
            found.append((others + counted["gradients"], counted["gradients"]))
        else:
            found.append((peak, max(0, peak - others)))
    peak, gradients = max(found)
    if seen:  # a batch comes with the pictures of all its pieces
        whole = [pictured(task.collate(list(piece), 0)) for piece in loads.pieces]
        peak += sum(whole) - max(whole, default=0)
    around = {"cuda": "cuda_context", "cpu": "libraries"}[machine.device]
    parts = {
        "weights": counted["weights"],
        "adapter": counted["adapter"],
        "gradients": gradients,
        "optimizer": counted["optimizer"],
        "activations": peak - gradients,
        around: CONTEXT[machine.device],
    }
    resting = sum(parts.values()) - parts["activations"] - gradients
    moments = {"training": sum(parts.values())}
    if loads.held_out:
        moments["evaluating"] = resting + still[0]
    cache = 0
    if loads.prompts:
        longest = max(len(row["input_ids"]) for row in loads.prompts)
        cache = cache_bytes(config, machine, len(loads.prompts), longest + loads.new)
        moments["answering"] = resting + still[-1] + cache
    return {"estimated_bytes": max(moments.values()), "parts": parts, "moments": moments, "cache_bytes": cache}


def _first(loads: TaskLoads, rows: Sequence[Row]) -> bool:
    """Whether ROWS are the first that go through the model in a step."""
    return not loads.pieces or _same(loads.pieces[0], rows)


def _same(one: Sequence[Row], other: Sequence[Row]) -> bool:
    return [row["input_ids"] for row in one] == [row["input_ids"] for row in other]


def _most_pictured(task: Task, loads: TaskLoads) -> Sequence[Row] | None:
    """The piece whose pictures take most bytes: they may take more than most tokens do. None where that is the one
    with most tokens."""
    most = max(loads.pieces, key=lambda piece: pictured(task.collate(list(piece), 0)), default=None)
    return None if most is None or _same(most, loads.rows) else most


def _model(recipe: Recipe, method: Method, machine: Hardware, half: torch.dtype | None) -> Any:
    """The model of RECIPE without weights, changed by METHOD as for training."""
    from ftstudio.engine.locate import locate
    from ftstudio.engine.skeleton import skeleton

    model = skeleton(recipe)
    if method.kind == "encoder":
        from ftstudio.engine import sentence

        sentence.attach(model, locate(recipe.model, weights=False).folder)
    return dressed(model, recipe, machine, method, half)


def _faked(value: Any) -> Any:
    """VALUE, a batch, with empty tensors of the same shapes."""
    if torch.is_tensor(value):
        return torch.empty(value.shape, dtype=value.dtype)
    if isinstance(value, dict):
        return {key: _faked(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_faked(item) for item in value]
    return value


def _loss(model: Any, objective: TaskObjective, batch: Mapping[str, Any], asked: int) -> torch.Tensor:
    """The loss of a faked BATCH. Where it picks places by their numbers, as many as are ASKED are taken from the front:
    it holds as much."""
    outputs = objective.outputs(model, batch)
    try:
        return objective.task.loss(outputs, batch)
    except (DynamicOutputShapeException, DataDependentOutputException):
        logits = objective.task.numbers(outputs)
        some = logits.flatten(0, -2)[:asked].float()
        return functional.cross_entropy(some, torch.zeros(asked, dtype=torch.long), reduction="sum")


def _step(model: Any, objective: TaskObjective, batch: Mapping[str, Any], asked: int) -> tuple[int, int]:
    """(most bytes held at once in a step on BATCH, the same without the gradients)."""
    tracker = Tracker()
    tracker.ignore([*model.parameters(), *model.buffers()])
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.register_post_accumulate_grad_hook(lambda item: tracker.keep(item.grad))
    with tracker:
        tracker.enter("step")
        _loss(model, objective, batch, asked).backward()
    for parameter in model.parameters():
        parameter.grad = None
    return max(tracker.peaks.values()), max(tracker.others.values())


def _still(model: Any, objective: TaskObjective, batch: Mapping[str, Any], asked: int) -> int:
    """Most bytes held in a pass without gradients on BATCH."""
    tracker = Tracker()
    tracker.ignore([*model.parameters(), *model.buffers()])
    model.eval()
    with torch.no_grad(), tracker, contextlib.suppress(DynamicOutputShapeException, DataDependentOutputException):
        tracker.enter("pass")
        _loss(model, objective, batch, asked)
    model.train()
    return tracker.peaks["pass"]
