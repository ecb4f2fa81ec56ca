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


RESTARTER = """
import os, sys, time, random, signal
from pathlib import Path
from ftstudio.core.jobs import Train
from ftstudio.core.run import RunFolder
from ftstudio.engine import quiet, report
from ftstudio.engine.worker import Worker

report.INTERVAL = 0.0
quiet.libraries()
path, seed, kills = Path(sys.argv[1]), int(sys.argv[2]), 0
draw = random.Random(seed)
for attempt in range(60):
    process = os.fork()
    if not process:
        Worker().execute(Train(path, resume=attempt > 0))
        os._exit(0)
    end = time.monotonic() + (draw.uniform(0.5, 4) if attempt < 25 else 60)
    while time.monotonic() < end and not os.waitpid(process, os.WNOHANG)[0]:
        time.sleep(0.005)
    else:
        if time.monotonic() >= end:
            os.kill(process, signal.SIGKILL)
            os.waitpid(process, 0)
            kills += 1
    if RunFolder(path).state() == "done":
        break
print(kills)
"""


@pytest.mark.slow
def test_kills_at_random_moments_change_nothing(tmp_path: Path):
    """Among the moments: loading, evaluating, in the middle of a checkpoint, of the last save."""
    import torch
    from safetensors.torch import load_file

    model = make_model(tmp_path / "model")
    rows = make_rows(tmp_path / "rows.jsonl")
    values = recipe_values(model, rows, "lora", steps=60, save_steps=2)
    run, whole = (prepare_run(check_recipe(values), Workspace(tmp_path / name)) for name in ("killed", "whole"))
    command = [sys.executable, "-c", RESTARTER, str(run.path), "7"]
    kills = int(subprocess.run(command, capture_output=True, text=True, check=True, timeout=170).stdout)
    assert kills >= 5
    assert run.state() == "done"
    Worker().execute(Train(whole.path))
    ours, theirs = (load_file(one.model / "adapter_model.safetensors") for one in (run, whole))
    assert all(torch.equal(ours[key], theirs[key]) for key in theirs)
    told, expected = losses(run), losses(whole)
    assert {step: told[step] for step in told.keys() & expected.keys()} == {
        step: expected[step] for step in told.keys() & expected.keys()
    }
    assert not (run.checkpoints / ".saving").exists()
