"""Views, parts, totals and arms of the screen Compare, held against figures worked out here."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import made_answers as made
import pytest

from ftstudio.core import files
from ftstudio.core.recipe import Recipe
from ftstudio.core.run import RunFolder
from ftstudio.core.workspace import Workspace
from ftstudio.engine.answering import Question
from ftstudio.evaluation.comparison import Arm, compare
from ftstudio.evaluation.overlap import rouge
from ftstudio.evaluation.predictions import read_predictions
from ftstudio.ui.compare.arms import Arms
from ftstudio.ui.compare.detail import _errors
from ftstudio.ui.compare.oriented import oriented
from ftstudio.ui.compare.pictures import histogram, shares, win_tie_loss
from ftstudio.ui.compare.rows import Choice, Rows, signs
from ftstudio.ui.compare.screen import CompareScreen
from ftstudio.ui.compare.slicing import Slices
from ftstudio.ui.shell.app import StudioApp
from ftstudio.ui.shell.session import Session


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> tuple[Recipe, list[Question]]:
    """A resolved recipe and the questions of its forty held-out rows."""
    return made.asked(made.draft(tmp_path_factory.mktemp("animals")))


@pytest.fixture
def rows(asked: tuple[Recipe, list[Question]]) -> list[Question]:
    return asked[1]


@pytest.fixture
def run(tmp_path: Path, asked: tuple[Recipe, list[Question]]) -> RunFolder:
    """A compared run: some rows better, some worse, some alike."""
    run = made.finished_run(Workspace(tmp_path / "studio"), asked[0])
    made.compared(run, asked[1], tuned=lambda place, row: "" if place % 7 == 0 else made.right(place, row))
    made.report(run, asked[1])
    return run


def studio(run: RunFolder) -> StudioApp:
    session = Session(Workspace(run.path.parents[1]))
    session.view_run(run)
    return StudioApp(session, start="compare")


def screen_of(pilot: Any) -> CompareScreen:
    found = pilot.app.screen
    assert isinstance(found, CompareScreen)
    return found


def score(output: str, reference: str | None) -> float:
    return rouge(output, reference or "").rougeL


def four_arms(run: RunFolder, rows: list[Question]) -> dict[str, Any]:
    """Answers and report of four arms in RUN's comparison."""
    extra = {"base+3shot": made.right, "tuned@5": lambda place, row: made.faulty(place + 2, row)}
    for name, output in extra.items():
        files.LineWriter(run.compare.path / f"{name}.jsonl").append(*made.lines(rows, output, name))
    names = ["base", "base+3shot", run.name, "tuned@5"]
    run.compare.emit("start", rows=len(rows), arms=names, model="demo", tokens_limit=64)
    read = {name: read_predictions(run.compare.path / f"{name}.jsonl") for name in names}
    report: dict[str, Any] = compare([Arm(name, read[name]) for name in names], metrics=("rouge",), seed=0)
    files.write_json(run.compare.path / "report.json", report)
    run.compare.emit("done", rows=len(rows))
    return report


