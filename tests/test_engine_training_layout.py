"""Batches without padding: the same as plain transformers on many architectures, refused by itself on the others."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ftstudio import tasks
from ftstudio.core.recipe import Recipe
from ftstudio.engine.hardware import Hardware

SIZES: dict[str, Any] = {
    "vocab_size": 101,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 128,
    "bos_token_id": 0,
    "eos_token_id": 1,
    "pad_token_id": 2,
}
GROUPED = {**SIZES, "num_key_value_heads": 2}
# name of the config class, its values, whether its batches may lie one after another
ARCHITECTURES: dict[str, tuple[dict[str, Any], bool]] = {
    "Llama": (GROUPED, True),
    "Qwen2": (GROUPED, True),
    "Qwen3": ({**GROUPED, "head_dim": 16}, True),
    "Mistral": ({**GROUPED, "sliding_window": 16}, True),
    "Gemma2": ({**GROUPED, "head_dim": 16, "sliding_window": 16, "query_pre_attn_scalar": 16}, False),
    "GPT2": ({**SIZES, "n_positions": 128, "attn_pdrop": 0.0, "embd_pdrop": 0.0, "resid_pdrop": 0.0}, True),
    "GPTNeoX": (SIZES, True),
    "OPT": ({**SIZES, "ffn_dim": 96, "word_embed_proj_dim": 64, "dropout": 0.0}, True),
    "Falcon": ({**SIZES, "alibi": False, "new_decoder_architecture": False}, False),
    "Bloom": (SIZES, False),
    "Mamba": (
        {"vocab_size": 101, "hidden_size": 64, "num_hidden_layers": 2, "state_size": 8, "pad_token_id": 2},
        False,
    ),
    "GraniteMoeHybrid": (
        {
            **GROUPED,
            "layer_types": ["mamba", "attention"],
            "mamba_n_heads": 8,
            "mamba_d_head": 16,
            "mamba_d_state": 8,
            "mamba_n_groups": 1,
            "num_local_experts": 0,
            "shared_intermediate_size": 96,
        },
        False,
    ),
}


def made(name: str) -> Any:
    """A tiny model of the architecture called NAME, with weights large enough for the loss to depend on every token."""
    import torch
    import transformers

    torch.manual_seed(3)
    config = getattr(transformers, f"{name}Config")(**ARCHITECTURES[name][0])
    model = transformers.AutoModelForCausalLM.from_config(config)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.mul_(3)
    return model


def rows_of(*lengths: int) -> list[dict[str, list[int]]]:
    import random

    draw = random.Random(0)
    found = []
    for length in lengths:
        ids = [draw.randint(3, 100) for _ in range(length)]
        labels = [-100 if draw.random() < 0.5 else token for token in ids]
        found.append({"input_ids": ids, "labels": labels[:-1] + ids[-1:]})
    return found


ROWS = rows_of(5, 23, 2, 40, 11)  # some longer, some shorter than the sliding window


def recipe(**training: Any) -> Recipe:
    return Recipe.model_validate({"model": "x", "data": {"train": "x"}, "training": {"device": "cpu", **training}})


def chosen(model: Any, precision: Any = "fp32", rows: Any = ROWS, **training: Any) -> Any:
    from ftstudio.engine.levers import choose

    machine = Hardware("cpu", precision, 1, "asked for")
    return choose(
        model, rows, [len(row["input_ids"]) for row in rows], machine, recipe(**training), 2, tasks.get("sft")
    )


def row_by_row(model: Any) -> Any:
    """The loss summed over ROWS by the plain model, each row alone: no padding, no mask, nothing of ours."""
    import torch
    from torch.nn import functional

    total = torch.zeros(())
    for row in ROWS:
        logits = model(input_ids=torch.tensor([row["input_ids"]]), use_cache=False).logits[0, :-1]
        targets = torch.tensor(row["labels"][1:])
        total = total + functional.cross_entropy(logits.float(), targets, ignore_index=-100, reduction="sum")
    return total


@pytest.mark.parametrize("method", ["full", "lora"])
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_loss_and_gradients_are_those_of_each_row_alone(name: str, method: str):
    import torch

    from ftstudio.methods import get

    how = get(method)
    values: dict[str, Any] = {} if method == "full" else {"r": 4, "alpha": 8, "dropout": 0.0}
    if method == "lora" and name == "Mamba":
        values["targets"] = ("in_proj", "x_proj")  # peft takes no others there
    torch.manual_seed(0)
    model = how.apply(made(name), how.settings(values))
    if method == "lora":  # at first the second matrix is zero, and the first has no gradient
        with torch.no_grad():
            for key, parameter in model.named_parameters():
                if "lora_B" in key:
                    parameter.normal_(std=0.1)
    model.eval()
    wanted = row_by_row(model)
    wanted.backward()
    slopes = {key: item.grad.clone() for key, item in model.named_parameters() if item.grad is not None}
    model.zero_grad()

    levers = chosen(model)
    assert levers.padding_free == ARCHITECTURES[name][1], levers.told
    loss = levers.objective(model, levers.collator(ROWS))
    loss.backward()
    count = sum(label >= 0 for row in ROWS for label in row["labels"][1:])
    assert abs(loss.item() - wanted.item()) / count < 1e-4
    assert slopes
    gap = torch.stack([(item.grad - slopes[key]).norm() for key, item in model.named_parameters() if key in slopes])
    size = torch.stack([item.norm() for item in slopes.values()])
    assert gap.norm() / size.norm() < 1e-5


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("Gemma2", "soft-capped scores"),
        ("Falcon", "attention of its own"),
        ("Mamba", "keeps a state"),
        ("GraniteMoeHybrid", "keeps a state"),
    ],
)
def test_what_speaks_against_it_is_told(name: str, reason: str):
    levers = chosen(made(name))
    assert levers.told["batches"].startswith("random rows, padded")
    assert reason in levers.told["batches"]


def test_a_model_that_mixes_rows_is_found_out(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest):
    """Attention that looks across the border of rows, and one that is only a little wrong."""
    import torch

    from ftstudio.engine import attention
    from ftstudio.engine.levers import choose

    right = attention.by_segments

    def across(module: Any, query: Any, key: Any, value: Any, mask: Any, **named: Any) -> Any:
        if named.get("cu_seq_lens_q") is not None:
            named["cu_seq_lens_q"] = named["cu_seq_lens_q"][[0, -1]]
        return right(module, query, key, value, mask, **named)

    def rough(module: Any, query: Any, key: Any, value: Any, mask: Any, **named: Any) -> Any:
        factor = 1.0 if named.get("cu_seq_lens_q") is None else 1.05
        return right(module, query * factor, key, value, mask, **named)

    told = []
    request.addfinalizer(attention.register)
    request.addfinalizer(monkeypatch.undo)  # runs first
    for wrong in (across, rough):
        monkeypatch.setattr(attention, "by_segments", wrong)
        attention.register()
        for precision in ("fp32", "bf16"):
            model = made("Llama").to(torch.float32 if precision == "fp32" else torch.bfloat16)
            machine = Hardware("cpu", precision, 1, "")
            levers = choose(
                model, ROWS, [len(row["input_ids"]) for row in ROWS], machine, recipe(), 2, tasks.get("sft")
            )
            told.append((levers.padding_free, levers.told["batches"], attention.implementation(model)))
    assert [free for free, _, _ in told[:3]] == [False, False, False]  # 5 % are within the rounding of 16 bits
    assert "changes with the row before it" in told[0][1]
    assert "changes with the row before it" in told[1][1]
    assert "loss differs" in told[2][1]
    assert {now for _, _, now in told[:3]} == {"sdpa"}


def test_memory_that_fails_in_the_trial_only_means_padding(monkeypatch: pytest.MonkeyPatch):
    import torch

    from ftstudio.engine import levers as module

    def full(*_: Any) -> Any:
        raise torch.OutOfMemoryError("CUDA out of memory.")

    monkeypatch.setattr(module, "probe", full)
    levers = chosen(made("Llama"))
    assert not levers.padding_free
    assert "not enough memory" in levers.told["batches"]


def test_the_trial_takes_a_row_longer_than_the_window():
    from ftstudio.engine.parity import choose_rows

    rows = rows_of(700, 30, 5, 600, 40, 520)
    lengths = [len(row["input_ids"]) for row in rows]
    assert [len(row["input_ids"]) for row in choose_rows(rows, lengths, None)] == [5, 40]
    assert [len(row["input_ids"]) for row in choose_rows(rows, lengths, 510)] == [5, 700]
    assert [len(row["input_ids"]) for row in choose_rows(rows, lengths, 4096)] == [5, 40]
    assert [len(row["input_ids"]) for row in choose_rows(rows_of(900, 600), [900, 600], None)] == [600, 600]
    silent = [{**row, "labels": [-100] * len(row["labels"])} for row in rows]
    silent[3] = rows[3]
    assert choose_rows(silent, lengths, None) == [rows[3], rows[3]]


def test_padded_batches_and_generation_are_transformers_own(tmp_path: Path):
    """A model that attends by our function answers left-padded prompts exactly like one that attends by sdpa."""
    import torch

    from ftstudio.engine import attention

    model = made("Mistral").eval()
    ids = torch.randint(3, 100, (2, 24), generator=torch.Generator().manual_seed(0))
    mask = torch.ones_like(ids)
    mask[0, :9] = 0
    attention.use(model, "sdpa")
    with torch.no_grad():
        expected = model(input_ids=ids, attention_mask=mask).logits
        answers = model.generate(ids, attention_mask=mask, max_new_tokens=6, do_sample=False)
        attention.use(model, attention.SEGMENTS)
        assert torch.equal(model(input_ids=ids, attention_mask=mask).logits, expected)
        assert torch.equal(model.generate(ids, attention_mask=mask, max_new_tokens=6, do_sample=False), answers)
        with attention.plain(model):
            assert attention.implementation(model) == "sdpa"
        assert attention.implementation(model) == attention.SEGMENTS
    model.save_pretrained(tmp_path)
    assert "ftstudio" not in (tmp_path / "config.json").read_text()


@pytest.mark.parametrize(
    ("name", "groups", "by_cudnn"),
    [("Llama", False, False), ("Llama", True, False), ("Llama", True, True), ("Mistral", True, False),
     ("GPT2", True, False)],
)  # fmt: skip
def test_the_variable_length_kernel_is_given_what_it_needs(
    name: str, groups: bool, by_cudnn: bool, monkeypatch: pytest.MonkeyPatch
):
    """torch's own runs on a GPU alone: one written out from its documentation stands in for it."""
    import torch

    from ftstudio.engine import attention
    from ftstudio.engine.collate import PaddingFree
    from ftstudio.engine.loss import Objective

    def reference(
        query: Any,
        key: Any,
        value: Any,
        starts: Any,
        also: Any,
        longest: int,
        most: int,
        *,
        scale: float,
        window_size: Any,
    ) -> Any:
        assert key.shape == value.shape
        seen_keys.append(key.shape[1])
        key, value = (states.repeat_interleave(query.shape[1] // key.shape[1], 1) for states in (key, value))
        assert torch.equal(starts, also)
        assert starts.dtype == torch.int32
        assert longest == most == int(starts.diff().max())
        place = torch.arange(len(query))
        row = torch.bucketize(place, starts[1:].long(), right=True)
        back = place[:, None] - place[None]
        seen = (row[:, None] == row[None]) & (back >= 0)
        left, right = window_size
        assert right == 0
        if left >= 0:
            seen &= back <= left
        scores = torch.einsum("qhd,khd->hqk", query, key) * scale
        return torch.einsum("hqk,khd->qhd", scores.masked_fill(~seen, float("-inf")).softmax(-1), value)

    def grouping(*args: Any, enable_gqa: bool = False, **named: Any) -> Any:
        assert enable_gqa == (args[0].shape[1] != args[1].shape[1])
        return reference(*args, **named)

    seen_keys: list[int] = []
    monkeypatch.setattr(attention, "_varlen", lambda: grouping if groups else reference)
    monkeypatch.setattr(attention, "_by_cudnn", lambda function, device: by_cudnn)
    model = made(name).eval()
    wanted = row_by_row(model).item()
    attention.use(model, attention.VARLEN)
    assert Objective("mask")(model, PaddingFree()(ROWS)).item() == pytest.approx(wanted, rel=1e-5)
    assert set(seen_keys) == {2 if groups and not by_cudnn and name != "GPT2" else 4}


def test_no_layer_asks_the_device_where_rows_end(monkeypatch: pytest.MonkeyPatch):
    """On a GPU each would wait for all that was begun before it; layers that are computed again as well."""
    import torch

    from ftstudio.engine import attention

    model = made("Llama")
    levers = chosen(model, gradient_checkpointing=True)
    assert attention.implementation(model) == attention.SEGMENTS
    model.train()
    batch = levers.collator(ROWS)
    asked: list[Any] = []
    monkeypatch.setattr(torch.Tensor, "tolist", lambda self: asked.append(self))
    monkeypatch.setattr(torch.Tensor, "item", lambda self: asked.append(self))
    levers.objective(model, batch).backward()
    assert not asked
    assert all(weight.grad is not None for weight in model.parameters())


def test_memory_of_a_gpu_grows_where_it_lies_unless_a_person_says_otherwise(monkeypatch: pytest.MonkeyPatch):
    import os
    import platform
    import sys

    from ftstudio.engine.allocation import NAMES, roomy

    def found(system: str, release: str, **said: str) -> str | None:
        for name in NAMES:
            monkeypatch.delenv(name, raising=False)
        for name, value in said.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr(sys, "platform", system)
        monkeypatch.setattr(platform, "release", lambda: release)
        roomy()
        return os.environ.get(NAMES[0])

    assert found("linux", "6.8.0-generic") == "expandable_segments:True"
    assert found("linux", "5.15.167.4-microsoft-standard-WSL2") is None
    assert found("win32", "11") is None
    assert found("linux", "6.8.0", PYTORCH_ALLOC_CONF="max_split_size_mb:64") is None
    assert found("linux", "6.8.0", PYTORCH_CUDA_ALLOC_CONF="backend:native") == "backend:native"


def test_full_precision_on_a_gpu_is_told_with_what_it_costs():
    from ftstudio.engine.levers import _precision

    assert "without TF32: exact" in _precision(Hardware("cuda", "fp32", 1, "as the recipe says"))
    assert _precision(Hardware("cuda", "bf16", 1, "asked for")) == "bf16: asked for"


def test_kernels_are_tried_the_fastest_first_and_the_next_where_one_fails(monkeypatch: pytest.MonkeyPatch):
    import torch

    from ftstudio.engine import attention

    def absent(*_: Any, **named: Any) -> Any:
        raise RuntimeError("FlashAttention only supports Ampere GPUs or newer.")

    assert attention.kernels("cpu", torch.bfloat16) == [attention.SEGMENTS]
    assert attention.kernels("cuda", torch.float32) == [attention.SEGMENTS]
    assert attention.kernels("cuda", torch.bfloat16)[-1] == attention.SEGMENTS
    monkeypatch.setattr(attention, "_varlen", lambda: absent)
    monkeypatch.setattr(attention, "kernels", lambda *_: [attention.VARLEN, attention.SEGMENTS])
    model = made("Llama")
    levers = chosen(model)
    assert levers.padding_free
    assert attention.implementation(model) == attention.SEGMENTS
    monkeypatch.setattr(attention, "kernels", lambda *_: [attention.VARLEN])
    model = made("Llama")
    levers = chosen(model)
    assert not levers.padding_free
    assert "only supports Ampere" in levers.told["batches"]


@pytest.mark.parametrize("length", [1, 2, 90, 256])
def test_short_rows_in_16_bits_attend_as_well_as_the_flash_kernel(length: int):
    """Both against 32 bits: the error of whole matrices is no greater than that of torch's kernel."""
    import torch
    from torch.nn import functional

    from ftstudio.engine.attention import _Short

    draw = torch.Generator().manual_seed(length)
    states = [torch.randn(1, 2, length, 32, generator=draw) * 2 for _ in range(3)]
    slope = torch.randn(1, 2, length, 32, generator=draw)

    def passed(dtype: Any, attend: Any) -> list[Any]:
        given = [state.bfloat16().to(dtype).requires_grad_() for state in states]
        out = attend(*given)
        out.backward(slope.bfloat16().to(dtype))
        return [out.detach().float(), *(item.grad.float() for item in given)]

    exact = passed(torch.float32, lambda q, k, v: functional.scaled_dot_product_attention(q, k, v, is_causal=True))
    flash = passed(torch.bfloat16, lambda q, k, v: functional.scaled_dot_product_attention(q, k, v, is_causal=True))
    ours = passed(torch.bfloat16, lambda q, k, v: _Short.apply(q, k, v, 32**-0.5))
    for mine, theirs, right in zip(ours, flash, exact, strict=True):
        scale = right.norm().clamp(min=1e-6)
        assert (mine - right).norm() / scale <= 1.5 * (theirs - right).norm() / scale + 3e-3


@pytest.mark.parametrize(
    ("method", "dora", "checkpointing"),
    [("lora", False, False), ("lora", True, True), ("qlora", False, False), ("qlora", False, True)],
)
def test_half_precision_goes_through_the_wrapped_model(tmp_path: Path, method: str, dora: bool, checkpointing: bool):
    """Head, layers and adapters compute in bf16; loss and gradients are near those of 32 bits; all is put back."""
    import torch
    from tiny_models import make_model

    from ftstudio.engine import attention, levers, loading
    from ftstudio.engine.loading import ModelSpec
    from ftstudio.engine.locate import Located
    from ftstudio.methods import get

    folder = make_model(tmp_path, hidden_size=64)
    how = get(method)
    settings = how.settings({"r": 4, "alpha": 8, "dropout": 0.0, "dora": dora})
    found = {}
    for dtype in ("float32", "bfloat16"):
        spec = ModelSpec("x", dtype, "cpu", how.quantisation(settings))
        base = loading.load(Located(folder, "x"), spec)
        torch.manual_seed(0)
        model = how.apply(base, settings)
        chosen_levers = chosen(model, "bf16" if dtype == "bfloat16" else "fp32", gradient_checkpointing=checkpointing)
        assert chosen_levers.padding_free, chosen_levers.told
        model.train()
        seen: list[Any] = []
        layer = model.get_base_model().model.layers[0].mlp.up_proj
        for module in (model.get_output_embeddings(), layer.lora_A.default):
            module.register_forward_hook(lambda module, inputs, output, seen=seen: seen.append(output.dtype))
        loss = chosen_levers.objective(model, chosen_levers.collator(ROWS))
        loss.backward()
        assert set(seen) == {getattr(torch, dtype)}
        found[dtype] = loss.item(), torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])
        levers.release(model)
        assert attention.implementation(model) == "sdpa"
        with torch.no_grad():
            model(input_ids=torch.tensor([[1, 2, 3]]))  # without autocast again
    assert found["bfloat16"][0] == pytest.approx(found["float32"][0], rel=1e-2)
    gap = (found["bfloat16"][1] - found["float32"][1]).norm() / found["float32"][1].norm()
    assert 0 < gap < 0.1


