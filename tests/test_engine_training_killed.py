"""SIGKILL in the middle of a training; what goes on from the last checkpoint ends exactly like an unbroken run."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest
from nursery import Nursery
from safetensors.numpy import load_file
from tiny_models import recipe_values

from ftstudio.core import dynamics
from ftstudio.core.run import RunFolder
from ftstudio.core.workspace import Workspace
from ftstudio.engine.prepare import prepare_run
from ftstudio.engine.recipes import check_recipe

METHODS = ("full", "lora", "qlora")

MAKER = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from tiny_encoders import make_pairs, make_seq2seq, make_tagged, save_unigram
from tiny_models import make_encoder, make_labelled, make_model, make_rows, make_sentence_encoder
place = Path(sys.argv[2])
if sys.argv[3] == "causal":
    make_model(place / "model", hidden_size=64)
    make_rows(place / "rows.jsonl")
else:
    save_unigram(make_seq2seq(place / "seq2seq"))
    make_pairs(place / "pairs.jsonl")
    make_encoder(place / "encoder")
    make_sentence_encoder(place / "vectors")
    make_labelled(place / "labelled.jsonl", count=60)
    make_tagged(place / "tagged.jsonl")
"""

TRAINER = """
import sys, time
from pathlib import Path
from ftstudio.core.jobs import Train
from ftstudio.engine import callback, report
from ftstudio.engine.worker import Worker

report.INTERVAL = 0.0
stepped = callback.RunDirector.stepped
def slower(self, *args):
    stepped(self, *args)
    time.sleep(float(sys.argv[3]))
callback.RunDirector.stepped = slower
Worker().execute(Train(Path(sys.argv[1]), resume=sys.argv[2] == "resume"))
"""


@dataclass(frozen=True)
class Trainings:
    """Trains runs in processes of their own."""

    nursery: Nursery
    place: Path

    def make(self, what: str) -> Path:
        """Models and rows: `causal` or `others`."""
        program = self.place / "maker.py"
        program.write_text(MAKER)
        words = [str(Path(__file__).parent), str(self.place), what]
        process = self.nursery.start(program, words, cwd=self.place, out=self.place / "maker.txt")
        assert self.nursery.wait(process) == 0, (self.place / "maker.txt").read_text()
        return self.place

    def start(self, run: RunFolder, *, resume: bool = False, pace: float = 0.0) -> int:
        """A process that trains RUN, PACE seconds slower a step."""
        program = self.place / "trainer.py"
        if not program.exists():  # another process may be reading it just now
            program.write_text(TRAINER)
        words = [str(run.path), "resume" if resume else "begin", str(pace)]
        return self.nursery.start(program, words, cwd=self.place, out=self.place / "trainer.txt")

    def killed_at(self, run: RunFolder, step: int) -> None:
        """Train RUN and kill it once it has taken STEP."""
        process = self.start(run, pace=0.1)
        end = time.monotonic() + 120
        while max(losses(run), default=0) < step:
            assert self.nursery.status(process) is None, f"{run.name} ended before it could be killed"
            assert time.monotonic() < end
            time.sleep(0.02)
        os.kill(process, signal.SIGKILL)
        assert self.nursery.wait(process) == -signal.SIGKILL

    def finish(self, *processes: int) -> None:
        """Wait for PROCESSES to end well."""
        for process in processes:
            assert self.nursery.wait(process) == 0, (self.place / "trainer.txt").read_text()[-2000:]


def losses(run: RunFolder) -> dict[int, float]:
    return {event["step"]: event["loss"] for event in run.events() if event["kind"] == "step"}


def same_model(ours: RunFolder, theirs: RunFolder) -> bool:
    """Whether both saved the very same weights."""
    names = sorted(path.name for path in theirs.model.rglob("*.safetensors"))
    assert names == sorted(path.name for path in ours.model.rglob("*.safetensors")) != []
    for name in names:
        mine, other = (load_file(next(run.model.rglob(name))) for run in (ours, theirs))
        if mine.keys() != other.keys() or any(mine[key].tobytes() != other[key].tobytes() for key in other):
            return False
    return True


