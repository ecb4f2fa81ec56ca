"""Weights in parts (FSDP), on a group of one: which modules are parted, what is whole within, what is left after."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tiny_models import make_model

torch = pytest.importorskip("torch")


@pytest.fixture
def model(tmp_path: Path) -> Iterator[Any]:
    from peft import LoraConfig, get_peft_model
    from torch import distributed
    from transformers import AutoModelForCausalLM

    distributed.init_process_group("gloo", store=distributed.HashStore(), rank=0, world_size=1)
    base = AutoModelForCausalLM.from_pretrained(make_model(tmp_path / "model"))
    yield get_peft_model(base, LoraConfig(r=2, target_modules=["q_proj", "v_proj"], init_lora_weights=False)).eval()
    distributed.destroy_process_group()


def says(model: Any) -> Any:
    with torch.no_grad():
        return model(input_ids=torch.arange(1, 9)[None]).logits


def test_each_layer_is_a_part_of_its_own_and_all_is_put_back(model: Any):
    from torch.distributed.fsdp import FSDPModule
    from torch.distributed.tensor import DTensor

    from ftstudio.engine import sharding

    kinds = {name: type(module) for name, module in model.named_modules()}
    before = {name: value.clone() for name, value in model.state_dict().items()}
    hooks = sum(len(module._forward_pre_hooks) + len(module._forward_hooks) for module in model.modules())
    said = says(model)

    sharding.spread(model, "cpu")
    parted = {name for name, module in model.named_modules() if isinstance(module, FSDPModule)}
    layers = {name for name, kind in kinds.items() if kind.__name__.endswith("DecoderLayer")}
    assert parted == {"", *layers}
    assert all(isinstance(weight, DTensor) for weight in model.parameters())
    assert sharding.sound(model)
    assert torch.equal(says(model), said)

    with sharding.whole(model, written=True):
        assert not any(isinstance(value, DTensor) for value in model.state_dict().values())
        assert torch.equal(says(model), said)
        with torch.no_grad():
            model.get_input_embeddings().weight.mul_(2)
    assert all(isinstance(weight, DTensor) for weight in model.parameters())
    louder = says(model)
    assert not torch.equal(louder, said)  # what was written within is kept

    sharding.gather(model)
    assert {name: type(module) for name, module in model.named_modules()} == kinds
    assert sum(len(module._forward_pre_hooks) + len(module._forward_hooks) for module in model.modules()) == hooks
    assert torch.equal(says(model), louder)
    after = model.state_dict()
    assert after.keys() == before.keys()
    for name, value in before.items():
        doubled = 2 if "embed_tokens" in name or after[name] is model.get_input_embeddings().weight else 1
        assert torch.equal(after[name], value * doubled) or "lm_head" in name, name


def test_the_optimisers_state_is_whole_in_a_checkpoint_and_in_parts_again(model: Any):
    from torch.distributed.tensor import DTensor

    from ftstudio.engine import sharding

    sharding.spread(model, "cpu")
    optimizer = torch.optim.AdamW([weight for weight in model.parameters() if weight.requires_grad], lr=1e-3)
    model(input_ids=torch.arange(1, 9)[None]).logits.square().mean().backward()
    optimizer.step()
    whole = sharding.optimizer_state(optimizer)
    moments = [entry["exp_avg"] for entry in whole["state"].values()]
    assert moments
    assert not any(isinstance(value, DTensor) for value in moments)
    parts = sharding.in_parts(whole, optimizer)
    optimizer.load_state_dict(parts)
    for entry, moment in zip(optimizer.state_dict()["state"].values(), moments, strict=True):
        assert isinstance(entry["exp_avg"], DTensor)
        assert torch.equal(entry["exp_avg"].full_tensor(), moment)
