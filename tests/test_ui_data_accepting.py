"""Errors in the rows are accepted by name on the Data screen and in the wizard, and the recipe keeps which."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import test_ui_recipe as wizard
from data_screen import screen, settled, studio
from screens import press, until

from ftstudio.core.recipe import Recipe
from ftstudio.data.checks import Check
from ftstudio.engine.accepting import errors_of_rows, problems
from ftstudio.engine.materials import open_materials
from ftstudio.engine.recipes import check_recipe
from ftstudio.ui.data.checks_page import ChecksTable

ROWS = [{"prompt": f"the question of day {n}", "completion": f"an answer, number {n}"} for n in range(12)]


def leaky(folder: Path) -> dict[str, object]:
    """A recipe of rows of which two are held out too, and one can't be read."""
    text = "".join(json.dumps(row) + "\n" for row in ROWS)
    (folder / "train.jsonl").write_text(text + "{torn\n")
    (folder / "held.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS[:2]))
    train, held = str(folder / "train.jsonl"), str(folder / "held.jsonl")
    columns = {"prompt": "prompt", "completion": "completion"}
    return {"model": "demo", "data": {"train": train, "eval": held, "columns": columns}}


def rows_alone(recipe: Recipe, **_: Any) -> dict[str, Any]:
    """A plan that looks at nothing but the rows: a whole one loads torch."""
    found = [problem.to_dict() for problem in problems(recipe, errors_of_rows(open_materials(recipe)))]
    return {"compatible": not any(problem["severity"] == "error" for problem in found), "problems": found}


async def test_an_error_is_accepted_on_the_data_screen_and_stops_a_run_again(tmp_path: Path) -> None:
    values = leaky(tmp_path)
    recipe = check_recipe(values)
    app = studio(tmp_path, recipe.data.train, recipe)
    async with app.run_test(size=(120, 40)) as pilot:
        await until(pilot, "12 rows")
        await press(pilot, "k")
        text = await settled(pilot)
        assert "exact leak" in text  # the recipe's held-out file is looked at
        assert "Stops a run until a accepts it" in text
        await press(pilot, "a down a")
        text = await settled(pilot)
        assert text.count("· accepted") == 2
        assert app.session.recipe is not None
        assert set(app.session.recipe.data.accepted) == {"unreadable", "exact_leak"}
        await press(pilot, "a")
        await settled(pilot)
        assert len(app.session.recipe.data.accepted) == 1
        table = screen(pilot).query_one(ChecksTable)
        assert table.at_hand is not None
        assert table.at_hand.name not in app.session.recipe.data.accepted


def test_what_no_task_can_learn_is_not_said_to_be_mended_by_accepting_it() -> None:
    table = ChecksTable()
    table.accepted = ["unlearnable"]  # by hand in a recipe, or by an earlier version
    table.checks = [Check("unlearnable", "error", 9, (), "for text-classification: one label only.")]
    text = "".join(part for line in table.about(200) for part, _ in line)
    assert "Accepting doesn't help: choose another task" in text
    assert "a accepts" not in text
    assert table._cells(0)[0] == ("✗ error", "bad")
    table.checks = [Check("exact_leak", "error", 9, (), "9 prompts.")]
    assert "until a accepts it" in "".join(part for line in table.about(200) for part, _ in line)


async def test_what_is_accepted_before_there_is_a_recipe_goes_into_it(tmp_path: Path) -> None:
    leaky(tmp_path)
    app = studio(tmp_path, tmp_path / "train.jsonl")
    async with app.run_test(size=(120, 40)) as pilot:
        await until(pilot, "12 rows")
        await press(pilot, "k")
        await until(pilot, "unreadable")
        await press(pilot, "a")
        await settled(pilot)
        await press(pilot, "escape r")
        await pilot.pause()
        assert app.session.recipe is not None
        assert app.session.recipe.data.accepted == ("unreadable",)


@pytest.mark.slow
async def test_the_wizard_accepts_what_is_wrong_in_the_rows_and_can_start_then(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ftstudio.engine.plan.plan", rows_alone)
    app = wizard.studio(tmp_path, leaky(tmp_path))
    async with app.run_test(size=(120, 40)) as pilot:
        await wizard.step(pilot, 5)
        text = await until(pilot, "a accepts what is wrong in the rows", 30)
        assert "exact_leak: 2 rows" in text
        await press(pilot, "a")
        text = await until(pilot, "Start training", 60)
        assert "accepted: exact_leak" in text
        assert set(wizard.recipe(pilot)["data"]["accepted"]) == {"unreadable", "exact_leak"}