@pytest.fixture(scope="module")
def trainings(nursery: Nursery, tmp_path_factory: pytest.TempPathFactory) -> Trainings:
    return Trainings(nursery, tmp_path_factory.mktemp("trainings"))


@pytest.fixture(scope="module")
def causal(trainings: Trainings) -> Path:
    return trainings.make("causal")


@pytest.mark.parametrize("method", METHODS)
def test_resuming_after_sigkill_is_exact(trainings: Trainings, causal: Path, tmp_path: Path, method: str):
    # 16 rows, 2 × 2 a step: 4 steps an epoch; the checkpoint of step 6 lies in the second
    more = {"steps": 10, "batch_size": 2, "gradient_accumulation": 2, "save_steps": 6, "save_best": True}
    values = recipe_values(causal / "model", causal / "rows.jsonl", method, **more)
    values["data"] |= {"limit": 16}
    values["evaluation"] |= {"every": 5, "samples": 0}
    run, whole = (prepare_run(check_recipe(values), Workspace(tmp_path / name)) for name in ("killed", "whole"))
    unbroken = trainings.start(whole)
    trainings.killed_at(run, 7)
    assert run.state() == "interrupted"
    assert run.owner() is None
    assert not run.model.exists()
    with run.events_path.open("ab") as file:
        file.write(b'{"kind":"step","step":99,"lo')  # torn by a power cut
    trainings.finish(unbroken, trainings.start(run, resume=True))
    assert run.state() == whole.state() == "done"
    starts = [event for event in run.events() if event["kind"] == "start"]
    assert [start["resumed_from"] for start in starts] == [None, 6]
    told, expected = losses(run), losses(whole)
    assert told.keys() == expected.keys() == set(range(1, 11))
    assert told == expected  # bit by bit
    assert same_model(run, whole)
    final = [[e for e in one.events() if e["kind"] == "eval"][-1]["loss"] for one in (run, whole)]
    assert final[0] == final[1]
    tokens = [[e for e in one.events() if e["kind"] == "step"][-1]["tokens"] for one in (run, whole)]
    assert tokens[0] == tokens[1]
    mine, other = (dynamics.read(one.path) for one in (run, whole))
    assert mine is not None
    assert other is not None
    assert mine.epochs == 3
    assert mine.losses.tobytes() == other.losses.tobytes()


OTHERS = {
    "seq2seq": ("seq2seq", "pairs.jsonl", "lora"),
    "text-classification": ("encoder", "labelled.jsonl", "full"),
    "token-classification": ("encoder", "tagged.jsonl", "lora"),
    "masked-lm": ("encoder", "labelled.jsonl", "full"),
    "embedding": ("vectors", "labelled.jsonl", "full"),
    "few-shot-classification": ("vectors", "labelled.jsonl", "full"),
}