def test_sparse_dropout_is_dropout():
    """Each place by itself with the share asked for, the mean kept, the way back through the same places."""
    import torch

    from ftstudio.engine.dropout import SparseDropout, dropped

    torch.manual_seed(0)
    count, rounds = 500, 4000
    fallen = torch.zeros(count)
    together = 0
    for _ in range(rounds):
        places = dropped(count, 0.1)
        fallen[places] += 1
        together += int((places.diff() == 1).sum())
    share = fallen / rounds
    spread = (0.1 * 0.9 / rounds) ** 0.5
    assert abs(share.mean().item() - 0.1) < 5 * spread / count**0.5
    assert (share - 0.1).abs().max().item() < 5 * spread  # the first, the last and all between
    assert together / rounds / (count - 1) == pytest.approx(0.01, rel=0.05)  # neighbours fall independently
    layer = SparseDropout(0.2)
    x = torch.ones(300, 300, requires_grad=True)
    torch.manual_seed(1)
    y = layer(x)
    torch.manual_seed(1)
    assert torch.equal(layer(x), y)
    assert set(y.unique().tolist()) == {0.0, 1.25}
    y.sum().backward()
    assert torch.equal(x.grad, y)
    assert torch.equal(layer.eval()(x), x)
    for p in (0.0, 0.5):
        torch.manual_seed(1)
        mine = SparseDropout(p)(x)
        torch.manual_seed(1)
        assert torch.equal(mine, torch.nn.Dropout(p)(x))


