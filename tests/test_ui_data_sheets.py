"""VisiData's habits on the Data screen, and the log that does the same again without a screen."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from data_screen import cursor, screen, settled, studio
from screens import press, until
from textual.pilot import Pilot

from ftstudio.cli import main
from ftstudio.core.errors import StudioError, UsageError
from ftstudio.data.dataset import from_rows
from ftstudio.data.frequency import frequencies
from ftstudio.data.search import Where, find
from ftstudio.data.selected import Selected, packed, unpacked
from ftstudio.data.steps import Replay, read_steps


def table(folder: Path, count: int = 60) -> Path:
    path = folder / "shop.jsonl"
    rows = [
        {"prompt": f"question {n}", "completion": "word " * (n % 7), "kind": "abc"[n % 3], "size": n}
        for n in range(count)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def in_view(pilot: Pilot[Any]) -> list[int]:
    opened = screen(pilot).opened
    assert opened is not None
    return list(opened.sheet.rows)


def told(pilot: Pilot[Any]) -> str:
    """What was last said in passing."""
    return " ".join(note.message for note in pilot.app._notifications)


async def column(pilot: Pilot[Any], name: str) -> None:
    """Go to the column NAME."""
    for _ in range(8):
        if screen(pilot).grid.column_name == name:
            return
        await press(pilot, "right")
    raise AssertionError(name)


async def test_values_lead_to_their_rows(tmp_path: Path) -> None:
    app = studio(tmp_path, table(tmp_path))
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, "question 0")
        await column(pilot, "kind")
        await press(pilot, "F")
        text = await settled(pilot)
        assert "3 values" in text
        assert "33.3 %" in text
        await press(pilot, "down enter")
        text = await settled(pilot)
        assert "kind = b" in text
        assert in_view(pilot) == list(range(1, 60, 3))
        await press(pilot, "F")  # of the rows in view
        assert "1 value in 20 rows" in await settled(pilot)
        await press(pilot, "escape escape")
        assert len(in_view(pilot)) == 60


async def test_rows_are_selected_and_opened_as_a_sheet(tmp_path: Path) -> None:
    app = studio(tmp_path, table(tmp_path))
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, "question 0")
        await press(pilot, "quotation_mark")
        assert "No rows are selected" in told(pilot)
        await press(pilot, "plus plus plus")
        assert cursor(pilot) == 3
        assert "+ 3 selected" in await settled(pilot)
        await press(pilot, "up up minus")
        assert "+ 2 selected" in await settled(pilot)
        await press(pilot, "f text:size>57 enter")
        await settled(pilot)
        await press(pilot, "asterisk escape quotation_mark")
        await settled(pilot)
        assert in_view(pilot) == [0, 2, 58, 59]
        await press(pilot, "asterisk")
        assert "selected" not in (await settled(pilot)).splitlines()[-2].replace("selected", "", 1)
        assert len(screen(pilot).opened.sheet.selected) == 0  # type: ignore[union-attr]


async def test_an_expression_filters_and_what_is_not_allowed_is_said(tmp_path: Path) -> None:
    app = studio(tmp_path, table(tmp_path))
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, "question 0")
        await press(pilot, "equals_sign")
        await pilot.press(*"__import__('os')")
        await press(pilot, "enter")
        assert "isn't allowed" in await settled(pilot)
        await press(pilot, "escape equals_sign")
        await pilot.press(*"words(completion) > 4 and size < 20")
        await press(pilot, "enter")
        await settled(pilot)
        assert in_view(pilot) == [5, 6, 12, 13, 19]
        assert "judged" not in told(pilot)
        await press(pilot, "equals_sign")
        await pilot.press(*"completion > 4")
        await press(pilot, "enter")
        await settled(pilot)
        assert in_view(pilot) == []
        assert "5 rows couldn't be judged" in told(pilot)


async def test_all_that_is_done_is_done_again_without_a_screen(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    source = table(tmp_path)
    app = studio(tmp_path, source)
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, "question 0")
        await press(pilot, "L")
        assert "Nothing was done" in told(pilot)
        await press(pilot, "d")
        await settled(pilot)
        await press(pilot, "d u")
        await settled(pilot)
        await press(pilot, "f text:size>9 enter")
        await settled(pilot)
        await column(pilot, "completion")
        await press(pilot, "s")
        await settled(pilot)
        await press(pilot, "s")
        await settled(pilot)
        await press(pilot, "plus plus down plus F")
        await settled(pilot)
        await press(pilot, "escape d")
        await settled(pilot)
        await press(pilot, "equals_sign")
        await pilot.press(*"kind != 'a'")
        await press(pilot, "enter")
        await settled(pilot)
        await press(pilot, "L")
        text = await settled(pilot)
        assert "--replay" in text
        await press(pilot, "end")
        assert "kind != 'a'" in await settled(pilot)
        state = screen(pilot).opened.state  # type: ignore[union-attr]
        assert state is not None
        wanted = [row for row in in_view(pilot) if row not in state.marks.dropped]
        chosen = screen(pilot).opened.sheet.selected.rows()  # type: ignore[union-attr]
        log = screen(pilot).step_log
        assert log is not None
        shown = [screen(pilot).opened.sheet.read(row) for row in wanted]  # type: ignore[union-attr]
    capfd.readouterr()
    out = tmp_path / "out.jsonl"
    assert main(["data", str(source), "--replay", str(log.path), "--export", str(out), "--json"]) == 0
    value = json.loads(capfd.readouterr().out)
    assert value["rows"] == len(wanted) > 10
    assert value["selected"] == len(chosen) == 3
    assert [json.loads(line) for line in out.read_text().splitlines()] == shown
    assert [step["do"] for step in value["steps"]][:4] == ["open", "edit", "edit", "undo"]
    assert {"filter", "sort", "select", "frequency", "where"} <= {step["do"] for step in value["steps"]}


async def test_a_filter_that_was_stopped_is_replayed_as_far_as_it_came(tmp_path: Path) -> None:
    app = studio(tmp_path, table(tmp_path, 40))
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, "question 0")
        here = screen(pilot)
        assert here.opened is not None
        here.finder.narrow(here.opened, "size>=0")
        await settled(pilot)
        here.opened.sheet.layers[-1].finding = True  # as if it were still looking
        del here.opened.sheet.layers[-1].rows[10:]  # type: ignore[attr-defined]
        here.finder.narrow(here.opened, "kind=a")
        await settled(pilot)
        assert here.step_log is not None
        again = Replay(here.opened.dataset)
        again.run(here.step_log.steps)
        assert list(again.rows) == in_view(pilot) == [0, 3, 6, 9]


def test_logs_that_fit_no_data_are_refused_in_a_sentence(tmp_path: Path) -> None:
    dataset = from_rows([{"a": 1}])
    for step, said in (
        ({"do": "rows", "rows": [[0, 9]]}, "only 1 rows"), ({"do": "filter", "text": "b=1"}, "no column"),
        ({"do": "back"}, "Step 1"), ({"do": "__class__"}, "unknown"), ({"do": ["x"]}, "unknown"), ({}, "unknown"),
        ({"do": "where", "text": "open('x')"}, "isn't allowed"), ({"do": "select"}, "can't be done"),
        ({"do": "edit", "edit": {"id": 1}}, "can't be done"),
    ):  # fmt: skip
        with pytest.raises(UsageError, match=said):
            Replay(dataset).run([step])
    said = [{"do": "filter", "text": "a\u2028b\u0085c"}]
    (tmp_path / "good").write_text("".join(json.dumps(step, ensure_ascii=False) + "\n" for step in said), "utf-8")
    assert read_steps(tmp_path / "good") == said
    (tmp_path / "bad").write_text("{")
    (tmp_path / "empty").write_text("")
    for name in ("bad", "empty", "none"):
        with pytest.raises(StudioError):
            read_steps(tmp_path / name)


def test_a_million_rows_are_selected_and_turned_round_at_once() -> None:
    chosen = Selected(1_000_000)
    chosen.put(range(1_000_000), "select")
    chosen.put(range(10, 999_990), "toggle")
    assert len(chosen) == 20
    assert 9 in chosen
    assert 10 not in chosen
    chosen.resize(5)
    assert chosen.rows() == [0, 1, 2, 3, 4]
    assert packed([3, 4, 5, 9, 8]) == [[3, 5], [9, 9], [8, 8]]
    assert unpacked(packed([3, 4, 5, 9, 8])) == [3, 4, 5, 9, 8]


def test_values_are_counted_in_the_rows_in_view() -> None:
    rows = from_rows([{"a": "x"}, {"a": "y"}, {"a": "x"}, {"a": None}, {}, {"a": 3}])
    assert frequencies(rows, "a").counts == (("x", 2), ("", 2), ("y", 1), ("3", 1))
    assert frequencies(rows, "a", [1, 2]).counts == (("y", 1), ("x", 1))


def test_expressions_find_rows_and_rows_without_a_value_are_passed_over() -> None:
    rows = from_rows([{"a": 1, "b": "x"}, {"a": None, "b": "y"}, {"b": "z"}, {"a": 7, "b": ""}])
    assert list(find(rows, Where("a > 0", rows.names))) == [0, 3]
    assert list(find(rows, Where("index >= 2", rows.names))) == [2, 3]


def test_rows_that_an_expression_can_t_judge_are_counted_and_told() -> None:
    rows = from_rows([{"a": "1"}, {"a": "7"}, {"a": 3}])  # as CSV has them: numbers as text
    test = Where("a > 1", rows.names)
    assert (list(find(rows, test)), test.unjudged) == ([2], 2)
    assert test.told.startswith("2 rows couldn't be judged: text can't be compared with a number; number(column)")
    table = Replay(rows)
    table.run([{"do": "where", "text": "a > 1"}, {"do": "where", "text": "number(a) > 1"}])
    assert ["unjudged" in step for step in table.told] == [True, False]
