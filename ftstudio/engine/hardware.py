"""Which device, which arithmetic, how many threads: what the recipe leaves open, resolved for this machine."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from ftstudio.core.errors import StudioError
from ftstudio.core.launch import place
from ftstudio.core.text import one_line

if TYPE_CHECKING:
    import torch

    from ftstudio.core.recipe import Recipe

Precision = Literal["fp32", "bf16", "fp16"]


@dataclass(frozen=True)
class Hardware:
    """Device (`cpu` or `cuda`), arithmetic of the forward pass, threads of the CPU, and why."""

    device: str
    precision: Precision
    threads: int
    why: str

    @property
    def dtype(self) -> torch.dtype:
        """The arithmetic as torch names it."""
        import torch

        return {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[self.precision]


def cores() -> int:
    """CPU cores this process may use (affinity and container limits counted where the system tells)."""
    try:
        count = len(os.sched_getaffinity(0))
    except AttributeError:
        count = os.cpu_count() or 1
    try:
        with open("/sys/fs/cgroup/cpu.max") as file:
            quota, period = file.read().split()
        if quota != "max":
            count = min(count, max(1, int(quota) // int(period)))
    except (OSError, ValueError):
        pass
    return count


def threads() -> int:
    """Threads for torch: one core is left to the screen, the others are shared by the processes that train here.

    OMP_NUM_THREADS, where smaller, stands.
    """
    wanted = max(1, (cores() - 1) // place().local_count)
    try:
        return max(1, min(wanted, int(os.environ["OMP_NUM_THREADS"])))
    except (KeyError, ValueError):
        return wanted


def resolve(recipe: Recipe) -> Hardware:
    """What RECIPE runs on here. Imports torch. Raises StudioError for what this machine hasn't."""
    import torch

    training = recipe.training
    there = torch.cuda.is_available()
    device = training.device
    if device == "cuda" and not there:
        built = "is built without CUDA" if torch.version.cuda is None else "sees no GPU"
        raise StudioError(
            f"The recipe asks for a GPU (training.device: cuda), but torch {built}.",
            "Set training.device to auto or cpu; `ftstudio doctor` tells what this machine has.",
        )
    if device == "auto":
        device = "cuda" if there else "cpu"
    precision = training.precision
    why = "as the recipe says"
    if precision == "bf16" and device == "cpu" and not _cpu_has_bf16():
        why += "; this CPU has no units for bf16 and imitates it, several times slower than fp32"
    if precision == "auto":
        if device == "cpu":
            precision, why = "fp32", _why_exact()
        elif torch.cuda.is_bf16_supported(including_emulation=False):
            precision, why = "bf16", "the GPU computes it natively"
        else:
            precision, why = "fp16", "the GPU has no bf16"
    if precision == "fp16" and device == "cpu":
        raise StudioError(
            "training.precision fp16 needs a GPU: its gradients under- and overflow on the CPU.",
            "Use precision auto, fp32 or bf16.",
        )
    launched = os.environ.get("ACCELERATE_MIXED_PRECISION", "no").lower()
    if launched not in ("no", precision):
        why += f"; accelerate's mixed_precision ({one_line(launched, 10)}) doesn't count, training.precision does"
    return Hardware(device, precision, threads(), why)


def _cpu_has_bf16() -> bool:
    """Whether the CPU multiplies bf16 in units of its own."""
    import torch

    return bool(getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)())


def _why_exact() -> str:
    """Why a CPU computes in 32 bits unless told otherwise, and whether telling it would pay."""
    if _cpu_has_bf16():
        return "exact, the same on every CPU; this one has units for bf16, faster from some 10M parameters on"
    return "exact, the same on every CPU; this one has no units for bf16"


def apply_threads(count: int) -> None:
    """Let torch use COUNT threads, and make the calling thread polite (nice +10) so that the screen comes first."""
    import torch

    torch.set_num_threads(count)


def be_polite(increment: int = 10) -> None:
    """Lower the calling thread's priority. On Linux each thread has its own; elsewhere it would be the process: no."""
    if hasattr(os, "setpriority") and os.path.exists("/proc/self/task"):
        import threading

        try:
            thread = threading.get_native_id()
            os.setpriority(os.PRIO_PROCESS, thread, min(19, os.getpriority(os.PRIO_PROCESS, thread) + increment))
        except OSError:
            pass


def peak_memory(device: str) -> int:
    """The most memory used so far, bytes: on a GPU what torch held at once, else the process's resident peak."""
    if device == "cuda":
        import torch

        return int(torch.cuda.max_memory_allocated())
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return int(peak if sys.platform == "darwin" else peak * 1024)


def device_name(device: str) -> str:
    """`cpu`, or the GPU's name."""
    if device != "cuda":
        return device
    import torch

    return f"cuda ({torch.cuda.get_device_name()})"
