"""What memory holds at once: batches beyond it are taken in parts, and only those."""

from __future__ import annotations

import json
import random
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from ftstudio.core.errors import StudioError
from ftstudio.core.folder import JobFolder
from ftstudio.engine import capacity
from ftstudio.engine.collate import Collator, PaddingFree, split, trained
from ftstudio.engine.fit import lighter
from ftstudio.engine.held import Held, Load, NotHeld, load_of
from ftstudio.engine.pieces import pieced
from ftstudio.engine.ranks import Ranks
from ftstudio.engine.recipes import load_recipe

PRESETS = Path(__file__).resolve().parents[1] / "presets"


def rows_of(*lengths: int, labels: int | None = None) -> list[dict[str, Any]]:
    """Rows of LENGTHS tokens, the last of them labels (LABELS, else all)."""
    return [
        {"input_ids": [1] * size, "labels": [-100] * (size - (labels or size)) + [1] * (labels or size)}
        for size in lengths
    ]


@pytest.mark.parametrize("collate", [PaddingFree(), Collator(0), pieced(Collator(0), 1e9)], ids=["free", "padded", "p"])
def test_one_long_batch_leaves_the_short_ones_whole(collate: Any):
    held = Held()
    long, short = collate(rows_of(*[600] * 8)), collate(rows_of(*[90] * 8))
    held.ran_out(load_of(long))
    assert [part["tokens"] for part in held.parts_of(long)] == [2400, 2400]
    assert [part["tokens"] for part in held.parts_of(short)] == [720]
    held.ran_out((2400, 2396, 600))
    assert [part["tokens"] for part in held.parts_of(long)] == [1200] * 4
    assert len(held.parts_of(short)) == 1
    assert len(held.parts_of(collate(rows_of(5000)))) == 1  # a single row can't be cut


def test_only_the_half_that_is_too_large_is_cut_again():
    held = Held()
    batch = PaddingFree()(rows_of(700, 100, 90, 80))
    held.ran_out((1000, 900, 700))
    assert [part["lengths"] for part in held.parts_of(batch)] == [(700,), (100,), (90, 80)]


def test_what_fitted_once_is_tried_again_and_what_is_more_only_well_below_what_did_not():
    held = Held()
    held.took((900, 900, 100))
    held.ran_out((1000, 1000, 100))
    assert held.fits((900, 800, 90))
    assert not held.fits((901, 901, 100))
    assert held.fits((750, 750, 400))
    assert held.fits((2000, 700, 100))  # many tokens, few labels: not known
    held.ran_out((800, 800, 100))  # memory has become less
    assert not held.fits((900, 900, 100))


def halved(part: Any, fits: Any) -> list[Any]:
    """PART in halves, by one who knows what FITS."""
    if len(part["lengths"]) == 1 or fits(load_of(part)):
        return [part]
    return [some for half in split(part, 2) for some in halved(half, fits)]


def test_what_did_not_fit_is_never_tried_again():
    """Though a longer row fits alone: memory comes apart, others share it. A step would go round for ever."""
    held = Held()
    small = (50, 15, 30)
    held.took((60, 20, 60))
    assert held.fits(small)
    held.ran_out(small)
    held.took((60, 20, 60))  # the single row that the batch is cut to, or another one
    assert not held.fits(small)
    assert not held.fits((50, 16, 30))
    assert held.fits((30, 9, 30))


def test_it_is_found_out_in_a_few_tries_and_a_checkpoint_keeps_it():
    """Batches in any order against a memory whose measure (tokens and labels) isn't told: few fail, hardly any is cut
    that would have fitted, and one that goes on from what was written decides the same."""
    for seed, least in ((0, 1), (1, 1), (2, 3)):
        draw = random.Random(seed)

        def fits(load: Load) -> bool:
            return load[0] + 20 * load[1] <= 1500

        held, failures, passes, fewest = Held(), 0, 0, 0
        for step in range(60):
            lengths = [min(900, int(draw.lognormvariate(5, 0.8)) + 2) for _ in range(8)]
            batch = PaddingFree()(rows_of(*lengths, labels=draw.choice((1, 2))))
            if step == 30:
                held = Held(json.loads(json.dumps(held.values())))
            while True:
                parts = held.parts_of(batch, least)
                bad = next((load_of(part) for part in parts if not fits(load_of(part))), None)
                if bad is None or len(parts) == len(lengths):
                    break
                failures += 1
                held.ran_out(bad)
            for part in parts:
                held.took(load_of(part))
            assert [length for part in parts for length in part["lengths"]] == lengths
            assert sum(int(trained(part)) for part in parts) == int(trained(batch))
            passes += len(parts)
            fewest += sum(len(halved(part, fits)) for part in split(batch, least))
        print("FAILS", failures, passes / fewest)
        assert failures <= 8, seed
        assert passes <= 1.3 * fewest, (seed, passes, fewest)


