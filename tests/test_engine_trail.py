"""From a repair to what it did: the run before, the categories meant, rows fixed and broken, the trail of versions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import made_answers as made
import pytest

from ftstudio.core import files
from ftstudio.core.errors import StudioError, UsageError
from ftstudio.core.folder import JobFolder
from ftstudio.core.jobs import Compare
from ftstudio.core.recipe import Recipe
from ftstudio.core.run import RunFolder
from ftstudio.core.workspace import Workspace
from ftstudio.engine import trail
from ftstudio.engine.behind import Quietly, open_training
from ftstudio.engine.gathering import gather
from ftstudio.engine.generation import Decoding
from ftstudio.engine.recipes import load_recipe
from ftstudio.engine.repairing import AIM, Repairs, on_version
from ftstudio.evaluation import before_after
from ftstudio.evaluation.context import of_predictions
from ftstudio.evaluation.corrections import Corrections
from ftstudio.evaluation.predictions import Prediction


def misspelt(place: int, row: Any) -> str:
    right = row.reference or ""
    return right.replace("lives", "livves") if place % 2 else right


def answer(run: RunFolder, rows: list[Any], output: Any) -> None:
    files.LineWriter(run.errors.path / "outputs.jsonl").append(*made.lines(rows, output, run.name))


@pytest.fixture
def circle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Workspace, Recipe, RunFolder, Repairs]:
    """A run whose answers are misspelt by turns, and the repairs of its data, none made yet."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FTSTUDIO_WORKSPACE", str(tmp_path / "studio"))
    workspace = Workspace(tmp_path / "studio")
    recipe = made.draft(tmp_path)
    first, rows = made.tuned_run(workspace, recipe, "first")
    answer(first, rows, misspelt)
    resolved, _ = made.asked(recipe)
    training = open_training(resolved, workspace.path, Quietly())
    return workspace, resolved, first, Repairs.open(training, workspace)


def second_run(workspace: Workspace, recipe: Recipe, version: Any, output: Any, name: str = "second") -> RunFolder:
    resolved, rows = made.asked(on_version(recipe, version, workspace))
    run = made.finished_run(workspace, resolved, name)
    answer(run, rows, output)
    return run


def test_a_repair_that_helped_is_told_with_its_rows_and_interval(
    circle: tuple[Workspace, Recipe, RunFolder, Repairs],
) -> None:
    workspace, recipe, first, repairs = circle
    held = {row.prompt for row in trail.answers(workspace, first, [])}
    trained = sorted(repairs.training.texts)[:4]
    repairs.drop(trained[:2], "misspelt", ["misspelling"])
    repairs.weigh([trained[2]], 0.5, "doubtful", ["misspelling"])
    assert repairs.aims == ["misspelling"]
    assert repairs.weight(trained[2]) == 0.5
    version = repairs.save("against misspelling")
    assert [repair["details"][AIM] for repair in version.about["repairs"]] == [["misspelling"]] * 2
    second = second_run(workspace, recipe, version, lambda place, row: row.reference or "")
    found = trail.report(workspace, second)
    assert found is not None
    assert (found["run"], found["earlier"], found["version"]) == (second.name, first.name, version.name)
    asked = made.asked(on_version(recipe, version, workspace))[1]
    shared = {row.text for row in asked}
    assert shared == held  # two training rows fewer move no other row
    assert found["rows"] == len(held)
    assert found["meant"] == ["misspelling"]
    entry = found["categories"][0]
    assert (entry["name"], entry["meant"], entry["now"], entry["base"]) == ("misspelling", True, 0.0, None)
    wrong = {row.prompt for row in trail.answers(workspace, first, []) if "livves" in row.output} & shared
    assert entry["earlier"] == len(wrong) / len(shared)
    step = entry["since_earlier"]
    assert step["high"] < 0
    assert {row.text for row in asked if row.row in step["fixed"]} == wrong
    assert step["broke"] == []
    assert found["verdicts"] == [{"name": "misspelling", "did": True, "words": found["verdicts"][0]["words"]}]
    assert (
        f"the repair did what it was meant to: {100 * len(wrong) / len(shared):.1f} % → 0.0 %"
        in found["verdicts"][0]["words"]
    )
    assert [(link["data"], link["runs"]) for link in found["trail"]] == [
        ("source", [first.name]), (version.name, [second.name]),
    ]  # fmt: skip
    text = before_after.text(found, first.name, second.name)
    assert "▸ Misspelling" in text
    assert trail.report(workspace, first) is None
    assert "not trained on a repaired version" in trail.missing(workspace, first)


