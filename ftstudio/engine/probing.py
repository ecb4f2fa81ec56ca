"""What a model says on one row, as numbers: by it two models are compared."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ftstudio.engine.generation import ready
from ftstudio.engine.predicting import moved
from ftstudio.tasks.base import Task


def numbers_of(task: Task, model: Any, row: Mapping[str, Any], pad_id: int = 0) -> Any:
    """TASK's numbers (logits, embeddings) of MODEL on ROW, in 32 bits on the CPU; dropout off."""
    import torch

    device = next(model.parameters()).device
    with ready(model), torch.no_grad():
        if task.kind == "causal-lm":
            ids = torch.tensor([list(row["input_ids"])], device=device)
            found = model(input_ids=ids, attention_mask=torch.ones_like(ids), use_cache=False).logits
            found = found[:, -ids.shape[1] :]  # without what a soft prompt before them predicts
        else:
            batch = moved(task.collate([row], pad_id), device)
            found = task.numbers(task.outputs(model, batch["inputs"]))
        return found.detach().float().cpu()
