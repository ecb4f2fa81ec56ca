"""Runs that are steered and watched while they train: rate and length changed, taken up exactly after a crash, back to
the last good checkpoint, a disk without room."""

from __future__ import annotations

import shutil
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tiny_models import make_model, make_rows, recipe_values

from ftstudio.core import files
from ftstudio.core.jobs import Train
from ftstudio.core.run import RunFolder, Story
from ftstudio.core.workspace import Workspace
from ftstudio.engine import callback, control, report, resume
from ftstudio.engine.prepare import prepare_run
from ftstudio.engine.recipes import check_recipe
from ftstudio.engine.worker import Worker


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("base")
    make_model(folder / "model")
    make_rows(folder / "rows.jsonl")
    return folder


@pytest.fixture(scope="module")
def worker() -> Worker:
    return Worker()


@pytest.fixture(autouse=True)
def every_step(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report, "INTERVAL", 0.0)
    monkeypatch.setattr(control, "EVERY", 0.0)


def prepared(base: Path, space: Path, method: str = "lora", **training: Any) -> RunFolder:
    values = recipe_values(base / "model", base / "rows.jsonl", method, **training)
    values["evaluation"] |= {"samples": 0, "forgetting": False, "every": 100}
    return prepare_run(check_recipe(values), Workspace(space))


def events(run: RunFolder, kind: str) -> list[dict[str, Any]]:
    return [event for event in run.events() if event["kind"] == kind]


def at_step(monkeypatch: pytest.MonkeyPatch, does: dict[int, Callable[[Any], None]]) -> None:
    """After a step was told, do what DOES says of it, once."""
    stepped = callback.RunDirector.stepped

    def then(self: Any, trainer: Any, logs: Any) -> None:
        stepped(self, trainer, logs)
        deed = does.pop(trainer.state.global_step, None)
        if deed is not None:
            deed(self)

    monkeypatch.setattr(callback.RunDirector, "stepped", then)


def crash(_: Any) -> None:
    raise RuntimeError("a crash")


