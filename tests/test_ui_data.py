"""The screen Data as a person sees it: opening, the table, token view, lengths, checks, search, columns."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import made_answers as made
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len
from screens import press, shown, until
from textual.pilot import Pilot

from ftstudio.core import files
from ftstudio.core.text import clean
from ftstudio.core.workspace import Workspace
from ftstudio.data.dataset import from_rows
from ftstudio.engine.recipes import check_recipe
from ftstudio.ui.common.paths import complete
from ftstudio.ui.data.cells import cell, widths
from ftstudio.ui.data.checks_page import ChecksTable
from ftstudio.ui.data.histogram import bars
from ftstudio.ui.data.lens import make_lens, next_cut
from ftstudio.ui.data.model import open_source, with_data
from ftstudio.ui.data.screen import DataScreen
from ftstudio.ui.data.sheet import Layer, Search, Sheet, scan
from ftstudio.ui.data.token_page import TokenPage
from ftstudio.ui.shell.app import StudioApp
from ftstudio.ui.shell.session import Session

SIZES = [(80, 24), (120, 40)]
WORST = st.text(st.characters() | st.sampled_from("\x1b[]\x00\u202e世 \n\t"), max_size=200)


def studio(tmp_path: Path, source: str | Path | None = None, recipe: Any = None) -> StudioApp:
    session = Session(Workspace(tmp_path / "studio"), recipe)
    if source is not None:
        session.data_source = str(source)
    return StudioApp(session, start="data")


def screen(pilot: Pilot[Any]) -> DataScreen:
    found = pilot.app.screen_stack[0]  # what lies below a dialog
    assert isinstance(found, DataScreen)
    return found


def cursor(pilot: Pilot[Any]) -> int | None:
    """The number of the row under the cursor."""
    return screen(pilot).grid.row_number


async def settled(pilot: Pilot[Any]) -> str:
    """The screen once nothing is being worked on."""
    for _ in range(400):
        await pilot.pause()
        if not screen(pilot).background.running:
            break
        await asyncio.sleep(0.05)
    await pilot.pause()
    return shown(pilot.app)


# -- without widgets -------------------------------------------------------------------------------------------------
@given(st.lists(st.integers(1, 60), min_size=1, max_size=9), st.integers(20, 200))
def test_columns_share_the_room_and_scroll_where_it_is_too_little(natural: list[int], room: int) -> None:
    found = widths(natural, room)
    assert len(found) == len(natural)
    assert all(0 < got <= max(want, 4) for got, want in zip(found, natural, strict=True))
    least = sum(min(want, 14) for want in natural) + 2 * (len(natural) - 1)
    if least <= room:
        assert sum(found) + 2 * (len(found) - 1) <= room
        hungry = [got < want for got, want in zip(found, natural, strict=True)]
        assert not any(hungry) or room - sum(found) - 2 * (len(found) - 1) < len(found)  # nothing is left over


NESTED = st.recursive(
    st.none() | st.booleans() | st.floats() | WORST,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
)


@given(NESTED)
def test_any_value_is_one_safe_line_in_a_cell(value: Any) -> None:
    text = cell(value)
    assert made.harmless(text)
    assert "\n" not in text
    assert len(text) <= 400


@given(st.lists(st.integers(0, 1000), min_size=1, max_size=50), st.integers(1, 8))
def test_bars_show_every_count_that_is_not_zero_and_the_highest_fills(counts: list[int], height: int) -> None:
    lines = bars(counts, height)
    assert len(lines) == height
    for place, count in enumerate(counts):
        column = [line[place] for line in lines]
        assert (column[-1] == " ") == (count == 0)
        if count == max(counts) and count:
            assert column == ["█"] * height


@given(st.lists(st.booleans(), max_size=40), st.integers(0, 39))
def test_hits_are_found_round_the_end_and_walked_both_ways(matching: list[bool], start: int) -> None:
    dataset = from_rows([{"text": str(flag)} for flag in matching] or [{"text": "False"}])
    rows = range(len(dataset))
    start = min(start, len(rows) - 1)
    search = Search("true")
    for place in scan(dataset, rows, lambda _, row: row["text"] == "True", start, lambda done, total: False):
        search.add(place)
    wanted = [place for place, flag in enumerate(matching) if flag]
    assert search.places == wanted
    if wanted:
        assert search.after(start) == next((place for place in wanted if place > start), wanted[0])
        assert search.before(start) == next((place for place in reversed(wanted) if place < start), wanted[-1])


def test_layers_show_the_rows_of_the_topmost() -> None:
    sheet = Sheet(from_rows([{"n": n} for n in range(10)]))
    assert list(sheet.rows) == list(range(10))
    sheet.layers += [Layer("even", [0, 2, 4]), Layer("big", [4])]
    assert (list(sheet.rows), sheet.label, sheet.row(0)) == ([4], "even  ▸ big", {"n": 4})
    sheet.layers.pop()
    assert sheet.place_of(4) == 2


def test_paths_are_completed_as_a_shell_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "data").mkdir()
    for name in ("mails-a.jsonl", "mails-b.jsonl", "photo.jpg", ".hidden.csv"):
        (tmp_path / "data" / name).touch()
    monkeypatch.chdir(tmp_path)
    assert complete("da").value == "data/"
    found = complete("data/m")
    assert found.value == "data/mails-"
    assert found.options == ("data/mails-a.jsonl", "data/mails-b.jsonl")
    assert complete("data/").options == ("data/mails-a.jsonl", "data/mails-b.jsonl")  # no photo, nothing hidden
    assert complete("data/ls-b").value == "data/mails-b.jsonl"  # within the name
    assert complete("nowhere/x").options == ()
    assert complete("\x00").options == ()


def test_a_recipe_from_other_data_keeps_the_model_and_drops_what_was_the_datas(tmp_path: Path) -> None:
    first = check_recipe(
        {
            "model": "demo",
            "method": "qlora",
            "data": {"train": "a.csv", "template": "alpaca", "limit": 3, "eval": "b.csv"},
        }
    )
    other = with_data(first, "c.jsonl", {"prompt": "q", "completion": "a"})
    assert (other.model, other.method.name, other.data.train) == ("demo", "qlora", "c.jsonl")
    assert other.data.columns is not None
    assert other.data.columns.prompt == "q"
    assert (other.data.template, other.data.limit, other.data.eval) == (None, None, 0.1)
    same = with_data(first, "a.csv", {})
    assert (same.data.template, same.data.limit, same.data.eval) == ("alpaca", 3, "b.csv")


def test_cuts_go_round_and_hold_the_recipes_own() -> None:
    seen: list[int | None] = [next_cut(None, 300)]
    while seen[-1] is not None:
        seen.append(next_cut(seen[-1], 300))
    assert 300 in seen
    assert seen[:-1] == sorted(seen[:-1])  # type: ignore[type-var]


# -- the screen ------------------------------------------------------------------------------------------------------
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
        lens = make_lens(("sft", "demo", None, None), opened.shape)
        view = lens.view(opened.dataset, 0, opened.shape, lens.limit)
        assert f"{view.trained} trained" in text
        assert f"{view.masked} masked" in text
        assert "template" in text
        page = screen(pilot).query_one(TokenPage)
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
        text = await until(pilot, "max_length 16")
        assert "cut here" in text
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
        text = await until(pilot, "✓ prompt → completion; row 0 reads:")
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


@pytest.mark.parametrize("size", SIZES)
async def test_hostile_rows_are_shown_and_harm_nothing(tmp_path: Path, size: Any) -> None:
    path = tmp_path / "hostile.jsonl"
    name = "pr[/]om\x1b[2Jpt"
    files.write_lines(path, [{name: made.HOSTILE, "[b +": [made.HOSTILE, {"[/": made.HOSTILE}], "世界": None}] * 3)
    async with studio(tmp_path, path).run_test(size=size) as pilot:
        text = await until(pilot, "3 rows")
        assert "世界" in text
        assert made.harmless(text)
        for keys in ("enter", "escape i", "escape c", "right down right enter", "t", "escape k", "escape h"):
            await press(pilot, keys)
            await pilot.pause(0.3)
            assert made.harmless(await settled(pilot))


async def test_a_hundred_thousand_rows_page_without_reading_them_all(tmp_path: Path) -> None:
    path = tmp_path / "big.jsonl"
    path.write_text("".join(f'{{"prompt": "question {n}", "completion": "answer {n}"}}\n' for n in range(100_000)))
    async with studio(tmp_path, path).run_test(size=(80, 24)) as pilot:
        await until(pilot, "100,000 rows")
        grid = screen(pilot).grid
        reads = 0
        store = grid.sheet.dataset.store  # type: ignore[union-attr]
        original = type(store).row

        def counted(self: Any, index: int) -> Any:
            nonlocal reads
            reads += 1
            return original(self, index)

        type(store).row = counted  # type: ignore[method-assign]
        try:
            await pilot.press("end")
            text = await until(pilot, "100,000 of 100,000")
            await pilot.press("pageup")
        finally:
            type(store).row = original  # type: ignore[method-assign]
        assert "99,999" in text
        assert reads < 200
        await pilot.press("home", "f", *"prompt.length>13", "enter")  # numbers of five digits
        await until(pilot, "1 of 90,000", 30)


async def test_a_long_filter_is_stopped_by_escape(tmp_path: Path) -> None:
    path = tmp_path / "big.jsonl"
    path.write_text("".join(f'{{"prompt": "question {n}", "completion": "answer {n}"}}\n' for n in range(60_000)))
    async with studio(tmp_path, path).run_test(size=(80, 24)) as pilot:
        await until(pilot, "60,000 rows")
        await pilot.press("f", *"answer", "enter")
        await pilot.press("escape")
        await settled(pilot)
        shown = screen(pilot)
        assert not shown.opened.sheet.layers  # type: ignore[union-attr]
        assert len(shown.opened.sheet) == 60_000  # type: ignore[union-attr]


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


async def test_idle_writes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = made.dataset(tmp_path)
    async with studio(tmp_path, path).run_test(size=(80, 24)) as pilot:
        await until(pilot, "80 rows")
        await settled(pilot)
        await asyncio.sleep(0.5)
        drawn: list[Any] = []
        original = screen(pilot)._compositor.render_update

        def counted(*values: Any, **named: Any) -> Any:
            drawn.append(values)
            return original(*values, **named)

        monkeypatch.setattr(screen(pilot)._compositor, "render_update", counted)
        await asyncio.sleep(1.2)
        assert drawn == []


REAL = [
    ("gsm8k/test.jsonl", "1,319 rows", "prompt → completion"),
    ("llamafactory-demo/alpaca_en_demo.json", "999 rows", "Alpaca"),
    ("fastchat-sharegpt/dummy_conversation.json", "500 rows", "ShareGPT"),
    ("openai-cookbook-chat/toy_chat_fine_tuning.jsonl", "5 rows", "OpenAI messages"),
    ("mlx-wikisql-lora/test.jsonl", "100 rows", "running text"),
    ("sms-spam/sms.tsv", "5,574 rows", ""),
    ("csvkit-awkward/test_utf16_big.csv", "rows", "utf-16"),
]


@pytest.mark.parametrize(("name", "rows", "kind"), REAL)
async def test_real_files_open_and_show_their_tokens(
    shared: Path, tmp_path: Path, name: str, rows: str, kind: str
) -> None:
    path = shared / "data" / name
    if not path.exists():
        pytest.skip(f"{path} is not there")
    async with studio(tmp_path, path).run_test(size=(80, 24)) as pilot:
        text = await until(pilot, rows)
        assert kind.lower() in text.lower()
        assert made.harmless(text)
        if screen(pilot).opened.shape is not None:  # type: ignore[union-attr]
            await pilot.press("t")
            await until(pilot, "trained (")


def test_every_line_of_tokens_fits(tmp_path: Path) -> None:
    rows = [{"prompt": "世界 " * 30 + made.HOSTILE, "completion": "a" * 300 + "\n\n\nb\tc"}]
    path = tmp_path / "wide.jsonl"
    files.write_lines(path, rows)
    opened = open_source(str(path), None)
    assert opened.shape is not None
    lens = make_lens(("sft", "demo", None, None), opened.shape)
    page = TokenPage()
    page.view = lens.view(opened.dataset, 0, opened.shape, None)
    for way in ("tokens", "ids", "text"):
        page.way = way
        for line in page.compose_lines(60):
            text = "".join(part for part, _ in line)
            assert cell_len(text) <= 61  # the dot behind a last token may stand in the edge's column
            assert made.harmless(clean(text))
            assert made.harmless(text)


async def test_a_file_that_changes_or_goes_while_it_is_open_ends_nothing(tmp_path: Path) -> None:
    path = made.dataset(tmp_path, 80)
    async with studio(tmp_path, path).run_test(size=(80, 24), notifications=True) as pilot:
        await until(pilot, "80 rows")
        with open(path, "r+b") as file:
            file.truncate(100)
        for keys in (
            "end",
            "home",
            "enter",
            "escape t",
            "escape k",
            "escape h",
            "escape i",
            "escape f text:otter enter",
        ):
            await press(pilot, keys)
            await settled(pilot)
        path.unlink()
        for keys in ("escape", "end", "pageup", "enter", "escape t", "escape y"):
            await press(pilot, keys)
            await settled(pilot)
        await press(pilot, "escape home end")
        await until(pilot, "✗ the file was changed or moved")
        await press(pilot, "escape o")
        await until(pilot, "Open a dataset")
        await pilot.press(*str(path), "enter")
        await until(pilot, "✗ There is no file")


async def test_what_is_typed_on_the_way_to_the_screen_is_not_lost(tmp_path: Path) -> None:
    app = studio(tmp_path)
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, "Open a dataset")
        await pilot.press("6")  # in the empty line a digit goes to its screen
        await until(pilot, "▸6 Runs◂")
        await pilot.press("1", *"demo2")  # typed before the screen is up again; a digit behind letters is text
        await until(pilot, "demo2")
        await pilot.press("escape")  # out of the line: letters are keys again
        await until(pilot, "o name a file")
        await pilot.press("o", *["backspace"] * 5, "?")
        await until(pilot, "Data is where you look at the rows")


async def test_who_wanted_the_mapping_is_told(tmp_path: Path) -> None:
    path = made.dataset(tmp_path)
    columns = {"prompt": "prompt", "completion": "completion"}
    recipe = check_recipe({"model": "demo", "data": {"train": str(path), "columns": columns}})
    async with studio(tmp_path, path, recipe).run_test(size=(80, 24)) as pilot:
        await until(pilot, "by recipe: prompt = prompt, completion = completion")
    async with studio(tmp_path, path).run_test(size=(80, 24)) as pilot:
        await until(pilot, "guessed (c changes it): columns")
