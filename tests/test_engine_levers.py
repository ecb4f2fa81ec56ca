"""The levers of the engine: batches by tokens, attention and compilation as the recipe asks, a fused loss, memory that
asks for checkpointing. What needs a GPU is held against the plain way by stand-ins."""

from __future__ import annotations

import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_engine_training_layout import ROWS, chosen, made, row_by_row
from tiny_models import make_model, make_rows, recipe_values

from ftstudio.core.errors import UsageError
from ftstudio.core.jobs import Train
from ftstudio.core.recipe import Recipe
from ftstudio.core.run import RunFolder
from ftstudio.core.workspace import Workspace
from ftstudio.engine import compatibility, fit, room
from ftstudio.engine.budget import TokenBudget
from ftstudio.engine.order import Shuffled
from ftstudio.engine.recipes import check_recipe

GIB = 1 << 30


# -- batches by tokens -------------------------------------------------------------------------------------------------
@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(1, 300), min_size=1, max_size=200), st.integers(8, 400), st.integers(1, 3))
def test_every_row_comes_once_an_epoch_in_batches_that_hold_the_tokens(lengths: list[int], tokens: int, ways: int):
    order = TokenBudget(lengths, tokens, 0, ways)
    for epoch in (0, 1):
        batches = order.batches(epoch)
        assert len(batches) == len(order)
        void = [batch for batch in batches if batch == [len(lengths)]]  # where single rows don't go round
        assert not void or max(map(len, batches)) == 1
        batches = batches[: len(batches) - len(void)]
        assert sorted(row for batch in batches for row in batch) == list(range(len(lengths)))
        assert all(len(batch) == 1 or len(batch) * max(lengths[row] for row in batch) <= tokens for batch in batches)
    assert len(order) % ways == 0
    assert max(lengths[row] for row in order.batches(0)[0]) == max(lengths)


def test_batches_are_full_and_other_ones_in_every_epoch_and_with_every_seed():
    lengths = np.random.default_rng(0).integers(10, 200, 2000)
    order = TokenBudget(lengths, 4096, 0)
    one, two = order.batches(0), order.batches(1)
    assert lengths.sum() / (len(order) * 4096) > 0.85
    same = {tuple(sorted(batch)) for batch in one} & {tuple(sorted(batch)) for batch in two}
    assert len(same) <= len(one) // 10  # the shortest rows fill single batches
    assert TokenBudget(lengths, 4096, 0).batches(1) == two
    assert TokenBudget(lengths, 4096, 1).batches(1) != two


