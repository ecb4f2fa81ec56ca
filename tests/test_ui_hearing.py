"""What the runs that this process trains warn of while others are in view, and the view that goes on with the queue."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import made_runs as runs
import pytest
from screens import press, shown, until
from textual.pilot import Pilot

from ftstudio.core.jobs import Train
from ftstudio.core.run import RunFolder
from ftstudio.core.workspace import Workspace
from ftstudio.engine.sweep import Waiting, join
from ftstudio.ui.shell import succession
from ftstudio.ui.shell.app import StudioApp
from ftstudio.ui.shell.session import Session
from ftstudio.ui.train import screen as train_screen


class Queue:
    """A worker whose jobs are done by the test."""

    def __init__(self) -> None:
        self.jobs: list[Any] = []
        self.refused = None

    busy = property(lambda self: bool(self.jobs))
    current = property(lambda self: self.jobs[0] if self.jobs else None)
    waiting = property(lambda self: tuple(self.jobs[1:]))

    def submit(self, job: Any) -> None:
        self.jobs.append(job)


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path / "studio")


def studio(workspace: Workspace, view: RunFolder, *queue: RunFolder, start: str = "train") -> tuple[StudioApp, Queue]:
    """The studio with the run VIEW in view, while this process has the runs QUEUE to train."""
    session, worker = Session(workspace), Queue()
    session._worker = worker  # type: ignore[assignment]
    for run in queue:
        session.submit(Train(run.path))
    session.view_run(view)
    return StudioApp(session, start), worker


def rings(app: StudioApp, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    rung: list[int] = []
    monkeypatch.setattr(app, "bell", lambda: rung.append(1))
    return rung


async def notices(pilot: Pilot[Any], text: str) -> str:
    """What stands in notices, once TEXT does: on the screen it is broken into lines."""
    for _ in range(100):
        if text in (found := " ".join(note.message for note in pilot.app._notifications)):
            return found
        await pilot.pause(0.05)
    raise AssertionError(f"{text!r} is not said: {found}")


def end(run: RunFolder, worker: Queue, kind: str = "done") -> None:
    """RUN ends, and the next of the queue has its turn."""
    runs.ended(run, kind)
    run.release()
    worker.jobs.pop(0)


# -- alerts ------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("size", [(80, 24), (120, 40)])
@pytest.mark.parametrize("mode", ["train", "runs"])
async def test_a_run_that_trains_is_heard_and_named_while_another_is_in_view(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, mode: str, size: tuple[int, int]
) -> None:
    old, run = runs.finished(workspace, "older"), runs.begin(workspace, "tickets", owned=True)
    run.emit("alert", level="error", text="What an earlier session said.")
    app, _ = studio(workspace, old, run, start=mode)
    rung = rings(app, monkeypatch)
    async with app.run_test(size=size) as pilot:
        text = await until(pilot, f"▶ {run.name}")
        assert text.splitlines()[1].rstrip().endswith(f"▶ {run.name}")
        assert "✓ done  step 200/200" in text.splitlines()[1]
        assert not rung
        run.emit("alert", level="info", text="Only a note.")
        run.emit("alert", level="warning", text="The loss [/b] rose.")
        text = await notices(pilot, f"{run.name}: The loss [/b] rose. · 6 shows it")
        assert await until(pilot, f"▶ {run.name} ! 1")
        assert "Only a note" not in text
        assert rung == [1]
        run.emit("phase", phase="paused", text="")
        await until(pilot, f"‖ {run.name} ! 1")
        app.session.view_run(run)
        run.emit("alert", level="error", text="The loss is not a number.")  # in view it is rung for once, too
        await until(pilot, "! 3 alerts")
        await pilot.pause(0.8)
        assert rung == [1, 1]
        assert f"{run.name} ! " not in shown(app)


async def test_what_the_run_in_view_warns_of_is_said_where_train_is_not_on_screen(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = runs.begin(workspace, owned=True)
    app, _ = studio(workspace, run, run, start="runs")
    rung = rings(app, monkeypatch)
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, run.name)
        run.emit("alert", level="warning", text="The loss rose.")
        await notices(pilot, f"{run.name}: The loss rose. · 4 shows it")
        app.action_go("train")
        run.emit("alert", level="warning", text="It rose again.")
        await until(pilot, "It rose again.")
        await pilot.pause(0.8)
        assert not [note for note in app._notifications if "again" in note.message]
        assert rung == [1, 1]


async def test_a_run_that_fails_between_two_looks_is_heard(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, run, last = runs.finished(workspace, "older"), runs.begin(workspace, owned=True), workspace.new_run("last")
    app, worker = studio(workspace, old, run, last)
    rung = rings(app, monkeypatch)
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, f"▶ {run.name}")
        run.emit("failed", text="The loss is no number.", hint="")
        run.emit("alert", level="warning", text="The loss rose.")  # less grave
        run.release()
        last.emit("failed", text="It has no rows.", hint="")
        worker.jobs.clear()
        await notices(pilot, f"{run.name}: failed: The loss is no number. (and 1 more)")
        await notices(pilot, f"{last.name}: failed: It has no rows.")
        await pilot.pause(0.8)
        assert rung == [1]
        assert "▶" not in shown(app).splitlines()[1]


# -- the view ----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(("kind", "mode"), [("done", "train"), ("failed", "train"), ("stopped", "runs")])
async def test_the_view_goes_on_with_the_queue_and_says_so(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, kind: str, mode: str
) -> None:
    monkeypatch.setattr(succession, "CALM", 0.0 if mode == "train" else 1e9)  # elsewhere nobody reads it
    first, second = (runs.begin(workspace, name, owned=True) for name in ("slow", "fast"))
    app, worker = studio(workspace, first, first, second, start=mode)
    async with app.run_test(size=(120, 40)) as pilot:
        await until(pilot, first.name)
        end(first, worker, kind)
        text = await notices(pilot, f"{second.name} trains now and is in view")
        how = {"done": f"{first.name} is done.", "failed": "has failed: ", "stopped": "was stopped at step"}[kind]
        assert how in text
        assert app.session.feed is not None
        assert app.session.feed.run.path == second.path


@pytest.mark.parametrize("how", ["key", "log", "chosen", "errors", "soon"])
async def test_a_run_that_is_being_read_stays_in_view(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    monkeypatch.setattr(succession, "CALM", 1e9 if how in ("soon", "key") else 0.0)
    first, second = (runs.begin(workspace, name, owned=True) for name in ("slow", "fast"))
    old = runs.finished(workspace, "older")
    app, worker = studio(workspace, first, first, second, start="errors" if how == "errors" else "train")
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, first.name)
        app._pull()
        if how == "log":
            await press(pilot, "l")
        if how == "chosen":
            app.session.view_run(old)
        end(first, worker)
        await until(pilot, f"▶ {second.name}")
        if how == "key":
            await press(pilot, "g")
            monkeypatch.setattr(succession, "CALM", 0.0)
        for _ in range(3):
            app._pull()
            await pilot.pause()
        assert app.session.feed is not None
        assert app.session.feed.run.path == (old if how == "chosen" else first).path
        assert not [note for note in app._notifications if "trains now" in note.message]


# -- a new run in an old view ------------------------------------------------------------------------------------------
@pytest.mark.parametrize(("key", "there"), [("h", "losses of single rows"), ("l", "log "), ("v", "sample 1 of")])
async def test_another_run_is_shown_by_its_chart(workspace: Workspace, key: str, there: str) -> None:
    first, second = runs.finished(workspace, "older"), runs.begin(workspace, "newer", owned=True)
    app, _ = studio(workspace, first)
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, "enter compares")
        await press(pilot, key)
        await until(pilot, there)
        app.session.view_run(second)
        text = await until(pilot, "the first step is on its way")
        assert "loss ──" in text
        await press(pilot, "g")  # no key is taken by what was there
        await until(pilot, "learning rate")


# -- sweeps ------------------------------------------------------------------------------------------------------------
async def test_a_sweep_is_told_anew_once_one_of_its_runs_was_resumed(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(train_screen, "SWEEP_SECONDS", 0.0)
    first, second = (runs.begin(workspace, name, owned=True) for name in ("slow", "fast"))
    join([Waiting(run.name, run) for run in (first, second)])
    for run in (first, second):
        run.emit("failed", text="The disk is full.", hint="")
        run.release()
    app, _ = studio(workspace, first)
    async with app.run_test(size=(120, 40)) as pilot:
        await until(pilot, "the sweep's 2 runs have ended, 2 failed")
        first.claim()
        first.emit("phase", phase="training", text="")
        runs.steps(first, 1, 3)
        await until(pilot, "the sweep's 2 runs", gone=True)
        runs.ended(first)
        first.release()
        await until(pilot, f"best of the sweep's 2 by training loss, 1 failed: {first.name}")


# -- counts and keys ---------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("notes", [0, 1, 2])
async def test_alerts_are_counted_alike_wherever_they_are(workspace: Workspace, notes: int) -> None:
    run = runs.begin(workspace, owned=True)
    runs.steps(run, 1, 10)
    run.emit("alert", level="warning", text="The loss rose.")
    for number in range(notes):
        run.emit("alert", level="info", text=f"Note {number}.")
    app, _ = studio(workspace, run)
    async with app.run_test(size=(120, 40)) as pilot:
        text = await until(pilot, "! 1 alert")
        assert "! 1 alert " in text.splitlines()[1]
        told = "1 alert" + {0: "", 1: ", 1 note", 2: ", 2 notes"}[notes]
        await press(pilot, "exclamation_mark")
        await until(pilot, f"Alerts of {run.name}: {told} ")
        await press(pilot, "escape")
        await until(pilot, f"{told} (!)")


async def test_one_run_that_waits_is_told_of_as_one(workspace: Workspace) -> None:
    first, second = (runs.begin(workspace, name, owned=True) for name in ("slow", "fast"))
    app, worker = studio(workspace, first, first, second)
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, first.name)
        await press(pilot, "q")
        text = await until(pilot, f"training {first.name}")
        assert "1 more waits for its turn; stopping drops it." in " ".join(text.replace("│", " ").split())
        worker.jobs.append(Train(workspace.new_run("third").path))
        await press(pilot, "escape q")
        text = await until(pilot, "2 more")
        assert "2 more wait for their turn; stopping drops them." in " ".join(text.replace("│", " ").split())


@pytest.mark.parametrize("size", [(80, 24), (120, 40)])
async def test_the_keys_that_move_long_lines_of_the_log_stand_where_keys_stand(
    workspace: Workspace, size: tuple[int, int]
) -> None:
    run = runs.begin(workspace, owned=True)
    runs.ended(run, "failed")
    run.release()
    run.log_path.write_text("a" * 200 + "the end\n")
    app, _ = studio(workspace, run)
    async with app.run_test(size=size) as pilot:
        await until(pilot, "l shows the log")
        assert "long lines" not in shown(app)
        await press(pilot, "l")
        await until(pilot, "→ long lines")
        await press(pilot, " ".join(["right"] * 10))
        await until(pilot, "the end")
        await press(pilot, " ".join(["left"] * 10))
        await until(pilot, "the end", gone=True)
        await press(pilot, "question_mark end")
        await until(pilot, "to the right in lines longer than the screen")
        await until(pilot, "back to the left in long lines")