# -- which rows ------------------------------------------------------------------------------------------------------
async def test_w_lists_the_rows_of_a_view_and_says_how_many_there_are(run: RunFolder, rows: list[Question]) -> None:
    read = {name: {one.row: one for one in read_predictions(run.compare.path / f"{name}.jsonl")}
            for name in ("base", run.name)}  # fmt: skip
    report = files.read_json(run.compare.path / "report.json")
    hit = {entry["row"]: {arm: bool(found["categories"]) for arm, found in entry["arms"].items()}
           for entry in report["per_row"]}  # fmt: skip
    gain = {
        row: rouge(read[run.name][row].output, one.reference or "").rougeL
        - rouge(one.output, one.reference or "").rougeL
        for row, one in read["base"].items()
    }
    wanted = {
        "different": {row for row, one in read["base"].items() if one.output != read[run.name][row].output},
        "gained": {row for row, step in gain.items() if step > 0.0005},
        "lost": {row for row, step in gain.items() if step < -0.0005},
        "fixed": {row for row, found in hit.items() if found["base"] and not found[run.name]},
        "broken": {row for row, found in hit.items() if not found["base"] and found[run.name]},
        "both wrong": {row for row, found in hit.items() if found["base"] and found[run.name]},
    }
    assert all(wanted.values())
    async with studio(run).run_test(size=(80, 24)) as pilot:
        await made.until(pilot, "best gains first · 40")
        for title, shown in wanted.items():
            await pilot.press("w")
            text = await made.until(pilot, "Which rows?  (right: no error found in the answer)")
            line = next(line for line in text.splitlines() if f"  {title}" in line or f"▸ {title}" in line)
            assert f" {len(shown)}  " in line
            dialog = pilot.app.screen
            place = next(place for place, entry in enumerate(dialog.entries) if entry[0] == title)  # type: ignore[attr-defined]
            table = dialog.query_one("Table")
            await pilot.press(*["down" if place > table.cursor else "up"] * abs(place - table.cursor), "enter")  # type: ignore[attr-defined]
            await made.until(pilot, f"{title}, best gains first · {len(shown)}")
            assert set(screen_of(pilot).overview.rows.numbers) == shown
        await pilot.press("escape")
        await made.until(pilot, "best gains first · 40")


async def test_a_leak_names_the_run_and_training_rows_that_cant_be_read_are_told(run: RunFolder) -> None:
    report = files.read_json(run.compare.path / "report.json")
    clean = "no held-out row stands in the training rows"
    lost = "those of old-1, which another is built on, can't be looked into: the file is gone"
    whose = "1 of 40 held-out rows stand in the training rows of b-1 (1 exactly)"
    unseen = [{"run": "old-1", "reason": "the file is gone"}]
    for leak, shown in (
        ({"rows": [], "words": f"{clean}; {lost}", "unseen": unseen}, f"! {clean}; those of"),
        ({"rows": [7], "words": f"{whose}: {'so ' * 60}"}, f"! Leak: {whose}"),
    ):
        files.write_json(run.compare.path / "report.json", report | {"leak": leak})
        async with studio(run).run_test(size=(80, 24), notifications=True) as pilot:
            text = " ".join((await made.until(pilot, "best gains first · 40")).split())
            assert shown in text
            assert ("i shows the rest by itself" in text) == bool(leak["rows"])
            assert ("Leak:" in text) == bool(leak["rows"])


@pytest.mark.parametrize("tuned", ["nf4", "float32"])
async def test_the_screen_says_that_the_base_answers_in_4_bits(run: RunFolder, tuned: str) -> None:
    report = files.read_json(run.compare.path / "report.json")
    for arm, weights in zip(report["arms"], ("nf4", tuned), strict=True):
        arm["stored"] = {"weights": weights, "computes": "float32"}
    files.write_json(run.compare.path / "report.json", report)
    async with studio(run).run_test(size=(80, 24), notifications=True) as pilot:
        text = await made.until(pilot, "best gains first · 40")
        assert ("has its weights in float32, base its weights in nf4" in text) == (tuned == "float32")
        await pilot.press("t")
        await made.until(pilot, "against base, in nf4")
        await pilot.press("end")
        await made.until(pilot, "how they were asked")
        await made.until(pilot, "weights in nf4, computing in float32")