@pytest.mark.parametrize("budget", [None, 64])
@pytest.mark.parametrize(
    ("rows", "batch", "accumulation", "ways"),
    [(200, 8, 8, 1), (100, 8, 4, 1), (9, 8, 1, 1), (203, 8, 2, 3), (64, 8, 1, 1), (3, 8, 4, 1)],
)
def test_tokens_to_come_count_short_steps_at_the_end_of_each_epoch(
    rows: int, batch: int, accumulation: int, ways: int, budget: int | None
):
    from ftstudio.engine.budget import order_of
    from ftstudio.engine.trainer import StudioTrainer

    lengths = [8] * rows
    args = types.SimpleNamespace(
        train_batch_size=batch, gradient_accumulation_steps=accumulation, world_size=ways, seed=0
    )
    order = order_of(lengths, batch, budget, 0, ways)
    trainer: Any = types.SimpleNamespace(args=args, lengths=lengths, budget=budget, order=lambda: order, _epoch=None)
    sizes = [sum(lengths[row] for row in some if row < rows) for some in order.batches(0)]
    group = accumulation * ways
    taken = [sum(sizes[at : at + group]) for at in range(0, len(sizes), group)] * 3
    for first in range(len(taken)) if budget is None else (0, len(taken) // 3):  # within one, which are left is drawn
        told = StudioTrainer.tokens_a_step(trainer, first, len(taken)) * (len(taken) - first)
        assert told == pytest.approx(sum(taken[first:]), rel=1e-6)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("levers")
    make_model(folder / "model")
    make_rows(folder / "rows.jsonl")
    return folder


def test_a_run_with_batches_by_tokens_goes_on_exactly(base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    import shutil

    from ftstudio.engine import report
    from ftstudio.engine.prepare import prepare_run
    from ftstudio.engine.worker import Worker

    monkeypatch.setattr(report, "INTERVAL", 0.0)
    values = recipe_values(base / "model", base / "rows.jsonl", batch_tokens=400, gradient_accumulation=2, save_steps=2)
    values["training"]["steps"] = 7  # of a second epoch, too
    values["evaluation"] |= {"every": 100, "samples": 0}
    run = prepare_run(check_recipe(values), Workspace(tmp_path))
    worker = Worker()
    worker.execute(Train(run.path))

    def told(kind: str) -> list[dict[str, Any]]:
        return [event for event in RunFolder(run.path).events() if event["kind"] == kind]

    assert run.state() == "done", told("failed")
    [start] = told("start")
    assert "by tokens" in start["engine"]["batch size"]
    whole = {step["step"]: (step["loss"], step["grad_norm"], step["tokens"]) for step in told("step")}
    assert start["steps_per_epoch"] < 7
    assert max(np.diff([0, *(tokens for _, _, tokens in whole.values())])) <= 2 * 400
    shutil.rmtree(run.checkpoints / "checkpoint-7")
    worker.execute(Train(run.path, resume=True))
    again = {step["step"]: (step["loss"], step["grad_norm"], step["tokens"]) for step in told("step")[len(whole) :]}
    assert again == {7: whole[7]}
    assert not [alert for alert in told("alert") if alert.get("watch") == "resume_fault"]


def test_the_plan_counts_the_same_steps_and_smaller_means_fewer_tokens(base: Path):
    from ftstudio.engine.plan import steps_of

    recipe = check_recipe(recipe_values(base / "model", base / "rows.jsonl", batch_tokens=1024))
    recipe = recipe.with_changes({"training.steps": None, "training.epochs": 2, "training.gradient_accumulation": 3})
    lengths = list(range(20, 120))
    batches = len(TokenBudget(lengths, 1024, 0))
    assert steps_of(recipe, lengths) == 2 * -(-batches // 3)
    less = fit.shrink(recipe)
    assert less is not None
    assert (less.training.batch_tokens, less.training.gradient_accumulation) == (512, 6)
    assert "512" in fit.smaller(recipe)


def test_of_several_processes_batches_by_tokens_are_told_as_they_are_taken(monkeypatch: pytest.MonkeyPatch):
    from ftstudio.engine import levers

    lengths, budget = [90] * 11, 100
    alone, shared = (len(TokenBudget(lengths, budget, 0, ways)) for ways in (1, 2))
    assert shared == alone + 1
    recipe = check_recipe(recipe_values(Path("any"), Path("any.jsonl"), batch_tokens=budget))
    machine: Any = types.SimpleNamespace(device="cpu")
    for count, wanted in ((1, alone), (2, shared)):
        monkeypatch.setenv("WORLD_SIZE", str(count))
        told: dict[str, str] = {}
        levers._always_told(recipe, machine, lengths, told, "")
        assert told["batch size"].startswith(f"by tokens: {wanted} batches")


def test_what_is_told_of_padding_is_what_the_cuts_leave():
    """Where a pass more costs more than it saves nothing is cut, and it isn't told."""
    from ftstudio.engine import levers, pieces

    lengths = [400, 10, 10, 10] * 30
    recipe = check_recipe(recipe_values(Path("any"), Path("any.jsonl"), batch_size=8))
    cut, left = pieces.shares(lengths, 8, 0, 32.0)
    assert cut > 0.5
    assert left < 0.05
    assert "pieces of like length" in levers._padded(recipe, lengths, 32.0)
    for cost in (6000.0, None):
        cut, left = pieces.shares(lengths, 8, 0, cost)
        assert cut == 0
        drawn = Shuffled(lengths, 8, 0).batches(0)
        whole = sum(len(rows) * max(lengths[row] for row in rows) for rows in drawn)
        assert left == pytest.approx(1 - sum(lengths) / whole)
        said = levers._padded(recipe, lengths, cost)
        assert said.startswith(f"random rows, padded ({left:.0%} of the tokens are padding; training.batch_tokens")
    assert "batch_tokens" not in levers._padded(recipe, [100] * 40, None)


# -- attention ---------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(("wanted", "free"), [("eager", False), ("sdpa", True)])
def test_attention_is_what_the_recipe_names_and_says_the_same(wanted: str, free: bool):
    from ftstudio.engine import attention, levers

    model = made("Llama").eval()
    plain = float(row_by_row(model).detach())
    found = chosen(model, attention=wanted)
    assert found.padding_free == free
    assert found.told["attention"].endswith(", as the recipe says")
    assert attention.implementation(model) == (wanted if wanted == "eager" else attention.SEGMENTS)
    assert float(found.objective(model, found.collator(ROWS)).detach()) == pytest.approx(plain, abs=1e-3)
    levers.release(model)
    assert attention.implementation(model) == "sdpa"


@pytest.mark.parametrize("trouble", ["its own kernel", "a file that isn't there", "an older card"])
def test_a_flash_kernel_that_can_not_be_had_gives_way_to_the_next(trouble: str, monkeypatch: pytest.MonkeyPatch):
    """GptOss and its like take only a kernel of the hub's; others fail in ways of their own."""
    from ftstudio.engine import attention

    model, asked = made("Llama"), []
    monkeypatch.setattr(attention, "kernels", lambda *_: [attention.FLASH, attention.SEGMENTS])
    was = type(model).set_attn_implementation

    def choose(self: Any, name: str, *args: Any, **named: Any) -> Any:
        asked.append(name)
        if name == attention.FLASH:
            if trouble == "an older card":
                raise RuntimeError("FlashAttention only supports Ampere GPUs or newer.")
            raise OSError("kernels-community/flash-attn3 isn't there, and this process is offline")
        return was(self, name, *args, **named)

    monkeypatch.setattr(type(model), "set_attn_implementation", choose)
    if trouble == "its own kernel":
        model._compatible_flash_implementations = ["kernels-community/vllm-flash-attn3"]
    levers = chosen(model)
    assert levers.padding_free
    assert levers.told["attention"] == "SDPA row by row"
    assert (attention.FLASH in asked) == (trouble != "its own kernel")  # nothing is fetched
    monkeypatch.setattr(attention, "NAMES", {})
    assert chosen(made("Llama")).told["attention"]


def test_flash_attention_is_refused_where_it_can_not_run(monkeypatch: pytest.MonkeyPatch):
    def problem(**training: Any) -> str:
        recipe = Recipe.model_validate({"model": "x", "data": {"train": "x"}, "training": training})
        found = [one for one in compatibility.machine_problems(recipe) if one.key == "training.attention"]
        return found[0].text if found else ""

    assert "trains on the CPU" in problem(attention="flash_attention_2", device="cpu")
    assert not problem(attention="sdpa", device="cpu")
    monkeypatch.setattr(compatibility, "gpu_present", lambda: True)
    assert "not in fp32" in problem(attention="flash_attention_2", precision="fp32")
    assert "isn't installed" in problem(attention="flash_attention_3")
    monkeypatch.setattr(compatibility.importlib.util, "find_spec", lambda name: object())
    assert not problem(attention="flash_attention_3")


# -- compilation -------------------------------------------------------------------------------------------------------
@pytest.mark.slow
def test_compiled_layers_say_the_same():
    from ftstudio.engine import compiling, levers

    model = made("Llama").eval()
    plain = float(row_by_row(model).detach())
    found = chosen(model, compile=True)
    assert found.told["compile"].startswith("2 layers"), found.told
    assert all(layer._compiled_call_impl is not None for layer in compiling.layers(model))
    assert float(found.objective(model, found.collator(ROWS)).detach()) == pytest.approx(plain, abs=1e-3)
    levers.release(model)
    assert all(layer._compiled_call_impl is None for layer in compiling.layers(model))


def compiled_as(monkeypatch: pytest.MonkeyPatch, of: Any) -> None:
    """Layers are compiled to OF their own call, at no cost."""
    import torch

    def compile_(self: Any, **_: Any) -> None:
        self._compiled_call_impl = of(self._call_impl)

    monkeypatch.setattr(torch.nn.Module, "compile", compile_)


def test_layers_that_compile_to_something_else_are_left_out(monkeypatch: pytest.MonkeyPatch):
    from ftstudio.engine import compiling

    compiled_as(monkeypatch, lambda call: lambda *args, **named: call(*args, **named) * 1.01)
    model = made("Llama")
    told = chosen(model, compile=True).told["compile"]
    assert told.startswith("asked for, but left out: ")
    assert "differ" in told
    assert all(layer._compiled_call_impl is None for layer in compiling.layers(model))

    def fails(call: Any) -> Any:
        raise RuntimeError("no C++ compiler was found")

    compiled_as(monkeypatch, fails)
    assert "no C++ compiler was found" in chosen(made("Llama"), compile=True).told["compile"]
    compiled_as(monkeypatch, lambda call: call)
    assert "the same on two rows" in chosen(made("Llama"), compile=True).told["compile"]


# -- head and loss in one ----------------------------------------------------------------------------------------------
def liger(monkeypatch: pytest.MonkeyPatch) -> None:
    """A package that computes what liger-kernel's function does, without its kernel."""
    import torch
    from torch.nn import functional

    class Function(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Any, weight: Any, target: Any, bias: Any, *rest: Any) -> Any:
            assert rest[1] == -100
            assert rest[-1] == "none"
            with torch.enable_grad():
                inner = [x.detach().requires_grad_(), weight.detach().requires_grad_()]
                each = functional.cross_entropy(inner[0] @ inner[1].t(), target, reduction="none")
                gradients = torch.autograd.grad(each.sum(), inner)
            ctx.save_for_backward(*gradients)
            return each.detach(), None

        @staticmethod
        def backward(ctx: Any, gradient: Any, *_: Any) -> Any:
            scale = gradient.flatten()[0]  # one number for all, as the kernel does it
            return (*(saved * scale for saved in ctx.saved_tensors), *[None] * 7)

    package, ops = types.ModuleType("liger_kernel"), types.ModuleType("liger_kernel.ops")
    module = types.ModuleType("liger_kernel.ops.fused_linear_cross_entropy")
    module.LigerFusedLinearCrossEntropyFunction = Function  # type: ignore[attr-defined]
    for one in (package, ops, module):
        monkeypatch.setitem(sys.modules, one.__name__, one)


@pytest.mark.parametrize("kind", ["torch", "liger"])
@pytest.mark.parametrize("learns", ["full", "lora"])
def test_the_fused_loss_is_the_plain_one(kind: str, learns: str, monkeypatch: pytest.MonkeyPatch):
    from dataclasses import replace

    from ftstudio.engine import fused, fused_probe
    from ftstudio.engine.collate import PaddingFree
    from ftstudio.engine.parity import against, passed
    from ftstudio.methods import get

    if kind == "liger":
        liger(monkeypatch)
    used: list[int] = []

    def it(hidden: Any, head: Any, targets: Any) -> Any:
        used.append(len(targets))
        return getattr(fused, f"by_{kind}")(hidden, head, targets)

    monkeypatch.setattr(fused, "candidates", lambda device: {"it": it})
    model = made("Llama")
    if learns == "lora":
        how = get("lora")
        model = how.apply(model, how.settings({"r": 4, "alpha": 8, "dropout": 0.0}))
    levers = chosen(model)
    gpu = replace(levers.objective, device="cuda")  # where it is tried; nothing else depends on it in 32 bits
    name, why = fused_probe.tried(model, gpu, levers.collator, ROWS[:2])
    assert name == "it", why
    assert "the same on two rows" in why
    assert "with more than 1,328,888 labels at once (logits of 1.0 GiB) fused with the head" in why
    batch = PaddingFree()(ROWS)
    plain = passed(model, batch, gpu)
    whole = passed(model, batch, replace(gpu, fused=name))
    assert against(plain, whole, gpu).same
    assert used.pop() == len(batch["targets"])
    used.clear()
    few = passed(model, batch, replace(gpu, fused=name, fused_from=len(batch["targets"]) + 1))
    assert against(plain, few, gpu).same
    assert not used
    assert whole[0].shape == plain[0].shape  # the loss of every token: the map of the rows lives on it
    assert "in pieces" in levers.told["loss"]  # on the CPU it isn't asked for


def test_a_head_that_does_more_is_not_fused(monkeypatch: pytest.MonkeyPatch):
    from dataclasses import replace

    import torch

    from ftstudio.engine import fused, fused_probe

    def tried(model: Any) -> tuple[str, str]:
        levers = chosen(model)
        return fused_probe.tried(model, replace(levers.objective, device="cuda"), levers.collator, ROWS[:2])

    monkeypatch.setattr(fused, "candidates", lambda device: {"it": fused.by_torch})
    model = made("Llama")
    forward = type(model).forward

    def scaled(self: Any, *args: Any, **named: Any) -> Any:  # as Cohere and Granite do
        found = forward(self, *args, **named)
        found.logits = found.logits * 1.5
        return found

    with monkeypatch.context() as patch:
        patch.setattr(type(model), "forward", scaled)
        name, why = tried(model)
        assert not name
        assert "not fused" in why
    model.lm_head = torch.nn.Sequential(model.lm_head)
    assert "isn't a plain linear layer" in tried(model)[1]
    monkeypatch.setattr(fused, "candidates", lambda device: {})
    assert "is installed" in tried(made("Llama"))[1]


# -- activations computed again ----------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("free", "method", "on", "why"),
    [
        (100 * GIB, "lora", False, "not needed: at most"),
        (12 * GIB, "lora", False, "not needed: 4.0 GiB"),
        (5 * GIB, "lora", True, "by itself: 4.0 GiB without it, 5.0 GiB free; 2.0 GiB with it"),
        (5 * GIB, "prompt", False, "doesn't go with it"),
    ],
)
def test_checkpointing_comes_by_itself_where_memory_asks(
    free: int, method: str, on: bool, why: str, monkeypatch: pytest.MonkeyPatch
):
    def estimate(recipe: Recipe) -> int:
        return 2 * GIB if recipe.training.gradient_checkpointing else 4 * GIB

    monkeypatch.setattr(fit, "devices", lambda device: [{"name": "it", "total": free, "free": free}])
    settings = {"name": method} | ({"kind": "prefix"} if method == "prompt" else {})
    recipe = Recipe.model_validate({"model": "x", "data": {"train": "x"}, "method": settings})
    found, text = room.decide(recipe, 8 * GIB, "cpu", estimate)
    assert (found, why in text) == (on, True), text
    for said in (True, False):
        asked = recipe.with_changes({"training.gradient_checkpointing": said})
        assert room.decide(asked, 8 * GIB, "cpu", estimate) == (said, room.SAID)


def test_a_base_that_is_kept_loaded_doesnt_count_against_the_training_that_takes_it_over(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Errors, then Train: what is free is what there is, with the base, so that nothing is computed again for it."""
    from ftstudio.engine.memory import CONTEXT
    from ftstudio.engine.models import ModelStore
    from ftstudio.engine.prepare import prepare_run
    from ftstudio.engine.training import Training

    recipe = check_recipe(recipe_values(base / "model", base / "rows.jsonl"))
    run = prepare_run(recipe, Workspace(tmp_path / "space"))
    store = ModelStore()
    loaded = store.base(recipe).model
    weighs = sum(weight.numel() * weight.element_size() for weight in (*loaded.parameters(), *loaded.buffers()))
    there = {"name": "it", "total": 100 << 20, "free": (20 << 20) - weighs - CONTEXT["cpu"]}
    monkeypatch.setattr(fit, "devices", lambda device: [there])
    asked: list[int] = []

    def decided(recipe: Recipe, bounded: int, device: str, estimate: Any, free: int | None = None) -> Any:
        asked.append(free or 0)
        return False, "not needed"

    monkeypatch.setattr(room, "decide", decided)
    context: Any = types.SimpleNamespace(models=store)
    training = Training(run, context, *(None,) * 2)  # type: ignore[arg-type]
    rows: Any = types.SimpleNamespace(lengths=[20])
    machine: Any = types.SimpleNamespace(device="cpu")
    assert training._recompute(rows, machine, {}) == (False, "not needed")
    assert asked == [20 << 20]


def test_rows_that_are_learnt_together_are_not_cut_by_tokens(base: Path, tmp_path: Path):
    from tiny_models import make_sentence_encoder

    from ftstudio.engine.prepare import resolve

    rows = tmp_path / "pairs.jsonl"
    rows.write_text("".join(f'{{"sentence1": "red cats {n}", "sentence2": "seven dogs {n}"}}\n' for n in range(40)))
    values = {
        "task": "embedding", "model": str(make_sentence_encoder(tmp_path / "encoder")), "method": "full",
        "data": {"train": str(rows)}, "training": {"batch_tokens": 64, "device": "cpu"},
    }  # fmt: skip
    with pytest.raises(UsageError, match="against each other"):
        resolve(check_recipe(values))
