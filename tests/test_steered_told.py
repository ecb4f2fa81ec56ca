"""What a person changes or asks for while a run trains is told: once done, in the log, on the charts, in the info."""

from __future__ import annotations

import re
from pathlib import Path

import made_runs as runs
import pytest
from screens import IdleWorker, press, shown, until

from ftstudio.core import steered
from ftstudio.core.run import RunFolder
from ftstudio.core.workspace import Workspace
from ftstudio.engine import quiet, steering
from ftstudio.ui.plot.chart import LinePlot
from ftstudio.ui.shell.app import StudioApp
from ftstudio.ui.shell.session import Session

SIZES = [(80, 24), (120, 40)]


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path / "studio")


def studio(workspace: Workspace, run: RunFolder, start: str = "train") -> StudioApp:
    session = Session(workspace)
    session._worker = IdleWorker()  # type: ignore[assignment]
    session.view_run(run)
    return StudioApp(session, start)


async def test_what_was_asked_for_has_a_receipt(workspace: Workspace) -> None:
    run = runs.begin(workspace, owned=True)
    runs.steps(run, 1, 60)
    async with studio(workspace, run).run_test(size=(80, 24), notifications=True) as pilot:
        await until(pilot, "step 60/200")
        await press(pilot, "c")
        await until(pilot, "saving a checkpoint after this step")
        run.emit("checkpoint", step=61, path="checkpoints/checkpoint-61")
        await until(pilot, "Checkpoint of step 61 saved.")
        await press(pilot, "e")
        runs.evaluation(run, 62)
        await until(pilot, f"Evaluated at step 62: held-out loss {runs.loss_at(62) + 0.1:.3f}.")
        await press(pilot, "R text:1e-3 enter")
        run.emit("checkpoint", step=63, path="checkpoints/checkpoint-63")  # of the rhythm: no answer to this
        await until(pilot, "another learning rate from the next step on")
        run.emit("steer", step=64, what="learning_rate", value=0.001, why="as asked")
        await until(pilot, "From step 64 on: learning rate 0.001 (as asked).")
        await press(pilot, "c")
        run.emit("alert", level="warning", text="The disk is full.")
        await until(pilot, "The disk is full.")
        assert "Checkpoint of step 63 saved." not in shown(pilot.app)


@pytest.mark.parametrize("size", SIZES)
async def test_changes_stand_on_the_charts_at_their_step(workspace: Workspace, size: tuple[int, int]) -> None:
    run = runs.begin(workspace, owned=True)
    runs.steps(run, 1, 60)
    async with studio(workspace, run).run_test(size=size) as pilot:
        await until(pilot, "step 60/200")
        plot = pilot.app.screen.query_one("#plot", LinePlot)
        assert "▴" not in plot.text()
        run.emit("steer", step=57, what="learning_rate", value=0.001, why="as asked")
        run.emit("steer", step=58, what="steps", value=200, why="as asked")
        text = await until(pilot, "▴ changed")
        axis, labels = plot.text().splitlines()[-2:]
        assert axis.count("▴") in (1, 2)
        assert labels.index("50 ") < axis.index("▴") < labels.index("100")
        assert "learning rate 0.001" not in text
        await press(pilot, "left")
        await until(pilot, "│ step 60 ·")
        assert "▴" not in plot.readout  # none of what the cursor stands on
        await press(pilot, "left")
        text = await until(pilot, "│ step 57 ·")
        assert re.search(r"▴ learning rate 0.001 \(as asked\) · ▴ ends at step 200 \(as asked\) at 58", plot.readout)


@pytest.mark.parametrize("size", SIZES)
async def test_the_info_of_a_run_tells_what_was_changed_beside_its_recipe(
    workspace: Workspace, size: tuple[int, int]
) -> None:
    run = runs.finished(workspace, upto=100, kind="stopped")
    run.emit("steer", step=61, what="learning_rate", value=0.001, why="as asked")
    run.emit("steer", step=62, what="steps", value=300, why="[/ hostile")
    async with studio(workspace, run, "runs").run_test(size=size) as pilot:
        await until(pilot, "tickets")
        await press(pilot, "i")
        text = await until(pilot, "step 61: learning rate 0.001 (as asked)")
        assert "step 62: ends at step 300 ([/ hostile)" in text
        await press(pilot, "tab down down down")
        await until(pilot, "recipe.yaml, as it began")


def test_a_change_is_logged(tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "run")
    before = quiet.log_to(run.log_path)
    try:
        steering.steer(run, 340, "learning_rate", 1e-4, "as asked")
    finally:
        quiet.log_to(before)
    assert "step 340: learning rate 0.0001 (as asked)" in run.log_path.read_text()
    assert [event["step"] for event in run.events()] == [340]


def test_what_no_longer_counts_is_not_told() -> None:
    """A rate asked for after the checkpoint that was gone back to; a length stays."""
    made = [(50, "learning_rate", 1e-3), (60, "steps", 300), (40, "learning_rate", 5e-4)]
    events = [{"kind": "steer", "step": step, "what": what, "value": value} for step, what, value in made]
    told = [steered.told(event) for event in steered.standing(events)]
    assert told == ["step 40: learning rate 0.0005", "step 60: ends at step 300"]
    assert not steered.standing([{"kind": "steer", "step": 4, "what": "steps", "value": None}])
