"""An evaluation that a stop cut short is made up for: the run goes on as if nobody had stopped it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tiny_models import make_model, make_rows, recipe_values

from ftstudio.cli.output import Out
from ftstudio.cli.train import finish
from ftstudio.core.jobs import Train
from ftstudio.core.run import RunFolder, Story
from ftstudio.core.workspace import Workspace
from ftstudio.engine import callback, control, report, resume, sweep
from ftstudio.engine.export import card
from ftstudio.engine.prepare import prepare_run
from ftstudio.engine.recipes import check_recipe, load_recipe
from ftstudio.engine.worker import Worker
from ftstudio.ui.train.notice import notice


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("base")
    make_model(folder / "model", layers=1)
    make_rows(folder / "rows.jsonl")
    return folder


@pytest.fixture(scope="module")
def worker() -> Worker:
    return Worker()


@pytest.fixture(autouse=True)
def every_step(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report, "INTERVAL", 0.0)
    monkeypatch.setattr(control, "EVERY", 0.0)


def prepared(base: Path, space: Path, every: int = 3, **training: Any) -> RunFolder:
    values = recipe_values(base / "model", base / "rows.jsonl", "lora", **training)
    values["evaluation"] |= {"samples": 0, "forgetting": False, "every": every}
    return prepare_run(check_recipe(values), Workspace(space))


def events(run: RunFolder, kind: str) -> list[dict[str, Any]]:
    return [event for event in run.events() if event["kind"] == kind]


def steps(run: RunFolder) -> dict[int, tuple[float, float, float]]:
    return {event["step"]: (event["loss"], event["grad_norm"], event["lr"]) for event in events(run, "step")}


def judged(run: RunFolder) -> dict[int, float]:
    return {event["step"]: event["loss"] for event in events(run, "eval")}


def weights_of(folder: Path) -> bytes:
    return (folder / "adapter_model.safetensors").read_bytes()


def stopped_while_evaluating(monkeypatch: pytest.MonkeyPatch, run: RunFolder, *at: int) -> None:
    """A stop is asked for as the evaluation of the steps AT begins, once each."""
    evaluating, due = callback.RunDirector.evaluating, list(at)

    def then(self: Any, trainer: Any) -> None:
        evaluating(self, trainer)
        if due and trainer.state.global_step == due[0]:
            due.pop(0)
            run.request("stop")

    monkeypatch.setattr(callback.RunDirector, "evaluating", then)


def losses(monkeypatch: pytest.MonkeyPatch, loss: Callable[[int], float]) -> None:
    """Held-out losses by LOSS of the step."""
    evaluated = callback.RunDirector.evaluated

    def then(self: Any, trainer: Any, metrics: Any) -> None:
        evaluated(self, trainer, metrics and {**metrics, "loss": loss(trainer.state.global_step)})

    monkeypatch.setattr(callback.RunDirector, "evaluated", then)


def test_patience_and_model_are_those_of_the_run_that_was_not_stopped(
    base: Path, worker: Worker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """The evaluation that was cut short is the best of all."""
    losses(monkeypatch, lambda step: {0: 5.0, 3: 2.0}.get(step, 4.0))
    watch = {"eval_rising": "stop", "patience": 2}
    whole = prepared(base, tmp_path / "whole", steps=20, save_steps=50, watch=watch)
    worker.execute(Train(whole.path))
    run = prepared(base, tmp_path / "cut", steps=20, save_steps=50, watch=watch)
    stopped_while_evaluating(monkeypatch, run, 3)
    worker.execute(Train(run.path))
    assert (run.events()[-1]["kind"], run.events()[-1]["step"]) == ("stopped", 3)
    assert "eval" not in run.events()[-1]
    assert judged(run) == {0: 5.0}
    worker.execute(Train(run.path, resume=True))
    assert judged(run) == judged(whole) == {0: 5.0, 3: 2.0, 6: 4.0, 9: 4.0}
    ends = [one.events()[-1] for one in (run, whole)]
    assert [(end["kind"], end["by"], end["step"], end["model_step"]) for end in ends] == [
        ("stopped", "eval_rising", 9, 3)
    ] * 2
    assert resume.facts(run.checkpoints / "checkpoint-3")["eval_loss"] == 2.0
    assert "| held-out loss | 2.000 |" in card(run, load_recipe(run.recipe_path), "card")  # that of its model
    assert steps(run) == steps(whole)
    assert weights_of(run.model) == weights_of(whole.model)


def test_what_comes_of_it_is_done_before_the_next_step(
    base: Path, worker: Worker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    losses(monkeypatch, lambda step: {0: 5.0, 3: 2.0}.get(step, 4.0))
    run = prepared(base, tmp_path, steps=20, save_steps=50, watch={"eval_rising": "stop", "patience": 1})
    stopped_while_evaluating(monkeypatch, run, 6)
    worker.execute(Train(run.path))
    since = len(run.events())
    worker.execute(Train(run.path, resume=True))
    assert not [event for event in run.events()[since:] if event["kind"] in ("step", "checkpoint")]
    last = run.events()[-1]
    assert (last["kind"], last["by"], last["step"], last["model_step"]) == ("stopped", "eval_rising", 6, 3)
    assert weights_of(run.model) == weights_of(run.checkpoints / "checkpoint-3")


@pytest.mark.parametrize("early", [False, True])
def test_a_run_stopped_in_its_last_evaluation_is_not_done(
    base: Path,
    worker: Worker,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    early: bool,
):
    watch = {"watch": {"eval_rising": "stop"}} if early else {}
    whole = prepared(base, tmp_path / "whole", steps=5, **watch)
    worker.execute(Train(whole.path))
    run = prepared(base, tmp_path / "cut", steps=5, **watch)
    stopped_while_evaluating(monkeypatch, run, 5, 5)  # and again in the evaluation that makes up for it
    worker.execute(Train(run.path))
    last = run.events()[-1]
    assert (last["kind"], last["step"], run.state()) == ("stopped", 5, "stopped")
    assert "evaluation after the last step" in last["text"]
    assert "eval" not in last
    assert "model_step" not in last  # nobody knows that step 3 is better
    story = Story()
    story.feed(run.events())
    assert story.judged_loss is None
    assert sweep.lowest(run, story) is None
    shown = notice(story, run.state(), waits_for=None, asked="", resumable="resumes", comparable=True)[2]
    assert "stopped at step 5 in the evaluation after the last step" in shown
    finish(run, last, Out(json=False))
    assert "resumed, the run makes it anew, and is done." in capfd.readouterr().out
    worker.execute(Train(run.path, resume=True))
    assert (run.events()[-1]["kind"], set(judged(run))) == ("stopped", {0, 3})
    worker.execute(Train(run.path, resume=True))
    last = run.events()[-1]
    assert (last["kind"], last["eval"]["loss"]) == ("done", judged(whole)[5])
    assert judged(run) == judged(whole)
    assert steps(run) == steps(whole)
    assert weights_of(run.model) == weights_of(whole.model)


def test_a_run_stopped_in_its_first_evaluation_takes_no_step(
    base: Path, worker: Worker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    run = prepared(base, tmp_path, steps=4)
    stopped_while_evaluating(monkeypatch, run, 0)
    worker.execute(Train(run.path))
    assert (run.events()[-1]["kind"], steps(run), judged(run)) == ("stopped", {}, {})
    worker.execute(Train(run.path, resume=True))
    assert run.state() == "done"
    assert set(judged(run)) == {0, 3, 4}


def test_a_checkpoint_is_written_once_a_step(
    base: Path, worker: Worker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """By an early stop at a step that is saved anyway, and by a stop in the evaluation before it is saved."""
    losses(monkeypatch, lambda step: 2.0 + 0.1 * step)
    run = prepared(base, tmp_path / "early", steps=20, watch={"eval_rising": "stop", "patience": 2})
    worker.execute(Train(run.path))
    assert run.events()[-1]["by"] == "eval_rising"
    assert [event["step"] for event in events(run, "checkpoint")] == [3, 6]
    run = prepared(base, tmp_path / "cut", steps=20)
    stopped_while_evaluating(monkeypatch, run, 6)
    worker.execute(Train(run.path))
    assert [event["step"] for event in events(run, "checkpoint")] == [3, 6]


def test_what_is_steered_at_a_saved_step_is_saved(
    base: Path, worker: Worker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    run = prepared(base, tmp_path, steps=20)
    saved = callback.RunDirector.saved

    def then(self: Any, trainer: Any, path: Path) -> None:
        saved(self, trainer, path)
        if trainer.state.global_step == 3 and not self.paused and not self.stopped:
            run.request("pause")
            for request in self.control.poll(now=True):
                self._take(request, set())
            run.request("learning_rate", value=5e-4)
            run.request("stop")

    monkeypatch.setattr(callback.RunDirector, "saved", then)
    worker.execute(Train(run.path))
    assert [event["step"] for event in events(run, "checkpoint")] == [3, 3]
    assert run.state() == "stopped"


@pytest.mark.parametrize(("saves", "wanted"), [(2, "goes on from step 2:"), (50, "begins at the start.")])
def test_a_run_whose_last_checkpoint_was_not_written_says_where_it_goes_on(
    base: Path, worker: Worker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, saves: int, wanted: str
):
    """A disk that is full from step 3 on."""
    import errno

    import torch

    save = torch.save

    def full(value: Any, path: Any, *args: Any, **named: Any) -> None:
        if any(f"checkpoint-{step}" in str(path) for step in (3, 4)):
            raise OSError(errno.ENOSPC, "No space left on device")
        save(value, path, *args, **named)

    monkeypatch.setattr(torch, "save", full)
    run = prepared(base, tmp_path, every=50, steps=20, save_steps=saves, watch={"disk": "stop"})
    if saves > 20:
        values = callback.RunDirector.planned

        def asks(self: Any, step: int, last: int) -> set[str]:
            if step == 4:
                run.request("checkpoint")
            return values(self, step, last)

        monkeypatch.setattr(callback.RunDirector, "planned", asks)
    worker.execute(Train(run.path))
    last = run.events()[-1]
    assert (last["kind"], last["by"], last["step"]) == ("stopped", "disk", 4)
    assert wanted in last["text"]
    story = Story()
    story.feed(run.events())
    shown = notice(story, run.state(), waits_for=None, asked="", resumable="resumes", comparable=True)[2]
    assert f"stopped at step 4, from step {2 if saves == 2 else 0} on in no checkpoint" in shown
    assert "saved" not in last["text"]
    assert last["resumes_from"] == (2 if saves == 2 else 0)
    worker.execute(Train(run.path, resume=True))
    assert events(run, "start")[-1]["resumed_from"] == last["resumes_from"]