def test_what_was_broken_is_told_and_rows_that_are_trained_now_are_left_out(
    circle: tuple[Workspace, Recipe, RunFolder, Repairs],
) -> None:
    workspace, recipe, first, repairs = circle
    made.base_answers(workspace, made.draft(workspace.path.parent))
    asked = trail.answers(workspace, first, [])
    for row in asked[:3]:
        repairs.add(row.prompt, row.reference or "", "failing", ["repetitive"])
    version = repairs.save("more")
    assert version.about["rows"] == 83
    worse = second_run(workspace, recipe, version, lambda place, row: "and then " * 30 if place % 2 else "")
    found = trail.report(workspace, worse)
    assert found is not None
    assert (found["left_out"], found["rows"]) == (3, len(asked) - 3)
    entry = next(one for one in found["categories"] if one["name"] == "repetitive")
    assert entry["base"] == pytest.approx(0.4, abs=0.05)
    assert entry["since_earlier"]["low"] > 0
    assert len(entry["since_earlier"]["broke"]) == round(entry["now"] * found["rows"])
    assert found["verdicts"][0]["did"] is False
    third = second_run(workspace, recipe, version, misspelt, "third")
    assert trail.report(workspace, third) is not None
    again, _ = made.asked(on_version(recipe, version, workspace))
    later = Repairs.open(open_training(again, workspace.path, Quietly()), workspace)
    later.drop([sorted(later.training.texts)[0]], "odd", ["too_long"])
    newest = second_run(workspace, recipe, later.save("again"), misspelt, "newest")
    found = trail.report(workspace, newest)
    assert found is not None
    assert found["earlier"] == third.name  # the last run on the version before, not the first of all
    assert found["meant"] == ["too_long"]
    assert [link["data"].partition("@")[2] for link in found["trail"]] == ["", "1", "2"]


def test_a_repaired_version_keeps_its_held_out_rows_and_is_compared_with_what_it_came_from(
    circle: tuple[Workspace, Recipe, RunFolder, Repairs],
) -> None:
    workspace, recipe, first, repairs = circle
    before = {row.prompt for row in trail.answers(workspace, first, [])}
    repairs.drop(sorted(repairs.training.texts)[:20], "half of what was trained", ["misspelling"])
    version = repairs.save("dropped")
    wanted = on_version(recipe, version, workspace)
    assert wanted.data.parted_as == recipe.data.train
    second, rows = made.tuned_run(workspace, wanted, "second")
    assert {row.text for row in rows} == before
    trained = open_training(made.asked(wanted)[0], workspace.path, Quietly()).texts
    assert not before & {prompt for prompt, _ in trained.values()}
    # and again, from the version: one more dropped, a held-out one corrected, one dropped, one written anew to train
    again = load_recipe(second.recipe_path)
    later = Repairs.open(open_training(again, workspace.path, Quietly()), workspace)
    later.drop([sorted(later.training.texts)[0]], "odd")
    later.add("Where does the yak live?", "The yak lives near the mountain.", "missing")
    mended = Repairs.of_held_out(later.training, workspace, {row.row: row.reference or "" for row in rows})
    mended.edit(rows[0].row, "The otter lives near the sea.", "wrong label")
    mended.drop([rows[1].row], "no question")
    third, asked = made.tuned_run(workspace, on_version(again, mended.save("again"), workspace), "third")
    assert load_recipe(third.recipe_path).data.parted_as == recipe.data.train
    assert {row.text for row in asked} == before - {rows[1].text}
    # `compare new --baseline old`: rows go by what they ask and expect, and those that changed are told
    same = gather(Compare(second.compare.path, (str(second.path), str(first.path))))
    assert (len(same.examples), same.left_out) == (len(before), [])
    found = gather(Compare(third.compare.path, (str(third.path), str(first.path))))
    assert len(found.examples) == len(before) - 2
    assert [reason for _, reason in found.left_out] == [f"it is not held out of {first.name}"]
    changed = load_recipe(third.recipe_path)
    files.write(Path(recipe.data.source), Path(recipe.data.source).read_text() + "\n")
    with pytest.raises(StudioError, match=r"data\.parted_as: .* is no version made from .* as it is now"):
        made.asked(changed)


