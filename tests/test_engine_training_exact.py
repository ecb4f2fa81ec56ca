"""The engine's loss, gradients, evaluation and order of rows, against plain transformers and first principles."""

from __future__ import annotations

import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_models import make_model

from ftstudio.engine.budget import TokenBudget
from ftstudio.engine.collate import Collator, PaddingFree, split, trained
from ftstudio.engine.order import LengthGrouped, Shuffled

ROWS = [
    {"input_ids": [256, 5, 6, 7, 8, 257], "labels": [-100, -100, -100, 7, 8, 257]},
    {"input_ids": [256, 9, 10], "labels": [-100, -100, 10]},
    {"input_ids": [256, 1, 2, 3, 4, 5, 6, 7, 8, 9, 257], "labels": [-100, 1, 2, -100, -100, -100, 6, 7, -100, 9, 257]},
    {"input_ids": [3, 4], "labels": [3, 4]},  # all of it is trained; nothing predicts the first token
]
TRAINED = 3 + 1 + 6 + 1


def load(folder: Path) -> Any:
    import torch
    from transformers import AutoModelForCausalLM

    torch.manual_seed(1)
    return AutoModelForCausalLM.from_pretrained(folder, attn_implementation="sdpa")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_model(tmp_path_factory.mktemp("exact"))


def plain_loss(model: Any, rows: list[dict[str, list[int]]]) -> Any:
    """The mean loss of ROWS as transformers computes it: padded, with a mask, from labels."""
    import torch

    width = max(len(row["input_ids"]) for row in rows)
    ids = torch.tensor([row["input_ids"] + [0] * (width - len(row["input_ids"])) for row in rows])
    labels = torch.tensor([row["labels"] + [-100] * (width - len(row["labels"])) for row in rows])
    mask = torch.tensor([[1] * len(row["input_ids"]) + [0] * (width - len(row["input_ids"])) for row in rows])
    return model(input_ids=ids, attention_mask=mask, labels=labels).loss


@pytest.mark.parametrize("head", ["mask", "places", "all"])
@pytest.mark.parametrize("layout", [Collator(258), Collator(258, 8), PaddingFree()], ids=["padded", "eights", "free"])
def test_loss_and_gradients_are_those_of_plain_transformers(folder: Path, head: Any, layout: Any):
    import torch

    from ftstudio.engine import attention
    from ftstudio.engine.loss import Objective

    ours, plain = load(folder), load(folder)
    objective = Objective(head)
    if isinstance(layout, PaddingFree):
        attention.use(ours, attention.SEGMENTS)
    batch = layout(ROWS)
    (objective(ours, batch) / TRAINED).backward()
    loss = plain_loss(plain, ROWS)
    loss.backward()

    assert batch["tokens"] == sum(len(row["input_ids"]) for row in ROWS)
    assert int(trained(batch)) == TRAINED
    with torch.no_grad():
        assert abs(objective(ours, batch).item() / TRAINED - loss.item()) < 1e-5
    for (name, mine), other in zip(ours.named_parameters(), plain.parameters(), strict=True):
        gap = (mine.grad - other.grad).norm() / other.grad.norm().clamp(min=1e-12)
        assert gap < 1e-5, name


