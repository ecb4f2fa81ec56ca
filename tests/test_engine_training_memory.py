"""Too little memory for a micro-batch: it is taken in parts from the step's beginning, and nothing else changes."""

from __future__ import annotations

import functools
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tiny_models import make_encoder, make_labelled, make_model, make_rows, recipe_values

from ftstudio.core.jobs import Train
from ftstudio.core.run import RunFolder
from ftstudio.core.workspace import Workspace
from ftstudio.engine import capacity, report, resume
from ftstudio.engine.prepare import prepare_run
from ftstudio.engine.recipes import check_recipe
from ftstudio.engine.worker import Worker


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("base")
    make_model(folder / "model", hidden_size=64)
    make_rows(folder / "rows.jsonl")
    return folder


@pytest.fixture(scope="module")
def worker() -> Worker:
    return Worker()


@pytest.fixture(autouse=True)
def every_step(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report, "INTERVAL", 0.0)


def prepared(base: Path, space: Path, method: str = "lora", **training: Any) -> RunFolder:
    values = recipe_values(base / "model", base / "rows.jsonl", method, gradient_accumulation=2, **training)
    values["method"] = {"name": method} | ({} if method == "full" else {"r": 4, "alpha": 8, "dropout": 0.0})
    values["evaluation"]["samples"] = 0
    return prepare_run(check_recipe(values), Workspace(space))


def events(run: RunFolder, kind: str) -> list[dict[str, Any]]:
    return [event for event in run.events() if event["kind"] == kind]


def limit(
    monkeypatch: pytest.MonkeyPatch, tokens: int, *, when: str, kind: type[Exception] | None = None
) -> list[tuple[int, bool, int]]:
    """From now on more than TOKENS at once don't fit: WHEN is `forward`, or `backward` once gradients were added.

    Returns what was asked for: tokens, whether to learn from them, rows.
    """
    import torch
    from accelerate import Accelerator

    from ftstudio.engine.held import load_of
    from ftstudio.engine.loss import Objective
    from ftstudio.engine.objective import TaskObjective

    asked: list[tuple[int, bool, int]] = []
    error = kind or torch.OutOfMemoryError
    calls: dict[type, Any] = {one: one.__call__ for one in (Objective, TaskObjective)}
    backward = Accelerator.backward

    def forward(self: Any, model: Any, batch: Any, each: Any = None) -> Any:
        asked.append((load_of(batch)[0], torch.is_grad_enabled(), len(batch["lengths"])))
        if when == "forward" and asked[-1][0] > tokens:
            raise error("CUDA out of memory. Tried to allocate 20.00 MiB")
        return calls[type(self)](self, model, batch, each)

    def back(self: Any, loss: Any, **named: Any) -> None:
        backward(self, loss, **named)
        if when == "backward" and asked[-1][0] > tokens:
            raise error("CUDA out of memory. Tried to allocate 20.00 MiB")

    for one in calls:
        monkeypatch.setattr(one, "__call__", forward)
    monkeypatch.setattr(Accelerator, "backward", back)
    return asked


def usual(run: RunFolder) -> int:
    """Tokens of two rows of RUN: it takes four at once."""
    steps = events(run, "step")
    return steps[-1]["tokens"] // (4 * len(steps))


@pytest.fixture(scope="module")
def whole(base: Path, worker: Worker, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], RunFolder]:
    """The same training by a method with memory enough."""

    @functools.cache
    def trained(method: str) -> RunFolder:
        found = prepared(base, tmp_path_factory.mktemp("space"), method)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(report, "INTERVAL", 0.0)
            worker.execute(Train(found.path))
        return found

    return trained


