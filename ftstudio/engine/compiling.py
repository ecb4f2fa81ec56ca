"""torch.compile, layer by layer: one layer is compiled and serves all that are like it, which costs seconds only.

Opt-in (`training.compile`), and used only where the compiled layers say the same as the plain ones on two rows.
Attention by rows stays as it is: its loop over rows of any length would be compiled anew for each.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from ftstudio.engine import attention
from ftstudio.engine.collate import Collate, Row
from ftstudio.engine.loss import Objective
from ftstudio.engine.objective import TaskObjective
from ftstudio.engine.parity import against, passed
from ftstudio.engine.predicting import moved
from ftstudio.engine.trouble import out_of_memory


def layers(model: Any) -> list[Any]:
    """The layers of MODEL (peft's wrapper or not), of all its stacks."""
    from ftstudio.methods import anatomy

    base = model.get_base_model() if hasattr(model, "get_base_model") else model
    return [layer for stack in anatomy.stacks(base) for layer in stack.layers]


def compile_layers(model: Any, rows: Sequence[Row], objective: Objective | TaskObjective, collate: Collate) -> str:
    """Compile MODEL's layers where that changes nothing on ROWS; what came of it, for people. Dropout is off.

    Running out of memory is raised. A layer that can't be compiled stays plain, and so does the model.
    """
    found = layers(model)
    if not found:
        return "asked for, but left out: its layers can't be told"
    training = model.training
    model.eval()
    began = time.perf_counter()
    try:
        batch = moved(collate(rows), next(model.parameters()).device)
        plain = passed(model, batch, objective)
        attention.register(compiled=True)
        for layer in found:
            layer.compile(dynamic=True)
        parity = against(plain, passed(model, batch, objective), objective)
    except Exception as error:  # dynamo, inductor and the C++ or CUDA compiler each have errors of their own
        release(model)
        if out_of_memory(error):
            raise
        lines = [line for line in str(error).splitlines() if line.strip()] or [""]
        return f"asked for, but left out: {type(error).__name__}: {' '.join(lines[0].split())[:120]}"
    finally:
        model.train(training)
        model.zero_grad(set_to_none=True)
    if not parity.same:
        release(model)
        return f"asked for, but left out: {parity.why}"
    apart = f"loss {parity.loss:.0e} apart, gradients {parity.gradients:.0e}"
    return f"{len(found)} layers, in {time.perf_counter() - began:.0f} s: the same on two rows ({apart})"


def release(model: Any) -> None:
    """Let MODEL's layers run as they were written."""
    compiled = [layer for layer in layers(model) if getattr(layer, "_compiled_call_impl", None) is not None]
    for layer in compiled:
        layer._compiled_call_impl = None
    if compiled:
        import torch

        attention.register(compiled=False)
        torch.compiler.reset()