async def test_parts_of_the_rows_and_totals_have_figures_and_words(run: RunFolder) -> None:
    report = files.read_json(run.compare.path / "report.json")
    entry = next(one for one in report["differences"] if one["metric"] == "rougeL")
    entry |= {"difference": 0.02, "low": -0.03, "high": 0.07, "p": 0.4, "verdict": "no clear difference"}
    report["leak"] = {"rows": [7, 10], "words": "2 of 40 held-out rows stand in the training rows"}
    files.write_json(run.compare.path / "report.json", report)
    async with studio(run).run_test(size=(80, 24), notifications=True) as pilot:
        text = await made.until(pilot, "best gains first · 40")
        assert "! Leak: 2 of 40 held-out rows stand in the training rows; i shows" in text
        overview = screen_of(pilot).overview
        gains = {row: step or 0.0 for row, step in overview.rows.gains.items()}
        # an expression of one's own
        await pilot.press("slash", *"words(nonsense)", "enter")
        await made.until(pilot, "There is no column nonsense.")
        await pilot.press("slash", *"gain<0 and row>9", "enter")
        await made.until(pilot, "gain<0 and row>9, best gains first")
        shown = set(overview.rows.numbers)
        assert shown == {row for row, step in gains.items() if step < 0 and row > 9}
        # every part by itself, the filter among them
        await pilot.press("i")
        await made.until(pilot, "by ROUGE-L")
        entries = screen_of(pilot).query_one(Slices).entries
        assert entries[0]["by"] == "own filter"
        assert set(entries[0]["rows"]) == shown
        assert [(entry["by"], entry["value"], entry["n"]) for entry in entries[1:3]] == [
            ("leak", "not in training", 38), ("leak", "in training", 2),
        ]  # fmt: skip
        assert "error category" in {entry["by"] for entry in entries}
        for entry in entries:
            steps = [gains[row] for row in entry["rows"]]
            assert entry["difference"] == pytest.approx(sum(steps) / len(steps))
            assert entry["low"] <= entry["difference"] <= entry["high"]
            assert entry["verdict"] == "not judged" or entry["by"] != "error category"
        await pilot.press("down", "enter")
        await made.until(pilot, f"{entries[1]['by']}: {entries[1]['value']}")
        assert set(overview.rows.numbers) == set(entries[1]["rows"])
        # totals
        won, tie, lost = win_tie_loss(list(gains.values()))
        assert won + tie + lost == 40
        await pilot.press("t")
        text = await made.until(pilot, "rows won, tied and lost")
        assert "can't tell: need about 480 more rows" in text  # 40 · (2.8 · 0.0255 / 0.02)² − 40, to two digits
        assert f"won {won} tie {tie} lost {lost}" in text
        await pilot.press("end")
        await made.until(pilot, "how it was measured")


def test_a_row_wrong_by_a_category_of_its_task_or_of_ones_own_has_no_tick() -> None:
    assert signs({"categories": ["wrong_label", "near_miss"]}) == "×≈"
    assert signs({"categories": ["rude"]}) == "◆"
    assert signs({"categories": []}) == signs({}) == "✓"
    line = "".join(text for text, _ in _errors({"categories": ["missed"]}, {"categories": ["rude"]}, 80))
    assert line == "fixed - Missed   broke ◆ rude"


def test_pictures_show_every_row_and_nothing_else() -> None:
    steps = [-0.5, -0.5, 0.0, 0.0001, 0.2, 0.9, 0.9, 0.9]
    assert win_tie_loss(steps) == (4, 2, 2)
    bar = shares("ROUGE-L", (4, 2, 2), 70)
    text = "".join(part for part, _ in bar)
    assert text.count("█") == pytest.approx(2 * text.count("·"), abs=2)
    assert text.count("▒") == pytest.approx(text.count("·"), abs=1)
    assert "won 4 tie 2 lost 2" in text
    tiny = "".join(part for part, _ in shares("x", (1000, 0, 1), 70))
    assert tiny.count("▒") == 1  # one row of a thousand is seen
    lines = ["".join(part for part, _ in line) for line in histogram(steps, 80, 6)]
    assert len({len(line.rstrip()) <= 80 for line in lines}) == 1
    bottom = lines[-2][7:]
    middle = len(bottom) // 2
    assert bottom[:middle].strip()  # the losses
    assert bottom[middle + 1 :].strip()
    assert "█" in lines[0]  # the highest bar fills the height


