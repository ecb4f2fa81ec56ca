"""Errors in the data stop a run until a person accepts them by name, and the recipe tells which were."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tiny_models import make_model, recipe_values

from ftstudio.core.errors import StudioError, UsageError
from ftstudio.core.jobs import Train
from ftstudio.core.run import RunFolder
from ftstudio.core.workspace import Workspace
from ftstudio.engine.accepting import errors_of_rows, problems
from ftstudio.engine.prepare import open_materials, prepare_run
from ftstudio.engine.recipes import check_recipe, load_recipe
from ftstudio.engine.worker import Worker

ROWS = [{"prompt": f"what is the {n}th number", "completion": f"it is {n}"} for n in range(20)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("accepting")
    make_model(folder / "model", hidden_size=32)
    held = [ROWS[3], {"prompt": "what else", "completion": "nothing"}]
    (folder / "held.jsonl").write_text("".join(json.dumps(row) + "\n" for row in held))
    (folder / "leaky.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS) + "{torn\n")
    (folder / "masked.jsonl").write_text("".join(json.dumps(row) + "\n" for row in [*ROWS, {"prompt": "and"}]))
    return folder


def recipe(folder: Path, name: str, **data: Any) -> Any:
    values = recipe_values(folder / "model", folder / name)
    values["data"] |= data
    return check_recipe(values)


def test_a_run_is_refused_until_every_error_is_accepted(folder: Path, tmp_path: Path) -> None:
    space = Workspace(tmp_path / "studio")
    with pytest.raises(StudioError, match=r"unreadable: 1 unreadable.*exact_leak: 1 row ") as refused:
        prepare_run(recipe(folder, "leaky.jsonl", eval=str(folder / "held.jsonl")), space)
    assert "data.accepted=[unreadable,exact_leak]" in refused.value.hint
    assert not space.runs_path.exists() or not list(space.runs_path.iterdir())
    with pytest.raises(StudioError, match="exact_leak") as refused:
        prepare_run(recipe(folder, "leaky.jsonl", eval=str(folder / "held.jsonl"), accepted=["unreadable"]), space)
    assert "unreadable:" not in refused.value.message
    both = ["unreadable", "exact_leak"]
    run = prepare_run(recipe(folder, "leaky.jsonl", eval=str(folder / "held.jsonl"), accepted=both), space)
    assert list(load_recipe(run.recipe_path).data.accepted) == both  # kept where everyone can read it


def test_a_name_that_is_no_check_is_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no check 'leek'"):
        prepare_run(recipe(folder, "leaky.jsonl", accepted=["leek"]), Workspace(tmp_path / "studio"))


def test_rows_that_turn_out_unusable_stop_the_training_before_a_model_is_loaded(folder: Path, tmp_path: Path) -> None:
    run = prepare_run(recipe(folder, "masked.jsonl", eval=None), Workspace(tmp_path / "studio"))
    Worker().execute(Train(run.path))
    events = RunFolder(run.path).events()
    (failed,) = (event for event in events if event["kind"] == "failed")
    assert "unusable: 1 row" in failed["text"]
    assert "data.accepted=[unusable]" in failed["hint"]
    assert not any("loading model" in str(event) for event in events)


def test_a_plan_tells_errors_and_what_was_accepted(folder: Path) -> None:
    for accepted, severity in (([], "error"), (["exact_leak", "unreadable"], "note")):
        made = recipe(folder, "leaky.jsonl", eval=str(folder / "held.jsonl"), accepted=accepted)
        found = problems(made, errors_of_rows(open_materials(made)))
        assert [problem.severity for problem in found] == [severity] * 2
        assert {problem.key for problem in found} == {"data.accepted"}


def test_a_split_by_fractions_needs_no_look_for_leaks(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = recipe(folder, "masked.jsonl", eval=0.2)
    monkeypatch.setattr("ftstudio.engine.accepting.run_checks", lambda *_, **__: pytest.fail("rows were read again"))
    assert errors_of_rows(open_materials(made)) == []