def test_a_checkpoint_from_before_is_gone_on_from_as_it_was():
    held = Held(None, 4)
    assert [len(part["lengths"]) for part in held.parts_of(PaddingFree()(rows_of(*[10] * 8)))] == [2] * 4


def test_the_trainer_takes_a_long_batch_in_parts_and_the_next_short_one_whole(monkeypatch: pytest.MonkeyPatch):
    import torch
    from transformers import Trainer

    from ftstudio.engine import trainer
    from ftstudio.engine.loss import Objective

    passes: list[int] = []

    def step(self: Any, model: Any, part: Any, count: Any) -> Any:
        if part["tokens"] > 1000:
            raise RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`")
        passes.append(part["tokens"])
        return torch.zeros(())

    monkeypatch.setattr(Trainer, "training_step", step)
    told: list[Any] = []
    one = trainer.StudioTrainer.__new__(trainer.StudioTrainer)
    parts: dict[str, Any] = {
        "levers": SimpleNamespace(objective=Objective("mask"), texts=None), "meter": SimpleNamespace(tokens=0),
        "director": SimpleNamespace(shrunk=lambda *said: told.append(said)), "args": SimpleNamespace(world_size=1),
        "held": Held(), "losses": trainer.RowLosses(), "recomputes": False, "may_recompute": False, "_taken": 0,
        "state": SimpleNamespace(global_step=0), "passed_over": {}, "_prepare_inputs": lambda batch: batch,
    }  # fmt: skip
    one.__dict__ |= parts
    model = torch.nn.Linear(1, 1)
    for size in (600, 90, 100):
        batch = PaddingFree()(rows_of(*[size] * 8))
        one._step, one._taken = [batch], 0
        passes.clear()
        one.training_step(model, batch, torch.tensor(1))
        assert passes == {600: [600] * 8, 90: [720], 100: [800]}[size]
    assert told == [(8, 4800, False), (4, 2400, False), (2, 1200, False)]
    one._step = [batch := PaddingFree()(rows_of(1001))]
    with pytest.raises(RuntimeError, match="ALLOC_FAILED"):  # a single row, and nothing that could make it less
        one.training_step(model, batch, torch.tensor(1))


def test_gradients_that_are_under_way_end_the_run_with_a_way_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    import torch

    from ftstudio.engine.ranked import RankedTrainer

    one = RankedTrainer.__new__(RankedTrainer)
    one.__dict__ |= {"_by_hand": False, "held": Held(), "_rows": 4, "_passing": (9, 9, 9), "may_recompute": False}
    one.__dict__ |= {"_doubted": False, "_step": [{}, {}], "_taken": 2, "recomputes": False}
    one.args = SimpleNamespace(device=torch.device("cpu"))
    short = torch.OutOfMemoryError("CUDA out of memory.")
    assert not one._may_shrink(RuntimeError("something else"))
    words = r"not enough GPU memory for 4 rows at once \(9 tokens\), and a step of several processes"
    with pytest.raises(NotHeld, match=words) as found:
        one._may_shrink(short)
    assert "the run takes it in smaller parts" in found.value.message
    for free in ({"_taken": 1}, {"_doubted": True}, {"_by_hand": True}):  # the others have seen nothing of it yet
        before, one.__dict__ = one.__dict__, {**one.__dict__, **free}
        assert one._may_shrink(short), free
        one.__dict__ = before
    ranks, folder = Ranks(), JobFolder(tmp_path)  # who goes on knows it
    told = ranks.explain(found.value, folder, 0)
    assert told is not None
    assert f"train --resume {tmp_path.name}" in told.hint
    ranks.fail(folder, StudioError("Something else."))
    ranks.fail(folder, found.value)
    held = Held()
    assert not held.forewarned(json.loads(json.dumps(ranks.noted(folder, "cpu"))))
    assert held.failed == [(9, 9, 9)]
    with monkeypatch.context() as larger:  # a device of twice the memory tries anew
        larger.setattr(capacity, "memory", lambda device: 2 * found.value.memory)
        assert found.value.memory > 0
        assert not ranks.noted(folder, "cpu")
    one._rows = 1
    assert not one._may_shrink(short)  # nothing makes a single row less
    one.may_recompute = True
    with pytest.raises(NotHeld, match="for a single row") as found:
        one._may_shrink(short)
    ranks.fail(folder, found.value)
    assert Held().forewarned(ranks.noted(folder, "cpu"))


def test_what_is_read_before_the_first_step_is_no_training_time():
    """Weights and optimiser states of a checkpoint: transformers reads them before it says that training begins."""
    from ftstudio.engine.meter import Meter
    from ftstudio.engine.trainer import _Plan

    now = [0.0]
    meter = Meter(30.0, 900, clock=lambda: now[0])
    now[0] = 100.0
    director: Any = SimpleNamespace(begun=lambda trainer: None)
    _Plan(director, SimpleNamespace(meter=meter)).on_train_begin(None, None, None)  # type: ignore[arg-type]
    now[0], meter.tokens = 102.0, 1000
    assert (meter.seconds, meter.rate()) == (32.0, 50.0)


def test_only_what_went_through_before_is_sure():
    held = Held()
    assert not held.sure((10, 5, 5))
    held.took((10, 5, 5))
    assert held.sure((8, 5, 4))
    assert not held.sure((8, 6, 4))
    held.ran_out((9, 4, 4))
    assert not held.sure((10, 5, 5))
    assert held.sure((8, 3, 4)) is False  # what it was known by went with it


@pytest.mark.parametrize("real", [0, 1, 2])
def test_passes_that_others_wait_for_teach_nothing(real: int):
    """Of a batch in parts the empty ones at its end change nothing; an empty batch has no gradients at all."""
    import torch

    from ftstudio.engine import gradient_cache

    model = torch.nn.Linear(3, 2, bias=False)
    task = SimpleNamespace(loss=lambda outputs, batch: (outputs[0] @ outputs[0].T).square().sum())
    objective: Any = SimpleNamespace(task=task, outputs=lambda model, part: [model(part["inputs"])])
    parts: list[Any] = [{"inputs": torch.randn(2, 3), "lengths": (3, 3)} for _ in range(3)]
    for part in parts[real:]:
        part["void"] = True
    batch = {"targets": torch.zeros(2 * real)}
    loss, pulls, _ = gradient_cache.look(objective, model, batch, parts)
    assert [pull[0].shape for pull in pulls] == [(2, 2)] * 3
    assert all(not pull[0].any() for pull in pulls[real:])
    wanted, some, _ = gradient_cache.look(objective, model, batch, parts[:real]) if real else (0.0, [], [])
    assert float(loss) == float(wanted)
    assert all(torch.equal(mine[0], other[0]) for mine, other in zip(pulls, some, strict=False))


def test_what_did_not_fit_is_forgotten_on_a_larger_device_alone(monkeypatch: pytest.MonkeyPatch):
    held = {"fitted": [[8, 8, 4]], "failed": [[16, 16, 4]]}
    small = {"held": held, "still": {"fitted": [], "failed": []}, "recomputes": True, "memory": 24 << 30}
    known = {"recomputes": True, "held": [small, {**small, "memory": 80 << 30}]}
    monkeypatch.setattr(capacity, "memory", lambda device: 80 << 30)
    assert capacity.carried(known, 1, "cuda") == (known["held"][1], "")  # the other process had as much before
    found, told = capacity.carried(known, 0, "cuda")
    assert found["held"] == {**held, "failed": []}
    assert not found["recomputes"]
    assert told.startswith("This device has 80")
    assert "24" in told
    monkeypatch.setattr(capacity, "memory", lambda device: 16 << 30)
    assert capacity.carried(known, 0, "cuda") == (small, "")
    monkeypatch.setattr(capacity, "memory", lambda device: 80 << 30)
    still = {**small, "held": small["still"]}
    assert not capacity.carried({"held": [still]}, 0, "cuda", again=True)[1]  # the recipe says so
    for before in ({}, {"recomputes": True, "parts": 2}):  # checkpoints of earlier versions
        assert capacity.carried(before, 0, "cuda") == ({"recomputes": before.get("recomputes")}, "")


@pytest.mark.parametrize(
    ("method", "rows", "hint"),
    [
        ("full", False, "Use method qlora or lora, a smaller model, or a device with more memory."),
        ("lora", True, "Use method qlora, a smaller model, a lower data.max_length, or a device with more memory."),
        ("qlora", False, "Use a smaller model, or a device with more memory."),
    ],
)
def test_the_way_out_of_too_little_memory_is_none_that_was_taken(method: str, rows: bool, hint: str):
    assert lighter(load_recipe(PRESETS / "demo.yaml", [f"method.name={method}"]), rows) == hint
