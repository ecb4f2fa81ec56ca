"""A run that is done is trained on to more steps from its last checkpoint, as if it had been meant to be so long."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import made_runs as runs
import pytest
from screens import IdleWorker, press, until
from tiny_models import make_model, make_rows, recipe_values

from ftstudio.cli import main
from ftstudio.core.errors import StudioError, UsageError
from ftstudio.core.jobs import Train
from ftstudio.core.run import RunFolder, Story
from ftstudio.core.watch import Watch
from ftstudio.core.workspace import Workspace
from ftstudio.engine import report, resume
from ftstudio.engine.branch import branch
from ftstudio.engine.going_on import replay
from ftstudio.engine.more_steps import lengthen, longer
from ftstudio.engine.prepare import prepare_run
from ftstudio.engine.recipes import check_recipe
from ftstudio.engine.watchdog import Watchdog
from ftstudio.engine.worker import Worker
from ftstudio.ui.shell.app import StudioApp
from ftstudio.ui.shell.session import Session


@pytest.fixture(autouse=True)
def every_step(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report, "INTERVAL", 0.0)


def prepared(base: Path, space: Path, steps: int) -> RunFolder:
    values = recipe_values(base / "model", base / "rows.jsonl", "lora", steps=steps, scheduler="constant", warmup=0)
    values["evaluation"] |= {"samples": 0, "forgetting": False, "every": 100}
    return prepare_run(check_recipe(values), Workspace(space))


def losses(run: RunFolder) -> dict[int, float]:
    return {event["step"]: event["loss"] for event in run.events() if event["kind"] == "step"}


def test_a_done_run_goes_on_as_one_that_was_meant_to_be_so_long(tmp_path: Path) -> None:
    make_model(tmp_path / "model")
    make_rows(tmp_path / "rows.jsonl")
    worker = Worker()
    run, whole = prepared(tmp_path, tmp_path / "a", 3), prepared(tmp_path, tmp_path / "b", 6)
    for one in (run, whole):
        worker.execute(Train(one.path))
        assert one.state() == "done"
    first = losses(run)
    assert not longer(run)
    with pytest.raises(UsageError, match="3 steps already"):
        lengthen(run, 3)
    assert not longer(run)
    assert lengthen(run, 6) == 3
    assert longer(run)
    story = Story()
    story.feed(run.events())
    assert story.trained == {"step": 3, "of": 6, "why": "stopped"}  # the model that is there
    worker.execute(Train(run.path, resume=True))
    assert run.state() == "done"
    assert not longer(run)
    found = losses(run)
    assert sorted(found) == [1, 2, 3, 4, 5, 6]
    assert {step: found[step] for step in first} == first
    assert found == losses(whole)
    story = Story()
    story.feed(run.events())
    assert (story.step, story.total_steps, story.trained) == (6, 6, None)
    assert not [alert for alert in story.alerts if alert.get("watch") == "resume_fault"]


def done(workspace: Workspace, step: int | None = 200) -> RunFolder:
    """A run that is done, with a checkpoint of its last STEP."""
    run = runs.finished(workspace)
    run.model.mkdir()
    if step is not None:
        folder = run.checkpoints / f"checkpoint-{step}"
        folder.mkdir(parents=True)
        resume.seal(folder, step=step)
    return run


def test_by_the_command(tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ftstudio.engine.weights.whole", lambda path: True)
    space = ["--workspace", str(tmp_path / "studio")]
    run = done(Workspace(tmp_path / "studio"))
    seen: list[Any] = []

    def trained(self: Any, job: Any, folder: Path, **_: Any) -> dict[str, Any]:
        seen.append((job, [event["value"] for event in RunFolder(folder).events() if event["kind"] == "steer"]))
        return {"kind": "done"}

    monkeypatch.setattr("ftstudio.cli.follow.Headless.run", trained)
    for words, says in (
        ([], "training.steps=N` trains it on to N steps"),
        (["training.steps=150"], "has taken 200 steps already"),
        (["training.steps=many"], "must be a number of steps"),
        (["demo"], "A resumed run keeps its own recipe."),
        (["training.steps=400", "training.learning_rate=1"], "A resumed run keeps its own recipe."),
    ):
        assert main([*space, "train", "--resume", run.name, *words]) != 0
        assert says in capfd.readouterr().err
    assert not seen
    assert main([*space, "train", "--resume", run.name, "training.steps=400"]) == 0
    assert seen == [(Train(run.path, resume=True), [400])]
    assert main([*space, "train", "--resume", f"{run.name}@100"]) != 0
    assert "keeps no whole checkpoint of step 100. It keeps those of the steps 200." in capfd.readouterr().err
    assert main([*space, "train", "--resume", f"{run.name}@200", "training.steps=200"]) == 2
    assert "has taken 200 steps already" in capfd.readouterr().err
    assert [one.name for one in Workspace(tmp_path / "studio").runs()] == [run.name]


def test_patience_counts_anew_after_the_end_that_was_meant() -> None:
    watchdog = Watchdog(Watch(eval_rising="stop", patience=2))
    events = [{"kind": "eval", "step": step, "loss": 1 + step / 100} for step in (5, 10, 12)]
    replay([*events, {"kind": "done", "step": 12}], 12, watchdog, lambda step: step % 5 == 0)
    assert watchdog.evaluated(15, 1.3) == []
    assert [fault.kind for fault in watchdog.evaluated(20, 1.4)] == ["eval_rising"]


async def test_by_a_key_on_train(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path / "studio")
    run = done(workspace)
    session = Session(workspace)
    session._worker = worker = IdleWorker()  # type: ignore[assignment]
    session.view_run(run)
    async with StudioApp(session, start="train").run_test(size=(80, 24), notifications=True) as pilot:
        await until(pilot, "T train on")
        await press(pilot, "T")
        await until(pilot, "200 are taken; all in all, or +100.")
        await press(pilot, "text:200 enter")
        await until(pilot, "200 steps are taken already")
        await press(pilot, "backspace backspace backspace text:+100 enter")
        await until(pilot, f"{run.name} goes on from step 200 to step 300.")
    assert worker.jobs == [Train(run.path, resume=True)]
    asked = [event for event in run.events() if event["kind"] == "steer"]
    assert [(event["step"], event["what"], event["value"]) for event in asked] == [(200, "steps", 300)]


def test_without_a_checkpoint_there_is_nothing_to_go_on_from(tmp_path: Path) -> None:
    run = done(Workspace(tmp_path / "studio"), None)
    with pytest.raises(StudioError, match="keeps no checkpoint"):
        lengthen(run, 400)
    assert not longer(run)
    assert json.loads(json.dumps(run.events()[-1]))["kind"] == "done"


def test_a_new_run_begins_at_an_earlier_checkpoint(tmp_path: Path) -> None:
    make_model(tmp_path / "model")
    make_rows(tmp_path / "rows.jsonl")
    worker, workspace = Worker(), Workspace(tmp_path / "a")
    values = recipe_values(tmp_path / "model", tmp_path / "rows.jsonl", "lora", steps=6, save_steps=2)
    values["evaluation"] |= {"samples": 0, "forgetting": False, "every": 2}
    run = prepare_run(check_recipe(values), workspace)
    worker.execute(Train(run.path))
    before = run.events()
    with pytest.raises(UsageError, match="no whole checkpoint of step 3"):
        branch(workspace, run, 3)
    assert len(workspace.runs()) == 1
    new = branch(workspace, run, 4)
    assert new.name != run.name
    assert new.state() == "interrupted"  # r resumes it
    assert max(losses(new)) == 4
    worker.execute(Train(new.path, resume=True))
    assert new.state() == "done"
    assert losses(new) == losses(run)  # the same recipe: the very same steps
    assert run.events() == before
    assert resume.checkpoints(run.checkpoints)[0].name == "checkpoint-6"
    assert all(resume.is_complete(path) for path in resume.checkpoints(run.checkpoints))
    told = [event["text"] for event in new.events() if event["kind"] == "alert"]
    assert f"Begun from the checkpoint of step 4 of {run.name}." in told
    assert not [event for event in new.events() if event.get("watch") == "resume_fault"]
