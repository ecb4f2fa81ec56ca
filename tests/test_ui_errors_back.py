"""From errors back to the data, on screen: orders of review, exports, groups, training rows, repairs."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import made_answers as made
import pytest

from ftstudio.core import files
from ftstudio.core.recipe import Recipe
from ftstudio.core.workspace import Workspace
from ftstudio.data.read import open_dataset
from ftstudio.evaluation.tags import Tag
from ftstudio.ui.errors import pace
from ftstudio.ui.shell.app import StudioApp
from ftstudio.ui.shell.session import Session

SIZES = [(80, 24), (120, 40)]


def studio(tmp_path: Path, recipe: Any = None) -> StudioApp:
    return StudioApp(Session(Workspace(tmp_path / "studio"), recipe), start="errors")


def answered(tmp_path: Path, output: Any = made.faulty) -> tuple[StudioApp, Recipe]:
    recipe = made.draft(tmp_path)
    made.base_answers(Workspace(tmp_path / "studio"), recipe, output)
    return studio(tmp_path, recipe), recipe


async def filtered(pilot: Any, name: str) -> Any:
    """The lists of the screen, their filter on the category NAME."""
    lists = pilot.app.screen.lists
    for _ in range(40):
        if lists.filter == name:
            return lists
        await pilot.press("down")
    raise AssertionError(name)


# -- pace ------------------------------------------------------------------------------------------------------------
def test_the_pace_is_the_persons_own_and_breaks_dont_count() -> None:
    times = [0.0, 10.0, 10.5, 20.0, 30.0, 4000.0, 4010.0, 4500.0, 4510.0]
    rows = [0, 1, 1, 2, 3, 4, 5, 6, 7]
    tags = [Tag(time, row, "empty", "add") for time, row in zip(times, rows, strict=True)]
    assert pace.seconds_a_row(tags) == 10.0
    assert pace.seconds_a_row(tags[:3]) is None
    undone = [*tags, Tag(4511.0, 3, "empty", "reset", note="undo"), Tag(4512.0, 2, "empty", "reset", note="undo")]
    assert pace.seconds_a_row(undone) == 10.0
    assert pace.progress(12, 100, 2.7) == "reviewed 12 of 100 ✎ · about 4 min left"
    assert pace.progress(100, 100, 2.7) == "reviewed 100 of 100 ✎"
    assert pace.progress(99, 100, 2.7).endswith("under 1 min left")
    assert pace.progress(1, 2001, 10.0).endswith("about 6 h left")
    assert pace.progress(0, 100, None) == ""


# -- order -----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("size", SIZES)
async def test_o_chooses_an_order_and_what_was_looked_at_comes_last(tmp_path: Path, size: tuple[int, int]) -> None:
    app, _ = answered(tmp_path)
    async with app.run_test(size=size, notifications=True) as pilot:
        await made.until(pilot, "Repetitive")
        lists = app.screen.lists  # type: ignore[attr-defined]
        first = list(lists.rows)
        assert first == sorted(first)
        # one that can't be had says why, and changes nothing
        await pilot.press("o", "u")
        await made.until(pilot, "judge 3 rows as wrong and 3")
        assert lists.rows == first
        assert app.screen.answers.order.name == "data"  # type: ignore[attr-defined]
        await pilot.press("tab", "enter", "space", "space", "escape", "o")
        await made.until(pilot, "esc  go back")
        await pilot.press("r")
        text = await made.until(pilot, "Order: random")
        assert "reviewed 2 of 40 ✎" in text
        assert set(lists.rows[-2:]) == set(first[:2])
        assert lists.rows[:-2] != first[2:]
        assert sorted(lists.rows) == first
        await pilot.press("o", "c")
        await made.until(pilot, "Order: by category")
        names = app.screen.answers.names  # type: ignore[attr-defined]
        marks = [bool(names(row)) for row in lists.rows[:-2]]
        assert marks == sorted(marks, reverse=True)
        assert lists.row == lists.rows[0]
        # like this one goes on from the row that is read
        predictions = app.screen.answers.predictions  # type: ignore[attr-defined]
        looping = next(row for row in lists.rows[:-2] if predictions[row].output.startswith("and then"))
        lists.go(looping)
        await pilot.press("enter", "o", "l")
        text = await made.until(pilot, "like this one")
        assert re.search(rf"row {looping} +1 of 40 · answers · like this one", text)
        await pilot.press("n")
        assert predictions[lists.row].output.startswith("and then")


async def test_another_session_goes_on_where_one_stopped_at_the_same_pace(tmp_path: Path) -> None:
    app, recipe = answered(tmp_path)
    async with app.run_test(size=(120, 40)) as pilot:
        await made.until(pilot, "Repetitive")
        folder = app.screen.answers.folder  # type: ignore[attr-defined]
        rows = list(app.screen.lists.rows)  # type: ignore[attr-defined]
    lines = [Tag(1000.0 + 30 * place, row, "reviewed", "add").to_line() for place, row in enumerate(rows[:10])]
    files.LineWriter(folder.path / "tags.jsonl").append(*lines)
    async with studio(tmp_path, recipe).run_test(size=(120, 40)) as pilot:
        await made.until(pilot, "reviewed 10 of 40 ✎ · about 15 min left")
        await made.until(pilot, "Repetitive")
        await pilot.press("tab", "enter")
        await made.until(pilot, f"row {rows[10]}  1 of 40")


# -- exports ---------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("size", SIZES)
async def test_failing_rows_become_held_out_rows_and_pairs(tmp_path: Path, size: tuple[int, int]) -> None:
    app, _ = answered(tmp_path)
    async with app.run_test(size=size, notifications=True) as pilot:
        await made.until(pilot, "Repetitive")
        await pilot.press("x", "h")  # without a filter: those with errors
        await made.until(pilot, "data.eval")
        answers = app.screen.answers  # type: ignore[attr-defined]
        wrong = {row for row in answers.predictions if answers.names(row)}
        lists = await filtered(pilot, "repetitive")
        rows = list(lists.rows)
        await pilot.press("x")
        await made.until(pilot, f"repetitive: {len(rows)} of 40")
        await pilot.press("h")
        written = tmp_path / "studio" / "exports" / "base-model-demo-repetitive-held-out.jsonl"  # too long for one line
        for _ in range(300):
            if written.is_file():
                break
            await pilot.pause(0.05)
        await pilot.press("x", "p")
        await made.until(pilot, "rejected")
        predictions = app.screen.answers.predictions  # type: ignore[attr-defined]
    exports = tmp_path / "studio" / "exports"
    assert {row["row"] for row in made.json_lines(exports / "base-model-demo-with-errors-held-out.jsonl")} == wrong
    assert len(wrong) < 40
    held_out = open_dataset(exports / "base-model-demo-repetitive-held-out.jsonl")
    assert [row["row"] for row in held_out] == rows
    assert all("repetitive" in row["categories"] for row in held_out)
    assert [row["completion"] for row in held_out] == [predictions[row].reference for row in rows]
    pairs = [json.loads(line) for line in (exports / "base-model-demo-repetitive-pairs.jsonl").read_text().splitlines()]
    assert [(pair["row"], pair["rejected"]) for pair in pairs] == [(row, predictions[row].output) for row in rows]


# -- training rows ---------------------------------------------------------------------------------------------------
MISSPELT = {3: "livves", 11: "lievs", 27: "livess"}  # training rows with words that there aren't


def with_faults(tmp_path: Path, **data: Any) -> tuple[StudioApp, Recipe, Path]:
    """An app on answers of a recipe whose training file holds misspelt answers; held-out rows are another file."""
    path = made.dataset(tmp_path)
    rows = made.json_lines(path)
    held_out = tmp_path / "held_out.jsonl"
    files.write_lines(held_out, rows[60:])
    for number, word in MISSPELT.items():
        rows[number]["completion"] = rows[number]["completion"].replace("lives", word)
    train = tmp_path / "animals_train.jsonl"
    files.write_lines(train, rows[:60])
    recipe = Recipe(model="demo", data={"train": str(train), "eval": str(held_out), **data})  # type: ignore[arg-type]
    made.base_answers(Workspace(tmp_path / "studio"), recipe)
    return studio(tmp_path, recipe), recipe, train


async def test_a_row_that_nothing_is_near_is_told_and_the_index_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ftstudio.evaluation.neighbours import Neighbours

    app, recipe, _ = with_faults(tmp_path)
    async with app.run_test(size=(80, 24)) as pilot:
        await made.until(pilot, "Repetitive")
        await pilot.press("t")
        await made.until(pilot, "counts as near in this data")
    odd = tmp_path / "odd.jsonl"
    line = {"row": 0, "prompt": "Quarterly invoices of the bank", "reference": None, "output": "and then " * 30}
    files.write_lines(odd, [line | {"row": row} for row in range(3)])

    def never(*_: Any, **__: Any) -> None:
        raise AssertionError("the index was kept")

    monkeypatch.setattr(Neighbours, "build", never)
    async with studio(tmp_path, recipe).run_test(size=(80, 24)) as pilot:
        await made.until(pilot, "Repetitive")
        pilot.app.screen._import(odd)  # type: ignore[attr-defined]
        await made.until(pilot, "stored answers odd.jsonl")
        await made.until(pilot, "Repetitive")
        await pilot.press("t")
        text = await made.until(pilot, "No training prompt is near")
        assert "Rows like it may be missing" in " ".join(text.split())


async def test_reading_the_training_rows_can_be_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import threading

    from ftstudio.ui.errors import backing

    app, _, _ = with_faults(tmp_path)
    held, seen = threading.Event(), []

    def slow(recipe: Any, workspace: Any, work: Any) -> Any:
        work.phase = "embedding 60 training rows"
        work.progress(15, 60)
        held.wait(20)
        seen.append(work.cancel())
        raise AssertionError("nobody waits for this")

    monkeypatch.setattr(backing, "open_training", slow)
    async with app.run_test(size=(80, 24)) as pilot:
        await made.until(pilot, "Repetitive")
        await pilot.press("t")
        await made.until(pilot, "embedding 60 training rows … 25 %   s stops")
        await pilot.press("s")
        await pilot.pause()
        await made.until(pilot, "Stopped: esc leads back, t begins anew")
        assert "s stops" not in made.screen_text(pilot)
        held.set()
        await pilot.press("escape")
        await made.until(pilot, "what is wrong")
    assert seen == [True]


@pytest.mark.parametrize("size", SIZES)
async def test_near_rows_and_those_with_the_fault_are_shown_repaired_undone_saved_and_lead_to_a_recipe(
    tmp_path: Path, size: tuple[int, int]
) -> None:
    app, recipe, train = with_faults(tmp_path)
    source, rows = train.read_bytes(), made.json_lines(train)
    async with app.run_test(size=size) as pilot:
        await made.until(pilot, "Repetitive")
        lists = await filtered(pilot, "misspelling")
        await pilot.press("tab", "enter", "t")
        text = await made.until(pilot, "of the training answers have it too")
        assert f"Training rows near row {lists.row}" in text
        assert "~ Misspelling: 5 % of the training answers have it too (3 of 60)" in text
        page = app.screen.training_page  # type: ignore[attr-defined]
        assert len(page.rows) == 30
        prediction = app.screen.reading.prediction  # type: ignore[attr-defined]
        nearest = page.training.index.nearest(prediction.prompt, prediction.reference, 60)
        assert page.rows == [found.row for found in nearest][:30]
        assert f"{nearest[0].cosine:.2f}" in text
        assert " ".join(rows[page.rows[0]]["prompt"].split()[:6]) in " ".join(text.split())
        await pilot.press("f")
        await made.until(pilot, "Training rows with the same fault")
        assert page.rows == list(MISSPELT)
        assert "livves" in made.screen_text(pilot)
        await pilot.press("escape")
        await made.until(pilot, f"row {lists.row}  1 of")
        await pilot.press("t", "f", "d")
        await made.until(pilot, "1 repair pending")
        await made.until(pilot, "will be dropped")
        await pilot.press("down", "e")
        await made.until(pilot, "ctrl+s accepts")
        await pilot.press(*" Yes.", "ctrl+s")
        await made.until(pilot, "2 repairs pending")
        await made.until(pilot, "edited, not saved yet")
        await pilot.press("down", "d")
        await made.until(pilot, "3 repairs pending")
        await pilot.press("u")
        await made.until(pilot, "2 repairs pending")
    # another session finds them, saves them and goes on to the recipe
    async with studio(tmp_path, recipe).run_test(size=size) as pilot:
        await made.until(pilot, "Repetitive")
        await filtered(pilot, "misspelling")
        await pilot.press("t")  # of the whole category
        text = " ".join((await made.until(pilot, "Those near to most of them stand first")).split())
        await made.until(pilot, "2 repairs pending")
        page, failing = pilot.app.screen.training_page, pilot.app.screen.lists.rows  # type: ignore[attr-defined]
        assert f"Training rows near the {len(failing)} rows of Misspelling" in text
        times = [
            sum(row in {one.row for one in page.training.nearest(asked)} for asked in page.group) for row in page.rows
        ]
        assert times == sorted(times, reverse=True)
        assert times[0] > times[-1]
        await pilot.press("v")
        await made.until(pilot, "Save 2 repairs as a new version")
        await pilot.press("enter")
        await made.until(pilot, "animals-train@1 is saved: 59 rows")
        await pilot.press("r")
        await made.until(pilot, "▸3 Recipe◂")
        chosen = pilot.app.session.recipe  # type: ignore[attr-defined]
    assert list((tmp_path / "studio" / "cache").glob("neighbours-*.npz"))
    assert train.read_bytes() == source
    assert chosen.data.train == str(tmp_path / "studio" / "datasets" / "animals-train@1")
    assert chosen.data.eval == recipe.data.eval
    before, after = made.json_lines(train), list(open_dataset(chosen.data.train))
    before[11]["completion"] += " Yes."
    expected = [row for number, row in enumerate(before) if number != 3]
    assert after == expected
    assert made.asked(chosen)[0].data.train == chosen.data.train


async def test_hostile_training_rows_and_outputs_are_shown_harmlessly(tmp_path: Path) -> None:
    _, recipe, train = with_faults(tmp_path)
    rows = made.json_lines(train)
    for number, row in enumerate(rows):
        row["prompt"] += made.HOSTILE
        row["completion"] += made.HOSTILE if number % 2 else "\x1b]52;c;aGFja2Vk\x07"
    files.write_lines(train, rows)
    made.base_answers(Workspace(tmp_path / "studio"), recipe, lambda place, row: f"{made.HOSTILE} {place}" * 3)
    async with studio(tmp_path, recipe).run_test(size=(80, 24), notifications=True) as pilot:
        await made.until(pilot, "with errors")
        await pilot.press("t")
        await made.until(pilot, "training row")
        for key, comes in (
            ("e", ""),
            ("d", ""),
            ("f", ""),
            ("escape", ""),
            ("m", "The words stand in more"),
            ("enter", ""),
        ):
            await pilot.press(key)
            await pilot.pause()
            assert made.harmless(await made.until(pilot, comes))
        await made.until(pilot, "what is wrong")
    assert train.read_text().count("completion") == len(rows)


async def test_several_sources_have_no_version_and_say_so(tmp_path: Path) -> None:
    path = made.dataset(tmp_path)
    other = tmp_path / "more.jsonl"
    other.write_bytes(path.read_bytes())
    recipe = Recipe(
        model="demo",
        data={"train": [{"path": str(path)}, {"path": str(other)}], "eval": 0.5},  # type: ignore[arg-type]
    )
    made.base_answers(Workspace(tmp_path / "studio"), recipe)
    async with studio(tmp_path, recipe).run_test(size=(80, 24), notifications=True) as pilot:
        await made.until(pilot, "Repetitive")
        await pilot.press("t")
        await made.until(pilot, "Training rows near row 0  80 training rows")
        await pilot.press("d")
        text = await made.until(pilot, "several sources")
        assert "pending" not in text


# -- groups ----------------------------------------------------------------------------------------------------------
THEMES = ("The refrigerator is warm and its milk sour", "My invoice shows a payment to the bank twice")


@pytest.mark.parametrize("size", SIZES)
async def test_m_groups_answers_and_enter_shows_one_groups_rows(tmp_path: Path, size: tuple[int, int]) -> None:
    app, _ = answered(tmp_path, lambda place, row: f"{THEMES[place % 4 == 0]}, says number {place}.")
    async with app.run_test(size=size) as pilot:
        await made.until(pilot, "Too short")
        await pilot.press("m")
        text = await made.until(pilot, "The words stand in more answers of a group", 90)
        assert re.search(r"▸ +30 +75 % .*(refrigerator|milk|warm|sour)", text)
        assert re.search(r" 10 +25 % .*(invoice|payment|bank)", text)
        await pilot.press("down", "enter")
        await made.until(pilot, "what is wrong")
        answers, lists = app.screen.answers, app.screen.lists  # type: ignore[attr-defined]
        assert len(lists.rows) == 10
        assert all("invoice" in answers.predictions[row].output for row in lists.rows)
        await pilot.press("enter")
        assert "1 of 10 · ◇" in await made.until(pilot, "1 of 10 · ◇")
        await pilot.press("m")
        await made.until(pilot, "There are 10 answers here; groups can be told from 12 on.")
        await pilot.press("escape")
        await made.until(pilot, "1 of 10 · ◇")
        await pilot.press("escape", "escape", "up")
        assert len(lists.rows) == 40