def test_rate_and_length_change_while_it_runs_and_again_after_a_crash(
    base: Path, worker: Worker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def asks() -> dict[int, Callable[[Any], None]]:
        return {
            4: lambda director: director.folder.request("learning_rate", value=5e-4),
            5: lambda director: director.folder.request("steps", value=14),
        }

    runs = []
    for name, more in (("whole", {}), ("crashed", {8: crash})):
        run = prepared(base, tmp_path / name, steps=9, save_steps=3, scheduler="linear", warmup=0)
        with monkeypatch.context() as patch:
            at_step(patch, asks() | more)
            worker.execute(Train(run.path))
        runs.append(run)
    whole, crashed = runs
    assert whole.state() == "done"
    assert crashed.state() == "failed"
    shutil.rmtree(crashed.checkpoints / "checkpoint-6")  # so that both changes come after what is gone on from
    worker.execute(Train(crashed.path, resume=True))
    assert crashed.state() == "done", events(crashed, "failed")[-1]
    assert [start["resumed_from"] for start in events(crashed, "start")] == [None, 3]
    told = [{step["step"]: (step["loss"], step["lr"]) for step in events(run, "step")} for run in runs]
    assert told[0] == told[1]
    assert max(told[0]) == 14
    # linear to zero: step n is taken at the rate of n - 1 of so many
    rates = {step: rate for step, (_, rate) in told[0].items()}
    assert rates[5] == pytest.approx(1e-3 * (1 - 4 / 9))
    assert rates[6] == pytest.approx(5e-4 * (1 - 5 / 9))
    assert rates[7] == pytest.approx(5e-4 * (1 - 6 / 14))
    assert rates[14] == pytest.approx(5e-4 * (1 - 13 / 14))
    story = Story()
    story.feed(whole.events())
    assert story.total_steps == 14
    assert not [alert for alert in events(crashed, "alert") if alert.get("watch")]


@pytest.mark.parametrize(
    "asks",
    [
        [("steps", 20)],
        [("steps", 8)],
        [("learning_rate", 5e-4)],
        [("steps", 20), ("learning_rate", 5e-4)],
    ],
)
def test_what_was_changed_in_a_pause_counts_from_the_first_step_after_a_crash(
    base: Path, worker: Worker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, asks: list[tuple[str, float]]
):
    """The checkpoint of the step it paused at was written before the change."""
    wait = control.Control.wait
    told = []
    for name, more in (("whole", {}), ("crashed", {7: crash})):
        run = prepared(base, tmp_path / name, steps=9, save_steps=3, scheduler="linear", warmup=0)
        due: list[Callable[[], Any]] = [lambda run=run, what=what, value=value: run.request(what, value=value)
                                        for what, value in asks]  # fmt: skip
        due.append(lambda run=run: run.request("resume"))

        def waits(self: Any, seconds: float, due: list[Callable[[], Any]] = due) -> None:
            due.pop(0)() if due else wait(self, seconds)

        with monkeypatch.context() as patch:
            patch.setattr(control.Control, "wait", waits)
            at_step(patch, {5: lambda director: director.folder.request("pause")} | more)
            worker.execute(Train(run.path))
        if more:
            assert run.state() == "failed"
            worker.execute(Train(run.path, resume=True))
            assert [start["resumed_from"] for start in events(run, "start")] == [None, 6]
        assert run.state() == "done", events(run, "failed")
        assert {change["step"] for change in events(run, "steer")} == {6}
        assert not [alert for alert in events(run, "alert") if alert.get("watch") == "resume_fault"]
        told.append({step["step"]: (step["loss"], step["lr"]) for step in events(run, "step")})
    assert told[0] == told[1]


def test_a_run_is_shortened(base: Path, worker: Worker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    run = prepared(base, tmp_path, steps=30)
    at_step(monkeypatch, {2: lambda director: director.folder.request("steps", value=1)})
    worker.execute(Train(run.path))
    assert run.state() == "done"
    assert events(run, "done")[0]["step"] == 3


def no_number_once(monkeypatch: pytest.MonkeyPatch, at: int) -> None:
    """The loss of the step after AT is no number the first time."""
    import torch

    from ftstudio.engine.trainer import StudioTrainer

    loss, asked = StudioTrainer.compute_loss, []

    def broken(self: Any, *args: Any, **named: Any) -> Any:
        asked.append(self.state.global_step)
        found = loss(self, *args, **named)
        return found * torch.tensor(float("nan")) if asked.count(at) == 1 and asked[-1] == at else found

    monkeypatch.setattr(StudioTrainer, "compute_loss", broken)


@pytest.mark.parametrize("method", ["lora", "full", "qlora"])
def test_a_run_that_went_back_and_is_killed_then_goes_on_exactly(
    base: Path, worker: Worker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str
):
    """From the checkpoint that it went back to, and from one that was written after that."""
    told: list[dict[int, Any]] = []
    for name, at in (("whole", 0), ("before", 5), ("after", 7)):
        run = prepared(base, tmp_path / name, method, steps=9, save_steps=3, watch={"not_finite": "rollback"})
        with monkeypatch.context() as patch:
            no_number_once(patch, 5)
            times: list[int] = []

            def once_more(director: Any, at: int = at, times: list[int] = times) -> None:
                times.append(director.trainer.state.global_step)
                if times.count(at) == (2 if at < 6 else 1):
                    crash(director)

            every_step_does(patch, once_more)
            worker.execute(Train(run.path))
        if at:
            assert run.state() == "failed"
            worker.execute(Train(run.path, resume=True))
        assert run.state() == "done", events(run, "failed")
        starts = events(run, "start")
        expected = [None, 3, *{5: [3], 7: [6]}.get(at, [])]
        assert [start["resumed_from"] for start in starts] == expected
        for start in starts:  # the same, but for what is told of memory: "as the run began"
            start["engine"].pop("memory")
            assert start["engine"] == starts[0]["engine"]
        told.append({step["step"]: (step["loss"], step["lr"], step["grad_norm"]) for step in events(run, "step")})
    assert len(told[0]) == 9
    assert told[0] == told[1]
    assert told[0] == told[2]


def every_step_does(monkeypatch: pytest.MonkeyPatch, deed: Callable[[Any], None]) -> None:
    """After each step was told, do DEED."""
    stepped = callback.RunDirector.stepped

    def then(self: Any, trainer: Any, logs: Any) -> None:
        stepped(self, trainer, logs)
        deed(self)

    monkeypatch.setattr(callback.RunDirector, "stepped", then)


def test_back_to_the_last_good_checkpoint(base: Path, worker: Worker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    from ftstudio.engine.trainer import StudioTrainer
    from ftstudio.engine.training import Training

    no_number_once(monkeypatch, 4)
    optimizers: list[weakref.ref[Any]] = []
    held: list[bool] = []
    create, again = StudioTrainer.create_optimizer, Training._model_again

    def model_again(self: Any, *args: Any) -> Any:
        held.extend(old() is not None for old in optimizers)
        return again(self, *args)

    def created(self: Any, *args: Any, **named: Any) -> Any:
        found = create(self, *args, **named)
        optimizers.append(weakref.ref(found))
        return found

    monkeypatch.setattr(StudioTrainer, "create_optimizer", created)
    monkeypatch.setattr(Training, "_model_again", model_again)
    run = prepared(base, tmp_path, steps=7, save_steps=3, watch={"not_finite": "rollback"}, scheduler="constant")
    worker.execute(Train(run.path))
    assert held == [False]  # the first one's states are out of memory before the second one's are made
    assert run.state() == "done", [event for event in run.events() if event["kind"] != "telemetry"]
    first, again = events(run, "start")
    assert (first["resumed_from"], again["resumed_from"]) == (None, 3)
    assert first["engine"] == again["engine"]  # nothing is tried on weights that are no numbers
    assert "no padding" in again["engine"]["batches"]
    alert = next(alert for alert in events(run, "alert") if alert.get("watch") == "not_finite")
    assert (alert["action"], alert["level"], alert["step"]) == ("rollback", "error", 5)
    rates = [step["lr"] for step in events(run, "step")]
    assert rates[2] == pytest.approx(1e-3)
    assert rates[-1] == pytest.approx(5e-4)


def test_weights_that_are_no_numbers_are_never_saved(
    base: Path, worker: Worker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    import torch

    def poison(director: Any) -> None:
        with torch.no_grad():
            next(item for item in director.trainer.model.parameters() if item.requires_grad).fill_(float("nan"))

    run = prepared(base, tmp_path, steps=3, save_steps=2)
    at_step(monkeypatch, {3: poison})
    worker.execute(Train(run.path))
    assert run.state() == "failed"
    assert not run.model.exists()
    assert [path.name for path in run.checkpoints.iterdir()] == ["checkpoint-2"]


def test_a_disk_without_room_pauses_until_there_is(
    base: Path, worker: Worker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    from ftstudio.engine import trainer

    full = [True]
    write = trainer.save_weights

    def writes(*args: Any, **named: Any) -> None:
        if full:
            raise OSError(28, "No space left on device")
        write(*args, **named)

    monkeypatch.setattr(trainer, "save_weights", writes)
    rest = callback.RunDirector._say_paused

    def room(self: Any, where: str) -> None:
        full.clear()  # a person makes room and resumes
        self.folder.request("resume")
        rest(self, where)

    monkeypatch.setattr(callback.RunDirector, "_say_paused", room)
    run = prepared(base, tmp_path, steps=4, save_steps=2)
    worker.execute(Train(run.path))
    assert run.state() == "done", events(run, "failed")
    alert = next(alert for alert in events(run, "alert") if alert.get("watch") == "disk")
    assert alert["action"] == "pause"
    assert "disk is full" in alert["text"]
    assert [event["phase"] for event in events(run, "phase")].count("paused") == 1
    assert {event["step"] for event in events(run, "checkpoint")} == {2, 4}


def test_a_run_that_another_host_took_over_writes_nothing_more(
    base: Path, worker: Worker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """It is noticed at the latest when a checkpoint was written and is about to be put in place."""
    there: dict[str, Any] = {}
    seal = resume.seal

    def sealing(folder: Path, **facts: Any) -> None:
        seal(folder, **facts)
        if facts["step"] == 4:
            there.update(files.read_json(run.owner_path), host="elsewhere", token="its own")
            files.write_json(run.owner_path, there)

    monkeypatch.setattr(resume, "seal", sealing)
    run = prepared(base, tmp_path, steps=8, save_steps=2)
    worker.execute(Train(run.path))
    assert "was taken over by process" in str(worker.last_error)
    assert files.read_json(run.owner_path) == there
    assert [path.name for path in resume.checkpoints(run.checkpoints)] == ["checkpoint-2"]
    assert (run.checkpoints / resume.SAVING).is_dir()  # it may be the other's by now
    last = run.events()[-1]
    assert (last["kind"], last.get("phase")) == ("phase", "saving")


@pytest.mark.parametrize(("patience", "steps", "end"), [(1, 8, "stopped"), (3, 4, "done")])
def test_with_early_stopping_the_model_is_the_best_checkpoint(
    base: Path, worker: Worker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, patience: int, steps: int, end: str
):
    """As with transformers' load_best_model_at_end, whether the run stopped early or came to its end."""
    from safetensors.numpy import load_file

    losses = iter([3.0, 1.0, 2.0])  # at the steps 0, 2 and 4
    held_out = {"perplexity": 1.0, "rows": 1, "tokens": 1}
    monkeypatch.setattr("ftstudio.engine.trainer.held_out_loss", lambda *a, **n: {"loss": next(losses), **held_out})
    watch = {"eval_rising": "stop", "patience": patience}
    values = recipe_values(
        base / "model", base / "rows.jsonl", "lora", steps=steps, save_steps=100, save_best=False, watch=watch
    )
    values["evaluation"] |= {"samples": 0, "forgetting": False, "every": 2}
    run = prepare_run(check_recipe(values), Workspace(tmp_path))
    worker.execute(Train(run.path))
    assert run.state() == end, run.events()[-1]
    last = run.events()[-1]
    assert (last["step"], last["model_step"], last["eval"]["loss"]) == (4, 2, 1.0)
    assert last.get("by") == ("eval_rising" if end == "stopped" else None)
    story = Story()
    story.feed(run.events())
    assert (story.model_step, story.judged_loss, story.eval_loss) == (2, 1.0, 2.0)
    assert any("The model is that of step 2" in alert["text"] for alert in events(run, "alert"))
    saved = [
        load_file(folder / "adapter_model.safetensors")
        for folder in (run.model, run.checkpoints / "checkpoint-2", run.checkpoints / "checkpoint-4")
    ]
    assert all((saved[0][name] == saved[1][name]).all() for name in saved[1])
    assert not all((saved[0][name] == saved[2][name]).all() for name in saved[2])
