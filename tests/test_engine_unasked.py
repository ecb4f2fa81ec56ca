"""Weights that learn nothing are told, once."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from ftstudio.core.watch import Watch


@pytest.mark.parametrize(("asked_at", "told"), [(3, 0), (None, 1)])
def test_weights_without_a_gradient_are_told_once_and_those_asked_late_not(asked_at: int | None, told: int):
    import torch

    from ftstudio.engine.unasked import STEPS, Unasked

    events: list[dict[str, Any]] = []
    folder: Any = SimpleNamespace(name="run", emit=lambda kind, **facts: events.append(facts))
    model = torch.nn.ModuleDict({name: torch.nn.Linear(2, 2, bias=False) for name in ("used", "expert", "pooler")})
    model["frozen"] = torch.nn.Linear(2, 2).requires_grad_(False)
    look = Unasked(folder, Watch())
    for step in range(2 * STEPS):
        model["expert"].weight.grad = torch.ones(2, 2) if step == asked_at else None
        model["used"].weight.grad = torch.ones(2, 2)
        look.on_pre_optimizer_step(None, SimpleNamespace(global_step=step, max_steps=99), None, model=model)
    assert len(events) == told
    assert all("1 of the weights" in event["text"] and "expert.weight" in event["text"] for event in events)
