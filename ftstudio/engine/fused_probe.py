"""Does head and cross-entropy in one say the same of a model as the plain loss? Tried on two rows before training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from torch import nn

from ftstudio.core.text import number, size
from ftstudio.engine import fused
from ftstudio.engine.collate import Collate, Row
from ftstudio.engine.loss import Objective
from ftstudio.engine.parity import Parity, against, passed
from ftstudio.engine.predicting import moved
from ftstudio.engine.trouble import out_of_memory

PIECES = "in pieces: no copy of the logits in 32 bits"


def tried(model: Any, objective: Objective, collate: Collate, rows: Sequence[Row]) -> tuple[str, str]:
    """(name of the function to be used, empty for none; the reason) for MODEL, by what it says on ROWS."""
    found = fused.candidates(objective.device)
    if objective.device != "cuda":
        return "", f"{PIECES}; fused with the head it would be slower on the CPU"
    head = fused.head_under(model)
    if objective.head == "all":
        head = "the head runs everywhere"
    if isinstance(head, str):
        return "", f"{PIECES}; not fused with the head: {head}"
    why = "neither torch 2.13 nor liger-kernel is installed"
    for name in found:
        parity = same(model, objective, replace(objective, fused=name), collate, rows)
        if parity.same:
            apart = f"loss {parity.loss:.0e} apart, gradients {parity.gradients:.0e}"
            few = number(from_places(objective, head) - 1)
            return name, (
                f"{PIECES}; with more than {few} labels at once (logits of {size(fused.LARGE)}) fused with the head by "
                f"{name}: the same on two rows ({apart})"
            )
        why = f"{name}: {parity.why}"
    return "", f"{PIECES}; not fused with the head: {why}"


def from_places(objective: Objective, head: nn.Linear) -> int:
    """From how many labels of a batch on OBJECTIVE is to be fused with HEAD."""
    dtype = objective.autocast or head.weight.dtype
    return fused.worth_from(head.out_features, dtype.itemsize)


def same(model: Any, plain: Objective, other: Objective, collate: Collate, rows: Sequence[Row]) -> Parity:
    """How far OTHER lies from PLAIN on ROWS, dropout off. Running out of memory is raised."""
    training = model.training
    model.eval()
    try:
        batch = moved(collate(rows), next(model.parameters()).device)
        return against(passed(model, batch, plain), passed(model, batch, other), plain)
    except (TypeError, ValueError, IndexError, AttributeError, ImportError, RuntimeError) as error:
        if out_of_memory(error):
            raise
        return Parity(why=f"{type(error).__name__}: {' '.join(str(error).split())[:120]}")
    finally:
        model.train(training)
        model.zero_grad(set_to_none=True)
