"""Weights that lie in parts on the processes of a launch: torch's fully sharded data parallelism (FSDP2).

Each layer's weights are put together for its pass and let go of after it; gradients and the optimiser's states are only
ever held in parts (Zhao et al. 2023, "PyTorch FSDP"; Rajbhandari et al. 2020, "ZeRO", stage 3). Weights of bitsandbytes
stay whole on each process: their numbers mean nothing without the state beside them. Under autocast no layer's rounded
weights outlive its product (see `rounding`), or all of them together would lie whole on every process.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import distributed, nn
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor

from ftstudio.engine import gradients, rounding
from ftstudio.tasks.base import PARTED

QUANTISED = ("Int8Params",)
_HOOKS = (
    "_forward_pre_hooks",
    "_forward_hooks",
    "_state_dict_pre_hooks",
    "_load_state_dict_pre_hooks",
    "_load_state_dict_post_hooks",
)


@dataclass(frozen=True)
class Slot:
    """Where a weight in parts hangs."""

    module: nn.Module
    name: str
    weight: DTensor


def spread(model: nn.Module, device: str) -> None:
    """Leave each process its part of MODEL's weights, layer by layer. To be called by all of them. From now on they
    wait for each other in each layer: none is left out at random any more."""
    from torch.distributed.device_mesh import init_device_mesh

    mesh = init_device_mesh(device, (distributed.get_world_size(),))
    whole = {weight for weight in model.parameters() if type(weight).__name__ in QUANTISED}
    for module in groups(model):
        fully_shard(module, mesh=mesh, ignored_params=whole)
    fully_shard(model, mesh=mesh, ignored_params=whole)
    rounding.lean(model)
    setattr(model, PARTED, True)
    for module in model.modules():
        if gradients.leaves_out(module):
            module.ftstudio_layerdrop, module.layerdrop = module.layerdrop, 0.0


def groups(model: nn.Module) -> list[nn.Module]:
    """The layers of MODEL whose weights are gathered together, inner ones first; what is in none goes with the model.
    So does one with a weight that others share, such as embeddings tied to the head: a weight lies in one group."""
    layers: set[str] = set()
    for module in model.modules():
        layers |= set(getattr(module, "_no_split_modules", None) or ())
    places: dict[int, list[str]] = {}
    for name, weight in model.named_parameters(remove_duplicate=False):
        places.setdefault(id(weight), []).append(name)
    shared = [names for names in places.values() if len(names) > 1]
    found = []
    for name, module in reversed(list(model.named_modules())):
        if type(module).__name__ in layers and module is not model:
            inside = ([place.startswith(f"{name}.") for place in names] for names in shared)
            if not any(any(each) and not all(each) for each in inside):
                found.append(module)
    return found


def is_spread(model: nn.Module) -> bool:
    """Whether MODEL's weights lie in parts."""
    return isinstance(model, FSDPModule)


def slots(model: nn.Module) -> list[Slot]:
    """All weights of MODEL that lie in parts; a tied one at each of its places."""
    for unit in _units(model):
        unit.reshard()  # the outermost ones stay whole after a pass
    return [
        Slot(module, name, weight)
        for module in model.modules()
        for name, weight in module._parameters.items()
        if isinstance(weight, DTensor)
    ]


def _units(model: nn.Module) -> list[FSDPModule]:
    return [module for module in model.modules() if isinstance(module, FSDPModule)]


@contextmanager
def whole(model: nn.Module, written: bool = False) -> Iterator[None]:
    """Within, all of MODEL's weights are whole and plain on every process, and no pass of one waits for the others.

    WRITTEN: what was written into them is kept (the same on all processes). To be entered and left by all of them.
    """
    places, units = slots(model), _units(model)
    for unit in units:
        unit.unshard()
    # with its hooks FSDP would part the weights again, and note passes that the other processes don't make
    aside = [(module, _hooks_aside(module)) for module in model.modules()]
    try:
        yield
    finally:
        for place in places if written else ():
            _write(place.weight, place.module._parameters[place.name])
        for module, hooks in aside:
            for kind, kept in hooks.items():
                getattr(module, kind).update(kept)
                for key in kept if kind.endswith("_pre_hooks") else ():  # FSDP's come before all others
                    getattr(module, kind).move_to_end(key, last=False)
        for unit in units:
            unit.reshard()


def gather(model: nn.Module) -> None:
    """Make MODEL the plain module again that it was before `spread`, its weights whole on every process."""
    done: dict[int, nn.Parameter] = {}
    rounding.release(model)
    delattr(model, PARTED)
    for place in slots(model):
        key = id(place.weight)
        if key not in done:
            done[key] = nn.Parameter(place.weight.full_tensor().detach(), place.weight.requires_grad)
        place.module._parameters[place.name] = done[key]
    for module in model.modules():
        _hooks_aside(module)
        if hasattr(module, "ftstudio_layerdrop"):
            module.layerdrop = module.ftstudio_layerdrop
            del module.ftstudio_layerdrop
        if isinstance(module, FSDPModule):
            module.__class__ = type(module).__bases__[1]


def _hooks_aside(module: nn.Module) -> dict[str, dict[int, Any]]:
    """Take FSDP's own hooks off MODULE; what they were, by their kinds."""
    found: dict[str, dict[int, Any]] = {}
    for kind in _HOOKS:
        hooks = getattr(module, kind)
        found[kind] = {key: hook for key, hook in hooks.items() if _of_fsdp(hook)}
        for key in found[kind]:
            del hooks[key]
    return found


def _of_fsdp(hook: Any) -> bool:
    while isinstance(hook, functools.partial):
        hook = hook.func
    inner = getattr(hook, "hook", hook)  # torch wraps those that load a state
    return str(getattr(inner, "__module__", "")).startswith("torch.distributed.fsdp")


@torch.no_grad()
def _write(weight: DTensor, value: torch.Tensor | None) -> None:
    assert value is not None
    part = _part(weight, value)
    weight.to_local().copy_(part.to_local())


def _part(weight: DTensor, value: torch.Tensor) -> DTensor:
    """This process's part of VALUE, which is whole and the same on all of them, laid out as WEIGHT."""
    value = value.detach().to(device=weight.device, dtype=value.dtype)
    return distribute_tensor(value, weight.device_mesh, weight.placements, src_data_rank=None)


def sound(model: nn.Module) -> bool:
    """Whether all weights that learn are finite numbers, on all processes."""
    fine = all(
        bool((weight.to_local() if isinstance(weight, DTensor) else weight).isfinite().all())
        for weight in model.parameters()
        if weight.requires_grad
    )
    device = next(model.parameters()).device
    told = torch.tensor(int(fine), device=device)
    distributed.all_reduce(told, distributed.ReduceOp.MIN)
    return bool(told)


def optimizer_state(optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """The state of OPTIMIZER with every tensor whole. To be called by all processes."""
    found: dict[str, Any] = optimizer.state_dict()
    state = {
        number: {name: value.full_tensor() if isinstance(value, DTensor) else value for name, value in entry.items()}
        for number, entry in found["state"].items()
    }
    return {**found, "state": state}


def in_parts(state: Mapping[str, Any], optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """A STATE of `optimizer_state` as OPTIMIZER's weights lie."""
    weights = [weight for group in optimizer.param_groups for weight in group["params"]]
    found = {}
    for number, entry in state["state"].items():
        weight = weights[number]
        found[number] = {
            name: _part(weight, value)
            if isinstance(weight, DTensor) and torch.is_tensor(value) and value.shape == weight.shape
            else value
            for name, value in entry.items()
        }
    return {**state, "state": found}
