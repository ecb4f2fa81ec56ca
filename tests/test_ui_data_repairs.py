"""Repairs on the screen Data: edited, dropped, undone, saved; nothing ever writes to the person's own file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import made_answers as made
import pytest
from data_screen import SIZES, WORST, cursor, screen, settled, studio
from hypothesis import given, settings
from hypothesis import strategies as st
from screens import press, until
from terminal import Terminal, ftstudio
from textual.pilot import Pilot

from ftstudio.core import files
from ftstudio.core.errors import UsageError
from ftstudio.core.text import clean
from ftstudio.data.dataset import from_rows
from ftstudio.data.versions.actions import add, drop, set_cell
from ftstudio.data.versions.pending import Pending
from ftstudio.data.versions.shelf import Shelf
from ftstudio.ui.data.checks_page import ChecksTable
from ftstudio.ui.data.differing import differing
from ftstudio.ui.data.editing import editable, edited_outside, parsed, parsed_row, row_as_text
from ftstudio.ui.data.mended import Mended

NESTED = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | WORST,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
)


def opened(pilot: Pilot[Any]) -> Any:
    return screen(pilot).opened


# -- without widgets -------------------------------------------------------------------------------------------------
@settings(max_examples=40, deadline=None)
@given(NESTED)
def test_a_value_is_the_same_after_it_was_shown_for_editing(value: Any) -> None:
    text, is_json = editable(value)
    assert parsed(text, is_json) == value
    assert clean(text).replace("    ", "\t") == text.replace("    ", "\t")  # nothing in it moves a terminal's cursor


@settings(max_examples=30, deadline=None)  # the machine may be busy with other things
@given(st.data())
def test_every_row_stays_in_its_place_and_is_marked(tmp_path_factory: Any, data: st.DataObject) -> None:
    dataset = from_rows([{"n": n} for n in range(8)], source=str(tmp_path_factory.mktemp("none")))
    mended = Mended(Pending.of_source(Shelf(tmp_path_factory.mktemp("shelf")), dataset))
    names: list[Any] = list(range(8))  # what is shown, worked out beside it
    gone: list[int] = []
    for step in range(data.draw(st.integers(1, 5))):
        count = len(names) - len(gone)
        place = data.draw(st.integers(0, count - 1))
        kept = [at for at in range(len(names)) if at not in gone]
        what = data.draw(st.sampled_from(["cell", "drop", "add"]))
        if what == "cell":
            mended.pending.do(set_cell(mended.pending.working, place, "n", f"new {step}"))
            names[kept[place]] = f"new {step}"
        elif what == "drop" and count > 1:
            mended.pending.do(drop(mended.pending.working, [place]))
            gone.append(kept[place])
        elif what == "add":
            mended.pending.do(add(mended.pending.working, [{"n": f"added {step}"}], place))
            at = kept[place] + 1
            names.insert(at, f"added {step}")
            gone = [old + (old >= at) for old in gone]
        state = mended.look()
        assert [row["n"] for row in state.shown] == names
        assert sorted(state.marks.dropped) == sorted(gone)
        assert [names[at] for at in state.places(range(len(state.used)))] == [row["n"] for row in state.used]
        assert state.used_rows(range(len(names))) == list(range(len(state.used)))
        assert {names[at] for at in state.marks.added} <= {name for name in names if isinstance(name, str)}


def test_an_editor_of_ones_own_gives_back_what_it_wrote(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = tmp_path / "editor.sh"
    script.write_text('#!/bin/sh\nprintf "\\nmore\\n" >> "$1"\n')
    script.chmod(0o755)
    monkeypatch.setenv("EDITOR", str(script))
    monkeypatch.delenv("VISUAL", raising=False)
    assert edited_outside("one", False) == "one\nmore"
    monkeypatch.setenv("EDITOR", "/nowhere/at-all")
    with pytest.raises(Exception, match="can't be run"):
        edited_outside("one", False)


# -- the screen ------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("size", SIZES)
async def test_a_cell_is_edited_marked_and_undone(tmp_path: Path, size: Any) -> None:
    path = made.dataset(tmp_path)
    before = path.read_bytes()
    async with studio(tmp_path, path).run_test(size=size) as pilot:
        await until(pilot, "1 of 80")
        await pilot.press("down", "right", "e")
        await until(pilot, "completion of row 1")
        await press(pilot, "text:_indeed enter")
        text = await until(pilot, "1 repair not saved")
        assert "changed: completion" in text
        assert "changed " in text
        assert "~The heron lives" in text
        assert opened(pilot).used[1]["completion"].endswith("food. indeed")
        await pilot.press("u")
        await until(pilot, "not saved", gone=True)
        assert opened(pilot).used[1]["completion"].endswith("food.")
        await pilot.press("ctrl+r")
        await until(pilot, "1 repair not saved")
        await pilot.press("e", "escape")
        await settled(pilot)
        assert len(opened(pilot).state.edits) == 1
        await pilot.press("enter")  # the whole row, as JSON
        await until(pilot, "characters")
        await pilot.press("e")
        await until(pilot, '"prompt": "Where does the heron')
        await pilot.press(*["backspace"] * 2, *', "mood": "calm"}', "ctrl+s")
        await until(pilot, "2 repairs not saved")
        await until(pilot, "mood")
        assert opened(pilot).used[1]["mood"] == "calm"
        await pilot.press("escape", "A")
        await until(pilot, "A new row after row 1")
        await pilot.press("backspace", "ctrl+s")
        await until(pilot, "✗ That is no JSON")
        await pilot.press("}", "ctrl+s")
        await until(pilot, "3 repairs not saved")
        assert opened(pilot).used[2] == {"prompt": "", "completion": "", "mood": ""}
        assert len(opened(pilot).used) == 81
    assert path.read_bytes() == before


def test_a_row_keeps_what_json_cannot_write() -> None:
    row = {"text": "a", "picture": b"\x89PNG", "size": 3}
    assert json.loads(row_as_text(row)) == {"text": "a", "size": 3}
    assert parsed_row('{"text": "b"}', row) == {"text": "b", "picture": b"\x89PNG"}
    for text in ("[]", "3", "{}", "{"):
        with pytest.raises(UsageError, match="JSON"):
            parsed_row(text, row)


def test_a_difference_in_what_is_masked_is_said() -> None:
    before, after = "Write to ann@mail.org now", "Write to amy@mail.org now"
    hidden = "".join(text for line in differing(before, after, 200, 3, bare=False) for text, _ in line)
    shown = "".join(text for line in differing(before, after, 200, 3, bare=True) for text, _ in line)
    assert "mail.org" not in hidden
    assert "z shows it" in hidden
    assert "{+amy+}@mail.org" in shown


@pytest.mark.parametrize("size", SIZES)
async def test_rows_are_dropped_saved_and_taken_to_the_recipe(tmp_path: Path, size: Any) -> None:
    path = made.dataset(tmp_path)
    before = path.read_bytes()
    async with studio(tmp_path, path).run_test(size=size) as pilot:
        await until(pilot, "1 of 80")
        await pilot.press("d", "d", "d")  # each its own row, however quick the fingers
        text = await until(pilot, "3 repairs not saved")
        assert "77 rows" in text
        assert cursor(pilot) == 3
        assert text.count("dropped") >= 3
        await pilot.press("P")
        text = await until(pilot, "Drop row 2")
        assert "Drop row 0" in text
        await pilot.press("u")
        await until(pilot, "78 rows")
        await pilot.press("w")
        await until(pilot, "Save 2 repairs as a new version")
        await press(pilot, "text:twins enter")
        text = await until(pilot, "animals@1")
        assert "78 rows" in text
        assert "not saved" not in text
        await pilot.press("r")
        await pilot.pause()
        recipe = pilot.app.session.recipe  # type: ignore[attr-defined]
        assert recipe.data.train == str(tmp_path / "studio" / "datasets" / "animals@1")
    saved = tmp_path / "studio" / "datasets" / "animals" / "1"
    assert json.loads((saved / "version.json").read_text())["why"] == "twins"
    assert [row["prompt"] for row in files.read_lines(saved / "rows.jsonl")] == [
        row["prompt"] for row in files.read_lines(path)[2:]
    ]
    assert path.read_bytes() == before


async def test_repairs_outlive_the_studio_and_rows_in_view_are_dropped(tmp_path: Path) -> None:
    path = made.dataset(tmp_path)
    async with studio(tmp_path, path).run_test(size=(80, 24)) as pilot:
        await until(pilot, "1 of 80")
        await pilot.press("f", *"prompt:otter", "enter")
        await until(pilot, "1 of 8 ")
        await pilot.press("D")
        await until(pilot, "Drop the 8 rows in view?")
        await pilot.press("d")
        await until(pilot, "1 repair not saved")
    async with studio(tmp_path, path).run_test(size=(80, 24)) as pilot:
        text = await until(pilot, "1 repair not saved")
        assert "72 rows" in text
        await pilot.press("r")
        assert pilot.app.session.recipe is None  # type: ignore[attr-defined]


@pytest.mark.slow
@pytest.mark.parametrize("size", SIZES)
async def test_hostile_cells_are_edited_without_harm(tmp_path: Path, size: Any) -> None:
    path = tmp_path / "hostile.jsonl"
    files.write_lines(path, [{"prompt": made.HOSTILE, "completion": ["a", {"b": made.HOSTILE}]}] * 3)
    async with studio(tmp_path, path).run_test(size=size) as pilot:
        await until(pilot, "3 rows")
        for column in (0, 1):
            await pilot.press("e")
            text = await until(pilot, "JSON")
            assert made.harmless(text)
            await pilot.press("backspace", "ctrl+s")
            text = await until(pilot, "✗ That is no JSON")
            assert made.harmless(text)
            await pilot.press("escape", "right")
            assert column < 2
        await pilot.press("d")
        assert made.harmless(await until(pilot, "dropped"))


@pytest.mark.parametrize("size", SIZES)
async def test_a_checks_repair_is_shown_done_and_saved_as_a_version_that_tells_its_difference(
    tmp_path: Path, size: Any
) -> None:
    path = tmp_path / "faulty.jsonl"
    rows = [{"prompt": f"question {n}", "completion": f"answer {n}"} for n in range(30)]
    rows[7] = rows[3]
    rows[20] = rows[3]
    files.write_lines(path, rows)
    async with studio(tmp_path, path).run_test(size=size) as pilot:
        await until(pilot, "30 rows")
        await pilot.press("k")
        await until(pilot, "exact duplicate")
        table = screen(pilot).query_one(ChecksTable)
        names = [check.name for check in table.checks]
        await pilot.press(*["down"] * (names.index("exact_duplicate") - table.cursor))
        await until(pilot, "f: leave")
        await pilot.press("f")
        text = await until(pilot, "enter does it")
        assert "2 dropped" in text
        assert "- row 7" in text
        assert "- row 20" in text
        await pilot.press("enter")
        await until(pilot, "1 repair not saved")
        await settled(pilot)
        assert "exact_duplicate" not in [check.name for check in table.checks]  # checked again
        await pilot.press("escape", "e")
        await press(pilot, "text:! enter")
        await until(pilot, "2 repairs not saved")
        await pilot.press("w")
        await press(pilot, "text:copies enter")
        await until(pilot, "faulty@1")
        await pilot.press("v")
        text = await until(pilot, "copies")
        assert "(open)" in text
        await pilot.press("d")
        text = await until(pilot, "rows: 1 changed, 2 dropped, 0 added, 27 the same")
        assert "~ row 0" in text
        assert "- row 20" in text
        await pilot.press("escape", "home", "enter")
        await until(pilot, "30 rows")


@pytest.mark.slow
@pytest.mark.parametrize("size", SIZES)
async def test_find_and_replace_is_shown_before_it_is_done(tmp_path: Path, size: Any) -> None:
    path = made.dataset(tmp_path)
    async with studio(tmp_path, path).run_test(size=size) as pilot:
        await until(pilot, "1 of 80")
        await pilot.press("d", "f", *"prompt:otter", "enter")  # a dropped row is not touched
        await until(pilot, "1 of 8 ")
        await pilot.press("right", "x")
        await until(pilot, "Find and replace in completion, 7 rows")
        await press(pilot, r"text:/l(iv)es/ enter text:\1 enter")
        text = await until(pilot, "found 7 times")
        assert "7 changed" in text
        assert "row 10" in text
        await pilot.press("enter")
        await until(pilot, "2 repairs not saved")
        assert opened(pilot).used[9]["completion"].startswith("The otter iv near")
        assert opened(pilot).used[0]["completion"].startswith("The heron lives near")


@pytest.mark.slow
def test_the_editor_gets_the_terminal_and_the_studio_comes_back(tmp_path: Path) -> None:
    path = made.dataset(tmp_path, 5)
    before = path.read_bytes()
    script = tmp_path / "editor.sh"
    script.write_text('#!/bin/sh\nprintf "name it: "; read word; printf "%s" "$word" > "$1"\n')
    script.chmod(0o755)
    command = ftstudio("--workspace", str(tmp_path / "studio"))
    with Terminal(command, env={"EDITOR": str(script), "VISUAL": ""}, cwd=tmp_path) as terminal:
        terminal.wait("Data")
        terminal.key("1")
        terminal.wait("Open a dataset")
        terminal.type("animals.jsonl")
        terminal.key("enter")
        terminal.wait("1 of 5")
        terminal.key("E")
        terminal.wait("name it:")
        terminal.type("penguin")
        terminal.key("enter")
        terminal.wait("1 repair not saved")
        terminal.wait("~penguin")
    assert path.read_bytes() == before
