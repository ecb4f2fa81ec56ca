"""The head of a masked language model where tokens are to be filled in alone: it costs more than the layers do, and
elsewhere nothing is learnt from what it says.

The models take no list of places. So their head, the part that is called with what the layers say, is handed only the
places that are asked for: [places, width] instead of [rows, longest, width], and its logits are as many.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from ftstudio.methods import anatomy

if TYPE_CHECKING:
    from ftstudio.engine.objective import TaskObjective

NEAR = 1e-4  # logits apart, of the largest one, in 32 bits; in half precision NEAR_HALF
NEAR_HALF = 5e-2


def _inner(model: Any) -> Any:
    """MODEL without wrappers for several processes and adapters."""
    model = getattr(model, "module", model)
    return model.get_base_model() if hasattr(model, "get_base_model") else model


def first_called(model: Any, call: Callable[[], object]) -> str:
    """The name of the part after the body that is called first in CALL, with [rows, longest, width]; empty for none."""
    seen: list[str] = []

    def watch(name: str) -> Callable[[nn.Module, tuple[Any, ...]], None]:
        def look(module: nn.Module, given: tuple[Any, ...]) -> None:
            whole = bool(given) and torch.is_tensor(given[0]) and given[0].dim() == 3
            seen.append(name if whole else "")

        return look

    parts = anatomy.head(_inner(model))
    handles = [part.register_forward_pre_hook(watch(name)) for name, part in parts.items()]
    try:
        call()
    finally:
        for handle in handles:
            handle.remove()
    return seen[0] if seen else ""


@contextlib.contextmanager
def only_at(model: Any, name: str, places: torch.Tensor | None) -> Iterator[None]:
    """Within, MODEL's part NAME sees PLACES (numbers within rows × longest) alone; everything where either is none."""
    if not name or places is None:
        yield
        return

    def pick(module: nn.Module, given: tuple[Any, ...]) -> tuple[Any, ...]:
        return (given[0].flatten(0, 1).index_select(0, places), *given[1:])

    handle = _inner(model).get_submodule(name).register_forward_pre_hook(pick)
    try:
        yield
    finally:
        handle.remove()


def that_works(model: Any, objective: TaskObjective, batch: Mapping[str, Any]) -> str:
    """The name of the part that can be narrowed so, on BATCH with the same logits as whole; empty where none can."""
    from dataclasses import replace

    from ftstudio.core.errors import StudioError
    from ftstudio.engine.trouble import out_of_memory

    training, said = model.training, []
    model.eval()
    try:
        with torch.no_grad():
            name = first_called(model, lambda: said.append(objective.outputs(model, batch).logits))
            if not name:
                return ""
            wanted = said[0].flatten(0, 1).index_select(0, batch["places"]).float()
            found = replace(objective, head=name).outputs(model, batch).logits.float()
            half = objective.autocast is not None or model.dtype != torch.float32
            near = (NEAR_HALF if half else NEAR) * max(1.0, float(wanted.abs().max()))
            return name if found.shape == wanted.shape and float((found - wanted).abs().max()) <= near else ""
    except (TypeError, ValueError, IndexError, RuntimeError, StudioError) as error:
        if out_of_memory(error):
            raise
        return ""
    finally:
        model.train(training)
