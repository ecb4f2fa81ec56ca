"""What a machine may do to a training: a disk that fills up or can't be written, a clock that jumps, a GPU that fails.

Each in a real process, on a real small disk where one is needed.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from nursery import Nursery
from paced import PROGRAM, Place, last_step, losses, until

from ftstudio.core.run import RunFolder, Story
from ftstudio.core.workspace import Workspace
from ftstudio.engine import resume

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """A disk of its own that `size` makes as big as wanted."""
    mount = tmp_path / "small"
    mount.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(mount)], capture_output=True).returncode:
        pytest.skip("this machine doesn't let us mount")
    yield mount
    subprocess.run(["umount", "-l", str(mount)], check=False)


def size(mount: Path, options: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{options}", str(mount)], check=True)


def on(place: Place, workspace: Path, *words: str) -> list[str]:
    return [str(place.path / "program.py"), *words, "--workspace", str(workspace)]


def started(place: Place, command: list[str], **env: str) -> int:
    assert place.nursery is not None
    return place.nursery.start(
        Path(command[0]), command[1:], cwd=place.path, env=env, out=place.path / "out.txt",
        errors=place.path / "errors.txt",
    )  # fmt: skip


def alerts(run: RunFolder) -> list[str]:
    return [event["text"] for event in run.events() if event["kind"] == "alert" and event.get("watch") == "disk"]


def test_a_disk_that_fills_up_in_the_middle_of_a_checkpoint(nursery: Nursery, tmp_path: Path, small: Path):
    """The first checkpoint fails half written, the next has no room; the run waits, and goes on by itself."""
    place = Place.make(tmp_path, 30, nursery)  # a checkpoint every 10 steps: some 300 kB
    size(small, "size=260k")
    process = started(place, on(place, small / "studio", "train", "tiny.yaml", "training.keep_checkpoints=1"))
    space = Workspace(small / "studio")
    until(lambda: space.runs() and space.runs()[0].state() == "paused", "paused", 120)
    run = space.runs()[0]
    assert last_step(run) == 10
    assert "The disk is full" in alerts(run)[0]
    assert resume.newest(run.checkpoints) is None
    assert not list(run.checkpoints.glob("checkpoint-*"))  # nothing half-written passes as one
    one = 1000  # kB: room for one and not for two
    while run.state() == "paused" and one < 4000:
        size(small, f"size={one}k")
        until(lambda: run.state() != "paused" or last_step(run) > 10, "going on", 20)
    until(lambda: run.state() in ("paused", "done") and last_step(run) >= 20, "at step 20", 60)
    if run.state() == "paused":
        assert "the disk has" in alerts(run)[-1]
    newest = resume.newest(run.checkpoints)
    assert newest is not None  # the one before stays whole
    size(small, "size=16m")
    assert nursery.wait(process) == 0, (place.path / "errors.txt").read_text()
    assert run.state() == "done"
    assert losses(run).keys() == set(range(1, 31))


def test_a_stop_waits_for_room_and_asked_again_for_none(nursery: Nursery, tmp_path: Path, small: Path):
    place = Place.make(tmp_path, 30, nursery)
    size(small, "size=260k")
    process = started(place, on(place, small / "studio", "train", "tiny.yaml"))
    space = Workspace(small / "studio")
    until(lambda: space.runs() and space.runs()[0].state() == "paused", "paused", 120)
    run = space.runs()[0]
    before = len(alerts(run))
    run.request("stop")
    until(lambda: len(alerts(run)) > before and run.events()[-1].get("phase") == "paused", "waiting", 20)
    alert = [event for event in run.events() if event.get("watch") == "disk"][-1]
    assert "asked to stop once more, it stops without one" in alert["hint"]
    run.request("stop")
    assert nursery.wait(process) == 130
    assert run.state() == "stopped"
    assert resume.newest(run.checkpoints) is None  # the model is smaller, and may fit


def test_a_workspace_that_can_not_be_written(nursery: Nursery, tmp_path: Path, small: Path):
    place = Place.make(tmp_path, 3, nursery)
    size(small, "ro")
    process = started(place, on(place, small / "studio", "train", "tiny.yaml"))
    assert nursery.wait(process) == 1
    said = (place.path / "errors.txt").read_text().strip()
    assert len(said.splitlines()) == 1
    assert "read-only" in said
    assert "--workspace" in said
    command = on(place, small / "studio")
    from terminal import Terminal

    with Terminal(["", *command], cwd=place.path, nursery=nursery) as screen:
        screen.wait("Open a dataset", 40)  # to look is possible
        screen.key("escape", "q")
        assert screen.ended(20)
        assert screen.status == 0


JUMPING = PROGRAM.replace(
    "callback.RunDirector.stepped = paced",
    """real, shift = time.time, [0.0]
