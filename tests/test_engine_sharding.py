"""Weights in parts (FSDP), on a group of one: which modules are parted, what is whole within, what is left after."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tiny_models import make_model

torch = pytest.importorskip("torch")


@pytest.fixture
def base(tmp_path: Path) -> Iterator[Any]:
    from torch import distributed
    from transformers import AutoModelForCausalLM

    distributed.init_process_group("gloo", store=distributed.HashStore(), rank=0, world_size=1)
    yield AutoModelForCausalLM.from_pretrained(make_model(tmp_path / "model"))
    distributed.destroy_process_group()


@pytest.fixture
def model(base: Any) -> Any:
    from peft import LoraConfig, get_peft_model

    return get_peft_model(base, LoraConfig(r=2, target_modules=["q_proj", "v_proj"], init_lora_weights=False)).eval()


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


def learnt(model: Any) -> tuple[float, dict[str, Any], int]:
    """(loss, gradients, bytes of rounded copies of MODEL's matrices that wait for the way back) of a pass in bf16."""
    from torch.distributed.tensor import DTensor

    shapes = {tuple(weight.shape) for weight in model.parameters() if weight.dim() == 2}
    kept: dict[int, Any] = {}

    def pack(tensor: Any) -> Any:
        if tuple(tensor.shape) in shapes or tuple(reversed(tensor.shape)) in shapes:
            kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage()
        return tensor

    hooks = torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor)
    with hooks, torch.autocast("cpu", torch.bfloat16):
        logits = model(input_ids=torch.arange(1, 8)[None], use_cache=False).logits
    held = sum(storage.size() for storage in kept.values())  # what was let go of has no bytes any more
    loss = logits.float().log_softmax(-1)[..., 3].sum()
    loss.backward()
    parted = [isinstance(weight.grad, DTensor) for weight in model.parameters()]
    assert all(parted) or not any(parted)  # a gradient that isn't in parts is one process's own
    gradients = {
        name: weight.grad.full_tensor() if any(parted) else weight.grad.clone()
        for name, weight in model.named_parameters()
    }
    model.zero_grad()
    return float(loss.detach()), gradients, held


def test_in_half_precision_no_copies_of_whole_matrices_wait_for_the_way_back(base: Any):
    from ftstudio.engine import sharding

    with torch.no_grad():
        for weight in base.parameters():  # nothing that 16 bits could hold as it is
            weight.add_(torch.randn(weight.shape, generator=torch.Generator().manual_seed(0)) * 1e-3)
    before = {name: value.clone() for name, value in base.state_dict().items()}
    loss, gradients, held = learnt(base.train())
    assert held >= 2 * sum(value.numel() for name, value in before.items() if "proj" in name)
    sharding.spread(base, "cpu", torch.bfloat16)
    found = learnt(base)
    assert found[2] == 0
    assert found[0] == pytest.approx(loss, rel=1e-3)
    for name, wanted in gradients.items():
        assert (found[1][name] - wanted).norm() < 2e-2 * wanted.norm(), name
        assert found[1][name].dtype == torch.float32
    with sharding.whole(base):  # what a checkpoint gets
        for name, value in base.state_dict().items():
            assert torch.equal(value, before[name]), name
    assert learnt(base)[0] == found[0]