def test_which_recipes_of_a_repaired_version_must_keep_the_old_parting(tmp_path: Path) -> None:
    from ftstudio.engine.parting import parted_as
    from ftstudio.ui.data.model import with_data

    rows = str(made.dataset(tmp_path, 4))

    def data(**more: Any) -> Recipe:
        return Recipe(model="demo", data={"train": rows, **more})  # type: ignore[arg-type]

    assert (
        parted_as(data()) == parted_as(data(eval="held.jsonl", test=0.1)) == parted_as(data(eval="validation")) == rows
    )
    assert parted_as(data(eval=rows)) == rows  # another split of the same source
    assert parted_as(data(eval="held.jsonl")) is parted_as(data(eval=None)) is None
    assert parted_as(data(train="a@2", parted_as=rows)) == rows  # the first of all states
    assert parted_as(data(train="demo")) is None
    # repairs that were saved on the screen Data, too
    assert with_data(data(), "a@1", {}, known_as=[rows]).data.parted_as == rows
    other = with_data(data(train="a@1", parted_as=rows), "other.jsonl", {})
    assert other.data.parted_as is None


def test_answers_asked_otherwise_are_not_held_against_each_other(
    circle: tuple[Workspace, Recipe, RunFolder, Repairs],
) -> None:
    workspace, recipe, first, repairs = circle
    repairs.drop(sorted(repairs.training.texts)[:2], "odd", ["truncated"])
    second = second_run(workspace, recipe, repairs.save("odd"), lambda place, row: row.reference or "")

    def asked(folder: JobFolder, name: str, tokens: int) -> None:
        book = {name: {"decoding": Decoding(tokens).signature(), "template": "plain", "max_length": 256}}
        files.write_json(folder.path / "settings.json", book)

    asked(first.errors, "outputs", 8)
    asked(second.errors, "outputs", 64)
    with pytest.raises(StudioError, match=r"were asked otherwise \(decoding\).*ftstudio errors first") as refused:
        trail.report(workspace, second)
    assert second.name in str(refused.value)
    # a comparison holds answers of the first run that were asked like the second's: those are taken
    lines = files.read_lines(first.errors.path / "outputs.jsonl")
    files.LineWriter(first.compare.path / f"{first.name}.jsonl").append(*lines)
    asked(first.compare, first.name, 64)
    base = made.base_answers(workspace, recipe)
    asked(base, "outputs", 8)
    found = trail.report(workspace, second)
    assert found is not None
    assert {entry["base"] for entry in found["categories"]} == {None}  # the base was asked otherwise
    asked(base, "outputs", 64)
    found = trail.report(workspace, second)
    assert found is not None
    assert {entry["base"] for entry in found["categories"]} != {None}


def test_rows_are_found_again_where_a_version_numbers_them_anew() -> None:
    rows = [Prediction(n, f"Question {n}?", "yes", "yes") for n in range(30)]
    shifted = [Prediction(n + 5, f"Question {n}?", "yes", "no way" if n == 3 else "yes") for n in range(30)]
    found = before_after.before_after({"earlier": rows, "now": shifted}, of_predictions(rows), ["wrong_answer"])
    assert found["rows"] == 30
    entry = found["categories"][0]
    assert entry["name"] == "wrong_answer"
    assert entry["since_earlier"]["broke"] in ([8], [])


def test_data_whose_rows_are_no_pair_takes_no_new_row(tmp_path: Path) -> None:
    path = tmp_path / "chat.jsonl"
    turns = [[{"role": "user", "content": f"Say {n}."}, {"role": "assistant", "content": f"{n}"}] for n in range(30)]
    files.write_lines(path, ({"messages": one} for one in turns))
    recipe = Recipe(model="demo", data={"train": str(path), "eval": 0.2})  # type: ignore[arg-type]
    training = open_training(made.asked(recipe)[0], tmp_path / "studio", Quietly())
    with pytest.raises(UsageError, match="one prompt and one answer"):
        Repairs.open(training, Workspace(tmp_path / "studio")).add("Say 99.", "99", "")


def test_corrected_answers_are_kept_by_line_and_can_be_taken_back(tmp_path: Path) -> None:
    path = tmp_path / "corrections.jsonl"
    kept = Corrections(path)
    kept.set(3, "right")
    kept.set(3, "righter", who="tuned")
    kept.set(5, "so")
    kept.set(5, None)
    with open(path, "a") as file:
        file.write('{"row": 3, "text": "to')  # torn
    assert Corrections(path).texts == {3: "righter"}
    assert [line["who"] for line in files.read_lines(path)] == ["person", "tuned", "person", "person"]