time.time = lambda: real() + shift[0]
def jumping(self, trainer, logs):
    shift[0] = {3: -7 * 86400.0, 6: 400 * 86400.0}.get(trainer.state.global_step, shift[0])
    paced(self, trainer, logs)
callback.RunDirector.stepped = jumping""",
)


def test_a_clock_that_jumps_back_and_forth(nursery: Nursery, tmp_path: Path):
    place = Place.make(tmp_path, 12, nursery)
    (place.path / "program.py").write_text(JUMPING)
    process = started(place, place.command("train", "tiny.yaml")[1:], PACE="0.3")
    for step in (4, 8):  # a week back; a year ahead
        until(lambda step=step: place.workspace.runs() and last_step(place.last) >= step, f"at step {step}", 120)
        assert place.last.state() == "running"  # as another process sees it
        assert place.last.owner() is not None
    assert nursery.wait(process) == 0
    run = place.last
    assert run.state() == "done"
    assert losses(run).keys() == set(range(1, 13))
    story = Story()
    story.feed(run.events())
    etas = [event["eta"] for event in run.events() if event["kind"] == "step"]
    assert all(0 <= eta < 60 for eta in etas)
    assert story.seconds is not None
    assert 3 < story.seconds < 300


FAILING = PROGRAM.replace(
    "from ftstudio.cli import main",
    """
import atexit
from ftstudio.engine import trainer as trainers, worker as workers
step = trainers.StudioTrainer.training_step
def failing(self, *args, **named):
    if self.state.global_step == 3:
        raise RuntimeError("CUDA error: device-side assert triggered\\nCUDA kernel errors might be asynchronously ...")
    return step(self, *args, **named)
trainers.StudioTrainer.training_step = failing
if os.environ.get("ABORTS"):
    atexit.register(os.abort)  # what torch's goodbye to a GPU that failed ends in
failed = workers.Worker._failed
def told(self, folder, error):
    failed(self, folder, error)
    open(os.environ["LOADED"], "w").write(str(self.loaded))
workers.Worker._failed = told
from ftstudio.cli import main""",
)


def test_a_gpu_that_fails_is_told_and_the_process_ends_well(nursery: Nursery, tmp_path: Path):
    """A stand-in for a CUDA assertion: headless, and under the screen, which stays until the person leaves."""
    place = Place.make(tmp_path, 12, nursery)
    (place.path / "program.py").write_text(FAILING)
    loaded = tmp_path / "loaded"
    environment = {"ABORTS": "1", "LOADED": str(loaded)}
    process = started(place, place.command("train", "tiny.yaml")[1:], **environment)
    assert nursery.wait(process) == 1  # not killed by SIGABRT
    said = (place.path / "errors.txt").read_text()
    assert "The GPU reported an error" in said
    assert "resumed from its last checkpoint" in said
    assert place.last.state() == "failed"
    assert loaded.read_text() == "None"  # the model was let go of
    log = place.last.log_path.read_text()
    assert "Traceback" in log
    with place.terminal("train", "tiny.yaml", "--watch", env=environment) as screen:
        screen.wait("failed", 60)
        screen.wait("The GPU reported an")
        screen.key("1")
        screen.wait("▸1 Data◂")  # it lives
        screen.key("4", "q")
        assert screen.ended(30)
        assert screen.status == 0
    (place.path / "program.py").write_text(PROGRAM)
    process = started(place, place.command("train", "--resume", "last")[1:])
    assert nursery.wait(process) == 0
    assert os.path.isdir(place.last.model)
