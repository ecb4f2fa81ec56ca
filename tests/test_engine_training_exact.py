"""The engine's loss, gradients, evaluation and order of rows, against plain transformers and first principles."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_models import make_model

from ftstudio.engine.collate import Collator, narrows, summed_loss
from ftstudio.engine.order import LengthGrouped

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


@pytest.mark.parametrize("narrow", [True, False])
@pytest.mark.parametrize("multiple", [1, 8])
def test_loss_and_gradients_are_those_of_plain_transformers(folder: Path, narrow: bool, multiple: int):
    import torch

    ours, plain = load(folder), load(folder)
    batch = Collator(258, multiple)(ROWS)
    (summed_loss(ours, batch, narrow) / TRAINED).backward()

    width = max(len(row["input_ids"]) for row in ROWS)
    ids = torch.tensor([row["input_ids"] + [0] * (width - len(row["input_ids"])) for row in ROWS])
    labels = torch.tensor([row["labels"] + [-100] * (width - len(row["labels"])) for row in ROWS])
    mask = torch.tensor([[1] * len(row["input_ids"]) + [0] * (width - len(row["input_ids"])) for row in ROWS])
    loss = plain(input_ids=ids, attention_mask=mask, labels=labels).loss
    loss.backward()

    assert batch["tokens"] == sum(len(row["input_ids"]) for row in ROWS)
    assert int((batch["targets"] != -100).sum()) == TRAINED
    with torch.no_grad():
        assert abs(summed_loss(ours, batch, narrow).item() / TRAINED - loss.item()) < 1e-5
    for (name, mine), other in zip(ours.named_parameters(), plain.parameters(), strict=True):
        gap = (mine.grad - other.grad).norm() / other.grad.norm().clamp(min=1e-12)
        assert gap < 1e-5, name


def test_the_head_runs_only_where_a_label_is(folder: Path):
    model = load(folder)
    assert narrows(model)
    seen = []
    model.lm_head.register_forward_hook(lambda module, inputs, output: seen.append(output.shape))
    summed_loss(model, Collator(258)(ROWS[:2]), True)
    assert seen == [(2, 4, 260)]  # places 1, 2, 3 and 4 of six


def test_a_batch_without_labels_costs_nothing_and_breaks_nothing(folder: Path):
    batch = Collator(258)([{"input_ids": [1, 2, 3], "labels": [-100, -100, -100]}])
    assert summed_loss(load(folder), batch, True).item() == 0.0


def test_peft_and_quantised_wrappers_narrow_too(folder: Path):
    from peft import LoraConfig, get_peft_model

    assert narrows(get_peft_model(load(folder), LoraConfig(target_modules=["q_proj"], task_type="CAUSAL_LM")))


def test_evaluation_is_weighted_by_tokens_whatever_the_batch(folder: Path):
    from ftstudio.engine.trainer import held_out_loss

    model = load(folder)
    model.train()
    one_by_one = 0.0
    for row in ROWS:
        batch = Collator(258)([row])
        one_by_one += summed_loss(model, batch, False).item()
    for batch_size in (1, 2, 3, 4):
        found = held_out_loss(model, ROWS, Collator(258), batch_size, True)
        assert found is not None
        assert found["tokens"] == TRAINED
        assert found["loss"] == pytest.approx(one_by_one / TRAINED, abs=1e-6)
        assert found["perplexity"] == pytest.approx(math.exp(found["loss"]))
    assert model.training  # left as it was found
    assert held_out_loss(model, ROWS, Collator(258), 2, True, lambda: True) is None


def trained_step(folder: Path, tmp_path: Path, batch: int, accumulation: int) -> list[dict[str, float]]:
    """Loss and gradient norm of the optimiser steps of one epoch over ROWS."""
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
            "training": {"epochs": 1, "batch_size": batch, "gradient_accumulation": accumulation},
        }
    )
    seen: list[dict[str, float]] = []

    class Listener:
        first_loss = None

        def planned(self, step: int, last: int) -> set[str]:
            return set()

        def stepped(self, trainer: Any, logs: dict[str, float]) -> None:
            seen.append(dict(logs))

        def between(self, trainer: Any) -> None:
            pass

    trainer = StudioTrainer(
        get("full").apply(load(folder), None),
        arguments(recipe, get("full"), Hardware("cpu", "fp32", 1, ""), tmp_path, evaluate=False),
        ROWS,
        [],
        [len(row["input_ids"]) for row in ROWS],
        Collator(258),
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
    assert len(whole) == len(parts) == len(uneven) == 1
    for other in (parts, uneven):
        assert other[0]["loss"] == pytest.approx(whole[0]["loss"], abs=1e-6)
        assert other[0]["grad_norm"] == pytest.approx(whole[0]["grad_norm"], rel=1e-5)


lengths = st.lists(st.integers(1, 500), min_size=1, max_size=700)


@given(lengths, st.integers(1, 16), st.integers(0, 5), st.integers(0, 3))
@settings(max_examples=60, deadline=None)
def test_order_is_a_seeded_permutation_of_all_rows(lengths: list[int], batch: int, seed: int, epoch: int):
    order = LengthGrouped(lengths, batch, seed).order(epoch)
    assert sorted(order) == list(range(len(lengths)))
    again = LengthGrouped(lengths, batch, seed)
    again.set_epoch(epoch)
    assert list(again) == order


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
