"""Telemetry against psutil itself and against a driver that is played."""

from __future__ import annotations

import os
import sys
from types import SimpleNamespace
from typing import Any

import psutil
import pynvml
import pytest

from ftstudio.core.run import Story
from ftstudio.core.watch import Watch
from ftstudio.engine import fit
from ftstudio.engine.memory import CONTEXT
from ftstudio.engine.telemetry import Telemetry
from ftstudio.engine.watchdog import Watchdog


class Driver:
    """NVML with two cards: the second tells neither power nor use, as a MIG slice does."""

    NVML_TEMPERATURE_GPU = 0

    def __init__(self, bytes_names: bool = False) -> None:
        self.bytes_names = bytes_names
        self.shut = False
        self.opened = 0

    def nvmlInit(self) -> None:
        self.opened += 1

    def nvmlShutdown(self) -> None:
        self.shut = True

    def nvmlDeviceGetCount(self) -> int:
        return 2

    def nvmlDeviceGetHandleByIndex(self, index: int) -> int:
        return index

    def nvmlDeviceGetName(self, handle: int) -> str | bytes:
        name = f"Card {handle}"
        return name.encode() if self.bytes_names else name

    def nvmlDeviceGetUtilizationRates(self, handle: int) -> SimpleNamespace:
        if handle == 1:
            raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_SUPPORTED)
        return SimpleNamespace(gpu=87, memory=12)

    def nvmlDeviceGetMemoryInfo(self, handle: int) -> SimpleNamespace:
        return SimpleNamespace(used=41 << 30, total=139 << 30, free=98 << 30)

    def nvmlDeviceGetTemperature(self, handle: int, sensor: int) -> int:
        return 61 + handle

    def nvmlDeviceGetPowerUsage(self, handle: int) -> int:
        if handle == 1:
            raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_SUPPORTED)
        return 512_345

    def nvmlDeviceGetCurrentClocksThrottleReasons(self, handle: int) -> int:
        if handle == 1:
            raise pynvml.NVMLError(pynvml.NVML_ERROR_GPU_IS_LOST)
        return 0x24  # a power cap, which is usual, and heat, which isn't

    def nvmlSystemGetDriverVersion(self) -> bytes:
        return b"580.65.06"


@pytest.fixture(autouse=True)
def _all_cards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)


class NoDriver:
    def nvmlInit(self) -> None:
        raise pynvml.NVMLError(pynvml.NVML_ERROR_DRIVER_NOT_LOADED)


def test_cpu_and_memory_are_those_of_psutil() -> None:
    value = Telemetry(NoDriver()).read()
    assert value["gpus"] == []
    assert value["ram_total"] == psutil.virtual_memory().total
    assert 0 < value["ram_used"] < value["ram_total"]
    assert 0 <= value["cpu"] <= 100
    rss = psutil.Process(os.getpid()).memory_info().rss
    assert abs(value["process_ram"] - rss) < 64 << 20


def test_a_card_is_told_in_the_units_promised() -> None:
    telemetry = Telemetry(Driver(bytes_names=True))
    first, second = telemetry.read()["gpus"]
    assert first == {
        "name": "Card 0",
        "index": 0,
        "use": 87.0,
        "memory_used": 41 << 30,
        "memory_total": 139 << 30,
        "temperature": 61.0,
        "power": 512.345,
        "throttled": ["heat"],
        "lost": None,
    }
    assert second["name"] == "Card 1"
    assert second["use"] is None
    assert second["power"] is None
    assert second["lost"]
    assert second["temperature"] == 62.0
    assert telemetry.driver() == "580.65.06"


def test_no_driver_is_no_error() -> None:
    telemetry = Telemetry(NoDriver())
    assert telemetry.driver() is None
    telemetry.close()


def test_close_lets_go_of_the_driver() -> None:
    driver = Driver()
    telemetry = Telemetry(driver)
    telemetry.close()
    assert driver.shut
    assert telemetry.read()["gpus"] == []


def test_the_driver_is_opened_once_however_often_one_reads() -> None:
    driver = Driver()
    telemetry = Telemetry(driver)
    for _ in range(50):
        telemetry.read()
    assert driver.opened == 1


