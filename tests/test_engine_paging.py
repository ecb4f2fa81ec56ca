"""Paged optimiser states after a resume, with a stand-in for the memory that only a GPU has."""

from __future__ import annotations

import io
from typing import Any

import pytest

pytest.importorskip("bitsandbytes")


def optimizer() -> Any:
    """bitsandbytes' own paged AdamW in 8 bits over a large and a small weight, whose paged memory is ordinary."""
    import bitsandbytes
    import torch

    class Paged(bitsandbytes.optim.PagedAdamW8bit):
        def get_state_buffer(self, p: Any, dtype: Any = torch.float32) -> Any:
            found = torch.zeros_like(p, dtype=dtype)
            if p.numel() >= 1e5:
                found.is_paged = True
                self.pages = [*getattr(self, "pages", ()), found]
            return found

        def prefetch_state(self, p: Any) -> None:
            """Nothing to be fetched."""

    torch.manual_seed(0)
    return Paged([torch.nn.Parameter(torch.randn(size)) for size in (100_000, 5_000)], lr=1e-2)


def test_states_read_back_lie_in_paged_memory_and_go_on_the_same():
    import torch

    from ftstudio.engine.paging import kept

    def step(made: Any) -> None:
        for weight in made.param_groups[0]["params"]:
            weight.grad = weight.detach() * 0.1 + 0.01
        made.step()

    def paged(made: Any) -> list[bool]:
        states = [made.state[weight]["state1"] for weight in made.param_groups[0]["params"]]
        return [any(state is page for page in getattr(made, "pages", ())) for state in states]

    first, bare, again = optimizer(), optimizer(), optimizer()
    step(first)
    assert paged(first) == [True, False]
    file = io.BytesIO()
    torch.save(first.state_dict(), file)
    file.seek(0)
    state = torch.load(file, weights_only=True)
    for made in (bare, again):
        for mine, its in zip(made.param_groups[0]["params"], first.param_groups[0]["params"], strict=True):
            mine.data.copy_(its)
    bare.load_state_dict(state)
    assert paged(bare) == [False, False]  # what is mended here; where the library keeps them itself, this can go
    with kept(again):
        again.load_state_dict(state)
    assert "load_state_dict" not in vars(again)
    assert paged(again) == [True, False]
    step(first)
    step(again)
    for mine, its in zip(again.param_groups[0]["params"], first.param_groups[0]["params"], strict=True):
        assert torch.equal(mine, its)
