"""How torch takes memory from a GPU. To be said before torch is imported, so nothing here imports it."""

from __future__ import annotations

import os
import platform
import sys

NAMES = ("PYTORCH_CUDA_ALLOC_CONF", "PYTORCH_ALLOC_CONF")  # the second one from torch 2.9 on; the first is read by all


def roomy() -> None:
    """Let torch's blocks of GPU memory grow where they lie, unless the person has said something else. Batches without
    padding are each of another size: blocks of fixed sizes fit the next batch badly, and memory runs out with gigabytes
    free in pieces.

    Only on Linux itself: on Windows torch can't, and under WSL and on Jetson the driver may refuse what comes first.
    """
    system = platform.release().lower()
    if sys.platform != "linux" or "microsoft" in system or "tegra" in system:
        return
    if not any(os.environ.get(name) for name in NAMES):
        os.environ[NAMES[0]] = "expandable_segments:True"
