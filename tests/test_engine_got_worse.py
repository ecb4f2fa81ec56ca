"""A run that ends since it got worse: what it goes back to, and which weights its model has then."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from tiny_models import make_model, make_rows, recipe_values

from ftstudio.cli.follow import Headless
from ftstudio.cli.output import Out
from ftstudio.cli.train import finish
from ftstudio.core.jobs import Train
from ftstudio.core.run import RunFolder, Story
from ftstudio.core.workspace import Workspace
from ftstudio.engine import callback, control, report, resume
from ftstudio.engine.prepare import prepare_run
from ftstudio.engine.recipes import check_recipe
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


def prepared(
    base: Path, space: Path, watch: Mapping[str, Any], every: int = 2, method: str = "lora", **training: Any
) -> RunFolder:
    values = recipe_values(base / "model", base / "rows.jsonl", method, watch=watch, **training)
    values["evaluation"] |= {"samples": 0, "forgetting": False, "every": every}
    return prepare_run(check_recipe(values), Workspace(space))


def judged(monkeypatch: pytest.MonkeyPatch, loss: Callable[[int], float]) -> None:
    """Held-out losses by LOSS of the step."""
    evaluated = callback.RunDirector.evaluated

    def then(self: Any, trainer: Any, metrics: Any) -> None:
        evaluated(self, trainer, {**metrics, "loss": loss(trainer.state.global_step)})

    monkeypatch.setattr(callback.RunDirector, "evaluated", then)


def events(run: RunFolder, kind: str) -> list[dict[str, Any]]:
    return [event for event in run.events() if event["kind"] == kind]


def weights_of(folder: Path) -> bytes:
    return (folder / "adapter_model.safetensors").read_bytes()


def told(run: RunFolder, capfd: pytest.CaptureFixture[str]) -> tuple[str, str, int]:
    """What screen and command line say of its end, and the exit status."""
    story = Story()
    story.feed(run.events())
    shown = notice(story, run.state(), waits_for=None, asked="", resumable="resumes", comparable=True)[2]
    status = finish(run, run.events()[-1], Out(json=False))
    return shown, capfd.readouterr().out, status


def good_until(step: int, bad: float) -> Callable[[int], float]:
    return lambda at: 2.0 - 0.01 * at if at <= step else bad + 0.01 * at


@pytest.mark.parametrize("fault", ["eval_rising", "collapsed"])
def test_rollbacks_used_up_end_with_the_best_checkpoint(
    base: Path,
    worker: Worker,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    fault: str,
):
    judged(monkeypatch, good_until(4, 2.0 if fault == "eval_rising" else 9.0))
    run = prepared(base, tmp_path, {fault: "rollback", "patience": 1, "rollbacks": 2}, steps=20, save_steps=2)
    worker.execute(Train(run.path))
    assert [alert["action"] for alert in events(run, "alert") if alert.get("watch") == fault] == [
        *["rollback"] * 2,
        "stop",
    ]
    assert [start["resumed_from"] for start in events(run, "start")] == [None, 4, 4]
    last = run.events()[-1]
    assert (last["kind"], last["by"], last["step"], last["model_step"]) == ("stopped", fault, 6, 4)
    assert last["eval"]["loss"] == pytest.approx(1.96)
    assert "collapsed" not in last
    assert last["text"].endswith("The model is that of step 4.")
    assert weights_of(run.model) == weights_of(run.checkpoints / "checkpoint-4")
    assert weights_of(run.model) != weights_of(run.checkpoints / "checkpoint-6")
    shown, said, status = told(run, capfd)
    assert "its model is that of step 4 (held-out 1.960)" in shown
    assert "held-out 1.960" in said
    assert status == (0 if fault == "eval_rising" else 130)


def test_a_gradient_of_zero_ends_with_the_best_checkpoint_though_nothing_was_judged_since(
    base: Path, worker: Worker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    stepped = callback.RunDirector.stepped

    def flat(self: Any, trainer: Any, logs: Any) -> None:
        stepped(self, trainer, {**logs, "grad_norm": 0.0} if trainer.state.global_step > 4 else logs)

    monkeypatch.setattr(callback.RunDirector, "stepped", flat)
    judged(monkeypatch, good_until(4, 9.0))
    run = prepared(base, tmp_path, {"collapsed": "stop"}, every=4, steps=20, save_steps=4)
    monkeypatch.setattr(callback.RunDirector, "_in_rhythm", lambda self, step: step == 4)
    planned = callback.RunDirector.planned
    monkeypatch.setattr(
        callback.RunDirector,
        "planned",
        lambda self, step, last: planned(self, step, last) - ({"evaluate"} if step > 4 else set()),
    )
    worker.execute(Train(run.path))
    last = run.events()[-1]
    assert (last["kind"], last["by"], last["step"], last["model_step"]) == ("stopped", "collapsed", 9, 4)
    assert weights_of(run.model) == weights_of(run.checkpoints / "checkpoint-4")


def test_a_best_checkpoint_that_had_collapsed_is_told(
    base: Path, worker: Worker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    judged(monkeypatch, lambda at: 2.0 if at == 0 else 8.0 + at)
    run = prepared(base, tmp_path, {"collapsed": "alert", "eval_rising": "stop", "patience": 2}, steps=20, save_steps=2)
    worker.execute(Train(run.path))
    last = run.events()[-1]
    assert (last["kind"], last["by"], last["model_step"], last["collapsed"]) == ("stopped", "eval_rising", 2, True)


def test_two_faults_of_one_evaluation_go_back_once_and_it_may_get_well(
    base: Path, worker: Worker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    seen = itertools.count()
    judged(monkeypatch, lambda at: 2.0 - 0.01 * at if at != 6 or next(seen) else 9.0)
    watch = {"eval_rising": "rollback", "collapsed": "rollback", "patience": 1, "rollbacks": 1}
    run = prepared(base, tmp_path, watch, steps=10, save_steps=2)
    worker.execute(Train(run.path))
    assert run.state() == "done", run.events()[-1]
    assert [start["resumed_from"] for start in events(run, "start")] == [None, 4]
    assert {alert["action"] for alert in events(run, "alert") if alert.get("watch")} == {"rollback"}


def test_it_is_done_with_the_best_checkpoint_where_it_gets_too_bad_at_its_last_step(
    base: Path, worker: Worker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    judged(monkeypatch, good_until(6, 9.0))
    run = prepared(base, tmp_path, {"collapsed": "stop"}, steps=8, save_steps=2)
    worker.execute(Train(run.path))
    last = run.events()[-1]
    assert (last["kind"], last["model_step"]) == ("done", 6)
    [alert] = [alert for alert in events(run, "alert") if alert.get("watch")]
    assert alert["action"] == "alert"
    assert alert["text"].endswith("It was the last step.")
    assert [resume.step_of(path) for path in resume.checkpoints(run.checkpoints)] == [8, 6]


def test_a_rate_too_high_is_a_spike(base: Path, worker: Worker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    stepped = callback.RunDirector.stepped

    def then(self: Any, trainer: Any, logs: Any) -> None:
        stepped(self, trainer, logs)
        if trainer.state.global_step == 30:
            self.folder.request("learning_rate", value=1.0)

    monkeypatch.setattr(callback.RunDirector, "stepped", then)
    run = prepared(base, tmp_path, {"spike": "stop"}, 100, "full", steps=60, save_steps=100, scheduler="constant")
    worker.execute(Train(run.path))
    last = run.events()[-1]
    assert last.get("by") == "spike", str([round(event["loss"], 2) for event in events(run, "step")][29:])
    assert 31 < last["step"] < 45


@pytest.mark.parametrize("patience", [1, 2, 3])
def test_a_run_that_stopped_early_says_so_when_it_is_gone_on_with_and_is_as_patient_again(
    base: Path,
    worker: Worker,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    patience: int,
):
    """Also where its recipe is more or less patient by now: it stopped after 2 evaluations that were no better."""
    judged(monkeypatch, good_until(4, 9.0))
    run = prepared(base, tmp_path, {"eval_rising": "stop", "patience": 2}, steps=40, save_steps=2)
    worker.execute(Train(run.path))
    assert (run.events()[-1]["by"], run.events()[-1]["step"]) == ("eval_rising", 8)
    text = run.recipe_path.read_text()
    run.recipe_path.write_text(text.replace("patience: 2", f"patience: {patience}"))
    with Headless(Out(json=False)) as headless:
        end = headless.run(Train(run.path, resume=True), run.path)
    assert (end["by"], end["step"], end["model_step"]) == ("eval_rising", 8 + 2 * patience, 4)
    more = "1 more evaluation" if patience == 1 else f"{patience} more evaluations"
    wanted = (
        "This run had stopped early at step 8, its held-out loss best at step 4 (1.96). It goes on from step 8, with "
        f"the weights of that step, and stops again after {more} without a better one."
    )
    assert [alert["text"] for alert in events(run, "alert") if "had stopped early" in alert["text"]] == [wanted]
    assert f"info: {wanted}" in capfd.readouterr().out
    [*_, alert] = [alert["text"] for alert in events(run, "alert") if alert.get("watch") == "eval_rising"]
    assert f"no better since step 4 (1.96, now {9 + 0.01 * (8 + 2 * patience):.4g}): {2 + patience} eval" in alert


def test_a_run_that_goes_on_after_an_early_stop_and_is_stopped_then_remembers_both(
    base: Path, worker: Worker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    judged(monkeypatch, good_until(4, 9.0))
    run = prepared(base, tmp_path, {"eval_rising": "stop", "patience": 3}, steps=40, save_steps=2)
    worker.execute(Train(run.path))
    assert run.events()[-1]["step"] == 10
    stepped = callback.RunDirector.stepped

    def stops(self: Any, trainer: Any, logs: Any) -> None:
        stepped(self, trainer, logs)
        if trainer.state.global_step == 12:
            self.folder.request("stop")

    with monkeypatch.context() as patch:
        patch.setattr(callback.RunDirector, "stepped", stops)
        worker.execute(Train(run.path, resume=True))
    assert run.events()[-1].get("by") is None
    worker.execute(Train(run.path, resume=True))
    assert (run.events()[-1]["by"], run.events()[-1]["step"]) == ("eval_rising", 16)  # three after the first stop
    assert len([alert for alert in events(run, "alert") if "had stopped early" in alert["text"]]) == 1