class Shared(Driver):
    """Four cards: the first is another's, hot and nearly full."""

    UUIDS = ("GPU-aaaa1111-0", "GPU-aaaa2222-1", "GPU-bbbb3333-2", "GPU-cccc4444-3")

    def nvmlDeviceGetCount(self) -> int:
        return 4

    def nvmlDeviceGetUUID(self, handle: int) -> bytes:
        return self.UUIDS[handle].encode()

    def nvmlDeviceGetHandleByUUID(self, name: str) -> str:
        if name != "MIG-77":
            raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_FOUND)
        return name

    def nvmlDeviceGetName(self, handle: int) -> str:
        return f"Card {handle}"

    def nvmlDeviceGetMemoryInfo(self, handle: int) -> SimpleNamespace:
        used = 79 if handle == 0 else 1
        return SimpleNamespace(used=used << 30, total=80 << 30, free=(80 - used) << 30)

    def nvmlDeviceGetTemperature(self, handle: int, sensor: int) -> int:
        return 60

    def nvmlDeviceGetCurrentClocksThrottleReasons(self, handle: int) -> int:
        return 0x20 if handle == 0 else 0


@pytest.mark.parametrize(
    ("named", "seen"),
    [
        (None, [0, 1, 2, 3]),
        ("3", [3]),
        ("2,0", [2, 0]),
        (" 1 , 2 ", [1, 2]),
        ("", []),
        ("-1", []),
        ("1,-1,2", [1]),
        ("1,9,2", [1]),
        ("1,1", []),
        ("GPU-bbbb", [2]),
        ("GPU-aaaa", []),  # which of two isn't said
        ("GPU-cccc4444-3,GPU-aaaa2222-1", [3, 1]),
        ("MIG-77", [None]),
        ("MIG-78", []),
        ("nonsense", []),
    ],
)
def test_only_cards_that_cuda_shows_are_told(
    named: str | None, seen: list[int | None], monkeypatch: pytest.MonkeyPatch
) -> None:
    if named is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", named)
    read = Telemetry(Shared()).read()["gpus"]
    assert [card["index"] for card in read] == seen
    assert [card["name"] for card in read] == [f"Card {'MIG-77' if at is None else at}" for at in seen]


def test_once_torch_has_opened_cuda_its_order_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """The fastest first: the same cards in another order than the bus has them."""
    telemetry = Telemetry(Shared(), own=True)
    assert [card["index"] for card in telemetry.read()["gpus"]] == [0]  # of several one is trained on
    order = ["bbbb3333-2", "aaaa1111-0"]
    cuda = SimpleNamespace(
        is_initialized=lambda: True,
        device_count=lambda: len(order),
        get_device_properties=lambda at: SimpleNamespace(uuid=order[at]),
    )
    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(cuda=cuda))
    assert [card["index"] for card in telemetry.read()["gpus"]] == [2]
    assert [card["index"] for card in Telemetry(Shared()).read()["gpus"]] == [2, 0]
    for name in ("WORLD_SIZE", "LOCAL_WORLD_SIZE"):
        monkeypatch.setenv(name, "2")
    assert [card["index"] for card in Telemetry(Shared(), own=True).read()["gpus"]] == [2, 0]


def test_anothers_card_neither_decides_nor_warns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3")
    monkeypatch.setattr(pynvml, "nvmlInit", lambda: None)
    driver = Shared()
    monkeypatch.setattr("ftstudio.engine.telemetry.Telemetry._open", lambda self: _opened(self, driver))
    [there] = fit.devices("cuda")
    assert (there["name"], there["free"]) == ("GPU 0 Card 3", 79 << 30)
    assert fit.gpus() == 1
    reading = Telemetry(own=True).read()
    assert Watchdog(Watch()).machine(reading) == []
    story = Story()
    story.feed([{"kind": "telemetry", "time": 1.0, **reading}])
    assert story.curves["memory"] == [(story.step, 1 << 30)]
    reading["gpus"][0]["throttled"] = ["heat"]
    assert Watchdog(Watch()).machine(reading)[0].text.startswith("GPU 3 is slowed down")


def _opened(telemetry: Any, driver: Any) -> None:
    telemetry._nvml = driver
    telemetry._there = True
    telemetry._look()


def test_what_torch_keeps_in_store_and_a_base_that_is_taken_over_are_free(monkeypatch: pytest.MonkeyPatch) -> None:
    """80 GB: others hold 10, CUDA's context half a one, torch 30 in store, of which 16 are the base."""
    giga = 1 << 30
    cuda = SimpleNamespace(
        is_initialized=lambda: False,
        mem_get_info=lambda: (80 * giga - 10 * giga - CONTEXT["cuda"] - 30 * giga, 80 * giga),
        memory_reserved=lambda: 30 * giga,
        memory_allocated=lambda: 16 * giga,
    )
    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(cuda=cuda))
    assert fit.free("cuda", held=16 * giga) == 70 * giga
    assert fit.free("cuda") == 54 * giga
