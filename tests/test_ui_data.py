"""The screen Data as a person sees it: opening, the table, token view, lengths, checks, search, columns."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import made_answers as made
import pytest
from data_screen import SIZES, cursor, screen, settled, studio
from screens import shown, until

from ftstudio.core import files
from ftstudio.engine.recipes import check_recipe
from ftstudio.ui.data.checks_page import ChecksTable
from ftstudio.ui.data.lens import make_lens
from ftstudio.ui.data.model import open_source
from ftstudio.ui.data.token_page import TokenPage


@pytest.mark.slow
@pytest.mark.parametrize("size", SIZES)
async def test_nothing_open_asks_for_a_dataset_and_a_fault_stands_beside_the_field(tmp_path: Path, size: Any) -> None:
    async with studio(tmp_path).run_test(size=size) as pilot:
        text = await until(pilot, "Open a dataset")
        assert "demo" in text
        await pilot.press(*"nowhere.csv", "enter")
        text = await until(pilot, "✗")
        assert "There is no file" in text
        assert "nowhere.csv" in text


async def test_the_path_typed_is_completed_and_opened_and_remembered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made.dataset(tmp_path, 30)
    monkeypatch.chdir(tmp_path)
    async with studio(tmp_path).run_test(size=(80, 24)) as pilot:
        await until(pilot, "animals.jsonl")  # offered: it lies here
        await pilot.press("a", "n", "tab", "enter")
        text = await until(pilot, "30 rows")
        assert "prompt → completion" in text
        assert pilot.app.session.data_source == str(tmp_path / "animals.jsonl")  # type: ignore[attr-defined]
        await pilot.press("o")
        text = await until(pilot, "Open a dataset")
        assert "30 rows, prompt → completion" in text  # recent, with what it was
        await pilot.press("escape")
        await until(pilot, "1 of 30")


@pytest.mark.parametrize("size", SIZES)
async def test_the_table_tells_the_mapping_and_moves(tmp_path: Path, size: Any) -> None:
    path = made.dataset(tmp_path)
    async with studio(tmp_path, path).run_test(size=size) as pilot:
        text = await until(pilot, "80 rows")
        assert "▸prompt" in text
        assert "▸completion" in text
        assert "animals.jsonl" in text
        assert "utf-8" in text
        await pilot.press("end")
        text = await until(pilot, "80 of 80")
        assert "row 79" in text
        await pilot.press("pageup", "home", "down", "down")
        assert cursor(pilot) == 2
        await pilot.press("right")
        await until(pilot, "column completion")


@pytest.mark.parametrize("size", SIZES)
async def test_a_row_whole_and_the_ones_beside_it(tmp_path: Path, size: Any) -> None:
    path = tmp_path / "long.jsonl"
    long = " ".join(f"word{n}" for n in range(1_500))
    files.write_lines(path, [{"prompt": "short", "completion": long}, {"prompt": "second", "completion": "b"}])
    async with studio(tmp_path, path).run_test(size=size) as pilot:
        await until(pilot, "2 rows")
        await pilot.press("enter")
        text = await until(pilot, "characters")
        assert "word0 word1" in text
        assert "word1499" not in text
        await pilot.press("end")
        await until(pilot, "word1499")
        await pilot.press("n")
        await until(pilot, "second")
        await pilot.press("p", "escape")
        await until(pilot, "▸prompt")
        assert cursor(pilot) == 0


@pytest.mark.parametrize("size", SIZES)
async def test_the_token_view_shows_what_is_trained(tmp_path: Path, size: Any) -> None:
    path = made.dataset(tmp_path)
    async with studio(tmp_path, path).run_test(size=size) as pilot:
        await until(pilot, "80 rows")
        await pilot.press("t")
        text = await until(pilot, "end token learnt")
        opened = open_source(str(path), None)
        assert opened.shape is not None
        lens = make_lens(("sft", "demo", None, None, (), {}), opened.shape)
        view = lens.view(opened.dataset, 0, opened.shape, lens.limit)
        assert f"{view.trained} trained" in text
        assert f"{view.masked} masked" in text
        assert "template" in text
        page = screen(pilot).query_one(TokenPage)
        for _ in range(200):  # it is laid out again where the tokenizer comes later
            if page.laid:
                break
            await pilot.pause(0.05)
        assert [ink for _, ink in _shown(page)] == [_ink(piece) for piece in view.pieces]
        await pilot.press("right")
        await until(pilot, "row 1 ")
        await pilot.press("m")
        await pilot.press("m")
        await pilot.press("w")
        assert "⟨" in shown(pilot.app)
        await pilot.press("escape")
        await until(pilot, "▸prompt")


def _ink(piece: Any) -> str:
    if piece.lost:
        return "lost"
    if piece.special:
        return "special-trained" if piece.trained else "special"
    return "trained" if piece.trained else "masked"


def _shown(page: TokenPage) -> list[tuple[str, str]]:
    """The tokens on PAGE, one entry each: what stands between two dots, in the ink it has."""
    found: list[tuple[str, str]] = []
    fresh = True
    for line in page.laid:
        for text, ink in line:
            if ink == "rule" and text == "·":
                fresh = True
            elif (text or ink != "rule") and fresh:
                found.append((text, ink))
                fresh = False
    return found


async def test_what_a_cut_loses_is_marked_and_counted(tmp_path: Path) -> None:
    path = made.dataset(tmp_path)
    recipe = check_recipe({"model": "demo", "data": {"train": str(path), "max_length": 16}})
    async with studio(tmp_path, path, recipe).run_test(size=(80, 24)) as pilot:
        await until(pilot, "80 rows")
        await pilot.press("t")
        text = await until(pilot, "cut here")
        assert "max_length 16" in text
        assert "end token not learnt" in text
        await pilot.press("escape", "k")
        text = await until(pilot, "cut by max length" if pilot.app.size.width > 70 else "warning")
        assert "all labels masked" in text or "error" in text
        await pilot.press("enter")
        await until(pilot, "of 80")


@pytest.mark.parametrize("size", SIZES)
async def test_lengths_are_drawn_with_the_cut(tmp_path: Path, size: Any) -> None:
    path = made.dataset(tmp_path)
    recipe = check_recipe({"model": "demo", "data": {"train": str(path), "max_length": 24}})
    async with studio(tmp_path, path, recipe).run_test(size=size) as pilot:
        await until(pilot, "80 rows")
        await pilot.press("h")
        text = await until(pilot, "24 ┆")
        assert "total" in text
        assert "prompt (masked)" in text
        assert "completion (trained)" in text
        assert "80 rows (100.0 %) are cut" in text
        assert "░" in text
        await pilot.press("m")
        await until(pilot, "nothing is cut")


@pytest.mark.parametrize("size", SIZES)
async def test_checks_lead_to_their_rows(tmp_path: Path, size: Any) -> None:
    path = tmp_path / "faulty.jsonl"
    rows = [{"prompt": f"question {n}", "completion": f"answer {n}"} for n in range(30)]
    rows[7] = rows[3]
    rows[9] = {"prompt": "question 9", "completion": ""}
    path.write_text("\n".join(json.dumps(row) for row in rows) + "\n{torn\n")
    async with studio(tmp_path, path).run_test(size=size) as pilot:
        text = await until(pilot, "30 rows")
        assert "1 not read" in text
        await pilot.press("k")
        text = await until(pilot, "✗ error")
        assert "! warning" in text
        await pilot.press("enter")  # what can't be read has no row: its line is shown
        text = await until(pilot, "line 31")
        assert "{torn" in text
        await pilot.press("escape")
        checks = screen(pilot).query_one(ChecksTable)
        names = [check.name for check in checks.checks]
        await pilot.press(*["down"] * (names.index("exact_duplicate") - checks.cursor))
        await pilot.press("enter")
        await until(pilot, "exact duplicate")
        assert cursor(pilot) == 7
        await pilot.press("escape")
        await until(pilot, "of 30")
        assert cursor(pilot) == 7  # the row stays in view


async def test_search_and_filters_stack_and_are_taken_back(tmp_path: Path) -> None:
    path = made.dataset(tmp_path)
    async with studio(tmp_path, path).run_test(size=(80, 24)) as pilot:
        await until(pilot, "80 rows")
        await pilot.press("slash", *"heron", "enter")
        text = await until(pilot, "1 of 8")
        assert cursor(pilot) == 1
        await pilot.press("n")
        assert cursor(pilot) == 11
        await pilot.press("N", "N")
        assert cursor(pilot) == 71  # round the start
        await pilot.press("escape", "f", *"completion:river", "enter")
        await until(pilot, "1 of 10")
        await pilot.press("f", *"prompt:otter", "enter")
        text = await until(pilot, "1 of 1 ")
        assert "completion:river" in text
        assert "prompt:otter" in text
        await pilot.press("escape")
        await until(pilot, "1 of 10")
        await pilot.press("escape")
        await until(pilot, "of 80")
        await pilot.press("f", *"prompt>x", "enter")
        text = await until(pilot, "✗")
        assert "compares with no number" in text
        await pilot.press("escape")
        await until(pilot, "of 80")
        await pilot.press("f", *"nosuchword", "enter")
        await until(pilot, "nothing to show")


async def test_sort_goes_up_down_and_back(tmp_path: Path) -> None:
    path = tmp_path / "n.csv"
    path.write_text("name,size\n" + "".join(f"n{n},{(n * 7) % 10}\n" for n in range(10)))
    async with studio(tmp_path, path).run_test(size=(80, 24)) as pilot:
        await until(pilot, "10 rows")
        await pilot.press("right", "s")
        await until(pilot, "▲")
        sheet = screen(pilot).opened.sheet  # type: ignore[union-attr]
        assert [sheet.row(n)["size"] for n in range(10)] == [str(n) for n in range(10)]
        await pilot.press("s")
        await until(pilot, "▼")
        assert [sheet.row(n)["size"] for n in range(10)] == [str(9 - n) for n in range(10)]
        await pilot.press("s")
        await settled(pilot)
        assert list(sheet.rows) == list(range(10))


@pytest.mark.parametrize("size", SIZES)
async def test_columns_are_chosen_and_go_into_the_recipe(tmp_path: Path, size: Any) -> None:
    path = tmp_path / "odd.csv"
    path.write_text("alpha,beta\n" + "".join(f"what is {n}?,it is {n}\n" for n in range(12)))
    async with studio(tmp_path, path).run_test(size=size) as pilot:
        await until(pilot, "no columns recognised")
        await pilot.press("c")
        text = await until(pilot, "Which column plays which part?")
        assert "✗" in text
        assert "esc back" in text
        await pilot.press("right", "down", "left")
        text = await until(pilot, "it is 0")
        assert "✓ prompt → completion; row 0 reads:" in text
        assert "what is 0?" in text
        assert "it is 0" in text
        await pilot.press("enter")
        await until(pilot, "mapped by you")
        assert "▸completion" in shown(pilot.app)
        await pilot.press("r")
        await pilot.pause()
        recipe = pilot.app.session.recipe  # type: ignore[attr-defined]
        assert recipe.data.train == str(path)
        assert (recipe.data.columns.prompt, recipe.data.columns.completion) == ("alpha", "beta")


@pytest.mark.parametrize("size", SIZES)
async def test_statistics_of_all_columns(tmp_path: Path, size: Any) -> None:
    path = tmp_path / "kinds.csv"
    path.write_text("text,label\n" + "".join(f"row {n},{'spam' if n % 4 else 'ham'}\n" for n in range(40)))
    async with studio(tmp_path, path).run_test(size=size) as pilot:
        await until(pilot, "40 rows")
        await pilot.press("i")
        await until(pilot, "distinct")
        await pilot.press("right")
        text = await until(pilot, "75.0 %")
        assert "spam" in text


async def test_copying_a_row_names_the_file(tmp_path: Path) -> None:
    path = made.dataset(tmp_path)
    async with studio(tmp_path, path).run_test(size=(80, 24), notifications=True) as pilot:
        await until(pilot, "80 rows")
        await pilot.press("down", "y")
        await until(pilot, "copied.txt")
        copied = json.loads((tmp_path / "studio" / "copied.txt").read_text())
        assert copied == files.read_lines(path)[1]


@pytest.mark.slow
async def test_another_screens_data_is_opened_on_coming_back(tmp_path: Path) -> None:
    first, second = made.dataset(tmp_path, 20), tmp_path / "second.jsonl"
    files.write_lines(second, [{"question": "q", "answer": "a"}] * 5)
    async with studio(tmp_path, first).run_test(size=(80, 24)) as pilot:
        await until(pilot, "20 rows")
        pilot.app.session.data_source = str(second)  # type: ignore[attr-defined]
        await pilot.press("6")
        await pilot.pause()
        await pilot.press("1")
        await until(pilot, "5 rows")


@pytest.mark.slow
async def test_who_wanted_the_mapping_is_told(tmp_path: Path) -> None:
    path = made.dataset(tmp_path)
    columns = {"prompt": "prompt", "completion": "completion"}
    recipe = check_recipe({"model": "demo", "data": {"train": str(path), "columns": columns}})
    async with studio(tmp_path, path, recipe).run_test(size=(80, 24)) as pilot:
        await until(pilot, "by recipe: prompt = prompt, completion = completion")
    async with studio(tmp_path, path).run_test(size=(80, 24)) as pilot:
        await until(pilot, "guessed (c changes it): columns")
