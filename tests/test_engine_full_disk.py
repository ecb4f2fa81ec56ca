"""A training on a real disk that is filled to its last byte, and the end of one without room for its model."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from small_disk import Disk, disk  # noqa: F401
from tiny_models import make_model, make_rows, recipe_values

from ftstudio.cli.follow import Headless
from ftstudio.cli.output import Out
from ftstudio.core import dynamics
from ftstudio.core.errors import Stopped
from ftstudio.core.jobs import Train
from ftstudio.core.run import RunFolder, Story
from ftstudio.core.workspace import Workspace
from ftstudio.engine import alerting, callback, control, no_room, reloading, report, resume, saving
from ftstudio.engine import disk as disks
from ftstudio.engine.prepare import prepare_run
from ftstudio.engine.recipes import check_recipe
from ftstudio.engine.worker import Worker
from ftstudio.ui import run as ui
from ftstudio.ui.shell.session import Session


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every step is told, and room on the disk noticed."""
    monkeypatch.setattr(report, "INTERVAL", 0.0)
    monkeypatch.setattr(disks, "LOOK", 0.0)


def prepared(base: Path, space: Path, **training: Any) -> RunFolder:
    values = recipe_values(make_model(base / "model", layers=1), make_rows(base / "rows.jsonl", 16))
    values["training"] |= {"batch_size": 2, "steps": 6, "save_steps": 100, **training}
    values["evaluation"] |= {"every": 2, "samples": 0}
    return prepare_run(check_recipe(values), Workspace(space))


def of(run: RunFolder, kind: str) -> list[dict[str, Any]]:
    return [event for event in run.events() if event["kind"] == kind]


def test_nothing_of_a_run_on_a_full_disk_is_lost(
    disk: Disk,  # noqa: F811
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
):
    """It fills up within the third step, and has room again after the run has come to rest."""
    run = prepared(tmp_path, disk.path)
    record, rest = callback.RunDirector._record, callback.RunDirector._say_paused
    seen: list[tuple[str, int]] = []

    def fills(self: Any, trainer: Any, step: int) -> dict[str, float]:
        if step == 3:
            disk.fill()
            while self.folder.unwritten is None:  # the last page of the file has some room
                self.folder.emit("telemetry", gpus=[])
        return record(self, trainer, step)

    def rests(self: Any, where: str) -> None:
        rest(self, where)
        if self.folder.unwritten is not None:
            other = RunFolder(run.path)
            owner = other.owner()
            assert owner is not None
            assert owner.held is not None
            seen.append((other.state(), owner.held["step"]))
            disk.free()

    monkeypatch.setattr(callback.RunDirector, "_record", fills)
    monkeypatch.setattr(callback.RunDirector, "_say_paused", rests)
    worker = Worker()
    worker.execute(Train(run.path))
    assert run.state() == "done", of(run, "failed")
    assert seen == [("paused", 3)]
    assert [event["step"] for event in of(run, "step")] == [1, 2, 3, 4, 5, 6]
    assert [event["step"] for event in of(run, "eval")] == [0, 2, 4, 6]
    story = Story()
    story.feed(run.events())
    assert story.pausing is None
    phases = [event["phase"] for event in of(run, "phase")]
    assert phases.count("paused") == 1
    assert "training" in phases[phases.index("paused") :]
    rows = dynamics.read(run.path)
    assert rows is not None
    assert (rows.until, rows.missing) == (6, ())


