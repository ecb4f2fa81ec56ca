"""The recipe in transformers' words: what of transformers' own ways is kept off."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from ftstudio.engine.arguments import arguments
from ftstudio.engine.hardware import Hardware, resolve
from ftstudio.engine.recipes import load_recipe
from ftstudio.methods import get

PRESETS = Path(__file__).resolve().parents[1] / "presets"


def test_one_process_trains_on_one_gpu_however_many_it_sees(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Over several, transformers wraps the model in torch's DataParallel, which splits a batch along its first axis."""
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    machine = Hardware("cuda", "fp32", 1, "")
    found = arguments(load_recipe(PRESETS / "demo.yaml", []), get("lora"), machine, tmp_path)
    assert found.n_gpu == 1
    assert found.train_batch_size == found.per_device_train_batch_size == 8


@pytest.mark.parametrize("units", [True, False])
def test_bf16_on_a_cpu_without_units_for_it_is_told_to_be_slow(units: bool, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: units)
    asked = ["training.device=cpu", "training.precision=bf16"]
    machine = resolve(load_recipe(PRESETS / "demo.yaml", asked))
    assert machine.precision == "bf16"
    assert ("several times slower than fp32" in machine.why) is not units


def test_a_launcher_does_not_change_the_arithmetic(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """`accelerate launch --mixed_precision bf16` says so in the environment, where transformers looks."""
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "bf16")
    recipe = load_recipe(PRESETS / "demo.yaml", ["training.device=cpu", "training.precision=fp32"])
    machine = resolve(recipe)
    assert "mixed_precision (bf16) doesn't count" in machine.why
    assert arguments(recipe, get("lora"), machine, tmp_path).mixed_precision == "no"