def test_levers_are_told_with_reasons():
    told = chosen(made("Llama")).told
    assert set(told) == {"precision", "batches", "attention", "head", "loss", "optimizer", "compile", "memory"}
    assert told["precision"] == "fp32: asked for"
    assert told["batches"].startswith("no padding: ")
    labels = [label >= 0 for row in ROWS for label in row["labels"]]
    assert told["head"] == f"only at labels: {sum(labels) / len(labels):.0%} of the tokens"
    assert all("\n" not in what for what in told.values())
    assert "checkpointing" in chosen(made("Llama"), gradient_checkpointing=True).told["memory"]


def test_a_head_that_does_not_keep_its_word_runs_everywhere(monkeypatch: pytest.MonkeyPatch):
    """One architecture fails on a mask, one answers at other places: both get the widest head, and the right loss."""
    import torch

    from ftstudio.engine.levers import head_that_works

    model = made("Llama").eval()
    wanted = row_by_row(model).item()
    forward = type(model).forward

    def fails(self: Any, *given: Any, logits_to_keep: Any = 0, **named: Any) -> Any:
        return forward(self, *given, logits_to_keep=slice(-logits_to_keep, None), **named)

    def elsewhere(self: Any, *given: Any, logits_to_keep: Any = 0, **named: Any) -> Any:
        if torch.is_tensor(logits_to_keep):
            logits_to_keep = logits_to_keep.flip(-1)
        return forward(self, *given, logits_to_keep=logits_to_keep, **named)

    assert head_that_works(model, ROWS[1], "cpu", None, 2) == "mask"
    for wrong in (fails, elsewhere):
        monkeypatch.setattr(type(model), "forward", wrong)
        levers = chosen(model)
        assert levers.objective.head == "all", wrong
        assert levers.told["head"].startswith("everywhere")
        assert levers.objective(model, levers.collator(ROWS)).item() == pytest.approx(wanted, rel=1e-5)
