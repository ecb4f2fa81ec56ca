"""The screen Errors as a person sees it, and the widgets for much text that it stands on."""

from __future__ import annotations

import re
import types
from pathlib import Path
from typing import Any

import made_answers as made
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.cells import cell_len
from screens import drawn_at_rest
from textual.app import App
from textual.widgets import Input

from ftstudio.core import files
from ftstudio.core.jobs import Answer, Train
from ftstudio.core.text import clean
from ftstudio.core.workspace import Workspace
from ftstudio.data.versions.edit import me
from ftstudio.engine.answer import base_folder
from ftstudio.evaluation.categories import categorise
from ftstudio.evaluation.overlap import rouge
from ftstudio.evaluation.predictions import read_predictions
from ftstudio.ui.errors.answers import Answers
from ftstudio.ui.shell.app import StudioApp
from ftstudio.ui.shell.session import Session
from ftstudio.ui.text.marked import mark, wrap
from ftstudio.ui.text.table import Column, Table
from ftstudio.ui.text.worddiff import inline

SIZES = [(80, 24), (120, 40)]
WORST = st.text(st.characters() | st.sampled_from("\x1b[]\x00\u202e世 \n\t"), max_size=300)


def studio(tmp_path: Path, recipe: Any = None) -> StudioApp:
    return StudioApp(Session(Workspace(tmp_path / "studio"), recipe), start="errors")


# -- text ------------------------------------------------------------------------------------------------------------
@settings(deadline=None)
@given(WORST, st.integers(1, 40))
def test_wrapped_lines_fit_and_lose_nothing_but_spaces(raw: str, width: int) -> None:
    text = clean(raw)
    lines = wrap(text, width)
    for start, stop in lines:
        assert cell_len(text[start:stop]) <= max(width, 2)  # a wide character can't be cut
    assert "".join(text[start:stop] for start, stop in lines).split() == text.split() or re.sub(
        r"\s", "", "".join(text[start:stop] for start, stop in lines)
    ) == re.sub(r"\s", "", text)


@settings(deadline=None)
@given(WORST, st.lists(st.tuples(st.integers(0, 300), st.integers(0, 300)), max_size=5))
def test_marked_places_move_with_the_text_that_is_made_safe(raw: str, places: list[tuple[int, int]]) -> None:
    marked = mark(raw, [(start, end, "mark") for start, end in places])
    assert made.harmless(marked.text)
    end = 0
    for first, last, _ in marked.spans:
        assert end <= first <= last <= len(marked.text)
        end = last


def test_a_marked_word_stays_that_word_behind_escape_sequences_and_tabs() -> None:
    raw = "\x1b[31mred\t teh end"
    marked = mark(raw, [(raw.index("teh"), raw.index("teh") + 3, "mark")])
    assert [marked.text[start:end] for start, end, _ in marked.spans] == ["teh"]


def test_a_long_text_is_cut_and_says_by_how_much() -> None:
    marked = mark("x" * 1_000_000)
    assert len(marked.text) == 100_000
    assert marked.hidden == 900_000


@settings(deadline=None)
@given(st.text("ab c\n", max_size=60), st.text("ab c\n", max_size=60))
def test_the_inline_diff_holds_the_new_text_between_its_signs(before: str, after: str) -> None:
    shown = inline(before, after).text
    kept = re.sub(r"\[-.*?-\]", "", shown, flags=re.DOTALL).replace("{+", "").replace("+}", "")
    assert kept.split() == after.split()


async def test_a_table_asks_for_the_rows_in_view_only() -> None:
    asked: set[int] = set()

    class Host(App[None]):
        def compose(self) -> Any:
            yield Table((Column("n", 12),), lambda index: (asked.add(index), (f"row {index}",))[1])

        def on_mount(self) -> None:
            self.query_one(Table).show(100_000)
            self.query_one(Table).focus()

    app = Host()
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("end")
        assert "row 99999" in made.screen_text(pilot)
        await pilot.press("pageup", "pageup")
    assert len(asked) < 200


# -- the screen ------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("size", SIZES)
async def test_without_a_recipe_it_names_the_keys_that_lead_on(tmp_path: Path, size: tuple[int, int]) -> None:
    async with studio(tmp_path).run_test(size=size) as pilot:
        text = await made.until(pilot, "There is no recipe yet")
        assert "1  opens a dataset" in text
        assert "3  makes a recipe" in text