@pytest.fixture(scope="module")
def others(trainings: Trainings) -> Path:
    place = trainings.make("others")
    rows = [json.loads(line) for line in (place / "labelled.jsonl").read_text().splitlines()]
    both = [{"anchor": row["text"], "positive": f"{row['text']} {row['label']}"} for row in rows]
    (place / "pairs-of-texts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in both))
    return place


@pytest.mark.slow
@pytest.mark.parametrize("task", OTHERS)
def test_other_tasks_go_on_exactly_too(trainings: Trainings, others: Path, tmp_path: Path, task: str):
    model, rows, method = OTHERS[task]
    if task == "embedding":
        rows = "pairs-of-texts.jsonl"
    values = recipe_values(others / model, others / rows, method, steps=18, save_steps=5)
    values |= {"task": task, "options": {"shots": 8} if task.startswith("few") else {}}
    values["evaluation"] |= {"samples": 1}
    values["data"]["max_length"] = 32
    run, whole = (prepare_run(check_recipe(values), Workspace(tmp_path / name)) for name in ("killed", "whole"))
    unbroken = trainings.start(whole)
    trainings.killed_at(run, 13)
    trainings.finish(unbroken, trainings.start(run, resume=True))
    assert run.state() == whole.state() == "done", run.events()[-1]
    starts = [event["resumed_from"] for event in run.events() if event["kind"] == "start"]
    assert starts == [None, 10]
    told, expected = losses(run), losses(whole)
    assert told == expected
    assert len(set(expected.values())) > 10
    assert same_model(run, whole)
    final = [[e for e in one.events() if e["kind"] == "eval"][-1] for one in (run, whole)]
    assert {**final[0], "time": 0} == {**final[1], "time": 0}


KILLS = 20

RESTARTER = """
import gc, os, random, signal, sys, time
from pathlib import Path
from ftstudio.core.jobs import Train
from ftstudio.core.run import RunFolder
from ftstudio.engine import callback, quiet, report
from ftstudio.engine.worker import Worker

report.INTERVAL = 0.0
stepped = callback.RunDirector.stepped
def slower(self, *args):
    stepped(self, *args)
    time.sleep(0.02)
callback.RunDirector.stepped = slower
quiet.libraries()
from ftstudio.engine import training
gc.freeze()  # what all have in common is not looked through (and so copied) by each
path, wanted, draw = Path(sys.argv[1]), int(sys.argv[2]), random.Random(sys.argv[3])
run, kills = RunFolder(path), 0
begun = False
while run.state() != "done":
    process = os.fork()
    if not process:
        Worker().execute(Train(path, resume=begun))
        os._exit(0)
    begun = True
    size = run.events_path.stat().st_size if run.events_path.exists() else 0
    began, told = time.monotonic(), None
    # half of them count from the start (loading, reading the checkpoint), half from a step on (training, saving)
    from_start, wait, steps = draw.random() < 0.5, draw.uniform(0, 1.5), draw.randint(1, 15)
    while not os.waitpid(process, os.WNOHANG)[0]:
        now = time.monotonic()
        if told is None and run.events_path.exists():
            taken = run.events_path.read_bytes()[size:].count(b'"kind":"step"')
            told = now if taken >= steps else None
        since = began + wait if from_start else told and told + wait / 20
        if kills < wanted and since is not None and now > since:
            os.kill(process, signal.SIGKILL)
            os.waitpid(process, 0)
            kills += 1
            break
        assert now < began + 120, "it hangs"
        time.sleep(0.005)
print(kills)
"""


@pytest.mark.slow
@pytest.mark.timeout(1600)
@pytest.mark.parametrize("method", METHODS)
def test_kills_at_random_moments_change_nothing(trainings: Trainings, causal: Path, tmp_path: Path, method: str):
    """Among the moments: loading, evaluating, in the middle of a checkpoint, of the last save."""
    values = recipe_values(causal / "model", causal / "rows.jsonl", method, steps=200, save_steps=3)
    values["evaluation"] |= {"every": 25, "samples": 1}
    run, whole = (prepare_run(check_recipe(values), Workspace(tmp_path / name)) for name in ("killed", "whole"))
    command = [sys.executable, "-c", RESTARTER, str(run.path), str(KILLS), f"seed of {method}"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=1500, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert int(done.stdout) == KILLS
    trainings.finish(trainings.start(whole))
    assert run.state() == whole.state() == "done"
    assert same_model(run, whole)
    told, expected = losses(run), losses(whole)
    assert told == expected  # every step, bit by bit, whatever was taken twice
    starts = [event["resumed_from"] for event in run.events() if event["kind"] == "start"]
    assert len(set(starts)) > KILLS / 4  # it got on between the kills
    assert not (run.checkpoints / ".saving").exists()
