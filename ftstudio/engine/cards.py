"""Which of the machine's GPUs this process may compute on, in CUDA's order, as NVML knows them. No torch is imported.

NVML counts all cards of the machine by their place on the bus. CUDA counts those that CUDA_VISIBLE_DEVICES leaves, and
(CUDA_DEVICE_ORDER) the fastest first where cards differ; once torch has opened CUDA in this process it is asked for the
cards' own names (UUIDs), until then they are taken by the bus, as torch does itself.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pynvml import NVMLError


@dataclass(frozen=True)
class Card:
    """A GPU: `handle` for NVML, `index` as nvidia-smi counts; None for a part of one (MIG)."""

    index: int | None
    handle: Any


def visible(nvml: Any, environment: Mapping[str, str] | None = None) -> list[Card]:
    """The cards this process may use, in CUDA's order. NVML must be open. Raises NVMLError where it tells nothing."""
    cards = [Card(index, nvml.nvmlDeviceGetHandleByIndex(index)) for index in range(nvml.nvmlDeviceGetCount())]
    names = opened()
    if names:
        found = [_named(nvml, cards, f"{kind}-{name}") for name in names for kind in ("GPU", "MIG")]
        sure = [card for card in found if card is not None]
        if len(sure) == len(names):
            return sure
    return _left(nvml, cards, os.environ if environment is None else environment)


def opened() -> list[str]:
    """The UUIDs, without what stands before them, of CUDA's devices where torch has opened CUDA in this process."""
    torch = sys.modules.get("torch")
    try:
        if torch is None or not torch.cuda.is_initialized():
            return []
        found = [str(torch.cuda.get_device_properties(at).uuid) for at in range(torch.cuda.device_count())]
    except Exception:  # an older torch tells no UUID; a broken context tells nothing
        return []
    return [name.removeprefix("GPU-").removeprefix("MIG-") for name in found]


def _left(nvml: Any, cards: list[Card], environment: Mapping[str, str]) -> list[Card]:
    """What CUDA_VISIBLE_DEVICES leaves of CARDS: numbers or UUIDs (or what they begin with), up to the first word that
    names no card; one that is named twice leaves none."""
    words = environment.get("CUDA_VISIBLE_DEVICES")
    if words is None:
        return cards
    found: list[Card] = []
    for word in words.split(","):
        name = word.strip()
        card: Card | None = None
        if name.isdecimal():
            card = cards[int(name)] if int(name) < len(cards) else None
        elif name.startswith(("GPU-", "MIG-")):
            card = _named(nvml, cards, name)
        if card is None:
            break
        if card in found:
            return []
        found.append(card)
    return found


def _named(nvml: Any, cards: list[Card], name: str) -> Card | None:
    """The card whose UUID begins with NAME; None where none or several do."""
    found = []
    for card in cards:
        with contextlib.suppress(NVMLError, AttributeError):
            own = nvml.nvmlDeviceGetUUID(card.handle)
            if (own.decode() if isinstance(own, bytes) else str(own)).startswith(name):
                found.append(card)
    if len(found) == 1:
        return found[0]
    if name.startswith("MIG-"):
        with contextlib.suppress(NVMLError, AttributeError):
            return Card(None, nvml.nvmlDeviceGetHandleByUUID(name))
    return None
