"""A model as a tree of its parts, with how many weights each has and how many of them learn. Equal layers are one line."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Row:
    """A part of a model: `depth` in the tree, `name`, its `kind` (class), weights in `total` and `trained`; `times` it is
    there, all of them together; `new` where it holds no pretrained weight (a task's head, a soft prompt)."""

    depth: int
    name: str
    kind: str
    total: int
    trained: int
    times: int = 1
    new: bool = False


def rows_of(model: Any) -> Iterator[Row]:
    """The parts of MODEL (peft's wrapper or not; weights aren't looked at), in order."""
    from ftstudio.methods import anatomy

    base = model.get_base_model() if hasattr(model, "get_base_model") else model
    if base is not model and model.active_peft_config.is_prompt_learning:
        count = sum(weight.numel() for weight in model.prompt_encoder.parameters())
        yield Row(0, "soft prompt", type(next(iter(model.prompt_encoder.values()))).__name__, count, count, new=True)
    layers = {stack.name for stack in anatomy.stacks(base)}
    new = set(anatomy.new_parts(base))
    yield from _below(base, "", 0, layers, new)


def _below(module: Any, path: str, depth: int, layers: set[str], new: set[str]) -> Iterator[Row]:
    for name, child in module.named_children():
        here = f"{path}.{name}" if path else name
        if not any(True for _ in child.parameters()):
            continue
        if here in layers:
            yield from _layers(child, here, depth, layers, new)
            continue
        inner = _inner(child)
        yield Row(depth, name, type(inner).__name__, *_count(child), new=here in new)
        if inner is child:
            yield from _below(child, here, depth + 1, layers, new)


def _layers(stack: Any, path: str, depth: int, layers: set[str], new: set[str]) -> Iterator[Row]:
    """The layers of STACK, neighbours that are alike as one."""
    name = path.rpartition(".")[2]
    start = 0
    alike = [_signature(layer) for layer in stack]
    while start < len(alike):
        stop = start + 1
        while stop < len(alike) and alike[stop] == alike[start]:
            stop += 1
        total, trained = _count(stack[start])
        which = f"{start}" if stop == start + 1 else f"{start}–{stop - 1}"
        times = stop - start
        yield Row(
            depth, f"{name} {which}", type(stack[start]).__name__, total * times, trained * times, times,
        )  # fmt: skip
        yield from _below(stack[start], f"{path}.{start}", depth + 1, layers, new)
        start = stop


def _signature(layer: Any) -> tuple[Any, ...]:
    return (type(layer), *((name, weight.shape, weight.requires_grad) for name, weight in layer.named_parameters()))


def _inner(module: Any) -> Any:
    """What lies under an adapter, or under a module that learns whole beside one."""
    for name in ("base_layer", "original_module"):
        if hasattr(module, name):
            return _inner(getattr(module, name))
    return module


def _count(module: Any) -> tuple[int, int]:
    found = list(module.parameters())
    return sum(weight.numel() for weight in found), sum(weight.numel() for weight in found if weight.requires_grad)