# -- more than two arms ----------------------------------------------------------------------------------------------
async def test_two_of_four_arms_are_held_against_each_other(run: RunFolder, rows: list[Question]) -> None:
    report = four_arms(run, rows)
    async with studio(run).run_test(size=(160, 48)) as pilot:
        await made.until(pilot, "best gains first · 40")
        await pilot.press("enter")
        text = await made.until(pilot, "1 of 40")
        titles = next(line for line in text.splitlines() if "base+3shot" in line and "─" in line)
        assert all(name in titles for name in ("base ", "tuned ", "base+3shot ", "tuned@5 "))
        for width, wanted in ((120, {"base+3shot "}), (80, set())):  # three, and two
            await pilot.resize_terminal(width, 40)
            await pilot.pause(0.3)
            text = made.screen_text(pilot)
            assert {name for name in ("base+3shot ", "tuned@5 ") if name in text} == wanted
        await pilot.press("escape", "a")
        await made.until(pilot, "tuned against base+3shot")
        place = [entry[0] for entry in pilot.app.screen.entries].index("base+3shot against tuned")  # type: ignore[attr-defined]
        await pilot.press("home", *["down"] * place, "enter")
        await made.until(pilot, "base+3shot output")
        entry = next(
            one
            for one in report["differences"]
            if (one["a"], one["b"], one["metric"]) == ("base+3shot", run.name, "rougeL")
        )
        text = made.screen_text(pilot)
        assert f"{-entry['difference']:+.3f}" in next(line for line in text.splitlines() if line.startswith(" ROUGE-L"))
        await pilot.press("t")
        text = await made.until(pilot, "all arms")
        assert "better and ▼ worse than tuned" in text


def test_a_pair_seen_from_the_other_side() -> None:
    entry = {"a": "x", "b": "y", "difference": 0.2, "low": 0.1, "high": 0.4, "verdict": "better", "n": 9}
    turned = oriented(entry, "y", "x")
    assert turned == {"a": "y", "b": "x", "difference": -0.2, "low": -0.4, "high": -0.1, "verdict": "worse", "n": 9}
    assert oriented(turned, "x", "y") == entry
    assert oriented(entry, "x", "z") is None
    category = {"arms": ["x", "y"], "a": 0.1, "b": 0.3, "fixed": [1], "broke": [2], "difference": None, "low": None,
                "high": None, "verdict": "not judged"}  # fmt: skip
    other = oriented(category, "y", "x")
    assert other is not None
    assert (other["a"], other["b"], other["fixed"], other["broke"]) == (0.3, 0.1, [2], [1])


def test_answers_of_an_arm_that_comes_later_are_taken_in(run: RunFolder, rows: list[Question]) -> None:
    arms = Arms(run, None)
    assert arms.poll()
    assert (arms.a, arms.b, len(arms.rows)) == ("base", run.name, 40)
    four_arms(run, rows)
    arms.poll()
    assert arms.names == ["base", "base+3shot", run.name, "tuned@5"]
    arms.hold("base+3shot", "tuned@5")
    assert len(arms.rows) == 40
    assert {(entry["a"], entry["b"]) for entry in arms.differences()} == {("base+3shot", "tuned@5")}
    arms.hold("base", "nobody")
    assert (arms.a, arms.b) == ("base+3shot", "tuned@5")


def test_similarity_and_words_have_columns_where_the_answers_have_them(run: RunFolder) -> None:
    arms, rows = Arms(run, None), Rows()
    arms.poll()
    rows.arrange(arms, Choice())
    assert [column.title for column in rows.columns()][4:] == ["words", "errors", "tuned output"]
    assert len(rows.cells(arms, rows.numbers[0])) == len(rows.columns())
    report = files.read_json(run.compare.path / "report.json")
    for entry in report["per_row"]:
        for scores in entry["arms"].values():
            scores.pop("length")
    files.write_json(run.compare.path / "report.json", report)
    labels = Arms(run, None)
    labels.poll()
    rows.arrange(labels, Choice())
    assert [column.title for column in rows.columns()][4:] == ["errors", "tuned output"]
    assert len(rows.cells(labels, rows.numbers[0])) == len(rows.columns())
