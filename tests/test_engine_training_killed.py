"""SIGKILL in the middle of a training; what goes on from the last checkpoint ends exactly like an unbroken run."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tiny_models import make_model, make_rows, recipe_values

from ftstudio.core import dynamics
from ftstudio.core.jobs import Train
from ftstudio.core.run import RunFolder
from ftstudio.core.workspace import Workspace
from ftstudio.engine import report
from ftstudio.engine.prepare import prepare_run
from ftstudio.engine.recipes import check_recipe
from ftstudio.engine.worker import Worker

METHODS = ("full", "lora", "qlora")

VICTIM = """
import os, sys, time
from pathlib import Path
from ftstudio.core.jobs import Train
from ftstudio.engine import callback, quiet, report
from ftstudio.engine.worker import Worker

report.INTERVAL = 0.0
stepped = callback.RunDirector.stepped
def slower(self, *args):
    stepped(self, *args)
    time.sleep(0.1)
callback.RunDirector.stepped = slower
quiet.libraries()  # once for all: each run gets a process of its own below
for path in sys.argv[1:]:
    process = os.fork()
    if not process:
        Worker().execute(Train(Path(path)))
        os._exit(0)
    print(process, flush=True)
time.sleep(600)
"""


def losses(run: RunFolder) -> dict[int, float]:
    return {event["step"]: event["loss"] for event in run.events() if event["kind"] == "step"}


def _kill_after(run: RunFolder, step: int, process: int) -> None:
    end = time.monotonic() + 120
    while max(losses(run), default=0) < step:
        assert run.state() in ("queued", "running"), f"{run.name} ended before it could be killed"
        assert time.monotonic() < end
        time.sleep(0.02)
    os.kill(process, signal.SIGKILL)


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[RunFolder, RunFolder]]:
    """For each method a run killed after a checkpoint in the middle of an epoch, and the same run not begun yet."""
    base = tmp_path_factory.mktemp("base")
    model = make_model(base / "model", hidden_size=64)
    rows = make_rows(base / "rows.jsonl")
    found = {}
    for method in METHODS:
        # 32 rows, 2 × 2 a step: 8 steps an epoch; the checkpoint of step 11 lies in the second
        values = recipe_values(model, rows, method, steps=18, batch_size=2, gradient_accumulation=2, save_steps=11)
        found[method] = tuple(prepare_run(check_recipe(values), Workspace(base / name)) for name in ("killed", "whole"))
    paths = [str(pair[0].path) for pair in found.values()]
    with subprocess.Popen([sys.executable, "-c", VICTIM, *paths], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        victims = {method: int(parent.stdout.readline()) for method in METHODS}
        try:
            for method, victim in victims.items():
                _kill_after(found[method][0], 13, victim)
        finally:
            parent.kill()
    return found  # type: ignore[return-value]


@pytest.mark.parametrize("method", METHODS)
def test_resuming_after_sigkill_is_exact(killed: dict[str, tuple[RunFolder, RunFolder]], method: str):
    import torch
    from safetensors.torch import load_file

    run, whole = killed[method]
    assert run.state() == "interrupted"
    assert run.owner() is None
    assert not run.model.exists()
    report.INTERVAL, before = 0.0, report.INTERVAL
    try:
        worker = Worker()
        worker.execute(Train(run.path, resume=True))
        worker.execute(Train(whole.path))
    finally:
        report.INTERVAL = before
    assert run.state() == whole.state() == "done"
    starts = [event for event in run.events() if event["kind"] == "start"]
    assert [start["resumed_from"] for start in starts] == [None, 11]
    told, expected = losses(run), losses(whole)
    assert told.keys() == expected.keys() == set(range(1, 19))
    assert told == expected  # bit by bit
    name = "model.safetensors" if method == "full" else "adapter_model.safetensors"
    ours, theirs = load_file(run.model / name), load_file(whole.model / name)
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[key], theirs[key]) for key in ours)
    final = [[e for e in one.events() if e["kind"] == "eval"][-1]["loss"] for one in (run, whole)]
    assert final[0] == final[1]
    tokens = [[e for e in one.events() if e["kind"] == "step"][-1]["tokens"] for one in (run, whole)]
    assert tokens[0] == tokens[1]
    mine, other = (dynamics.read(one.path) for one in (run, whole))
    assert mine is not None
    assert other is not None
    assert mine.epochs == 3
    assert mine.losses.tobytes() == other.losses.tobytes()


KILLS = 20

RESTARTER = """
import os, random, signal, sys, time
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
    from_start, wait, steps = draw.random() < 0.5, draw.uniform(0, 1.5), draw.randint(1, 25)
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
@pytest.mark.timeout(900)
@pytest.mark.parametrize("method", METHODS)
def test_kills_at_random_moments_change_nothing(tmp_path: Path, method: str):
    """Among the moments: loading, evaluating, in the middle of a checkpoint, of the last save."""
    import torch
    from safetensors.torch import load_file

    model = make_model(tmp_path / "model", hidden_size=64)
    rows = make_rows(tmp_path / "rows.jsonl")
    values = recipe_values(model, rows, method, steps=300, save_steps=3)
    values["evaluation"] |= {"every": 25, "samples": 1}
    run, whole = (prepare_run(check_recipe(values), Workspace(tmp_path / name)) for name in ("killed", "whole"))
    command = [sys.executable, "-c", RESTARTER, str(run.path), str(KILLS), f"seed of {method}"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=800, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert int(done.stdout) == KILLS
    report.INTERVAL, before = 0.0, report.INTERVAL
    try:
        Worker().execute(Train(whole.path))
    finally:
        report.INTERVAL = before
    assert run.state() == whole.state() == "done"
    name = "model.safetensors" if method == "full" else "adapter_model.safetensors"
    ours, theirs = (load_file(one.model / name) for one in (run, whole))
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[key], theirs[key]) for key in theirs)
    told, expected = losses(run), losses(whole)
    assert told == expected  # every step, bit by bit, whatever was taken twice
    starts = [event["resumed_from"] for event in run.events() if event["kind"] == "start"]
    assert len(set(starts)) > KILLS / 4  # it got on between the kills
    assert not (run.checkpoints / ".saving").exists()
