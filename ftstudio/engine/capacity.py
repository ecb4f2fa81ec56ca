"""What was found out of a device's memory holds for devices of that size: a larger one is tried anew."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

from ftstudio.core.text import size
from ftstudio.engine import fit

LARGER = 1.05  # drivers differ in what they keep for themselves


@functools.cache
def memory(device: str) -> int:
    """Bytes of the device that this process trains on: of its GPU, or of main memory as far as a container may use
    it."""
    if device != "cuda":
        return int(fit.devices(device)[0]["total"])
    import torch

    return int(torch.cuda.mem_get_info()[1])


def larger(known: Mapping[str, Any], rank: int, device: str) -> bool:
    """Whether DEVICE has more memory than the one on which process RANK sealed the checkpoint that says KNOWN."""
    return more(_entry(known, rank).get("memory"), device)


def more(before: object, device: str) -> bool:
    """Whether DEVICE has more memory than the one of BEFORE (bytes; anything else where it isn't known)."""
    return isinstance(before, int) and memory(device) > LARGER * before


def carried(known: Mapping[str, Any], rank: int, device: str, again: bool = False) -> tuple[dict[str, Any], str]:
    """(what the checkpoint that says KNOWN knows of process RANK's memory: `held`, `still`, `recomputes`; what a person
    is to be told).

    On a DEVICE with more memory than the one of then, what didn't fit is forgotten, and activations are kept unless
    they are computed AGAIN for another reason.
    """
    entry = _entry(known, rank)
    found = {"recomputes": known.get("recomputes"), **entry}
    if not larger(known, rank, device):
        return found, ""
    failed = [kind for kind in ("held", "still") if (entry.get(kind) or {}).get("failed")]
    for kind in failed:
        found[kind] = {**entry[kind], "failed": []}
    found["recomputes"] = False
    if not failed and (again or not entry.get("recomputes")):
        return found, ""
    text = f"This device has {size(memory(device))} of memory, the one so far had {size(entry['memory'])}: "
    return found, text + "what didn't fit there is tried again."


def _entry(known: Mapping[str, Any], rank: int) -> dict[str, Any]:
    entry = dict(enumerate(known.get("held") or ())).get(rank)
    return entry if isinstance(entry, dict) else {}
