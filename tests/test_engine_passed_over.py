"""A batch that makes the loss spike, or no finite number, comes again after each rollback: its rows are passed over."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from small_disk import Disk, disk  # noqa: F401
from tiny_models import WORDS, make_labelled, make_model, make_rows, make_sentence_encoder, recipe_values

from ftstudio.core.jobs import Train
from ftstudio.core.run import RunFolder, Story
from ftstudio.core.workspace import Workspace
from ftstudio.engine import callback, control, passed_over, report, training, watchdog
from ftstudio.engine.prepare import prepare_run
from ftstudio.engine.recipes import check_recipe
from ftstudio.engine.trainer import StudioTrainer
from ftstudio.engine.worker import Worker
from ftstudio.ui.runs.catalogue import Follower

BAD = 19  # a row of the data that spoils every batch it is in: in the steps 6 and 12


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
    monkeypatch.setattr(watchdog, "ENOUGH", 3)


def spoilt(monkeypatch: pytest.MonkeyPatch, factor: float) -> None:
    """Batches with the row BAD have FACTOR times their loss, each time that they come."""
    loss = StudioTrainer.compute_loss

    def spoils(self: Any, model: Any, inputs: Any, *args: Any, **named: Any) -> Any:
        found = loss(self, model, inputs, *args, **named)
        bad = self.director.recorder.numbers(inputs["rows"])
        return found * factor if BAD in bad else found

    monkeypatch.setattr(StudioTrainer, "compute_loss", spoils)


def stopped_at(monkeypatch: pytest.MonkeyPatch, step: int, session: int) -> None:
    """A person stops the run after STEP, once it has gone back SESSION times."""
    stepped = callback.RunDirector.stepped

    def stops(self: Any, trainer: Any, logs: Any) -> None:
        stepped(self, trainer, logs)
        starts = sum(event["kind"] == "start" for event in self.folder.rare_events())
        if trainer.state.global_step == step - 1 and starts == session + 1:  # it is heard at the next one
            self.folder.request("stop")

    monkeypatch.setattr(callback.RunDirector, "stepped", stops)


def prepared(base: Path, space: Path, fault: str, *, full: str = "pause", **training: Any) -> RunFolder:
    watch = {fault: "rollback", "collapsed": "alert", "disk": full}
    values = recipe_values(base / "model", base / "rows.jsonl", "lora", watch=watch, **{
        "save_steps": 1, "keep_checkpoints": 30, "steps": 14, **training,
    })  # fmt: skip
    values["data"]["eval"] = 0.25
    values["evaluation"] |= {"samples": 0, "every": 100}
    return prepare_run(check_recipe(values), Workspace(space))


def told(run: RunFolder, kind: str) -> list[dict[str, Any]]:
    return [event for event in run.events() if event["kind"] == kind]


def curve(run: RunFolder) -> dict[int, tuple[float, float, float]]:
    return {event["step"]: (event["loss"], event["grad_norm"], event["lr"]) for event in told(run, "step")}


def weights(run: RunFolder, step: int) -> bytes:
    return (run.checkpoints / f"checkpoint-{step}" / "adapter_model.safetensors").read_bytes()


@pytest.mark.parametrize(("fault", "factor"), [("not_finite", float("nan")), ("spike", 50.0)])
def test_the_rows_of_a_step_that_was_gone_back_for_are_passed_over(
    base: Path, worker: Worker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: str, factor: float
):
    """The row comes once in each epoch, and spoils its batch each time."""
    spoilt(monkeypatch, factor)
    run = prepared(base, tmp_path, fault)
    worker.execute(Train(run.path))
    assert run.state() == "done", told(run, "failed")
    skips = told(run, "skip")
    assert len(skips) == 2
    assert all(BAD in skip["rows"] and len(skip["rows"]) == 4 for skip in skips)
    first, second = (skip["step"] for skip in skips)
    assert [start["resumed_from"] for start in told(run, "start")] == [None, first - 1, second - 1]
    texts = [alert["text"] for alert in told(run, "alert")]
    for step, skip in ((first, skips[0]), (second, skips[1])):
        named = ", ".join(str(row + 1) for row in skip["rows"])
        assert f"The rows of step {step} ({named} of the data) are passed over from now on." in texts
        assert f"Step {step} was passed over: nothing was learnt from its rows." in texts
        assert weights(run, step) == weights(run, step - 1)
        assert weights(run, step) != weights(run, step + 1)
    taken = [event["step"] for event in told(run, "step")]
    assert taken.count(first) == taken.count(second) == 1  # but for the time that they were spoilt
    assert run.events()[-1]["step"] == 14
    learnt = {line["step"] for line in _dynamics(run)}
    assert learnt == set(range(1, 15)) - {first, second}


def _dynamics(run: RunFolder) -> list[Any]:
    import numpy as np

    from ftstudio.core import dynamics

    files = sorted((run.path / dynamics.FOLDER).glob("epoch-*.bin"))
    return [line for path in files for line in np.fromfile(path, dtype=dynamics.RECORD)]


@pytest.mark.parametrize(("asked", "at"), [("stop", 6), ("stop", 12), ("pause", 6)])
def test_what_is_asked_in_the_step_that_is_gone_back_for_is_done(
    base: Path, worker: Worker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, asked: str, at: int
):
    """At the checkpoint that the run goes back to; 12 is the last step, at which a stop alone would change nothing."""
    spoilt(monkeypatch, 50.0)
    run = prepared(base, tmp_path, "spike", steps=12)
    loss, say, rests, due = StudioTrainer.compute_loss, callback.RunDirector._say_paused, list[str](), [asked]

    def asks(self: Any, model: Any, inputs: Any, *args: Any, **named: Any) -> Any:
        if due and "rows" in inputs and self.state.global_step + 1 == at:
            run.request(due.pop())
        return loss(self, model, inputs, *args, **named)

    def says(self: Any, where: str) -> None:
        say(self, where)
        rests.append(where)
        run.request("resume")

    monkeypatch.setattr(StudioTrainer, "compute_loss", asks)
    monkeypatch.setattr(callback.RunDirector, "_say_paused", says)
    worker.execute(Train(run.path))
    assert rests == (["at step 5"] if asked == "pause" else [])
    if asked == "stop":
        assert run.state() == "stopped", told(run, "failed")
        assert run.events()[-1]["step"] == at - 1
        assert [skip["step"] for skip in told(run, "skip")][-1] == at
        worker.execute(Train(run.path, resume=True))
    assert run.state() == "done", told(run, "failed")
    assert run.events()[-1]["step"] == 12
    assert [skip["step"] for skip in told(run, "skip")] == [6, 12]
    assert [step["step"] for step in told(run, "step")].count(6) == 1


@pytest.mark.parametrize("after", [-1, 0, 1])
def test_a_run_that_is_gone_on_with_passes_over_the_same(
    base: Path, worker: Worker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, after: int
):
    """Bit by bit what an unbroken one learns; it was stopped a step before, at and after the one passed over."""
    spoilt(monkeypatch, float("nan"))
    whole = prepared(base, tmp_path / "whole", "not_finite", save_steps=3)
    worker.execute(Train(whole.path))
    step = told(whole, "skip")[0]["step"]
    with monkeypatch.context() as patch:
        broken = prepared(base, tmp_path / "broken", "not_finite", save_steps=3)
        stopped_at(patch, step + after, 1)
        worker.execute(Train(broken.path))
        assert broken.state() == "stopped"
        assert told(broken, "checkpoint")[-1]["step"] == step + after
    worker.execute(Train(broken.path, resume=True))
    assert broken.state() == whole.state() == "done"
    assert [skip["step"] for skip in told(broken, "skip")] == [skip["step"] for skip in told(whole, "skip")]
    assert curve(broken) == curve(whole)
    name = "adapter_model.safetensors"
    assert (broken.model / name).read_bytes() == (whole.model / name).read_bytes()


def test_a_run_that_is_killed_while_it_goes_back_goes_on_exactly(
    base: Path, worker: Worker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Between the two events that tell of it: what is passed over, and the lower learning rate."""
    spoilt(monkeypatch, float("nan"))
    whole = prepared(base, tmp_path / "whole", "not_finite", save_steps=3)
    worker.execute(Train(whole.path))
    broken = prepared(base, tmp_path / "broken", "not_finite", save_steps=3)

    def killed(*_: Any) -> None:
        raise RuntimeError("killed")

    with monkeypatch.context() as patch:
        patch.setattr(training, "steer", killed)
        worker.execute(Train(broken.path))
    assert (len(told(broken, "skip")), len(told(broken, "steer"))) == (1, 0)
    worker.execute(Train(broken.path, resume=True))
    assert broken.state() == whole.state() == "done"
    rates = [[(steer["step"], steer["value"]) for steer in told(run, "steer")] for run in (whole, broken)]
    assert len(rates[0]) == 2
    assert rates[1] == rates[0]
    assert curve(broken) == curve(whole)
    name = "adapter_model.safetensors"
    assert (broken.model / name).read_bytes() == (whole.model / name).read_bytes()


