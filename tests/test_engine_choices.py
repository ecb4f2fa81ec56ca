"""The methods side by side for one model, from its config alone."""

from __future__ import annotations

import json
from pathlib import Path

from tiny_zoo import llama, mixtral

from ftstudio.engine.choices import choices
from ftstudio.engine.recipes import check_recipe


def folder(place: Path, model: object) -> str:
    place.mkdir()
    (place / "config.json").write_text(json.dumps(model.config.to_dict()))  # type: ignore[attr-defined]
    return str(place)


def test_what_each_method_would_train_is_counted_and_one_recommended(tmp_path: Path) -> None:
    found = choices(check_recipe({"model": folder(tmp_path / "m", llama()[0]), "data": {"train": "demo"}}))
    by_name = {choice.name: choice for choice in found.methods}
    full, lora = by_name["full"], by_name["lora"]
    assert full.trainable == full.total == sum(weight.numel() for weight in llama()[0].parameters())
    assert 0 < lora.trainable < full.trainable
    assert lora.memory < full.memory
    assert (lora.saved, full.work) < (full.saved, 1.01)
    assert (found.recommended, lora.needs) == ("lora", {})


def test_fused_experts_take_lora_without_dropout_and_that_is_said(tmp_path: Path) -> None:
    model = folder(tmp_path / "m", mixtral()[0])
    found = choices(check_recipe({"model": model, "data": {"train": "demo"}}))
    lora = found.of("lora")
    assert lora is not None
    assert (lora.refused, lora.needs, found.recommended) == ("", {"dropout": 0.0}, "lora")
    assert "Set its dropout to 0" in found.why
    alone = check_recipe({"model": model, "data": {"train": "demo"}, "method": {"name": "lora", "dropout": 0}})
    counted = choices(alone).of("lora")
    assert counted is not None
    assert (counted.trainable, counted.total) == (lora.trainable, lora.total)
    asked = check_recipe({"model": model, "data": {"train": "demo"}, "method": {"name": "lora", "dropout": 0.1}})
    own = choices(asked).of("lora")
    assert own is not None
    assert own.refused.startswith("method.dropout")  # what a person set is not changed


def test_a_soft_prompt_saves_its_vectors_and_not_the_network_that_makes_them(tmp_path: Path) -> None:
    model = folder(tmp_path / "m", llama()[0])
    saved = {}
    for kind, more in (("p-tuning", {}), ("prompt", {}), ("prefix", {}), ("prefix", {"projection": True})):
        method = {"name": "prompt", "kind": kind, "tokens": 4, **more}
        found = choices(check_recipe({"model": model, "data": {"train": "demo"}, "method": method})).of("prompt")
        assert found is not None
        saved[kind, bool(more)] = found.saved
    assert saved["p-tuning", False] == saved["prompt", False] == 4 * 4 * 32
    assert saved["prefix", True] == saved["prefix", False] == 4 * 4 * (2 * 2 * 16)  # 2 layers, 2 of 4 heads
