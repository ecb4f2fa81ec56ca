"""Telemetry against psutil itself and against a driver that is played."""

from __future__ import annotations

import os
from types import SimpleNamespace

import psutil
import pynvml

from ftstudio.engine.telemetry import Telemetry


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