@pytest.mark.parametrize("asked", ["resume", "stop"])
def test_a_run_without_room_for_its_model_waits(asked: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    run = prepared(tmp_path, tmp_path / "space", steps=2)
    import ftstudio.engine.trainer  # noqa: F401 - before: its checkpoints keep the function that writes

    write, full = saving.save_weights, [True]

    def writes(*args: Any, **named: Any) -> None:
        if full:
            raise OSError(28, "No space left on device")
        write(*args, **named)

    wait = no_room._wait

    def waits(director: Any, why: str, *rest: Any) -> None:
        if asked == "resume":
            full.clear()
        director.folder.request(asked)
        wait(director, why, *rest)

    monkeypatch.setattr(saving, "save_weights", writes)
    monkeypatch.setattr(no_room, "_wait", waits)
    worker = Worker()
    worker.execute(Train(run.path))
    [alert] = [event for event in of(run, "alert") if event.get("watch") == "disk"]
    assert alert["action"] == "pause"
    assert "disk is full" in alert["text"]
    paused = [event for event in of(run, "phase") if event["phase"] == "paused"]
    assert [event["text"] for event in paused] == ["before the tuned model is saved"]
    if asked == "resume":
        assert run.state() == "done", of(run, "failed")
        assert run.model.is_dir()
        return
    assert run.state() == "stopped"
    assert isinstance(worker.last_error, Stopped)
    assert resume.newest(run.checkpoints) is not None  # it is gone on from, and saved then
    full.clear()
    worker.execute(Train(run.path, resume=True))
    assert run.state() == "done", of(run, "failed")
    assert run.model.is_dir()


def test_what_comes_too_late_is_said_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """While the tuned model waits for room, no step is to come."""
    import ftstudio.engine.trainer  # noqa: F401 - before: its checkpoints keep the function that writes

    run = prepared(tmp_path, tmp_path / "space", steps=2)
    write, full, wait = saving.save_weights, [True], no_room._wait

    def writes(*args: Any, **named: Any) -> None:
        if full:
            raise OSError(28, "No space left on device")
        write(*args, **named)

    def waits(director: Any, *rest: Any) -> None:
        full.clear()
        director.folder.request("steps", value=4)
        director.folder.request("evaluate")
        director.folder.request("resume")
        wait(director, *rest)

    monkeypatch.setattr(saving, "save_weights", writes)
    monkeypatch.setattr(no_room, "_wait", waits)
    Worker().execute(Train(run.path))
    assert run.state() == "done", of(run, "failed")
    [alert] = [event["text"] for event in of(run, "alert") if "Too late" in event["text"]]
    assert alert.startswith("Too late for evaluate, steps:")
    assert f"train --resume {run.name} training.steps=N" in alert


def test_a_run_that_waits_for_room_to_say_it_is_done_says_so(
    disk: Disk,  # noqa: F811
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
):
    run = prepared(tmp_path, disk.path, steps=2, watch={"command": f"echo $FTSTUDIO_TEXT > {tmp_path}/told"})
    check, rest = reloading.check, no_room._wait

    def fills(*args: Any, **named: Any) -> float:
        found = check(*args, **named)
        disk.fill()
        while args[1].unwritten is None:  # the last page of the file has some room
            args[1].emit("telemetry", gpus=[])
        return found

    def waits(director: Any, *rest_of: Any) -> None:
        while alerting.UNWRITTEN:  # till it is said
            director.control.wait(0.01)
        alerting.let_out()
        owner = RunFolder(run.path).owner()
        assert owner is not None
        assert (owner.held or {})["state"]["kind"] == "done"
        disk.free()
        rest(director, *rest_of)

    monkeypatch.setattr(reloading, "check", fills)
    monkeypatch.setattr(no_room, "_wait", waits)
    alerting.UNWRITTEN.clear()
    with Headless(Out(json=False)) as headless:
        assert headless.run(Train(run.path), run.path)["kind"] == "done"
    told = "The run is at its end and its model saved; it waits for room to write so: The disk is full"
    assert told in capfd.readouterr().out
    assert told in (tmp_path / "told").read_text()


def test_a_checkpoint_that_still_has_no_room_leaves_the_run_paused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """`p` on a full disk: the state is the pause, not the try; and room doesn't end a person's pause."""
    from ftstudio.engine import trainer as trainers

    run = prepared(tmp_path, tmp_path / "space", steps=4, save_steps=2)
    write, full = trainers.save_weights, [True]

    def writes(*args: Any, **named: Any) -> None:
        if full:
            raise OSError(28, "No space left on device")
        write(*args, **named)

    rest, told = callback.RunDirector._say_paused, []

    def rests(self: Any, where: str) -> None:
        rest(self, where)
        told.append(run.state())
        if len(told) == 1:
            self.folder.request("resume")  # refused
        elif len(told) == 2:
            self.folder.request("pause")
            self.folder.request("evaluate")
        else:
            assert not self.disk.more()
            full.clear()
            self.folder.request("resume")

    monkeypatch.setattr(trainers, "save_weights", writes)
    monkeypatch.setattr(callback.RunDirector, "_say_paused", rests)
    worker = Worker()
    worker.execute(Train(run.path))
    assert run.state() == "done", of(run, "failed")
    assert told == ["paused"] * 3
    assert {event["step"] for event in of(run, "checkpoint")} == {2, 4}
    assert len([event for event in of(run, "alert") if event.get("watch") == "disk"]) == 2


def test_one_stop_in_the_last_evaluation_waits_for_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """It asks once, so that it isn't asked once more, which would end the run without its last steps."""
    from ftstudio.engine import trainer as trainers

    run = prepared(tmp_path, tmp_path / "space", save_steps=2)
    write, full = trainers.save_weights, list[str]()
    evaluating = callback.RunDirector.evaluating

    def writes(*args: Any, **named: Any) -> None:
        if full == ["disk"]:
            raise OSError(28, "No space left on device")
        write(*args, **named)

    def asks(self: Any, trainer: Any) -> None:
        evaluating(self, trainer)
        if trainer.state.global_step == 6:
            run.request("stop")
            full.append("disk")

    def looks(self: disks.Disk) -> bool:  # asked after the requests were
        full.append("has room")
        return True

    monkeypatch.setattr(trainers, "save_weights", writes)
    monkeypatch.setattr(callback.RunDirector, "evaluating", asks)
    monkeypatch.setattr(disks.Disk, "more", looks)
    monkeypatch.setattr(control, "EVERY", 0.0)
    Worker().execute(Train(run.path))
    [alert] = [event for event in of(run, "alert") if event.get("watch") == "disk"]
    assert alert["hint"] == disks.WAITS
    assert full == ["disk", "has room"]
    assert (run.state(), run.events()[-1]["step"]) == ("stopped", 6)
    assert "resumes_from" not in run.events()[-1]
    assert resume.newest(run.checkpoints) == run.checkpoints / "checkpoint-6"


def filled(disk: Disk, monkeypatch: pytest.MonkeyPatch, paused: Callable[[], None]) -> None:  # noqa: F811
    """DISK takes nothing more from the third step on; PAUSED is called whenever a run has come to rest."""
    record, rest = callback.RunDirector._record, callback.RunDirector._say_paused

    def fills(self: Any, trainer: Any, step: int) -> dict[str, float]:
        if step == 3:
            disk.fill()
            while self.folder.unwritten is None:  # the last page of the file has some room
                self.folder.emit("telemetry", gpus=[])
        return record(self, trainer, step)

    def rests(self: Any, where: str) -> None:
        rest(self, where)
        paused()

    monkeypatch.setattr(callback.RunDirector, "_record", fills)
    monkeypatch.setattr(callback.RunDirector, "_say_paused", rests)


def test_the_second_signal_stops_a_run_whose_disk_has_no_room(
    disk: Disk,  # noqa: F811
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
):
    """Not even for the request of the first one."""
    run = prepared(tmp_path, disk.path)
    pauses: list[str] = []

    def paused() -> None:
        pauses.append(run.state())
        os.kill(os.getpid(), signal.SIGTERM)

    filled(disk, monkeypatch, paused)
    with pytest.raises(Stopped, match="isn't saved"), Headless(Out(json=False)) as headless:  # no event of it has room
        headless.run(Train(run.path), run.path)
    assert pauses == ["paused"] * 2
    assert not run.control_path.exists() or not run.control_path.read_bytes()
    said = capfd.readouterr().out
    assert said.index("Stopping: saving what was done") < said.index("Asked once more")


def test_ctrl_c_after_the_screen_stops_it_without_a_checkpoint(
    disk: Disk,  # noqa: F811
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
):
    """`q`, then `s`, then ctrl+c once it is said that it waits for room."""
    run = prepared(tmp_path, disk.path)
    rests, said = threading.Event(), list[str]()

    class Pressed:
        hung_up = False

        @property
        def stop(self) -> int:
            return sum("no room" in line for line in said)

    filled(disk, monkeypatch, rests.set)
    monkeypatch.setattr(ui, "print", lambda text, **_: said.append(text), raising=False)
    session = Session(Workspace(disk.path))
    session.submit(Train(run.path))
    assert rests.wait(30)
    assert ui._finish(session, Pressed(), "stop", 0) == 130  # type: ignore[arg-type]
    assert [line.split()[0] for line in said] == ["Saving", "The", "Asked"]
    assert isinstance(session.worker.last_error, Stopped)
