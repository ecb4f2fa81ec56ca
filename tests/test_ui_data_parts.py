"""What the Data screen is made of, without a screen: cells, columns, bars, layers, paths, lines of tokens."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import made_answers as made
import pytest
from data_screen import WORST
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.cells import cell_len
from textual.app import App

from ftstudio.core import files
from ftstudio.core.text import clean
from ftstudio.data.dataset import from_rows
from ftstudio.data.row_set import Item, RowSet
from ftstudio.engine.recipes import check_recipe
from ftstudio.ui.common.pathfield import PathField
from ftstudio.ui.common.paths import absent, complete, is_folder
from ftstudio.ui.data.cells import cell, widths
from ftstudio.ui.data.grid import Grid
from ftstudio.ui.data.histogram import LengthsPage, bars
from ftstudio.ui.data.lens import make_lens, next_cut
from ftstudio.ui.data.model import open_source, with_data
from ftstudio.ui.data.sheet import Layer, Search, Sheet, scan
from ftstudio.ui.data.token_page import TokenPage


@settings(max_examples=40, deadline=None)
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


@settings(max_examples=40, deadline=None)
@given(NESTED)
def test_any_value_is_one_safe_line_in_a_cell(value: Any) -> None:
    text = cell(value)
    assert made.harmless(text)
    assert "\n" not in text
    assert len(text) <= 400


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(0, 1000), min_size=1, max_size=50), st.integers(1, 8))
def test_bars_show_every_count_that_is_not_zero_and_the_highest_fills(counts: list[int], height: int) -> None:
    lines = bars(counts, height)
    assert len(lines) == height
    for place, count in enumerate(counts):
        column = [line[place] for line in lines]
        assert (column[-1] == " ") == (count == 0)
        if count == max(counts) and count:
            assert column == ["█"] * height


@settings(max_examples=40, deadline=None)
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
    assert absent("data/mails-a.jsonl") == absent("data/*.jsonl") == absent("demo") == absent("\x00") == ""
    assert absent("data/mials.jsonl") == "there is no mials.jsonl in data"
    assert absent("dta/mails.jsonl") == "there is no folder dta"
    assert "on the hub" in absent("owner/name")
    assert "on the hub" in absent("gpt2", is_folder)


async def test_a_folder_that_is_named_is_no_choice_below_itself(tmp_path: Path) -> None:
    for name in ("one", "two", "two-more"):
        (tmp_path / name).mkdir()
    app: App[None] = App()
    async with app.run_test(size=(60, 10)) as pilot:
        field = PathField(f"{tmp_path}/one", wanted=is_folder)
        await app.mount(field)
        await pilot.pause()
        assert field.options.options == ()
        field.set_value(f"{tmp_path}/two")
        await pilot.pause()
        assert [path for path, _ in field.options.options] == [f"{tmp_path}/two/", f"{tmp_path}/two-more/"]


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


def test_every_line_of_tokens_fits(tmp_path: Path) -> None:
    rows = [{"prompt": "世界 " * 30 + made.HOSTILE, "completion": "a" * 300 + "\n\n\nb\tc"}]
    path = tmp_path / "wide.jsonl"
    files.write_lines(path, rows)
    opened = open_source(str(path), None)
    assert opened.shape is not None
    lens = make_lens(("sft", "demo", None, None, (), {}), opened.shape)
    page = TokenPage()
    page.show(lens.view(opened.dataset, 0, opened.shape, None), "")
    for way in ("tokens", "ids", "text"):
        page.way = way
        for line in page.compose_lines(60):
            text = "".join(part for part, _ in line)
            assert cell_len(text) <= 61  # the dot behind a last token may stand in the edge's column
            assert made.harmless(clean(text))
            assert made.harmless(text)


def test_windows_are_not_shown_as_a_cut() -> None:
    encoded = RowSet()
    items = [Item([7] * 32, {"labels": [7] * 32}, 31) for _ in range(5)]  # a text of 160 tokens
    for item in items:
        encoded.take(0, item)
    encoded.account(items)
    page = LengthsPage()
    page.encoded, page.max_length, page.parted = encoded, 32, False

    def told() -> str:
        return "\n".join("".join(text for text, _ in line) for line in page.compose_lines(80))

    assert "░" in told()
    page.windows = True
    assert "✓ nothing is cut: 5 windows of at most 32 tokens" in told()
    assert "░" not in told()


def test_columns_come_back_into_view_where_there_is_room(monkeypatch: pytest.MonkeyPatch) -> None:
    grid = Grid()
    grid._widths, grid.column = [30, 30], 1

    def first(room: int) -> int:
        monkeypatch.setattr(Grid, "columns", property(lambda _: room))
        grid._follow()
        return grid.first

    assert first(1) == 0  # while another view stands there
    assert first(50) == 1
    assert first(80) == 0


def test_the_door_offers_the_rows_of_the_run_in_view_once_each(tmp_path: Path) -> None:
    from ftstudio.core.workspace import Workspace
    from ftstudio.ui.data import recent

    workspace = Workspace(tmp_path / "studio")
    run = workspace.new_run("mails")
    train, held = str(tmp_path / "train.jsonl"), str(tmp_path / "dev.jsonl")
    recent.remember(workspace, train, "opened lately")
    run.recipe_path.write_text(f"model: demo\ndata: {{train: {train}, eval: {held}}}\n")
    said = [note for _, note in recent.offers(workspace, run)]
    assert said[:2] == ["trained on by mails-1", "held out from mails-1"]
    assert "opened lately" not in said
    run.recipe_path.write_text("model: demo\ndata: {train: demo, eval: demo}\n")
    assert [source for source, _ in recent.offers(workspace, run)].count("demo") == 1
    run.recipe_path.write_text("model: [")
    assert "trained on by mails-1" not in [note for _, note in recent.offers(workspace, run)]
