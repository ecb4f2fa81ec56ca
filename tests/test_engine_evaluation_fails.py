"""An evaluation whose predictions, samples or gauge fail while a run trains goes without them, and the run goes on."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tiny_models import (
    WORDS,
    make_encoder,
    make_labelled,
    make_model,
    make_rows,
    make_sentence_encoder,
    recipe_values,
)  # fmt: skip

from ftstudio.core.errors import StudioError
from ftstudio.core.jobs import Train
from ftstudio.core.run import RunFolder
from ftstudio.core.workspace import Workspace
from ftstudio.engine import drift, forgetting, held_out, report
from ftstudio.engine.prepare import prepare_run
from ftstudio.engine.recipes import check_recipe
from ftstudio.engine.samples import Samples
from ftstudio.engine.worker import Worker
from ftstudio.tasks.embedding import Embedding
from ftstudio.tasks.few_shot_classification import FewShotClassification
from ftstudio.tasks.text_classification import TextClassification


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("base")
    make_model(folder / "model", layers=1)
    make_rows(folder / "rows.jsonl")
    make_encoder(folder / "encoder")
    make_labelled(folder / "labels.jsonl", count=60)
    return folder


@pytest.fixture(scope="module")
def worker() -> Worker:
    return Worker()


@pytest.fixture(autouse=True)
def every_step(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report, "INTERVAL", 0.0)


def trained(worker: Worker, base: Path, space: Path, task: str = "sft", forgets: bool = False) -> RunFolder:
    model, rows = ("encoder", "labels.jsonl") if task != "sft" else ("model", "rows.jsonl")
    values = recipe_values(base / model, base / rows, "full", steps=4)
    values["task"] = task
    values["evaluation"] |= {"every": 2, "forgetting": forgets, "samples": 0 if forgets else 2}
    if task != "sft":
        values["data"]["max_length"] = 32
    run = prepare_run(check_recipe(values), Workspace(space))
    worker.execute(Train(run.path))
    return run


def told(run: RunFolder, kind: str) -> list[dict[str, Any]]:
    return [event for event in run.events() if event["kind"] == kind]


CAUSES: dict[str, tuple[Callable[[], Exception], str]] = {
    "error": (lambda: ValueError("no such label"), "ValueError: no such label."),
    "memory": (lambda: RuntimeError("DefaultCPUAllocator: can't allocate memory"), "There is not enough memory."),
    "studio": (lambda: StudioError("The head doesn't answer."), "The head doesn't answer."),
}


@pytest.mark.parametrize("cause", list(CAUSES))
def test_predictions_that_fail_cost_their_evaluation_its_scores(
    base: Path, worker: Worker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cause: str
):
    """At the first evaluation alone; memory runs out for a single row."""
    make, text = CAUSES[cause]
    predictions, evaluate = TextClassification.predictions, held_out.held_out_loss
    evaluations: list[int] = []

    def fails(self: Any, outputs: Any, batch: Any) -> Any:
        if len(evaluations) == 1:
            raise make()
        return predictions(self, outputs, batch)

    def counted(*args: Any, **named: Any) -> Any:
        evaluations.append(1)
        return evaluate(*args, **named)

    monkeypatch.setattr(TextClassification, "predictions", fails)
    monkeypatch.setattr("ftstudio.engine.trainer.held_out_loss", counted)
    run = trained(worker, base, tmp_path, "text-classification")
    assert run.state() == "done", told(run, "failed")
    first, second, third = told(run, "eval")
    assert "accuracy" not in first
    assert {"accuracy", "loss"} <= second.keys() & third.keys()
    assert first["loss"] > 0.1
    alerts = [alert for alert in told(run, "alert") if "no scores" in alert["text"]]
    assert [alert["text"] for alert in alerts] == [
        f"The evaluation of step 0 has no scores of the held-out rows: {text}"
    ]
    assert type(make()).__name__ in run.log_path.read_text()


def test_predictions_that_memory_will_not_hold_are_made_of_fewer_rows(
    base: Path, worker: Worker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    predictions, sizes = TextClassification.predictions, []

    def fails(self: Any, outputs: Any, batch: Any) -> Any:
        sizes.append(len(batch["lengths"]))
        if sizes[-1] > 1:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory")
        return predictions(self, outputs, batch)

    monkeypatch.setattr(TextClassification, "predictions", fails)
    run = trained(worker, base, tmp_path, "text-classification")
    assert run.state() == "done"
    assert all("accuracy" in event for event in told(run, "eval"))
    assert {sample["step"] for sample in told(run, "sample")} == {0, 2, 4}  # they are predictions, too
    assert not [alert for alert in told(run, "alert") if "has no" in alert["text"]]
    assert max(sizes) > 1


@pytest.mark.parametrize("cause", list(CAUSES))
@pytest.mark.parametrize(("gauge", "kind", "what"), [
    (Samples, "sample", "samples"), (drift.Drift, "forgetting", "measure of forgetting"),
])  # fmt: skip
def test_samples_or_a_gauge_that_fail_cost_their_evaluation_alone(
    base: Path,
    worker: Worker,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    cause: str,
    gauge: Any,
    kind: str,
    what: str,
):
    make, text = CAUSES[cause]
    call = gauge.__call__

    def fails(self: Any, trainer: Any, step: int) -> None:
        if step == 2:
            raise make()
        call(self, trainer, step)

    monkeypatch.setattr(gauge, "__call__", fails)
    run = trained(worker, base, tmp_path, forgets=kind == "forgetting")
    assert run.state() == "done", told(run, "failed")
    assert {event["step"] for event in told(run, kind)} == {0, 4}
    [alert] = [alert for alert in told(run, "alert") if "has no" in alert["text"]]
    assert alert["text"] == f"The evaluation of step 2 has no {what}: {text}"


def test_general_text_is_read_in_smaller_passes_where_memory_will_not_do(base: Path, monkeypatch: pytest.MonkeyPatch):
    from transformers import AutoModelForCausalLM

    from ftstudio.data.tokenizer import load_tokenizer

    model = AutoModelForCausalLM.from_pretrained(base / "model")
    tokenizer, texts = load_tokenizer(base / "model"), ["the cats run. " * n for n in range(1, 9)]
    wanted = forgetting.bits_per_byte(model, tokenizer, texts)
    score, sizes = forgetting._score, []

    def fails(model: Any, batch: Any) -> Any:
        sizes.append(len(batch))
        if len(batch) > 1:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory")
        return score(model, batch)

    monkeypatch.setattr(forgetting, "_score", fails)
    found = forgetting.bits_per_byte(model, tokenizer, texts)
    assert (found.tokens, found.bytes) == (wanted.tokens, wanted.bytes)
    assert found.nats == pytest.approx(wanted.nats, rel=1e-5)
    assert max(sizes) > 1


@pytest.mark.parametrize(("task", "ends"), [("embedding", False), ("few-shot-classification", True)])
def test_a_task_that_is_not_ready_to_be_read_has_no_scores(
    worker: Worker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, task: str, ends: bool
):
    """What is searched has no vectors; a head that isn't fitted has no loss either, and says why."""
    make_sentence_encoder(tmp_path / "model")
    if ends:
        make_labelled(tmp_path / "rows.jsonl", count=60)
    else:
        pairs = [{"anchor": f"{WORDS[n % 13]} {n}", "positive": f"{WORDS[n % 7]} {n} run"} for n in range(40)]
        (tmp_path / "rows.jsonl").write_text("".join(json.dumps(pair) + "\n" for pair in pairs))
    values = recipe_values(tmp_path / "model", tmp_path / "rows.jsonl", "full", steps=2, batch_size=8)
    values |= {"task": task, "options": {"shots": 4} if ends else {}}
    values["data"]["max_length"] = 32
    values["evaluation"] |= {"every": 2, "samples": 0}
    run = prepare_run(check_recipe(values), Workspace(tmp_path / "space"))
    kind = FewShotClassification if ends else Embedding
    fitted, calls = kind.fitted, []

    def fails(self: Any, *args: Any, **named: Any) -> Any:
        calls.append(1)
        if len(calls) == 1:
            raise ValueError("no solution")
        return fitted(self, *args, **named)

    monkeypatch.setattr(kind, "fitted", fails)
    worker.execute(Train(run.path))
    if ends:
        assert run.state() == "failed"
        assert "no solution" in told(run, "failed")[0]["text"]
        assert not [alert for alert in told(run, "alert") if "has no" in alert["text"]]
        return
    assert run.state() == "done", told(run, "failed")
    first, second = told(run, "eval")
    assert first["loss"] > 0
    assert second.keys() > first.keys()
    [alert] = [alert for alert in told(run, "alert") if "has no" in alert["text"]]
    assert "ValueError: no solution" in alert["text"]
