"""What the machine is doing: CPU and memory always, each GPU where NVIDIA's driver is there.

Only reads; needs neither torch nor a CUDA context. A read costs well under 2 ms.
"""

from __future__ import annotations

import contextlib
import os
from typing import Any

import psutil
from pynvml import NVMLError

from ftstudio.core.launch import place
from ftstudio.engine import cards
from ftstudio.engine.cards import Card

# nvml.h, nvmlClocksThrottleReasons: of these only what takes speed away that the card should have
THROTTLED = {0x08: "the hardware", 0x20: "heat", 0x40: "heat (hardware)", 0x80: "the power supply"}
GPU_IS_LOST = 15  # nvml.h: NVML_ERROR_GPU_IS_LOST


class Telemetry:
    """Reads use, memory, temperature and power. One object a process; reads are cheap and never raise.

    Of GPUs those that CUDA_VISIBLE_DEVICES leaves, in CUDA's order (see `cards`); with OWN only those that this process
    and the others of its launch compute on: others' heat and memory are none of a run's business. `nvml` is the module
    that speaks to the driver (default: `pynvml`, from nvidia-ml-py); without a driver there are simply no GPUs.
    """

    def __init__(self, nvml: Any = None, *, own: bool = False) -> None:
        self._process = psutil.Process(os.getpid())
        self._nvml = nvml
        self._own, self._named, self._there = own, False, False
        self._handles: list[tuple[str, Card]] = []
        self._open()
        psutil.cpu_percent()  # the first reading is the span since import, so it is thrown away

    def _open(self) -> None:
        try:
            if self._nvml is None:
                import pynvml

                self._nvml = pynvml
            self._nvml.nvmlInit()
            self._there = True
            self._look()
        except NVMLError:  # no driver, no library, no permission: all mean "no GPU to show"
            self._handles = []

    def _look(self) -> None:
        self._named = bool(cards.opened())
        found = cards.visible(self._nvml)
        told = []
        for card in found[: place().local_count] if self._own else found:
            name = self._nvml.nvmlDeviceGetName(card.handle)
            told.append((name.decode() if isinstance(name, bytes) else str(name), card))
        self._handles = told

    def read(self) -> dict[str, Any]:
        """One reading: `{cpu, ram_used, ram_total, process_ram, gpus}`.

        `cpu` in percent of all cores since the last read; sizes in bytes; `gpus` is a list of
        `{name, index, use, memory_used, memory_total, temperature, power, throttled, lost}` in percent, bytes, °C and
        W, with None for what that card doesn't tell; `index` as nvidia-smi counts; `throttled` lists what slows it down
        now.
        """
        memory = psutil.virtual_memory()
        if self._handles and not self._named and cards.opened():  # torch knows their order now
            with contextlib.suppress(NVMLError):
                self._look()
        return {
            "cpu": psutil.cpu_percent(),
            "ram_used": memory.total - memory.available,
            "ram_total": memory.total,
            "process_ram": self._process.memory_info().rss,
            "gpus": [self._gpu(name, card) for name, card in self._handles],
        }

    def _gpu(self, name: str, card: Card) -> dict[str, Any]:
        values: dict[str, Any] = dict.fromkeys(
            ("name", "use", "memory_used", "memory_total", "temperature", "power", "throttled", "lost")
        ) | {"name": name, "index": card.index}
        nvml, handle = self._nvml, card.handle
        # each on its own: a MIG slice or a passively cooled card tells some of these and refuses others
        with contextlib.suppress(NVMLError):
            values["use"] = float(nvml.nvmlDeviceGetUtilizationRates(handle).gpu)
        with contextlib.suppress(NVMLError):
            memory = nvml.nvmlDeviceGetMemoryInfo(handle)
            values["memory_used"], values["memory_total"] = int(memory.used), int(memory.total)
        with contextlib.suppress(NVMLError):
            values["temperature"] = float(nvml.nvmlDeviceGetTemperature(handle, nvml.NVML_TEMPERATURE_GPU))
        with contextlib.suppress(NVMLError):
            values["power"] = nvml.nvmlDeviceGetPowerUsage(handle) / 1000.0  # the driver tells milliwatts
        try:
            found = int(nvml.nvmlDeviceGetCurrentClocksThrottleReasons(handle))
            values["throttled"] = [text for bit, text in THROTTLED.items() if found & bit]
        except NVMLError as error:
            values["lost"] = getattr(error, "value", None) == GPU_IS_LOST
        except AttributeError:  # a driver library without it
            pass
        return values

    def driver(self) -> str | None:
        """The NVIDIA driver's version; None where there is no GPU."""
        if not self._handles:
            return None
        try:
            version = self._nvml.nvmlSystemGetDriverVersion()
        except NVMLError:
            return None
        return version.decode() if isinstance(version, bytes) else str(version)

    def close(self) -> None:
        """Let go of the driver."""
        self._handles = []
        if self._there:
            self._there = False
            with contextlib.suppress(NVMLError):
                self._nvml.nvmlShutdown()
