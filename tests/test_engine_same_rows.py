"""Held-out losses are set against those of the same rows alone, however often a recipe is edited between sessions."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML
from tiny_models import make_model, make_rows, recipe_values

from ftstudio.core.jobs import Train
from ftstudio.core.recipe import put
from ftstudio.core.run import RunFolder, Story
from ftstudio.core.workspace import Workspace
from ftstudio.engine import callback, control, report, resume, same_rows
from ftstudio.engine.materials import open_materials
from ftstudio.engine.prepare import prepare_run
from ftstudio.engine.recipes import check_recipe, load_recipe
from ftstudio.engine.rows import encoded_rows
from ftstudio.engine.worker import Worker


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


def prepared(base: Path, space: Path, **training: Any) -> RunFolder:
    values = recipe_values(base / "model", base / "rows.jsonl", "lora", **training)
    values["evaluation"] |= {"samples": 0, "forgetting": False, "every": 3}
    return prepare_run(check_recipe(values), Workspace(space))


def events(run: RunFolder, kind: str) -> list[dict[str, Any]]:
    return [event for event in run.events() if event["kind"] == kind]


def edit(run: RunFolder, key: str, value: Any) -> None:
    yaml = YAML()
    tree = yaml.load(run.recipe_path)
    put(tree, key, value)
    yaml.dump(tree, run.recipe_path)


def losses(monkeypatch: pytest.MonkeyPatch, loss: Callable[[int, int], float]) -> None:
    """Held-out losses by LOSS of the step and the number of rows."""
    evaluated = callback.RunDirector.evaluated

    def then(self: Any, trainer: Any, metrics: Any) -> None:
        evaluated(self, trainer, metrics and {**metrics, "loss": loss(trainer.state.global_step, metrics["rows"])})

    monkeypatch.setattr(callback.RunDirector, "evaluated", then)


def ends_at(monkeypatch: pytest.MonkeyPatch, at: int) -> None:
    """The process is killed once the checkpoint of step AT is written."""
    saved = callback.RunDirector.saved

    def then(self: Any, trainer: Any, path: Path) -> None:
        saved(self, trainer, path)
        if trainer.state.global_step == at:
            raise RuntimeError("killed")

    monkeypatch.setattr(callback.RunDirector, "saved", then)


def patience_of(run: RunFolder) -> str:
    return str(next((alert["text"] for alert in events(run, "alert") if alert.get("watch") == "eval_rising"), ""))


def test_patience_counts_no_loss_of_other_rows_on_any_resume(
    base: Path, worker: Worker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Of eight rows step 3 lost next to nothing; of four of them the loss falls all the while."""
    run = prepared(base, tmp_path, steps=24, watch={"eval_rising": "stop", "patience": 2})
    for at, edited in ((9, ("evaluation.rows", 4)), (15, None)):
        with monkeypatch.context() as patch:
            losses(patch, lambda step, rows: 0.1 if step == 3 else 9.0 - 0.01 * step if rows == 8 else 5.0 - 0.1 * step)
            patch.setattr("ftstudio.engine.deeds.Deeds.take", lambda self: "")  # nothing ends it before its end
            ends_at(patch, at)
            worker.execute(Train(run.path, resume=at > 9))
        assert run.state() == "failed"
        if edited is not None:
            edit(run, *edited)
    alerts = len(run.events())
    losses(monkeypatch, lambda step, rows: 5.0 - 0.1 * step)
    worker.execute(Train(run.path, resume=True))
    assert run.state() == "done"
    assert not [event for event in run.events()[alerts:] if event.get("watch") == "eval_rising"]
    assert "model_step" not in run.events()[-1]
    evaluations = events(run, "eval")
    assert [(one["step"], one["rows"]) for one in evaluations if one["step"] == 9] == [(9, 8), (9, 4)]
    assert len({one["judged_on"] for one in evaluations}) == 2
    story = Story()
    story.feed(run.events())
    assert story.best == (24, pytest.approx(2.6))
    assert [alert["text"] for alert in events(run, "alert")].count(same_rows.OTHERS) == 1


@pytest.mark.parametrize(
    ("key", "value", "same"),
    [
        ("data.seed", 7, False),
        ("training.seed", 7, False),
        ("data.eval", 0.4, False),
        ("data.max_length", 24, False),
        ("data.template", "alpaca", False),
        ("evaluation.rows", 5, False),
        ("data.limit", 30, True),  # of the training rows
        ("data.test", 0.3, True),  # taken from them, too
        ("training.learning_rate", 2e-3, True),
        ("training.batch_size", 2, True),
    ],
)
def test_what_chooses_the_held_out_rows_tells_in_their_digest(
    base: Path, tmp_path: Path, key: str, value: Any, same: bool
):
    run = prepared(base, tmp_path, steps=8, seed=0)

    def digest() -> str:
        recipe = load_recipe(run.recipe_path)
        materials = open_materials(recipe)
        rows = encoded_rows(materials, materials.examples(recipe.evaluation.rows), recipe.data.max_length)
        return same_rows.digest(recipe, materials.task, [row for _, row in rows])

    before = digest()
    edit(run, key, value)
    assert (digest() == before) == same


@pytest.mark.parametrize("edited", [("data.eval", 0.4), ("training.seed", 7)])
def test_neither_best_nor_patience_cross_an_edit_and_rows_trained_before_are_told(
    base: Path, worker: Worker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, edited: tuple[str, Any]
):
    losses(monkeypatch, lambda step, rows: 0.1 if step == 3 else 5.0 - 0.1 * step)
    run = prepared(base, tmp_path, steps=15, seed=0, watch={"eval_rising": "stop", "patience": 3})
    with monkeypatch.context() as patch:
        ends_at(patch, 9)
        worker.execute(Train(run.path))
    edit(run, *edited)
    since = len(run.events())
    worker.execute(Train(run.path, resume=True))
    assert not patience_of(run)
    assert run.state() == "done"
    assert "model_step" not in run.events()[-1]
    texts = [event["text"] for event in run.events()[since:] if event["kind"] == "alert"]
    assert same_rows.OTHERS in texts
    [learnt] = [text for text in texts if "trained by this run before" in text]
    assert re.match(r"\d of the 8 held-out rows were trained", learnt), learnt
    assert [text for text in texts if "recipe.yaml was edited" in text and edited[0] in text]


def test_a_run_gone_on_with_as_it_was_tells_nothing_of_its_rows(
    base: Path, worker: Worker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    run = prepared(base, tmp_path, steps=9)
    with monkeypatch.context() as patch:
        ends_at(patch, 6)
        worker.execute(Train(run.path))
    worker.execute(Train(run.path, resume=True))
    assert run.state() == "done"
    assert [one["step"] for one in events(run, "eval")] == [0, 3, 6, 9]
    assert not [alert for alert in events(run, "alert") if "held-out" in alert["text"]]
    facts = resume.facts(run.checkpoints / "checkpoint-9")
    assert facts["judged_on"] == events(run, "eval")[-1]["judged_on"]
    assert facts["eval_loss"] == events(run, "eval")[-1]["loss"]


def test_a_checkpoint_of_an_earlier_version_was_judged_on_the_same(tmp_path: Path):
    assert same_rows.alike({"eval_loss": 1.0}, "a")
    assert not same_rows.alike({"eval_loss": 1.0, "judged_on": "b"}, "a")
    assert same_rows.alike({"eval_loss": 1.0, "judged_on": "b"}, "")
