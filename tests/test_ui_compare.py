"""The screen Compare as a person sees it, held against the evaluation's own figures."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import made_answers as made
import pytest
from screens import drawn_at_rest

from ftstudio.core import files
from ftstudio.core.jobs import Compare
from ftstudio.core.recipe import Recipe
from ftstudio.core.run import RunFolder
from ftstudio.core.workspace import Workspace
from ftstudio.engine.answering import Question
from ftstudio.evaluation.categories import categorise
from ftstudio.evaluation.overlap import rouge
from ftstudio.evaluation.predictions import read_predictions
from ftstudio.ui.compare.arms import usable
from ftstudio.ui.shell.app import StudioApp
from ftstudio.ui.shell.session import Session

SIZES = [(80, 24), (120, 40)]


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> tuple[Recipe, list[Question]]:
    """A resolved recipe and the questions of its forty held-out rows."""
    return made.asked(made.draft(tmp_path_factory.mktemp("animals")))


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path / "studio")


@pytest.fixture
def run(workspace: Workspace, asked: tuple[Recipe, list[Question]]) -> RunFolder:
    """A run with a tuned model, not compared yet."""
    return made.finished_run(workspace, asked[0])


@pytest.fixture
def rows(asked: tuple[Recipe, list[Question]]) -> list[Question]:
    return asked[1]


def studio(workspace: Workspace, run: RunFolder | None = None) -> StudioApp:
    session = Session(workspace)
    session.view_run(run)
    return StudioApp(session, start="compare")


def listed(text: str) -> list[int]:
    """The numbers of the rows in the list."""
    lines = text.splitlines()
    head = next(place for place, line in enumerate(lines) if "tuned output" in line)
    return [int(match[1]) for line in lines[head + 1 :] if (match := re.match(r" [▸ ] +(\d+) ", line))]


def gains(run: RunFolder) -> dict[int, float]:
    """ROUGE-L after minus before, of each row."""
    found: dict[int, float] = {}
    for name, sign in (("base", -1), (run.name, 1)):
        for one in read_predictions(run.compare.path / f"{name}.jsonl"):
            found[one.row] = found.get(one.row, 0.0) + sign * rouge(one.output, one.reference or "").rougeL
    return found


# -- before there is anything ----------------------------------------------------------------------------------------
@pytest.mark.parametrize("size", SIZES)
async def test_without_a_run_it_names_the_key_that_leads_on(workspace: Workspace, size: tuple[int, int]) -> None:
    async with studio(workspace).run_test(size=size) as pilot:
        text = await made.until(pilot, "There is no run with a tuned model yet")
        assert "3  makes a recipe and starts a run" in text


async def test_a_run_without_a_model_says_so_and_v_chooses_another(workspace: Workspace, run: RunFolder) -> None:
    young = workspace.new_run("young")
    young.emit("start", run=young.name, task="sft", method="lora", model="demo", total_steps=10)
    async with studio(workspace, young).run_test(size=(80, 24), notifications=True) as pilot:
        text = await made.until(pilot, f"{young.name} has saved no model yet")
        assert "4  shows it" in text
        await pilot.press("g")
        await made.until(pilot, "saved no model yet: 4 shows it")
        await pilot.press("v")
        await made.until(pilot, "Which run?")
        await pilot.press("enter")
        await made.until(pilot, f"{run.name} against its base model")


@pytest.mark.parametrize("size", SIZES)
async def test_g_hands_the_job_to_the_worker(
    workspace: Workspace, run: RunFolder, size: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    app = studio(workspace, run)
    submitted: list[Any] = []
    monkeypatch.setattr(app.session, "submit", submitted.append)
    async with app.run_test(size=size) as pilot:
        await made.until(pilot, "g  lets both answer")
        await pilot.press("l", *["backspace"] * 4, "7", "enter", "g")
        await pilot.pause()
        files.write(run.recipe_path, re.sub(r"(?m)^  test: .*$", "  test: 0.2", run.recipe_path.read_text()))
        app.screen.arms.recipe = app.screen._recipes.of_run(run)  # as if it had been opened with that recipe
        await pilot.press("T")
        await made.until(pilot, "g  lets both answer the same test rows")
        await pilot.press("g", "T")
        await made.until(pilot, "g  lets both answer the same held-out rows")
    first, second = submitted
    assert first == Compare(run.compare.path, (run.path,), 7)
    assert second == Compare(run.test.path, (run.path,), 7, part="test")


async def test_what_failed_is_told_with_the_way_out(workspace: Workspace, run: RunFolder) -> None:
    run.compare.emit("start", rows=40, arms=["base", run.name], model="demo", tokens_limit=64)
    run.compare.emit("failed", text="The adapter [/b] belongs to another model.", hint="Train again.")
    async with studio(workspace, run).run_test(size=(80, 24)) as pilot:
        text = await made.until(pilot, "✗ The adapter [/b] belongs to another model.")
        assert "Train again." in text
        assert "g  lets both answer" in text


# -- answers that come -----------------------------------------------------------------------------------------------
@pytest.mark.parametrize("size", SIZES)
async def test_answers_stream_in_scored_and_s_stops(
    workspace: Workspace, run: RunFolder, rows: list[Question], size: tuple[int, int]
) -> None:
    folder = run.compare
    folder.claim()
    folder.emit("start", rows=len(rows), arms=["base", run.name], model="demo", tokens_limit=64)
    folder.emit("phase", phase="answering", text=f"base and {run.name}")
    base, tuned = (files.LineWriter(folder.path / f"{name}.jsonl") for name in ("base", run.name))
    base.append(*made.lines(rows, made.faulty, "base"))
    async with studio(workspace, run).run_test(size=size) as pilot:
        await made.until(pilot, "Rows appear here")
        tuned.append(*made.lines(rows[:10], made.right, run.name))
        folder.emit("progress", arm=run.name, done=10, total=len(rows), tokens_per_second=900.0, eta=75.0)
        text = await made.until(pilot, f"{run.name} ███░")
        assert "10/40  900 tok/s  ETA 1m15s" in text
        await made.until(pilot, "No verdict on 10 rows: 10 more are needed")
        tuned.append(*made.lines(rows[10:25], made.right, run.name))
        text = await made.until(pilot, "is better than its base model")
        assert "similarity comes with the final report" in text
        shown = gains(run)
        answered = {row.row for row in rows[:25]}
        assert set(listed(text)) <= answered
        mean = sum(shown[row] for row in answered) / 25
        line = next(line for line in text.splitlines() if line.startswith(" ROUGE-L"))
        assert float(line.split()[3]) == pytest.approx(mean, abs=0.0006)
        await pilot.press("s")
        await pilot.pause()
        assert [line["request"] for line in made.json_lines(folder.control_path)] == ["stop"]
        folder.emit("stopped", text="stopped")
        folder.release()
        await made.until(pilot, "on 25 held-out rows · the comparison was stopped; g goes on")


# -- a finished comparison -------------------------------------------------------------------------------------------
@pytest.mark.parametrize("size", SIZES)
async def test_the_report_is_shown_as_it_is(
    workspace: Workspace, run: RunFolder, rows: list[Question], size: tuple[int, int]
) -> None:
    made.compared(run, rows)
    report = made.report(run, rows)
    async with studio(workspace, run).run_test(size=size) as pilot:
        text = await made.until(pilot, f"▲ {run.name} is better than its base model")
        assert "on 40 held-out rows that neither was trained on" in text
        assert "error categories fell" in text
        assert "▲ forgetting +0.118 bits a byte" in text
        for title, metric in (("ROUGE-1", "rouge1"), ("ROUGE-2", "rouge2"), ("ROUGE-L", "rougeL")):
            entry = next(one for one in report["differences"] if one["metric"] == metric)
            line = next(line for line in text.splitlines() if line.startswith(f" {title}"))
            a, b, difference, low, dots, high = line.split()[1:7]
            assert dots == "…"
            shown = [float(value) for value in (a, b, difference, low, high)]
            arms = {arm["name"]: arm["metrics"][metric] for arm in report["arms"]}
            wanted = [arms["base"], arms[run.name], entry["difference"], entry["low"], entry["high"]]
            assert shown == pytest.approx(wanted, abs=0.0006)
            assert "▲ better" in line
        await pilot.press("c")
        text = await made.until(pilot, "95 % interval  fixed  broke")
        for name, title in (("repetitive", "↻ Repetitive"), ("empty", "∅ Empty"), ("too_long", "▲ Too long")):
            entry = next(one for one in report["categories"] if one["name"] == name)
            line = next(line for line in text.splitlines() if title in line)
            assert f"{100 * entry['a']:.0f} %" in line
            assert f"{100 * entry['b']:.0f} %" in line.split("%", 1)[1]
            numbers = line.split("…")[1].split()
            assert numbers[1:3] == [str(len(entry["fixed"])), str(len(entry["broke"]))]


async def test_rows_are_sorted_by_gain_by_loss_and_by_number(
    workspace: Workspace, run: RunFolder, rows: list[Question]
) -> None:
    made.compared(run, rows, tuned=lambda place, row: "" if place % 7 == 0 else made.right(place, row))
    made.report(run, rows)
    known = gains(run)
    async with studio(workspace, run).run_test(size=(120, 60)) as pilot:
        text = await made.until(pilot, "best gains first")
        ordered = [known[row] for row in listed(text)]
        assert len(ordered) == 40
        assert ordered == sorted(ordered, reverse=True)
        await pilot.press("o")
        text = await made.until(pilot, "worst losses first")
        ordered = [known[row] for row in listed(text)]
        assert ordered == sorted(ordered)
        assert ordered[0] < 0
        assert "▼ −" in text
        await pilot.press("o")
        text = await made.until(pilot, "in order of rows")
        assert listed(text) == sorted(known)


@pytest.mark.parametrize("size", SIZES)
async def test_rows_are_filtered_by_what_became_of_a_category(
    workspace: Workspace, run: RunFolder, rows: list[Question], size: tuple[int, int]
) -> None:
    made.compared(run, rows)
    made.report(run, rows)
    before, after = (
        set(categorise(read_predictions(run.compare.path / f"{name}.jsonl")).rows["repetitive"])
        for name in ("base", run.name)
    )
    fixed, broke = before - after, after - before
    assert fixed
    assert broke
    async with studio(workspace, run).run_test(size=size) as pilot:
        await made.until(pilot, "best gains first · 40")
        await pilot.press("f")
        text = await made.until(pilot, "95 % interval  fixed  broke")
        changes = app_changes(pilot)
        while changes[pilot.app.screen.query_one("#changes-table").cursor] != "repetitive":  # type: ignore[attr-defined]
            await pilot.press("down")
        await pilot.press("enter")
        for kind, wanted in (
            ("fixed or broke", fixed | broke), ("fixed", fixed), ("broke", broke), ("base had it", before),
            ("tuned has it", after),
        ):  # fmt: skip
            text = await made.until(pilot, f"Repetitive: {kind}, best gains first · {len(wanted)}")
            assert set(listed(text)) == wanted or len(listed(text)) < len(wanted)
            assert set(listed(text)) <= wanted
            await pilot.press("f")
        await pilot.press("escape")
        await made.until(pilot, "best gains first · 40")


def app_changes(pilot: Any) -> list[str]:
    """The categories of the before/after table, in its order."""
    from ftstudio.ui.compare.categories import Changes

    return [entry["name"] for entry in pilot.app.screen.query_one(Changes)._entries]


@pytest.mark.parametrize("size", SIZES)
async def test_a_row_in_full_side_by_side_with_its_metrics_and_a_word_diff(
    workspace: Workspace, run: RunFolder, rows: list[Question], size: tuple[int, int]
) -> None:
    made.compared(run, rows, base=lambda place, row: made.faulty(4, row), tuned=lambda place, row: row.reference or "")
    made.report(run, rows)
    async with studio(workspace, run).run_test(size=size) as pilot:
        await made.until(pilot, "best gains first")
        await pilot.press("o", "o", "enter")
        text = await made.until(pilot, "1 of 40")
        row = min(rows, key=lambda one: one.row)
        one = rouge(made.faulty(4, row), row.reference or "")
        assert f"ROUGE-1 {one.rouge1:.2f}→1.00  -2 {one.rouge2:.2f}→1.00  -L {one.rougeL:.2f}→1.00" in text
        assert "fixed ~ Misspelling" in text
        titles = next(line for line in text.splitlines() if "base" in line and "words" in line)
        assert ("tuned" in titles) == (size[0] >= 120)  # side by side where there is room
        await pilot.press("d")
        text = await made.until(pilot, "[-livves-]")
        assert "{+lives+}" in text
        await pilot.press("d")
        text = await made.until(pilot, "{+livves+}")  # both against the reference
        assert "[-lives-]" in text
        await pilot.press("n")
        await made.until(pilot, "2 of 40")
        await pilot.press("y", "p", "d")
        text = await made.until(pilot, "1 of 40")
        assert "livves" in text
        assert "[-" not in text
        await pilot.press("escape")
        await made.until(pilot, "in order of rows")
    copied = (workspace.path / "copied.txt").read_text()
    assert "livves" in copied
    assert f"tuned: {run.name}" in copied


async def test_arms_that_say_the_same_are_pointed_at(
    workspace: Workspace, run: RunFolder, rows: list[Question]
) -> None:
    made.compared(run, rows, tuned=made.faulty)
    made.report(run, rows)
    async with studio(workspace, run).run_test(size=(80, 24)) as pilot:
        text = await made.until(pilot, "Both give the same answer to every row")
        assert f"= No clear difference between {run.name} and its base" in text


@pytest.mark.parametrize("size", SIZES)
async def test_hostile_empty_and_long_answers_do_no_harm(
    workspace: Workspace, run: RunFolder, rows: list[Question], size: tuple[int, int]
) -> None:
    answers = [made.HOSTILE, "", "word " * 400, "\x1b[2J[/]", "世界" * 1000, "[b +"]
    made.compared(run, rows, base=lambda place, _: answers[place % 6], tuned=lambda place, _: answers[-1 - place % 6])
    made.report(run, rows)
    async with studio(workspace, run).run_test(size=size) as pilot:
        text = await made.until(pilot, "best gains first")
        assert made.harmless(text)
        await pilot.press("enter")
        for _ in range(6):
            for key in ("d", "d", "z", "end", "d", "n"):
                await pilot.press(key)
                assert made.harmless(made.screen_text(pilot))


async def test_the_cursor_stays_on_top_until_a_person_moves_it(
    workspace: Workspace, run: RunFolder, rows: list[Question]
) -> None:
    folder = run.compare
    folder.claim()
    base, tuned = (files.LineWriter(folder.path / f"{name}.jsonl") for name in ("base", run.name))
    base.append(*made.lines(rows, made.faulty, "base"))
    worse = [("still wrong", rows[:20]), ("", rows[20:])]
    tuned.append(*made.lines(worse[0][1], lambda place, row: worse[0][0], run.name))
    app = studio(workspace, run)
    async with app.run_test(size=(80, 24)) as pilot:
        await made.until(pilot, "best gains first · 20")
        tuned.append(*made.lines(worse[1][1], made.right, run.name))
        text = await made.until(pilot, "best gains first · 40")
        overview = app.screen.overview  # type: ignore[attr-defined]
        while gains(run)[listed(text)[0]] != max(gains(run).values()):  # scored a moment later
            text = await made.until(pilot, "best gains first · 40")
            await pilot.pause(0.05)
        assert overview.row == listed(text)[0] == overview.rows.numbers[0]
        await pilot.press("down", "down")
        row = overview.row
        await pilot.press("o")  # another order begins at its top again
        assert overview.row == overview.rows.numbers[0] != row
    folder.release()


async def test_one_row_gets_no_verdict(workspace: Workspace, run: RunFolder, rows: list[Question]) -> None:
    made.compared(run, rows[:1])
    made.report(run, rows[:1])
    async with studio(workspace, run).run_test(size=(80, 24)) as pilot:
        text = await made.until(pilot, "No verdict on 1 row: 19 more are needed")
        assert "… too few" in text


async def test_a_report_of_another_kind_is_not_shown_and_the_answers_are_scored_anew(
    workspace: Workspace, run: RunFolder, rows: list[Question]
) -> None:
    made.compared(run, rows)
    whole = made.report(run, rows)
    assert usable(whole, "base", run.name)
    others: list[Any] = [None, [], {"arms": 3}, {**whole, "per_row": [{"row": "x"}]}, {**whole, "differences": []}]
    for value in others:
        assert not usable(value, "base", run.name)
    (run.compare.path / "report.json").write_text('{"arms": [')
    async with studio(workspace, run).run_test(size=(80, 24)) as pilot:
        text = await made.until(pilot, "is better than its base model")
        assert "the comparison isn't finished; g goes on" in text


async def test_x_writes_the_report_as_text(workspace: Workspace, run: RunFolder, rows: list[Question]) -> None:
    made.compared(run, rows)
    made.report(run, rows)
    async with studio(workspace, run).run_test(size=(80, 24)) as pilot:
        await made.until(pilot, "best gains first")
        await pilot.press("x")
        await pilot.pause()
    assert "<html" in (run.compare.path / "report.html").read_text()
    assert run.name in (run.compare.path / "report.md").read_text()
    text = (run.compare.path / "report.txt").read_text()
    assert "ROUGE-L" in text
    assert run.name in text


async def test_nothing_is_drawn_while_nothing_changes(
    workspace: Workspace, run: RunFolder, rows: list[Question], monkeypatch: pytest.MonkeyPatch
) -> None:
    made.compared(run, rows)
    made.report(run, rows)
    app = studio(workspace, run)
    async with app.run_test(size=(80, 24)) as pilot:
        await made.until(pilot, "best gains first")
        assert await drawn_at_rest(pilot, monkeypatch) == []