@pytest.mark.parametrize(
    ("method", "when", "kind"),
    [("full", "backward", None), ("lora", "forward", None), ("lora", "backward", MemoryError)],
)
def test_steps_learn_the_same_in_parts(
    base: Path,
    worker: Worker,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    whole: Callable[[str], RunFolder],
    method: str,
    when: str,
    kind: type[Exception] | None,
):
    other = whole(method)
    room = usual(other)
    asked = limit(monkeypatch, room, when=when, kind=kind)
    run = prepared(base, tmp_path, method)
    worker.execute(Train(run.path))
    assert run.state() == "done"
    ours, theirs = events(run, "step"), events(other, "step")
    assert [step["step"] for step in ours] == [step["step"] for step in theirs] == list(range(1, 9))
    for mine, its in zip(ours, theirs, strict=True):
        assert mine["loss"] == pytest.approx(its["loss"], abs=2e-5)
        assert mine["grad_norm"] == pytest.approx(its["grad_norm"], rel=1e-3)
        assert mine["tokens"] == its["tokens"]  # each row counts once, however often it was tried
    told = [event["text"] for event in events(run, "alert")]
    told = [text for text in told if "memory" in text]
    assert all("rows at once" in text and "are taken in parts from now on" in text for text in told)
    assert 0 < len(told) <= 8
    late = asked[-len(asked) // 2 :]
    assert any(rows > 1 for _, learns, rows in late if learns)  # what fits goes through together
    if when == "forward":
        assert max(tokens for tokens, *_ in late) <= room  # what doesn't isn't tried again and again
    assert [event["step"] for event in events(run, "eval")] == [0, 4, 8]
    for mine, its in zip(events(run, "eval"), events(other, "eval"), strict=True):
        assert mine["loss"] == pytest.approx(its["loss"], abs=1e-4)


def test_hidden_tokens_are_learnt_the_same_in_parts(worker: Worker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Masked language modelling asks at places that are counted through the whole batch: a part has others."""
    still = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    make_encoder(tmp_path / "model", **still)
    make_labelled(tmp_path / "rows.jsonl", count=48)
    recipe = check_recipe({
        "task": "masked-lm", "model": str(tmp_path / "model"), "method": "full", "options": {"probability": 0.3},
        "data": {"train": str(tmp_path / "rows.jsonl"), "eval": 0.2, "columns": {"text": "text"}},
        "training": {"device": "cpu", "steps": 4, "learning_rate": 1e-3, "warmup": 0, "batch_size": 8},
        "evaluation": {"samples": 0, "forgetting": False, "every": 4},
    })  # fmt: skip
    found = []
    for place in ("whole", "parts"):
        run = prepare_run(recipe, Workspace(tmp_path / place))
        with monkeypatch.context() as patch:
            asked = limit(patch, 40 if place == "parts" else 10_000, when="forward")
            worker.execute(Train(run.path))
        assert run.state() == "done", events(run, "failed")
        found.append(run)
    assert {rows for _, learns, rows in asked if learns} > {8}
    for mine, its in zip(events(found[1], "step"), events(found[0], "step"), strict=True):
        assert mine["loss"] == pytest.approx(its["loss"], abs=2e-5)
        assert mine["grad_norm"] == pytest.approx(its["grad_norm"], rel=1e-3)
    for mine, its in zip(events(found[1], "eval"), events(found[0], "eval"), strict=True):
        assert mine["loss"] == pytest.approx(its["loss"], abs=1e-4)


def undone(run: RunFolder) -> None:
    """As if RUN's process had been killed before it told its end."""
    path = run.path / "events.jsonl"
    lines = [line for line in path.read_text().splitlines() if json.loads(line)["kind"] != "done"]
    path.write_text("".join(f"{line}\n" for line in lines))


def test_activations_are_computed_again_where_a_single_row_does_not_fit(
    base: Path, worker: Worker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, whole: Callable[[str], RunFolder]
):
    """Memory does for one row only once its activations aren't kept; then the steps are those of the whole batch."""
    import torch

    from ftstudio.engine.loss import Objective

    other, call = whole("full"), Objective.__call__

    def forward(self: Any, model: Any, batch: Any, each: Any = None) -> Any:
        again = any(getattr(module, "gradient_checkpointing", False) for module in model.modules())
        if torch.is_grad_enabled() and not again and len(batch["lengths"]) <= 4:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB")
        return call(self, model, batch, each)

    run = prepared(base, tmp_path, "full")
    with monkeypatch.context() as patch:
        patch.setattr(Objective, "__call__", forward)
        worker.execute(Train(run.path))
    assert run.state() == "done", events(run, "failed")
    told = [event["text"] for event in events(run, "alert") if "memory" in event["text"]]
    assert "2 rows at once" in told[-2]
    assert told[-1].startswith(
        "There was not enough memory for a single row (of 128 tokens): activations are computed again"
    )
    before = {event["step"]: event["loss"] for event in events(run, "step")}
    for step, its in zip(sorted(before), events(other, "step"), strict=True):
        assert before[step] == pytest.approx(its["loss"], abs=2e-5)

    undone(run)
    shutil.rmtree(run.checkpoints / "checkpoint-8")  # resumed, it doesn't run out of memory once more
    count = len(run.events())
    with monkeypatch.context() as patch:
        patch.setattr(Objective, "__call__", forward)
        worker.execute(Train(run.path, resume=True))
    assert run.state() == "done", events(run, "failed")
    again = run.events()[count:]
    assert not [event["text"] for event in again if event["kind"] == "alert" and "memory" in event["text"]]
    steps = {event["step"]: event["loss"] for event in again if event["kind"] == "step"}
    assert steps == {step: before[step] for step in (7, 8)}


def test_a_resumed_run_knows_what_fits(
    base: Path, worker: Worker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, whole: Callable[[str], RunFolder]
):
    room = usual(whole("lora"))
    with monkeypatch.context() as patch:
        before = limit(patch, room, when="forward")
        run = prepared(base, tmp_path)
        worker.execute(Train(run.path))
    known = resume.facts(run.checkpoints / "checkpoint-6")["held"][0]
    assert known["held"]["failed"]
    assert known["held"]["fitted"]
    assert known["still"]["failed"]
    undone(run)
    shutil.rmtree(run.checkpoints / "checkpoint-8")
    losses = {event["step"]: event["loss"] for event in events(run, "step")}
    with monkeypatch.context() as patch:
        asked = limit(patch, room, when="forward")
        worker.execute(Train(run.path, resume=True))
    assert run.state() == "done"
    assert asked == before[-len(asked) :]
    after = events(run, "step")[-2:]
    assert {event["step"]: event["loss"] for event in after} == {step: losses[step] for step in (7, 8)}

    undone(run)
    shutil.rmtree(run.checkpoints / "checkpoint-8")
    monkeypatch.setattr(capacity, "memory", lambda device: 2 * known["memory"])
    limit(monkeypatch, 10 * room, when="forward")
    worker.execute(Train(run.path, resume=True))
    assert "what didn't fit there is tried again" in events(run, "alert")[-1]["text"]
    after = resume.facts(run.checkpoints / "checkpoint-8")["held"][0]
    assert after["memory"] == 2 * known["memory"]
    assert not after["held"]["failed"]


def test_a_row_that_does_not_fit_by_itself_fails_with_a_way_out(
    base: Path, worker: Worker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    limit(monkeypatch, 0, when="forward")
    run = prepared(base, tmp_path)
    worker.execute(Train(run.path))
    failed = events(run, "failed")[0]
    assert "not enough" in failed["text"]
    assert "max_length" in failed["hint"]


@pytest.mark.parametrize("method", ["full", "lora"])
@pytest.mark.parametrize("where", ["loading", "asking"])
def test_a_model_that_can_not_be_read_back_for_want_of_memory_is_trained_all_the_same(
    base: Path, worker: Worker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str, where: str
):
    """All steps are done and the model is saved: that isn't a training that failed."""
    import torch

    from ftstudio.engine import loading, training
    from ftstudio.engine.models import ModelStore

    error = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB")
    tuned, numbers_of, asked = ModelStore.tuned, training.numbers_of, []

    def read(self: Any, run: RunFolder, recipe: Any = None) -> Any:
        if where == "loading":  # as the loader tells it
            raise loading.explain(error, run.name) from error
        return tuned(self, run, recipe)

    def say(*given: Any) -> Any:
        asked.append(1)
        if where == "asking" and len(asked) == 2:  # the first time it is the model that was trained
            raise error
        return numbers_of(*given)

    run = prepared(base, tmp_path, method)
    with monkeypatch.context() as patch:
        patch.setattr(ModelStore, "tuned", read)
        patch.setattr(training, "numbers_of", say)
        worker.execute(Train(run.path))
    assert run.state() == "done", events(run, "failed")
    assert events(run, "done")[0]["reload_difference"] is None
    [told] = [event for event in events(run, "alert") if "memory" in event["text"]]
    assert told["level"] == "warning"
    assert "trained and saved, but was not read back" in told["text"]
    with ModelStore().tuned(run).as_tuned() as model:  # it is whole
        assert sum(1 for _ in model.parameters()) > 10


def test_other_errors_are_not_taken_for_memory(base: Path, worker: Worker, tmp_path: Path, monkeypatch: Any):
    limit(monkeypatch, 1, when="backward", kind=ZeroDivisionError)
    run = prepared(base, tmp_path)
    worker.execute(Train(run.path))
    assert run.state() == "failed"
    assert not [event for event in events(run, "alert") if "memory" in event["text"]]
