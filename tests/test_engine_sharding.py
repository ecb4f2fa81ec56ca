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


def test_all_processes_make_the_same_passes(base: Any, tmp_path: Path):
    """No layer is left out at random by one of them, and texts that go through together do so whatever their widths;
    afterwards all is as it was."""
    from tiny_encoders import make_seq2seq
    from transformers import AutoModelForSeq2SeqLM

    from ftstudio.engine import gradients, sharding
    from ftstudio.tasks.base import parted

    folder = make_seq2seq(tmp_path / "bart", "Bart", encoder_layerdrop=0.5, decoder_layerdrop=0.0)
    model = AutoModelForSeq2SeqLM.from_pretrained(folder)
    encoder = model.get_encoder()
    assert [module for module in model.modules() if gradients.leaves_out(module)] == [encoder]
    assert gradients.unsteady(model)
    assert not gradients.unsteady(base)
    sharding.spread(model, "cpu")
    assert parted(model)
    assert encoder.layerdrop == 0
    calls = []
    for layer in encoder.layers:
        layer.register_forward_hook(lambda *_: calls.append(1))
    model.train()
    for _ in range(8):
        model(input_ids=torch.arange(4, 9)[None], decoder_input_ids=torch.ones(1, 1, dtype=torch.long))
    assert len(calls) == 8 * len(encoder.layers)
    sharding.gather(model)
    assert not parted(model)
    assert encoder.layerdrop == 0.5


def test_gradients_of_eyes_that_text_does_not_reach_are_exchanged_by_hand(base: Any, tmp_path: Path):
    """torch's data parallelism ends a run whose step leaves a learning weight out."""
    from tiny_pictures import make_shell

    from ftstudio.engine import gradients

    model = make_shell(tmp_path, "gemma3")
    assert gradients.unsteady(model)
    for name, weight in model.named_parameters():
        weight.requires_grad_("language_model" in name)
    assert not gradients.unsteady(model)


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
    """(loss, gradients, bytes of rounded copies of MODEL's weights that wait for the way back) of a pass in bf16."""
    from torch.distributed.tensor import DTensor

    shapes = {tuple(weight.shape) for weight in model.parameters() if weight.dim() == 2}
    kept: dict[int, Any] = {}

    def pack(tensor: Any) -> Any:
        if tensor.dtype == torch.bfloat16 and {tuple(tensor.shape), tuple(reversed(tensor.shape))} & shapes:
            kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage()
        return tensor

    model.zero_grad()
    hooks = torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor)
    with hooks, torch.autocast("cpu", torch.bfloat16):
        logits = model(input_ids=torch.arange(1, 8)[None], use_cache=False).logits
    held = sum(storage.size() for storage in kept.values())
    loss = logits.float().log_softmax(-1)[..., 3].sum()
    loss.backward()
    found = {name: weight.grad for name, weight in model.named_parameters() if weight.grad is not None}
    whole = {name: grad.full_tensor() if isinstance(grad, DTensor) else grad.clone() for name, grad in found.items()}
    return float(loss.detach()), whole, held


@pytest.mark.parametrize(("frozen", "again"), [(False, False), (True, False), (False, True)])
def test_no_rounded_copy_of_all_weights_waits_for_the_way_back_and_the_numbers_are_the_same(
    base: Any, frozen: bool, again: bool
):
    """Also where a part of the weights doesn't learn, or activations are computed AGAIN on the way back; each that
    learns has a gradient that lies in parts."""
    from torch.distributed.tensor import DTensor

    from ftstudio.engine import sharding

    base.train().model.layers[0].requires_grad_(not frozen)
    with torch.no_grad():
        for weight in base.parameters():  # nothing that 16 bits could hold as it is
            weight.add_(torch.randn(weight.shape, generator=torch.Generator().manual_seed(0)) * 1e-3)
    loss, gradients, held = learnt(base)
    layers = range(1 if frozen else 0, 2)
    matrices = [weight for at in layers for weight in base.model.layers[at].parameters() if weight.dim() == 2]
    assert held >= 2 * sum(weight.numel() for weight in matrices)
    if again:
        base.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    sharding.spread(base, "cpu")
    found = learnt(base)
    assert found[2] == 0
    assert found[0] == loss
    assert found[1].keys() == gradients.keys() == {n for n, weight in base.named_parameters() if weight.requires_grad}
    for name, wanted in gradients.items():
        assert torch.equal(found[1][name], wanted), name
    assert all(isinstance(weight.grad, DTensor) for weight in base.parameters() if weight.requires_grad)
    sharding.gather(base)
    assert not any("forward" in vars(module) for module in base.modules())
    assert learnt(base)[0] == loss


def test_what_multiplies_lean_is_what_autocast_multiplies(tmp_path: Path):
    """Biases, weights that are tied or lie turned (GPT-2's), inputs and weights that learn nothing; none in 32 bits."""
    from torch import nn
    from transformers.pytorch_utils import Conv1D

    from ftstudio.engine import rounding

    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 6), nn.LayerNorm(6), Conv1D(8, 6), nn.Linear(8, 8, bias=False), nn.Linear(8, 4))
    model[3].weight.requires_grad_(False)
    asked = torch.randn(2, 3, 8)

    def step(precision: Any) -> list[Any]:
        inputs = asked.clone().requires_grad_()
        model.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=precision):
            found = model(inputs)
        found.float().square().sum().backward()
        return [found, inputs.grad, *(weight.grad for weight in model.parameters() if weight.requires_grad)]

    before = {precision: [one.clone() for one in step(precision)] for precision in (True, False)}
    assert rounding.lean(model) == 4
    for precision, wanted in before.items():
        for one, other in zip(step(precision), wanted, strict=True):
            assert one.dtype == other.dtype
            assert torch.equal(one, other)
