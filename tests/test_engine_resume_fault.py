"""A run that would go on otherwise than before, and is to stop or pause for it, does so before a step is taken; put
back, it goes on as if nothing had been."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from tiny_models import make_model, make_rows, recipe_values

from ftstudio.cli.output import Out
from ftstudio.cli.train import finish
from ftstudio.core.errors import UsageError
from ftstudio.core.jobs import Train
from ftstudio.core.run import RunFolder, Story
from ftstudio.core.workspace import Workspace
from ftstudio.engine import callback, control, report, resume
from ftstudio.engine.prepare import prepare_run
from ftstudio.engine.recipes import check_recipe, load_recipe
from ftstudio.engine.worker import Worker
from ftstudio.ui.train.notice import notice

Told = dict[int, tuple[float, float, float]]  # loss, norm of the gradient and rate, by step


@pytest.fixture(autouse=True)
def every_step(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report, "INTERVAL", 0.0)
    monkeypatch.setattr(control, "EVERY", 0.0)


@pytest.fixture(scope="module")
def worker() -> Worker:
    return Worker()


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, worker: Worker) -> Path:
    """A workspace with a run of eight steps that is through, and checkpoints of the steps 6 and 8."""
    place = tmp_path_factory.mktemp("trained")
    make_model(place / "model", layers=1)
    values = recipe_values(place / "model", make_rows(place / "rows.jsonl", 40), "lora", steps=8, save_steps=3)
    values["training"] |= {"learning_rate": 1e-3, "batch_size": 4, "keep_checkpoints": 2}
    values["evaluation"] |= {"samples": 0, "forgetting": False, "every": 100}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(report, "INTERVAL", 0.0)
        worker.execute(Train(prepare_run(check_recipe(values), Workspace(place)).path))
    return place


def steps(run: RunFolder, since: int = 0) -> Told:
    told = [event for event in run.events()[since:] if event["kind"] == "step"]
    return {event["step"]: (event["loss"], event["grad_norm"], event["lr"]) for event in told}


def killed(trained: Path, place: Path, deed: str) -> tuple[RunFolder, Told]:
    """That run as it was after its checkpoint of step 6, and what its steps were."""
    shutil.copytree(trained / "runs", place / "runs")
    [run] = Workspace(place).runs()
    whole = steps(run)
    shutil.rmtree(run.checkpoints / "checkpoint-8")
    shutil.rmtree(run.model)
    lines = run.events_path.read_text().splitlines(keepends=True)
    last = next(at for at, line in enumerate(lines) if line.startswith('{"kind":"step"') and '"step":7,' in line)
    run.events_path.write_text("".join(lines[:last]))
    edit(run, "resume_fault: alert", f"resume_fault: {deed}")
    return run, whole


def edit(run: RunFolder, old: str, new: str) -> None:
    text, count = re.subn(rf"(?m)^( *){re.escape(old)}(?=\s)", rf"\g<1>{new}", run.recipe_path.read_text())
    assert count == 1, text
    run.recipe_path.write_text(text)


def kept(run: RunFolder) -> dict[str, bytes]:
    """All files of the checkpoints."""
    found = [path for path in sorted(run.checkpoints.rglob("*")) if path.is_file()]
    return {str(path.relative_to(run.checkpoints)): path.read_bytes() for path in found}


def asked(monkeypatch: pytest.MonkeyPatch, run: RunFolder, *requests: str) -> list[str]:
    """What is asked for while it pauses, one after another; what is left of it."""
    due = list(requests)

    def waits(self: Any, seconds: float) -> None:
        run.request(due.pop(0))

    monkeypatch.setattr(control.Control, "wait", waits)
    return due


EDITS = [("batch_size: 4", "batch_size: 2"), ("learning_rate: 0.001", "learning_rate: 0.0005")]


@pytest.mark.parametrize(("old", "new"), EDITS)
@pytest.mark.parametrize("deed", ["stop", "pause"])
def test_nothing_is_learnt_or_written_before_it_is_put_back(
    trained: Path, worker: Worker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, deed: str, old: str, new: str
):
    run, whole = killed(trained, tmp_path, deed)
    before, since = kept(run), len(run.events())
    edit(run, old, new)
    due = asked(monkeypatch, run, *(["evaluate", "checkpoint", "stop"] if deed == "pause" else []))
    worker.execute(Train(run.path, resume=True))
    events = run.events()[since:]
    assert run.state() == "stopped", events[-1]
    assert due == []
    assert not [event for event in events if event["kind"] in ("step", "checkpoint")]
    assert kept(run) == before
    assert not run.model.exists()
    alerts = [event for event in events if event["kind"] == "alert" and event.get("watch") == "resume_fault"]
    assert {alert["action"] for alert in alerts} == {deed}
    assert f"{new} (it was" in alerts[0]["text"].replace(" is ", ": ")
    assert "It counts from here on" not in " ".join(alert["hint"] for alert in alerts)
    assert events[-1].get("by") == ("resume_fault" if deed == "stop" else None)
    story = Story()
    story.feed(run.events())
    shown = notice(story, "stopped", waits_for=None, asked="", resumable="resumes")[2]
    assert ("before a step was taken" in shown) == (deed == "stop")
    assert finish(run, run.events()[-1], Out(json=False)) == 130
    edit(run, new, old)
    worker.execute(Train(run.path, resume=True))
    assert run.state() == "done", run.events()[-1]
    assert steps(run) == whole  # bit by bit
    assert not [event for event in run.events()[since + len(events) :] if event.get("watch") == "resume_fault"]


@pytest.mark.parametrize(("old", "new"), EDITS)
def test_resumed_in_the_pause_it_goes_on_as_edited(
    trained: Path, worker: Worker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, old: str, new: str
):
    run, whole = killed(trained, tmp_path, "pause")
    since = len(run.events())
    edit(run, old, new)
    due = asked(monkeypatch, run, "resume")
    worker.execute(Train(run.path, resume=True))
    assert (run.state(), due) == ("done", [])
    phases = [event["phase"] for event in run.events()[since:] if event["kind"] in ("phase", "step")[:1]]
    assert phases.count("paused") == 1
    again = steps(run, since)
    assert sorted(again) == [7, 8]
    assert again[7] != whole[7]


@pytest.mark.parametrize("deed", ["stop", "rollback"])
def test_what_is_seen_in_that_pause_ends_it_and_nothing_is_written(
    trained: Path, worker: Worker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, deed: str
):
    run, _ = killed(trained, tmp_path, "pause")
    before, since = kept(run), len(run.events())
    edit(run, *EDITS[0])
    edit(run, "collapsed: alert", f"collapsed: {deed}")
    if deed == "rollback":  # to a checkpoint of step 3
        shutil.copytree(run.checkpoints / "checkpoint-6", run.checkpoints / "checkpoint-3")
        state = run.checkpoints / "checkpoint-3" / "trainer_state.json"
        state.write_text(state.read_text().replace('"global_step": 6', '"global_step": 3'))
        resume.seal(state.parent, **(resume.facts(state.parent) | {"step": 3}))
    evaluated = callback.RunDirector.evaluated

    def bad(self: Any, trainer: Any, metrics: dict[str, Any]) -> None:
        step = trainer.state.global_step
        evaluated(self, trainer, {**metrics, "loss": 99.0} if step == 6 and len(resumes()) == 1 else metrics)

    def resumes() -> list[int]:
        return [event["resumed_from"] for event in run.events()[since:] if event["kind"] == "start"]

    monkeypatch.setattr(callback.RunDirector, "evaluated", bad)
    due = asked(monkeypatch, run, "evaluate")
    worker.execute(Train(run.path, resume=True))
    assert due == []
    if deed == "stop":
        last = run.events()[-1]
        assert (last["kind"], last["by"], kept(run)) == ("stopped", "collapsed", before)
        assert not [event for event in run.events()[since:] if event["kind"] in ("step", "checkpoint")]
    else:  # it is told of the edit once, and paused for it once
        assert (run.state(), resumes()) == ("done", [6, 3])
        told = [event["step"] for event in run.events()[since:] if event.get("watch") == "resume_fault"]
        assert set(told) == {6}


def test_a_run_shortened_in_that_pause_takes_no_step(
    trained: Path, worker: Worker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    run, _ = killed(trained, tmp_path, "pause")
    since = len(run.events())
    edit(run, *EDITS[0])
    asks = [("steps", {"value": 6}), ("resume", {})]

    def waits(self: Any, seconds: float) -> None:
        what, value = asks.pop(0)
        run.request(what, **value)

    monkeypatch.setattr(control.Control, "wait", waits)
    worker.execute(Train(run.path, resume=True))
    assert run.state() == "done", run.events()[-1]
    assert steps(run, since) == {}
    assert run.events()[-1]["step"] == 6
    assert run.model.is_dir()


def test_to_roll_back_for_it_is_refused_and_a_run_that_was_made_with_it_opens(trained: Path, tmp_path: Path):
    run, _ = killed(trained, tmp_path, "rollback")
    assert load_recipe(run.recipe_path).training.watch.resume_fault == "stop"
    values = recipe_values(trained / "model", trained / "rows.jsonl", watch={"resume_fault": "rollback"})
    with pytest.raises(UsageError) as refused:
        check_recipe(values)
    assert "training.watch.resume_fault: can't be rollback" in str(refused.value)
    assert "choose alert, pause or stop" in str(refused.value)