def test_rows_that_come_at_other_steps_now_are_learnt(
    base: Path, worker: Worker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    spoilt(monkeypatch, 50.0)
    run = prepared(base, tmp_path, "spike")
    with monkeypatch.context() as patch:
        stopped_at(patch, 8, 1)
        worker.execute(Train(run.path))
    [skip] = told(run, "skip")
    events = [json.loads(line) for line in run.events_path.read_text().splitlines()]
    layout = skip["layout"]
    assert passed_over.steps(events, layout, 0) == ([skip["step"]], [])
    assert passed_over.steps(events, layout, skip["step"]) == ([], [])
    assert passed_over.steps(events, ["other", layout[1]], 0) == ([], [skip["step"]])
    assert passed_over.steps(events, [layout[0], 2 * layout[1]], 0) == ([], [skip["step"]])


def test_a_last_step_that_is_passed_over_counts(
    base: Path, worker: Worker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    spoilt(monkeypatch, 50.0)
    run = prepared(base, tmp_path, "spike", steps=12)
    worker.execute(Train(run.path))
    assert [skip["step"] for skip in told(run, "skip")] == [6, 12]
    before, spoils = told(run, "step")[-2:]
    assert (before["step"], spoils["step"]) == (11, 12)  # the latter was gone back for
    story = Story()
    story.feed(run.events())
    assert (story.step, run.summary()["steps"], Follower(run).summary().step) == (12, 12, 12)
    assert (story.loss, story.last_step["epoch"]) == (before["loss"], spoils["epoch"])


def test_what_was_gone_back_for_on_a_full_disk_is_passed_over_too(
    base: Path,
    worker: Worker,
    disk: Disk,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
):
    """It is full from before the first of two spikes until after the second one: no event is written meanwhile."""
    spoilt(monkeypatch, 50.0)
    run = prepared(base, disk.path, "spike", full="alert", save_steps=4)
    record, begun, rates = callback.RunDirector._record, callback.RunDirector.begun, list[float]()

    def fills(self: Any, trainer: Any, step: int) -> dict[str, float]:
        if step == 5 and len(rates) == 1:
            disk.fill()
            while self.folder.unwritten is None:  # the last page of the file has some room
                self.folder.emit("telemetry", gpus=[])
        elif step == 13:
            disk.free()
        return record(self, trainer, step)

    def begins(self: Any, trainer: Any) -> None:
        assert len(rates) < 5, "it goes back without end"
        begun(self, trainer)
        rates.append(trainer.args.learning_rate)

    monkeypatch.setattr(callback.RunDirector, "_record", fills)
    monkeypatch.setattr(callback.RunDirector, "begun", begins)
    worker.execute(Train(run.path))
    assert run.state() == "done", told(run, "failed")
    assert rates == pytest.approx([1e-3, 5e-4, 2.5e-4])
    assert [start["resumed_from"] for start in told(run, "start")] == [None, 4, 4]
    assert [skip["step"] for skip in told(run, "skip")] == [6, 12]
    taken = [event["step"] for event in told(run, "step")]
    assert taken.count(6) == taken.count(12) == 1


@pytest.mark.parametrize(("task", "known"), [("embedding", 8), ("few-shot-classification", 0)])
def test_rows_that_are_held_against_each_other_are_passed_over_too(
    worker: Worker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, task: str, known: int
):
    """Pairs of texts have no losses of their own; which rows they are is known all the same, unless they were made of
    two rows each."""
    make_sentence_encoder(tmp_path / "model")
    if known:
        pairs = [{"anchor": f"{WORDS[n % 13]} {n}", "positive": f"{WORDS[n % 7]} {n} run"} for n in range(32)]
        (tmp_path / "rows.jsonl").write_text("".join(json.dumps(pair) + "\n" for pair in pairs))
    else:
        make_labelled(tmp_path / "rows.jsonl", count=60)
    values = recipe_values(tmp_path / "model", tmp_path / "rows.jsonl", "full", steps=5, save_steps=1, batch_size=8)
    values["training"]["watch"] = {"not_finite": "rollback"}
    values["task"], values["data"]["max_length"] = task, 32
    values["options"] = {} if known else {"shots": 4}
    values["evaluation"] |= {"samples": 0, "every": 100}
    run = prepare_run(check_recipe(values), Workspace(tmp_path / "space"))
    loss = StudioTrainer.compute_loss

    def spoils(self: Any, model: Any, inputs: Any, *args: Any, **named: Any) -> Any:
        found = loss(self, model, inputs, *args, **named)
        return found * float("nan") if self.state.global_step == 2 else found

    monkeypatch.setattr(StudioTrainer, "compute_loss", spoils)
    worker.execute(Train(run.path))
    assert run.state() == "done", told(run, "failed")
    [skip] = told(run, "skip")
    assert skip["step"] == 3
    assert len(set(skip["rows"])) == known
    rows = "The rows of step 3" if not known else "The rows of step 3 ("
    [alert] = [alert["text"] for alert in told(run, "alert") if "from now on" in alert["text"]]
    assert alert.startswith(rows)


def test_the_scaler_of_half_precision_is_left_alone():
    """It refuses a step without gradients, and remembers a step that it wasn't asked for."""
    import torch
    from accelerate import Accelerator
    from accelerate.optimizer import AcceleratedOptimizer

    from ftstudio.engine.passing import Idle

    Accelerator(cpu=True)
    weight = torch.nn.Parameter(torch.ones(2))
    scaler = torch.amp.GradScaler("cpu", init_scale=8.0)
    optimizer = AcceleratedOptimizer(torch.optim.AdamW([weight], lr=0.1), device_placement=False, scaler=scaler)
    trainer: Any = SimpleNamespace(optimizer=optimizer, passes=False)
    idle = Idle(trainer)

    def taken(factor: float | None) -> tuple[list[float], bool]:
        trainer.passes = factor is None
        if factor is not None:
            scaler.scale((weight * factor).sum()).backward()
        idle.on_pre_optimizer_step(None, None, None)
        optimizer.step()
        idle.on_optimizer_step(None, None, None)
        weight.grad = None
        return weight.tolist(), optimizer.step_was_skipped

    first, skipped = taken(1.0)
    assert first != [1.0, 1.0]
    assert not skipped
    assert taken(float("inf")) == (first, True)
    assert taken(None) == (first, False)
    assert scaler.get_scale() == 4.0  # as the infinite gradient left it
    assert taken(1.0)[0] != first
