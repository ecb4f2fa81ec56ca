"""Two processes on gloo learn what one process learns with the same rows a step."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tiny_models import make_model

TRAIN = """
import json, random, sys
from functools import partial
from pathlib import Path
import torch
from transformers import AutoModelForCausalLM
from ftstudio import tasks
from ftstudio.core.recipe import Recipe
from ftstudio.engine import quiet
from ftstudio.engine.arguments import arguments
from ftstudio.engine.hardware import Hardware
from ftstudio.engine.levers import choose
from ftstudio.engine.meter import Meter
from ftstudio.core.launch import place
from ftstudio.engine.ranked import RankedTrainer
from ftstudio.engine.ranks import ALONE, Ranks
from ftstudio.engine.trainer import StudioTrainer
from ftstudio.methods import get

quiet.libraries()
model, out, name, accumulation = sys.argv[1], Path(sys.argv[2]), sys.argv[3], int(sys.argv[4])
short = len(sys.argv) > 5
values = {"model": model, "method": name, "data": {"train": "x"}}
values["training"] = {"steps": 6, "batch_size": 3, "gradient_accumulation": accumulation, "device": "cpu"}
values["training"]["learning_rate"] = 1e-3
recipe, method, machine = Recipe.model_validate(values), get(name), Hardware("cpu", "fp32", 1, "")
draw = random.Random(0)
rows = []
for _ in range(24):
    ids = [draw.randrange(250) for _ in range(draw.randint(3, 40))]
    cut = draw.randrange(len(ids) - 1)
    rows.append({"input_ids": ids, "labels": [-100] * cut + ids[cut:]})
lengths = [len(row["input_ids"]) for row in rows]
seen, told = [], []

class Listener:
    first_loss = evaluated_at = None
    def begun(self, trainer): pass
    def planned(self, step, last): return set()
    def stepped(self, trainer, logs): seen.append([logs["loss"], float(logs["grad_norm"])])
    def between(self, trainer): pass
    def shrunk(self, *said): told.append(said)

torch.manual_seed(0)
made = method.apply(AutoModelForCausalLM.from_pretrained(model, attn_implementation="sdpa"), method.settings(
    {} if name == "full" else {"r": 4, "alpha": 8, "dropout": 0.0}))
levers = choose(made, rows, lengths, machine, recipe, 0, tasks.get("sft"))
ranks = Ranks(place()).join() if short else ALONE
kind = StudioTrainer if ranks.alone else partial(RankedTrainer, ranks=ranks)
trainer = kind(made, arguments(recipe, method, machine, out.parent / "checkpoints"), rows, [],
    lengths, levers, Listener(), Meter(), keep=1)
if short:  # the last process doesn't hold the second micro-batch of the third step, once gradients were added
    backward, passes = trainer.accelerator.backward, []
    def back(loss, **named):
        backward(loss, **named)
        passes.append(loss)
        if trainer.args.process_index == trainer.args.world_size - 1 and len(passes) == 2 * accumulation + 2:
            raise torch.OutOfMemoryError("CUDA out of memory.")
    trainer.accelerator.backward = back
trainer.train()
if trainer.is_world_process_zero():
    sums = [float(item.double().abs().sum()) for item in made.parameters() if item.requires_grad]
    out.write_text(json.dumps({"steps": seen, "weights": sums, "ranks": trainer.args.world_size,
        "free": levers.padding_free, "told": told, "failed": trainer.held.failed}))
if short:
    ranks.leave()
"""


def trained(folder: Path, name: str, method: str, *, ranks: int, batches: int = 2, short: bool = False) -> Any:
    """What rank 0 saw: loss and gradient norm of each step of so many BATCHES, sums of the weights. SHORT: the last
    process runs out of memory once."""
    script, out = folder / "train.py", folder / f"{name}.json"
    script.write_text(TRAIN)
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(ranks)] if ranks > 1 else []
    words = [sys.executable, *launcher, str(script), str(folder / "model"), str(out), method, str(batches // ranks)]
    words += ["short"] if short else []
    root = str(Path(__file__).resolve().parents[1])
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": root, "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(words, capture_output=True, text=True, env=environment, check=False, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    found: dict[str, Any] = json.loads(out.read_text())
    return found


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("method", ["full", "lora"])
def test_two_ranks_learn_what_one_process_learns(tmp_path: Path, method: str):
    make_model(tmp_path / "model", hidden_size=64)
    one = trained(tmp_path, "one", method, ranks=1)
    two = trained(tmp_path, "two", method, ranks=2)
    assert (one["ranks"], two["ranks"]) == (1, 2)
    assert one["free"]
    assert two["free"]
    assert len(one["steps"]) == len(two["steps"]) == 6
    for mine, other in zip(two["steps"], one["steps"], strict=True):
        assert mine == pytest.approx(other, rel=1e-4)
    assert two["weights"] == pytest.approx(one["weights"], rel=1e-5)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_process_that_runs_out_of_memory_takes_its_part_of_the_step_again(tmp_path: Path):
    make_model(tmp_path / "model", hidden_size=64)
    one = trained(tmp_path, "one", "lora", ranks=1, batches=4)
    two = trained(tmp_path, "two", "lora", ranks=2, batches=4, short=True)
    assert two["ranks"] == 2
    for mine, other in zip(two["steps"], one["steps"], strict=True):
        assert mine == pytest.approx(other, rel=1e-4)
    assert two["weights"] == pytest.approx(one["weights"], rel=1e-5)
    assert [(rows, recomputes) for rows, _, recomputes in two["told"]] == [(3, False)]  # by the other process
    assert two["failed"] == []
