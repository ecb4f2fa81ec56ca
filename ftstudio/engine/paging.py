"""Paged optimiser states that are read back stay paged.

bitsandbytes moves what it reads onto the GPU as ordinary tensors (`Optimizer8bit.load_state_dict`, 0.50): a run that
fitted only because its states could leave the card wouldn't fit any more once it is resumed.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

STATES = ("state1", "state2")


@contextmanager
def kept(optimizer: Any) -> Iterator[None]:
    """While this holds, what OPTIMIZER (accelerate's wrapper or not) reads stays in main memory; after it, its large
    states lie in paged memory as they did when they were made, and the rest on the GPU. Others are left alone."""
    inner = getattr(optimizer, "optimizer", optimizer)
    if not getattr(inner, "is_paged", False):
        yield
        return
    inner.load_state_dict = partial(inner.load_state_dict, move_to_device=False)
    try:
        yield
    finally:
        del inner.load_state_dict
    for weight, state in inner.state.items():
        for name in STATES:
            value = state.get(name)
            if value is None:
                continue
            # what was read may still call itself paged, and is ordinary memory: the mark is saved with the tensor
            buffer = inner.get_state_buffer(weight, dtype=value.dtype)
            if getattr(buffer, "is_paged", False):  # a small one never is
                if weight.is_cuda:
                    import torch

                    torch.cuda.synchronize(weight.device)  # it is filled with zeros there first
                buffer.copy_(value)
                state[name] = buffer
    inner.to_gpu()