@pytest.mark.parametrize("layout", [Collator(258), PaddingFree()], ids=["padded", "free"])
def test_the_head_runs_only_where_a_label_is(folder: Path, layout: Any):
    from ftstudio.engine import attention
    from ftstudio.engine.loss import Objective, head_of

    model = load(folder)
    attention.use(model, attention.SEGMENTS)
    seen = []
    model.lm_head.register_forward_hook(lambda module, inputs, output: seen.append(output.numel() // 260))
    Objective(head_of(model))(model, layout(ROWS))
    assert seen == [TRAINED]


@pytest.mark.parametrize("layout", [Collator(258), PaddingFree()], ids=["padded", "free"])
def test_a_batch_without_labels_costs_nothing_and_breaks_nothing(folder: Path, layout: Any):
    from ftstudio.engine import attention
    from ftstudio.engine.loss import Objective, head_of

    model = load(folder)
    attention.use(model, attention.SEGMENTS)
    batch = layout([{"input_ids": [1, 2, 3], "labels": [-100, -100, -100]}, {"input_ids": [1], "labels": [1]}])
    assert int(trained(batch)) == 0
    loss = Objective(head_of(model))(model, batch)
    assert loss.item() == 0.0
    loss.backward()
    assert all(not item.grad.any() for item in model.parameters() if item.grad is not None)


def test_peft_and_quantised_wrappers_narrow_too(folder: Path):
    from peft import LoraConfig, get_peft_model

    from ftstudio.engine.loss import head_of

    model = get_peft_model(load(folder), LoraConfig(target_modules=["q_proj"], task_type="CAUSAL_LM"))
    assert head_of(model) == head_of(load(folder)) == "mask"


@pytest.mark.parametrize("layout", [Collator(258, 8), PaddingFree()], ids=["padded", "free"])
@pytest.mark.parametrize("parts", [1, 2, 3, 4, 9])
def test_the_parts_of_a_batch_hold_what_it_holds(folder: Path, layout: Any, parts: int):
    from ftstudio.engine import attention
    from ftstudio.engine.loss import Objective

    model = load(folder)
    attention.use(model, attention.SEGMENTS)
    rows = [*ROWS, {"input_ids": [1, 2], "labels": [-100, -100]}]
    batch = layout(rows)
    found = split(batch, parts)
    assert len(found) == {1: 1, 2: 2, 3: 3, 4: 3, 9: 5}[parts]
    assert sum(part["tokens"] for part in found) == batch["tokens"]
    assert sum(int(trained(part)) for part in found) == TRAINED
    whole = Objective("mask")(model, batch).item()
    assert sum(Objective("mask")(model, part).item() for part in found) == pytest.approx(whole, rel=1e-6)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_the_loss_is_cross_entropy_in_32_bits(dtype: str):
    """Against torch's own on the logits in 32 bits; more rows than one piece, and one that learns nothing."""
    import torch
    from torch.nn import functional

    from ftstudio.engine import loss

    draw = torch.Generator().manual_seed(0)
    logits = (8 * torch.randn(70, 20_000, generator=draw)).to(getattr(torch, dtype))
    assert len(logits) * logits.shape[1] > 2 * loss.PIECES["cpu"]
    targets = torch.randint(0, 20_000, (70,), generator=draw)
    targets[3] = -100
    ours, plain = logits.clone().requires_grad_(), logits.clone().requires_grad_()
    mine = loss.SummedCrossEntropy.apply(ours, targets)
    other = functional.cross_entropy(plain.float(), targets, ignore_index=-100, reduction="sum")
    (mine / 69).backward()
    (other / 69).backward()
    assert mine.dtype == torch.float32
    assert mine.item() == pytest.approx(other.item(), rel=1e-6)
    assert ours.grad is not None
    assert plain.grad is not None
    assert ours.grad.dtype == logits.dtype
    torch.testing.assert_close(ours.grad, plain.grad, rtol=1e-5 if dtype == "float32" else 1e-2, atol=1e-9)
    assert not ours.grad[3].any()


def test_a_gpu_looks_at_many_logits_at_once():
    """8,000 labels of a vocabulary of 152,064: a hundred turns or fewer, with 64 MiB in 32 bits each."""
    from ftstudio.engine.loss import rows_at_once

    logits: Any = SimpleNamespace(is_cuda=True, shape=(8000, 152_064))
    rows = rows_at_once(logits)
    assert 8000 / rows <= 100
    assert rows * 152_064 * 4 <= 64 << 20
    assert rows_at_once(SimpleNamespace(is_cuda=False, shape=(8000, 152_064))) == 3  # type: ignore[arg-type]


def levers_for(model: Any, layout: Any = None) -> Any:
    """Levers with LAYOUT, chosen by hand; MODEL is set for them."""
    from ftstudio.engine import attention
    from ftstudio.engine.levers import Levers
    from ftstudio.engine.loss import Objective, head_of

    layout = layout or PaddingFree()
    if isinstance(layout, PaddingFree):
        attention.use(model, attention.SEGMENTS)
    return Levers(layout, Objective(head_of(model)))


@pytest.mark.parametrize("layout", [Collator(258), PaddingFree()], ids=["padded", "free"])
def test_evaluation_is_weighted_by_tokens_whatever_the_batch(folder: Path, layout: Any):
    from ftstudio.engine.held_out import held_out_loss

    model = load(folder)
    model.train()
    one_by_one = 0.0
    for row in ROWS:
        count = sum(label >= 0 for label in row["labels"][1:])
        one_by_one += plain_loss(model, [row]).item() * count
    levers = levers_for(model, layout)
    for batch_size in (1, 2, 3, 4):
        found = held_out_loss(model, ROWS, levers, batch_size)
        assert found is not None
        assert found["tokens"] == TRAINED
        assert found["loss"] == pytest.approx(one_by_one / TRAINED, abs=1e-6)
        assert found["perplexity"] == pytest.approx(math.exp(found["loss"]))
    assert model.training  # left as it was found
    assert held_out_loss(model, ROWS, levers, 2, lambda: True) is None


def test_held_out_rows_fill_a_gpu_and_what_it_will_not_hold_is_remembered(
    folder: Path, monkeypatch: pytest.MonkeyPatch
):
    from ftstudio.engine import held_out
    from ftstudio.engine.held import Held
    from ftstudio.engine.loss import Objective

    model = load(folder)
    levers = levers_for(model)
    rows = [*ROWS, *[ROWS[-1]] * 8]
    lengths = sorted((len(row["input_ids"]) for row in rows), reverse=True)
    wanted = held_out.held_out_loss(model, rows, levers, 2)
    call, seen = Objective.__call__, []
    room = [10**9]

    def watched(self: Any, model: Any, batch: Any, each: Any = None) -> Any:
        seen.append(batch["lengths"])
        if batch["tokens"] > room[0]:
            raise RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED")
        return call(self, model, batch, each)

    monkeypatch.setattr(Objective, "__call__", watched)
    assert held_out.room_for("cuda", 7) == 7
    assert held_out.room_for("cpu", 7) is None
    monkeypatch.setattr(held_out, "room_for", lambda device, tokens: tokens)
    found = held_out.held_out_loss(model, rows, levers, 2)
    assert found == pytest.approx(wanted)
    assert seen[0] == tuple(lengths[:2])  # what a plan counts
    assert all(len(one) * one[0] <= 2 * lengths[0] for one in seen)
    assert len(seen) < len(rows) / 2 - 1
    room[0] = 2 * lengths[0] - 1
    held = Held()
    for times in (1, 0):
        seen.clear()
        assert held_out.held_out_loss(model, rows, levers, 2, held=held) == pytest.approx(wanted)
        assert sum(sum(one) > room[0] for one in seen) <= times


def trained_step(
    folder: Path, tmp_path: Path, batch: int, accumulation: int, layout: Any = None, **training: Any
) -> list[dict[str, float]]:
    """Loss and gradient norm of the optimiser steps of one epoch over ROWS; TRAINING says what is otherwise."""
    from ftstudio.engine import quiet
    from ftstudio.engine.arguments import arguments
    from ftstudio.engine.hardware import Hardware
    from ftstudio.engine.meter import Meter
    from ftstudio.engine.recipes import check_recipe
    from ftstudio.engine.trainer import StudioTrainer
    from ftstudio.methods import get

    quiet.libraries()
    recipe = check_recipe(
        {
            "model": str(folder),
            "method": "full",
            "data": {"train": "rows.jsonl"},
            "training": {"batch_size": batch, "gradient_accumulation": accumulation, **(training or {"epochs": 1})},
        }
    )
    seen: list[dict[str, float]] = []

    class Listener:
        first_loss = evaluated_at = None

        def begun(self, trainer: Any) -> None:
            pass

        def planned(self, step: int, last: int) -> set[str]:
            return set()

        def stepped(self, trainer: Any, logs: dict[str, float]) -> None:
            seen.append(dict(logs))

        def between(self, trainer: Any) -> None:
            pass

    model = get("full").apply(load(folder), None)
    trainer = StudioTrainer(
        model,
        arguments(recipe, get("full"), Hardware("cpu", "fp32", 1, ""), tmp_path),
        ROWS,
        [],
        [len(row["input_ids"]) for row in ROWS],
        levers_for(model, layout),
        Listener(),  # type: ignore[arg-type]
        Meter(),
        keep=1,
    )
    trainer.train()
    return seen


def test_accumulated_micro_batches_equal_one_batch(folder: Path, tmp_path: Path):
    whole = trained_step(folder, tmp_path / "a", 4, 1)
    parts = trained_step(folder, tmp_path / "b", 1, 4)
    uneven = trained_step(folder, tmp_path / "c", 3, 2)
    padded = trained_step(folder, tmp_path / "d", 3, 2, Collator(258))
    assert len(whole) == len(parts) == len(uneven) == len(padded) == 1
    for other in (parts, uneven, padded):
        assert other[0]["loss"] == pytest.approx(whole[0]["loss"], abs=1e-6)
        assert other[0]["grad_norm"] == pytest.approx(whole[0]["grad_norm"], rel=1e-5)


def gradient_norm(model: Any) -> float:
    import torch

    return float(torch.stack([item.grad.norm() for item in model.parameters()]).norm())


def test_steps_that_are_not_full_weigh_their_own_tokens(folder: Path, tmp_path: Path):
    """Accumulation that doesn't go into an epoch's batches: the last step of each epoch has what is left, over its own
    tokens; more steps than epochs go on with the next order, and the last epoch ends in its midst."""
    seen = trained_step(folder, tmp_path, 1, 3, steps=5, learning_rate=1e-12)
    order = Shuffled([len(row["input_ids"]) for row in ROWS], 1, 0, group=3)
    taken = [rows for epoch in range(3) for whole in [order.order(epoch)] for rows in (whole[:3], whole[3:])][:5]
    assert [len(rows) for rows in taken] == [3, 1, 3, 1, 3]
    assert len(seen) == 5
    for step, rows in zip(seen, taken, strict=True):
        plain = load(folder)
        loss = plain_loss(plain, [ROWS[row] for row in rows])
        loss.backward()
        assert step["loss"] == pytest.approx(loss.item(), abs=1e-5)
        assert step["grad_norm"] == pytest.approx(gradient_norm(plain), rel=1e-5)


@pytest.mark.parametrize(("batch", "epochs", "steps"), [(8, 0.01, 1), (3, 0.5, 1), (1, 0.6, 3), (8, 2.5, 3)])
def test_a_part_of_an_epoch_is_rounded_up_to_whole_steps(batch: int, epochs: float, steps: int):
    from ftstudio.engine.plan import steps_of
    from ftstudio.engine.recipes import check_recipe

    training = {"epochs": epochs, "batch_size": batch}
    recipe = check_recipe({"model": "demo", "data": {"train": "demo"}, "training": training})
    assert steps_of(recipe, [len(row["input_ids"]) for row in ROWS]) == steps


lengths = st.lists(st.integers(1, 500), min_size=1, max_size=700)


@given(lengths, st.integers(1, 16), st.integers(0, 5), st.integers(0, 3))
@settings(max_examples=60, deadline=None)
def test_order_is_a_seeded_permutation_of_all_rows(lengths: list[int], batch: int, seed: int, epoch: int):
    order = LengthGrouped(lengths, batch, seed).order(epoch)
    assert sorted(order) == list(range(len(lengths)))
    again = LengthGrouped(lengths, batch, seed)
    again.set_epoch(epoch)
    assert list(again) == order


@given(lengths, st.sampled_from([Shuffled, LengthGrouped]), st.integers(0, 5), st.integers(0, 1))
@settings(max_examples=60, deadline=None)
def test_which_rows_a_step_has_does_not_depend_on_how_they_are_cut_into_batches(
    lengths: list[int], kind: type[Shuffled], seed: int, epoch: int
):
    """Batches of 8, two of 4 accumulated or in two processes, eight of 1: the very same steps."""
    whole = kind(lengths, 8, seed).order(epoch)
    assert whole == kind(lengths, 4, seed, group=2).order(epoch) == kind(lengths, 1, seed, group=8).order(epoch)


def test_order_saves_padding_and_changes_with_the_epoch():
    import random

    draw = random.Random(0)
    lengths = [int(draw.lognormvariate(4, 0.8)) + 1 for _ in range(3000)]
    sampler = LengthGrouped(lengths, 8, 0)

    def padded(order: list[int]) -> int:
        return sum(8 * max(lengths[row] for row in order[at : at + 8]) for at in range(0, len(order), 8))

    shuffled = list(range(3000))
    draw.shuffle(shuffled)
    assert padded(sampler.order(0)) < 1.1 * sum(lengths) < 0.7 * padded(shuffled)
    assert sampler.order(0) != sampler.order(1) != sampler.order(2)
    assert max(lengths) in [lengths[row] for row in sampler.order(0)[:8]]
    halves = [sum(lengths[row] for row in sampler.order(1)[half : half + 1500]) for half in (0, 1500)]
    assert 0.9 < halves[0] / halves[1] < 1.1  # not sorted over the epoch


@pytest.mark.parametrize("kind", [Shuffled, TokenBudget])
@pytest.mark.parametrize("count", [1, 2])
def test_the_rest_of_an_epoch_that_is_gone_on_with_is_in_its_own_order(
    monkeypatch: pytest.MonkeyPatch, kind: Any, count: int
):
    """Between the order and who says which epoch it is lie wrappers: one of accelerate's for several processes, one
    that skips what was taken before."""
    import transformers
    from accelerate.data_loader import BatchSamplerShard, DataLoaderShard
    from torch.utils.data import BatchSampler, DataLoader

    from ftstudio.engine.trainer import StudioTrainer

    seen: list[list[int]] = []

    class Stop(Exception):
        pass

    class Taken(DataLoader[Any]):
        def __iter__(self) -> Any:
            seen.extend(list(self.batch_sampler))
            raise Stop

    lengths = [2, 9, 4, 3, 7, 5, 6, 8] * 3
    order: Any = kind(lengths, 2, 0) if kind is Shuffled else kind(lengths, 12, 0, count)
    expected = order.batches(1)
    batches: Any = BatchSampler(order, 2, drop_last=False) if kind is Shuffled else order
    if count > 1:
        batches = BatchSamplerShard(batches, count, 1, even_batches=kind is Shuffled)
        expected = expected[1::2]
    monkeypatch.setattr(DataLoaderShard, "__iter__", Taken.__iter__)
    loader = DataLoaderShard(range(len(lengths)), batch_sampler=batches)
    trainer = object.__new__(StudioTrainer)
    trainer.args = transformers.TrainingArguments(use_cpu=True)
    trainer.control = transformers.TrainerControl()
    with pytest.raises(Stop):
        trainer._run_epoch(
            model=None, epoch=1, train_dataloader=loader, steps_in_epoch=9, num_update_steps_per_epoch=9, trial=None,
            ignore_keys_for_eval=None, start_time=0.0, resume_from_checkpoint="here", epochs_trained=1,
            steps_trained_in_current_epoch=2,
        )  # fmt: skip
    assert seen == expected[2:]
