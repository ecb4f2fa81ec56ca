"""Rows of which each epoch draws others, trained by several processes: the same for all, and again after a crash."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest
from nursery import Nursery
from paced import PROGRAM, last_step, until
from test_launched import Place, steps_of, told

RECIPE = """\
task: sft
model: demo
method: {{name: lora, r: 4, dropout: 0.0}}
data: {{train: [{{path: {place}/few.jsonl, weight: 1}}, {{path: {place}/many.jsonl, weight: 1}}], eval: null,
  max_length: 64}}
training: {{epochs: 3, batch_size: 2, gradient_accumulation: {accumulation}, save_steps: 2, learning_rate: 1.0e-3,
  device: cpu, save_best: false}}
evaluation: {{samples: 0, forgetting: false}}
"""

# notes the rows that an epoch has, as every process sees them at each step
NOTED = PROGRAM.replace(
    "from ftstudio.cli import main",
    """
import zlib
from ftstudio.engine import trainer
step = trainer.StudioTrainer.training_step
def noted(self, *args, **named):
    rows = self.train_dataset
    while hasattr(rows, "rows") and not hasattr(rows, "number"):
        rows = rows.rows
    seen = zlib.crc32(str([row["input_ids"] for row in rows]).encode())
    with open(f"{os.environ['NOTES']}.{os.environ.get('RANK', '0')}", "a") as file:
        print(self.state.global_step + 1, seen, file=file)
    return step(self, *args, **named)
trainer.StudioTrainer.training_step = noted
from ftstudio.cli import main""",
)


def noted(place: Place, name: str, rank: int = 0) -> dict[int, str]:
    """What stands for the rows of the epoch, by step."""
    lines = (place.path / f"{name}.notes.{rank}").read_text().splitlines()
    return {int(step): seen for step, seen in (line.split() for line in lines)}


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("batches", ["training.batch_size=2", "training.batch_tokens=40"])
def test_all_processes_draw_the_same_rows_and_again_after_a_crash(nursery: Nursery, tmp_path: Path, batches: str):
    """Three epochs of which the second is gone on with."""
    place = Place.make(tmp_path, nursery)
    (tmp_path / "program.py").write_text(NOTED)
    for name, count in (("few", 8), ("many", 60)):
        rows = [{"prompt": f"{name} {n}?", "completion": f"it is {n}" + " so" * (n % 5)} for n in range(count)]
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    for processes in (1, 2):
        text = RECIPE.format(place=tmp_path, accumulation=2 // processes)
        (tmp_path / f"for{processes}.yaml").write_text(text)
    one = place.launched(1, "one", "train", "for1.yaml", batches, NOTES="one.notes")
    two = place.launched(2, "two", "train", "for2.yaml", batches, NOTES="two.notes")
    assert place.ended([*one, *two]) == [0, 0, 0], place.said("two")
    expected, found = steps_of(place.last("one")), steps_of(place.last("two"))
    assert "each epoch draws other rows" in told(place.last("two"), "alert")[0]["text"]
    assert found.keys() == expected.keys()
    last = max(found)
    assert last % 3 == 0
    for step, values in expected.items():
        assert found[step] == pytest.approx(values, rel=1e-4), step
    rows = noted(place, "one")
    assert rows == noted(place, "two", 0) == noted(place, "two", 1)
    assert len(set(rows.values())) == 3
    processes = place.launched(2, "run", "train", "for2.yaml", batches, NOTES="lost.notes", PACE="0.3")
    begun = last // 3 // 2 * 2 + 2  # two steps into the second epoch a checkpoint was written
    until(lambda: place.workspace("run").runs() and last_step(place.last("run")) > begun, "in the second epoch", 120)
    os.kill(processes[1], signal.SIGKILL)
    assert place.ended(processes) == [1, -signal.SIGKILL]
    resumed = place.launched(2, "run", "train", "--resume", "last", NOTES="run.notes")
    assert place.ended(resumed) == [0, 0], place.said("run")
    run = place.last("run")
    assert told(run, "start")[-1]["resumed_from"] == begun
    assert begun % (last // 3)
    assert steps_of(run) == found  # bit by bit
    after = {step: seen for step, seen in rows.items() if step > begun}
    assert noted(place, "run", 0) == noted(place, "run", 1) == after