async def test_a_recipe_that_fails_says_why(tmp_path: Path) -> None:
    recipe = made.draft(tmp_path)
    Path(recipe.data.train).unlink()
    async with studio(tmp_path, recipe).run_test(size=(80, 24)) as pilot:
        text = await made.until(pilot, "There is no file")
        assert "animals.jsonl" in "".join(text.split())
        assert "3  opens the recipe" in text


@pytest.mark.parametrize("size", SIZES)
async def test_g_hands_the_job_to_the_worker(
    tmp_path: Path, size: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    app = studio(tmp_path, made.draft(tmp_path))
    submitted: list[Any] = []
    monkeypatch.setattr(app.session, "submit", submitted.append)
    async with app.run_test(size=size) as pilot:
        await made.until(pilot, "answer held-out rows")
        await pilot.press("l")
        await pilot.press(*["backspace"] * 4, "7", "enter", "g")
        await pilot.pause()
    (job,) = submitted
    assert isinstance(job, Answer)
    assert (job.run, job.rows) == (None, 7)
    assert job.folder == base_folder(app.session.workspace, made.asked(made.draft(tmp_path))[0]).path


async def test_answers_of_weights_in_few_bits_say_so(tmp_path: Path) -> None:
    recipe = made.draft(tmp_path)
    folder = made.base_answers(Workspace(tmp_path / "studio"), recipe)
    folder.emit("start", rows=40, arms=["base"], model="demo", stored={"weights": "nf4", "computes": "bfloat16"})
    folder.emit("done", rows=40)
    async with studio(tmp_path, recipe).run_test(size=(80, 24)) as pilot:
        await made.until(pilot, "base model demo in nf4  ")


@pytest.mark.parametrize("size", SIZES)
async def test_stored_answers_show_at_once_with_the_counts_of_the_evaluation_and_are_drawn_once(
    tmp_path: Path, size: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = made.draft(tmp_path)
    folder = made.base_answers(Workspace(tmp_path / "studio"), recipe)
    found = categorise(read_predictions(folder.path / "outputs.jsonl"))
    async with studio(tmp_path, recipe).run_test(size=size) as pilot:
        text = await made.until(pilot, "Repetitive")
        assert "base model demo" in text
        assert f"{len(found.predictions)} rows answered" in text
        for name, title in (("repetitive", "Repetitive"), ("empty", "Empty"), ("misspelling", "Misspelling")):
            row = next(line for line in text.splitlines() if title in line)
            count = len(found.rows[name])
            assert count > 3
            assert row.split(title)[1].split()[0] == str(count)
        assert await drawn_at_rest(pilot, monkeypatch) == []


@pytest.mark.parametrize("size", SIZES)
async def test_a_row_shows_why_each_check_fired_and_capitals_tag(tmp_path: Path, size: tuple[int, int]) -> None:
    recipe = made.draft(tmp_path)
    folder = made.base_answers(Workspace(tmp_path / "studio"), recipe)
    app = studio(tmp_path, recipe)
    async with app.run_test(size=size) as pilot:
        text = await made.until(pilot, "Repetitive")
        lists = app.screen.lists  # type: ignore[attr-defined]
        while lists.filter != "repetitive":
            await pilot.press("down")
        before = len(lists.rows)
        await pilot.press("enter", "enter")
        text = await made.until(pilot, "“and then” 30 times in a row")
        assert re.search(r"prompt.*\n.*Where does the", text)
        assert "reference" in text
        assert "and then and then and then" in text
        row = lists.row
        await pilot.press("C")
        text = await made.until(pilot, "you say so")
        assert re.search(r"reviewed 1 of \d+ ✎", text)
        await pilot.press("R")
        await made.until(pilot, "you say no")
        tags = made.json_lines(folder.path / "tags.jsonl")
        assert [(tag["row"], tag["category"], tag["action"]) for tag in tags] == [
            (row, "copying", "add"),
            (row, "repetitive", "remove"),
        ]
        await pilot.press("u")
        assert "you say no" not in made.screen_text(pilot)
        await pilot.press("R", "escape")
        await pilot.pause()
        line = next(line for line in made.screen_text(pilot).splitlines() if "Repetitive" in line)
        assert line.split("Repetitive")[1].split()[0] == str(before - 1)
    # a person's word stays, in another session too
    again = Answers(folder, "base", recipe)
    again.poll()
    version, predictions = again.begin()
    again.finish(version, again.categorise(predictions), 0.0)
    assert row not in again.rows("repetitive")
    assert row in again.rows("copying")
    assert again.names(row) == {"copying"} | again.detected(row) - {"repetitive"}
    assert again.automatic(row)
    assert row in again.rows("repetitive")


def test_answers_made_anew_replace_the_old_ones_and_tags_of_those_are_set_aside(tmp_path: Path) -> None:
    recipe = made.draft(tmp_path)
    workspace = Workspace(tmp_path / "studio")
    folder = made.base_answers(workspace, recipe)
    answers = Answers(folder, "base", recipe)
    answers.poll()
    version, predictions = answers.begin()
    answers.finish(version, answers.categorise(predictions), 0.0)
    loops, empty = answers.rows("repetitive")[0], answers.rows("empty")[0]
    answers.toggle(loops, "repetitive")
    answers.note(loops, "a song")
    answers.agree(empty)
    assert (loops in answers.rows("repetitive"), answers.reviewed, answers.outdated) == (False, 2, 0)
    path = folder.path / "outputs.jsonl"
    path.rename(folder.path / "outputs.old-1.jsonl")
    kept = {one.row: one.output for one in predictions}[empty]
    lines = made.lines(made.asked(recipe)[1], lambda place, row: kept if row.row == empty else "so so " * 40, "base")
    files.LineWriter(path).append(*lines[: len(lines) // 2])
    for known in (answers, Answers(folder, "base", recipe)):  # the screen that was open, and the next session's
        known.poll()
        assert len(known.predictions) == len(lines) // 2
        version, predictions = known.begin()
        known.finish(version, known.categorise(predictions), 0.0)
        assert len(known.judged) == len(predictions)
        mine = loops in known.predictions
        assert mine
        assert loops in known.rows("repetitive")  # nobody has said anything of this answer
        assert (known.decisions(loops), known.noted(loops)) == ({}, "")
        assert (known.reviewed, known.outdated) == (1, 1)  # the one that is answered as before is still looked at
        assert known.rows("")[0] != empty
        assert "1 ✎ of earlier answers" in known.progress()
    assert len(made.json_lines(folder.path / "tags.jsonl")) == 3
    answers.toggle(loops, "repetitive")
    assert (loops in answers.rows("repetitive"), answers.outdated) == (False, 0)
    answers.undo()
    assert (loops in answers.rows("repetitive"), answers.outdated) == (True, 1)


async def test_what_leads_on_and_which_columns_fit(tmp_path: Path) -> None:
    recipe = made.draft(tmp_path)
    folder = made.base_answers(Workspace(tmp_path / "studio"), recipe)
    predictions = read_predictions(folder.path / "outputs.jsonl")
    found = [rouge(one.output, one.reference or "") for one in predictions]
    for width, columns in ((80, "refs"), (160, r"refs +lift +95 % interval")):
        async with studio(tmp_path, recipe).run_test(size=(width, 40)) as pilot:
            text = await made.until(pilot, "3 trains a better model")
            assert re.search(rf"what is wrong +rows +rate +{columns} +row +errors", text)
            assert f"ROUGE-L {sum(one.rougeL for one in found) / len(found):.3f}" in text
            assert "b base/tuned" not in text  # there is no tuned model to look at
            await pilot.press("tab", "enter")
            text = await made.until(pilot, "1 of 40 · answers")
            one = found[0]
            assert f"ROUGE-1/2/L {one.rouge1:.2f} {one.rouge2:.2f} {one.rougeL:.2f}" in text


async def test_i_reads_answers_from_a_file_and_keeps_the_tags_on_them(tmp_path: Path) -> None:
    recipe = made.draft(tmp_path)
    _, rows = made.asked(recipe)
    path = tmp_path / "mine.jsonl"
    files.write_lines(path, made.lines(rows, made.faulty, "base"))
    for again in (False, True):
        async with studio(tmp_path).run_test(size=(80, 24), notifications=True) as pilot:
            await made.until(pilot, "i  reads answers from a file")
            await pilot.press("i", *"/nowhere", "enter")
            await made.until(pilot, "/nowhere")
            await pilot.press("i")
            pilot.app.screen.query_one(Input).value = str(path)
            await pilot.press("enter")
            text = await made.until(pilot, "stored answers mine.jsonl  40 rows")
            text = await made.until(pilot, "Repetitive")
            found = categorise(read_predictions(path))
            line = next(line for line in text.splitlines() if "Repetitive" in line)
            assert line.split("Repetitive")[1].split()[0] == str(len(found.rows["repetitive"]))
            assert ("1 reviewed ✎" in text) == again
            assert "g answer" not in text.splitlines()[-1]
            await pilot.press("tab", *["end"] * again, "enter", "N")  # what was looked at comes last
            await made.until(pilot, "you say no" if again else "you say so")


async def test_a_persons_own_category_is_looked_for_and_tagged_with_its_key(tmp_path: Path) -> None:
    recipe = made.draft(tmp_path)
    workspace = Workspace(tmp_path / "studio")
    made.base_answers(workspace, recipe)
    path = workspace.path / "categories.yaml"
    path.write_text("rude:\n  title: Rude\n  key: j\n  help: Talks down.\n  pattern: and then\n")
    async with studio(tmp_path, recipe).run_test(size=(80, 24)) as pilot:
        await made.until(pilot, "◆ Rude")
        lists = pilot.app.screen.lists  # type: ignore[attr-defined]
        while lists.filter != "rude":
            await pilot.press("down")
        assert len(lists.rows) == 8  # every fifth of forty
        await pilot.press("enter", "enter")
        await made.until(pilot, "●J Rude")
        await pilot.press("J")
        await made.until(pilot, "you say no")
    path.write_text("rude: [")
    async with studio(tmp_path, recipe).run_test(size=(80, 24)) as pilot:
        await made.until(pilot, "Your own categories are left out")
        await made.until(pilot, "Repetitive")


async def test_a_fault_while_the_data_is_opened_is_told_and_the_studio_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(self: Any, recipe: Any) -> Any:
        raise RuntimeError("a library fell over [/b")

    monkeypatch.setattr("ftstudio.ui.text.recipes.Recipes.resolve", broken)
    async with studio(tmp_path, made.draft(tmp_path)).run_test(size=(80, 24)) as pilot:
        text = await made.until(pilot, "RuntimeError: a library fell over [/b")
        assert "3  opens the recipe" in text


async def test_next_previous_agree_and_automatic_and_x_writes_it_all(tmp_path: Path) -> None:
    recipe = made.draft(tmp_path)
    folder = made.base_answers(Workspace(tmp_path / "studio"), recipe)
    app = studio(tmp_path, recipe)
    async with app.run_test(size=(80, 24)) as pilot:
        await made.until(pilot, "Repetitive")
        await pilot.press("tab", "enter")
        lists = app.screen.lists  # type: ignore[attr-defined]
        rows = list(lists.rows)
        await pilot.press("n", "n", "p")
        assert lists.row == rows[1]
        await pilot.press("enter")
        assert lists.row == rows[2]
        await pilot.press("T", "r")
        await made.until(pilot, "reviewed 1 of 40 ✎")
        assert app.screen.answers.names(rows[2]) == app.screen.answers.detected(rows[2])  # type: ignore[attr-defined]
        await pilot.press("j")
        await made.until(pilot, "Your note on row")
        await pilot.press(*"Ask [/b] why", "ctrl+s")
        await made.until(pilot, "✎ Ask [/b] why")
        await made.until(pilot, "reviewed 2 of 40 ✎")
        await pilot.press("N", "x", "t")
        await pilot.pause()
        await pilot.press("escape", "escape")
        assert lists.categories.has_focus
        while lists.filter != "encoding":
            await pilot.press("down")
        text = " ".join((await made.until(pilot, "You and the check agree")).split())
        assert "You and the check agree on 1 of 2 rows you looked at (50 %): it missed 1." in text
    assert {tag["row"] for tag in made.json_lines(folder.path / "tags.jsonl")} == {rows[1], rows[2]}
    table = {line["name"]: line for line in made.json_lines(folder.path / "categories.jsonl")}
    written = {line["row"]: line for line in made.json_lines(folder.path / "rows.jsonl")}
    assert table["encoding"]["rows"] == [rows[2]]
    assert written[rows[2]]["decisions"]["encoding"] == "add"
    assert written[rows[2]]["note"] == "Ask [/b] why"
    history = [(one["category"], one["action"], one["who"] == me()) for one in written[rows[2]]["history"]]
    assert history[0] == ("truncated", "add", True)
    assert ("reviewed", "add", True) in history
    assert history[-1] == ("encoding", "add", True)
    assert "encoding" in written[rows[2]]["categories"]
    looping = next(line for line in written.values() if "repetitive" in line["categories"])
    finding = next(entry for entry in looping["detected"] if entry["category"] == "repetitive")
    assert finding["spans"]
    assert "times in a row" in finding["why"]


async def test_d_marks_what_differs_from_the_reference(tmp_path: Path) -> None:
    recipe = made.draft(tmp_path)
    made.base_answers(Workspace(tmp_path / "studio"), recipe, lambda place, row: made.faulty(4, row))
    app = studio(tmp_path, recipe)
    async with app.run_test(size=(120, 40)) as pilot:
        await made.until(pilot, "Misspelling")
        await pilot.press("tab", "enter", "d")
        text = await made.until(pilot, "[-lives-]")
        assert "{+livves+}" in text
        assert "unknown word: livves; meant: livves → lives" in await made.until(pilot, "meant:")
        await pilot.press("y")
        await pilot.pause()
    assert "livves" in (tmp_path / "studio" / "copied.txt").read_text()


@pytest.mark.parametrize("size", SIZES)
async def test_answers_stream_in_and_s_stops(tmp_path: Path, size: tuple[int, int]) -> None:
    recipe = made.draft(tmp_path)
    workspace = Workspace(tmp_path / "studio")
    resolved, rows = made.asked(recipe)
    folder = base_folder(workspace, resolved)
    folder.claim()
    folder.emit("start", rows=len(rows), arms=["base"], model="demo", tokens_limit=64)
    folder.emit("phase", phase="answering", text="")
    folder.emit("progress", arm="base", done=0, total=len(rows), tokens_per_second=900.0, eta=75.0)
    writer = files.LineWriter(folder.path / "outputs.jsonl")
    async with studio(tmp_path, recipe).run_test(size=size) as pilot:
        text = await made.until(pilot, f"0/{len(rows)}")
        assert "ETA 1m15s" in text
        assert "900 tok/s" in text
        writer.append(*made.lines(rows[:10], made.faulty, "base"))
        await made.until(pilot, "10 rows answered")
        await made.until(pilot, "Repetitive")
        writer.append(*made.lines(rows[10:20], made.faulty, "base"))
        folder.emit("progress", arm="base", done=20, total=len(rows), tokens_per_second=900.0, eta=1.0)
        await made.until(pilot, "20 rows answered")
        await pilot.press("s")
        await pilot.pause()
        requests = [line["request"] for line in made.json_lines(folder.control_path)]
        assert requests == ["stop"]
        folder.emit("stopped", text="stopped")
        folder.release()
        text = await made.until(pilot, "stopped")
        assert "g goes on" in text


async def test_a_waiting_job_says_what_it_waits_for(tmp_path: Path) -> None:
    recipe = made.draft(tmp_path)
    app = studio(tmp_path, recipe)
    folder = base_folder(app.session.workspace, made.asked(recipe)[0])
    busy = types.SimpleNamespace(
        busy=True, current=Train(tmp_path / "tickets-3"), waiting=(Answer(folder.path, recipe),), refused=None
    )
    app.session._worker = busy  # type: ignore[assignment]
    async with app.run_test(size=(80, 24)) as pilot:
        text = await made.until(pilot, "queued behind training tickets-3")
        assert "s takes it back" in text
        app.session._worker = None


@pytest.mark.parametrize("size", SIZES)
async def test_hostile_answers_are_shown_harmlessly(tmp_path: Path, size: tuple[int, int]) -> None:
    recipe = made.draft(tmp_path)
    texts = [made.HOSTILE, made.HOSTILE * 20_000, "世界" * 2000, "[/" * 50, "\x1b]52;c;aGFja2Vk\x07" * 9]
    made.base_answers(Workspace(tmp_path / "studio"), recipe, lambda place, row: texts[place % len(texts)])
    app = studio(tmp_path, recipe)
    async with app.run_test(size=size) as pilot:
        text = await made.until(pilot, "with errors")
        assert made.harmless(text)
        await pilot.press("tab", "enter")
        for _ in texts:
            for key in ("d", "end", "z", "home", "d"):
                await pilot.press(key)
                assert made.harmless(made.screen_text(pilot))
            await pilot.press("n")
        await pilot.press("y")


async def test_b_looks_at_the_tuned_model_of_the_run(tmp_path: Path) -> None:
    recipe = made.draft(tmp_path)
    workspace = Workspace(tmp_path / "studio")
    made.base_answers(workspace, recipe)
    run, rows = made.tuned_run(workspace, recipe)
    files.LineWriter(run.errors.path / "outputs.jsonl").append(*made.lines(rows, made.right, run.name))
    app = studio(tmp_path, recipe)
    app.session.view_run(run)
    async with app.run_test(size=(120, 40)) as pilot:
        await made.until(pilot, "base model demo")
        await pilot.press("b")
        text = await made.until(pilot, f"tuned model {run.name}")
        await made.until(pilot, f"{len(rows) // 10} with errors")
        await pilot.press("b")
        text = await made.until(pilot, "base model demo")
        assert run.name not in text.splitlines()[2]
