"""The screen Train: which part of a run is shown, beside which others, once more as it came, and what it warned of."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import threading
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import made_answers as made
import made_runs as runs
import pytest
from hypothesis import given
from hypothesis import strategies as st
from screens import press, shown, until

from ftstudio import tasks
from ftstudio.core.errors import StudioError, UsageError
from ftstudio.core.run import RunFolder, Story, smoothed
from ftstudio.core.workspace import Workspace
from ftstudio.data.dataset import from_rows
from ftstudio.engine.dynamics import Recorder
from ftstudio.engine.sweep import Waiting, join
from ftstudio.ui.plot.chart import LinePlot, Series
from ftstudio.ui.plot.curve import Curve
from ftstudio.ui.plot.window import Window
from ftstudio.ui.shell.app import StudioApp
from ftstudio.ui.shell.session import RowsAsked, RunFeed, Session
from ftstudio.ui.train import beside, charts, course, side
from ftstudio.ui.train.overlays import FILE, SECONDS, Overlays, told_apart
from ftstudio.ui.train.recipe_diff import differing, settings
from ftstudio.ui.train.replay import LONGEST, Replay
from ftstudio.ui.train.rowmap import RowMapPage
from ftstudio.ui.train.viewing import Viewing, _numbers


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path / "studio")


def studio(workspace: Workspace, run: RunFolder) -> StudioApp:
    session = Session(workspace)
    session.view_run(run)
    return StudioApp(session, start="train")


def read(run: RunFolder) -> Story:
    story = Story()
    story.feed(run.events())
    return story


# -- part and cursor ------------------------------------------------------------------------------------------------
moves = st.lists(
    st.one_of(
        st.tuples(st.just("zoom"), st.sampled_from([0.5, 2.0])),
        st.tuples(st.just("pan"), st.sampled_from([-0.25, 0.25])),
        st.tuples(st.just("move"), st.sampled_from([-10, -1, 1, 10])),
    ),
    max_size=30,
)


@given(moves, st.integers(1, 100_000))
def test_a_window_stays_within_the_run_and_around_its_cursor(keys: list[tuple[str, float]], end: int) -> None:
    window = Window()
    for what, by in keys:
        if what == "move":
            window.move(int(by), end, end // 2)
        else:
            getattr(window, what)(by, float(end))
        low, high = window.shown or (0.0, float(end))
        assert 0 <= low < high <= end + 1
        assert window.cursor is None or low <= window.cursor <= high
    window.reset()
    assert (window.shown, window.cursor) == (None, None)


def test_zoom_early_in_a_long_run_shows_what_there_is() -> None:
    window = Window()
    for size in (1500, 750, 375):
        window.zoom(0.5, 3000.0, 13.0)
        assert window.shown == (0.0, float(size))
    window.reset()
    window.zoom(0.5, 3000.0, 2900.0)
    assert window.shown == (750.0, 2250.0)


def test_many_charts_are_told_by_their_places() -> None:
    assert [_numbers(*told) for told in ((0, 6, 7), (6, 6, 7), (3, 4, 7), (6, 1, 7))] == ["1–6", "7, 1–5", "4–7", "7"]


def test_a_part_of_a_curve_keeps_its_points_and_smooths_over_all_before() -> None:
    points = [(float(x), float(x * x)) for x in range(101)]
    part, whole = Curve(0.9), Curve(0.9)
    part.update(points, 60, 1000, 40)
    whole.update(points, 100, 1000)
    assert part.points() == [point for point in whole.points() if 40 <= point[0] <= 60]
    assert part.at(50.2) == next(point for point in whole.points() if point[0] == 50)


async def test_the_cursor_tells_what_the_curves_are_and_zoom_shows_a_part(workspace: Workspace) -> None:
    run = runs.finished(workspace)
    async with studio(workspace, run).run_test(size=(80, 24)) as pilot:
        await until(pilot, "smooth 0.9")
        await press(pilot, "left left left")
        text = await until(pilot, "│ step 194 ·")
        assert f"train {runs.loss_at(194):.3f}" in text
        assert f"eval {runs.loss_at(150) + 0.1:.3f} at 150" in text
        average = dict(smoothed(read(run).curves["loss"]))[194]
        assert float(re.search(r"· smooth (\d\.\d+)", text)[1]) == pytest.approx(average, abs=0.02)  # type: ignore[index]
        plot = pilot.app.screen.query_one("#plot", LinePlot)

        def labels() -> list[int]:
            return [int(word) for word in plot.text().splitlines()[-1].split()]

        await press(pilot, "plus plus")
        window = pilot.app.screen.window
        low, high = window.shown
        assert high - low == 50
        assert low <= 194 <= high
        assert all(step % 10 == 0 and low <= step <= high for step in labels())
        await press(pilot, "less_than_sign")
        assert window.shown == (low - 12, high - 12)
        assert f"│ step {high - 12:.0f} ·" in shown(pilot.app)  # the cursor goes along
        await press(pilot, "0")
        await until(pilot, "enter compares")
        assert labels()[0] == 0


@pytest.mark.parametrize(("size", "count"), [((80, 24), 4), ((120, 40), 6)])
async def test_many_charts_at_once(workspace: Workspace, size: tuple[int, int], count: int) -> None:
    run = runs.finished(workspace)
    for step in (0, 100, 200):
        runs.forgotten(run, step, step / 1000)
    async with studio(workspace, run).run_test(size=size) as pilot:
        await until(pilot, "forget   ▲ +0.200 bpb")
        await press(pilot, "G")
        text = await until(pilot, "forgetting, bits a byte")
        assert text.count("╭─") == count
        assert "KL to the base" in text
        await press(pilot, "escape")
        await until(pilot, "sample 1 of 2")


def test_charts_are_those_there_is_something_for(workspace: Workspace) -> None:
    run = runs.begin(workspace)
    runs.steps(run, 1, 3)
    assert charts.available(read(run)) == list(charts.ALWAYS)
    run.emit("eval", step=3, loss=1.5, perplexity=4.5, rows=9, tokens=99, rougeL=0.4, sources={"a": 1.0, "b": 2.0})
    runs.forgotten(run, 3, 0.1)
    runs.reading(run, 1)
    story = read(run)
    found = charts.available(story)
    assert found[:6] == ["loss", "eval loss", "sources", "eval_rougeL", "forgetting", "KL to the base"]
    assert found[-1] == "GPU use"
    sources = charts.series_of("sources", story, 0.9, charts.Memory())
    assert [(one.shown, list(one.points)) for one in sources] == [("a", [(3, 1.0)]), ("b", [(3, 2.0)])]
    assert len({one.marker for one in sources}) == 2  # told apart without colours
    run.emit("step", step=4, loss=1.0, sources={"a": 1.2, "general": 3.0})
    sources = charts.series_of("sources", read(run), 0.0, charts.Memory())
    assert [one.shown for one in sources if one.shown] == ["a", "b", "general"]  # a replay has no held-out rows


# -- other runs ------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("differ", "width", "told", "ink"),
    [
        ("", 40, "2.400 (-1.200 ▼)", "good"),
        (None, 40, "2.400", "dim"),  # not known yet
        ("tasks, labels, held-out rows", 25, "2.400 other task", "dim"),
        ("held-out rows (a file as data.eval holds the same rows out for all)", 24, "other rows", "dim"),
        ("lengths (data.max_length)", 40, "2.400 other lengths", "dim"),
    ],
)
def test_a_baseline_of_other_rows_is_neither_better_nor_worse(
    differ: str | None, width: int, told: str, ink: str
) -> None:
    here, baseline = Story(), Story()
    for story, loss in ((here, 1.2), (baseline, 2.4)):
        story.feed([{"kind": "eval", "step": 1, "loss": loss}])
    found = side.lines(here, "done", width, 30, baseline, differ)
    assert [line[1] for line in found if line and str(line[0][0]).startswith("baseline")] == [(told, ink)]


def test_what_a_baseline_is_asked_is_what_a_sweep_is_asked(workspace: Workspace) -> None:
    one, same, other = (workspace.new_run(name) for name in ("one", "same", "other"))
    for run, task in ((one, "sft"), (same, "sft"), (other, "text-classification")):
        run.recipe_path.write_text(runs.RECIPE.replace("sft", task))
    assert beside.differing(one, same.name) == ""
    assert beside.differing(one, other.name).startswith("tasks")
    before = beside.key(one, same.name)
    assert beside.key(one, same.name) == before
    os.utime(one.recipe_path, (1, 1))
    assert beside.key(one, same.name) != before


async def test_runs_are_laid_over_a_baseline_is_pinned_and_recipes_compared(workspace: Workspace) -> None:
    first = runs.finished(workspace, "first")
    second = runs.begin(workspace, "second", text=runs.RECIPE.replace("r: 8", "r: 32"))
    runs.steps(second, 1, 100)
    second.emit("eval", step=100, loss=1.0)
    async with studio(workspace, second).run_test(size=(120, 40)) as pilot:
        await until(pilot, "step 100/200")
        await press(pilot, "o")
        await until(pilot, "Runs laid over second-1")
        await press(pilot, "space")
        await until(pilot, "● over")
        await press(pilot, "b")
        await until(pilot, "▲ baseline")
        await press(pilot, "escape")
        await until(pilot, "· ▲ first-1")
        text = await until(pilot, " ▼)")
        assert re.search(r"baseline +1\.\d+ \(-0\.\d+ ▼\)", text)
        await press(pilot, "g")
        assert re.search(r"eval loss, held-out rows .*○ second-1.*· ▲ first-1", await until(pilot, "eval loss, held"))
        await press(pilot, "g g y")
        await until(pilot, "1 setting", gone=True)
        await press(pilot, "d")
        text = await until(pilot, "1 setting differs: second-1 and first-1")
        assert re.search(r"method\.r +32 +8", text)
    assert Overlays(workspace).pinned == first.name  # for the next time, too
    assert (workspace.path / FILE).is_file()
    overlays = Overlays(workspace)
    assert overlays.names(first.name) == []  # not over itself
    overlays.pin("")
    assert Overlays(workspace).names(second.name) == []


def test_a_logarithmic_axis_says_that_it_takes_no_value_below_zero() -> None:
    story, window = Story(), Window()
    story.feed([{"kind": "step", "step": 9, "loss": 1.0}, {"kind": "forgetting", "step": 5, "change": -0.1}])
    view: Any = SimpleNamespace(log_axis=True, window=window)
    feed: Any = SimpleNamespace(story=story)
    series = charts.series_of("forgetting", story, 0.9, charts.Memory())
    assert Viewing._instead(view, "forgetting", feed, "", series) == "no value above zero: y for the linear axis"
    assert Viewing._instead(view, "forgetting", feed, "", series[:0]) == "nothing measured yet"
    window.left, window.right = 6.0, 9.0  # what lies outside doesn't count
    assert Viewing._instead(view, "forgetting", feed, "", series).startswith("nothing between step 6 and 9")


def test_held_out_losses_of_several_runs_stand_in_one_chart_those_by_source_say_they_do_not() -> None:
    story = Story()
    story.feed({"kind": "eval", "step": step, "loss": 2.0 / step, "sources": {"a": 1.0, "b": 2.0}} for step in (1, 2))
    assert charts.available(story)[:3] == ["loss", "eval loss", "sources"]
    own = charts.series_of("eval loss", story, 0.9, charts.Memory())
    line, mark = charts.laid_over("eval loss", [("other", story)], 0.9)
    assert line.points == mark.points == own[0].points == [(1, 2.0), (2, 1.0)]
    assert (line.shown, line.beta, line.line, mark.line) == ("other", 0.0, True, False)
    assert mark.marker != own[-1].marker  # without colours, too
    assert line.ink != own[0].ink
    assert charts.laid_over("sources", [("other", story)], 0.9) == []
    sources = charts.series_of("sources", story, 0.9, charts.Memory())
    assert charts.beside("loss by source", sources, [], "here") == ("loss by source · this run alone", sources)
    title, series = charts.beside("eval loss", own, [line, mark], "here")
    assert (title, [one.shown for one in series]) == ("eval loss", ["other", "", "", "here"])
    assert (
        charts.beside("eval loss", own, [], "here")[1][-1].shown == "here alone"
    )  # a title has no room in small charts
    assert charts.beside("MFU", [Series("", [])], [], "here") == ("MFU", [Series("", [])])  # nothing measured yet


def test_runs_laid_over_are_read_in_turns_and_never_by_who_draws_them(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    overlays, asked = Overlays(workspace), []

    def piece(self: RunFeed, seconds: float = 0.05) -> bool:
        asked.append(self.run.name)
        time.sleep(0.01)
        return True  # there is always more

    monkeypatch.setattr(RunFeed, "poll", piece)
    names = [workspace.new_run(name).name for name in "abcd"]
    assert all(overlays.toggle(name) for name in names)
    for _ in range(9):  # a chart each
        assert overlays.stories("here") == []
    assert asked == []
    began = time.monotonic()
    overlays.poll("here")
    assert time.monotonic() < began + SECONDS + 5
    assert asked[:8] == names * 2
    assert [name for name, _ in overlays.stories("here")] == names


def test_a_chart_has_room_for_the_steps_planned_while_a_run_laid_over_is_read(workspace: Workspace) -> None:
    """Where its end moved with every step, all curves would be thinned anew at every look."""
    run, ended = runs.begin(workspace, "long", total=900), runs.finished(workspace, "short", "stopped", 100)
    runs.steps(run, 1, 30)
    overlays = Overlays(workspace)
    assert overlays.toggle(run.name)
    overlays.poll("here")
    assert overlays.end("here") == 30  # nobody trains it any more
    overlays._feeds[run.name].behind = True
    assert overlays.end("here") == 900
    overlays.chosen = [ended.name]
    overlays.poll("here")
    assert overlays.end("here") == 100
    assert overlays.end(ended.name) == 0  # not over itself


def test_a_deleted_run_is_no_baseline_and_lies_over_nothing(workspace: Workspace) -> None:
    names = [workspace.new_run(name).name for name in "abcdefg"]
    overlays = Overlays(workspace)
    overlays.pin(names[0])
    assert all(overlays.toggle(name) for name in names[1:4])
    assert not overlays.toggle(names[4])
    assert overlays.names("other") == names[:4]
    for gone in (names[0], names[2]):
        (workspace.runs_path / gone).rename(workspace.path / gone)
    assert overlays.names("other") == [names[1], names[3]]
    assert overlays.baseline("other") is None
    assert overlays.labels("other", 9) == {"other": "other", names[1]: names[1], names[3]: names[3]}
    assert overlays.toggle(names[4])  # there is room again
    assert overlays.toggle(names[5])
    assert not overlays.toggle(names[6])


@pytest.mark.parametrize(
    ("names", "width", "told"),
    [
        (["a-1", "a-2"], 20, ["a-1", "a-2"]),
        (["demo-lora-rate-1e-3-r-2-1", "demo-lora-rate-1e-3-r-4-1"], 20, ["…rate-1e-3-r-2-1", "…rate-1e-3-r-4-1"]),
        (["demo-lora-rate-1e-3-r-2-1", "demo-lora-rate-2e-3-r-2-1"], 20, ["…rate-1e-3-r-2-1", "…rate-2e-3-r-2-1"]),
        (["one-" + "x" * 30, "two-" + "x" * 30], 8, ["one", "two"]),
        (
            ["lora-rate-1e-3-r-2-1", "lora-rate-1e-3-r-4-1", "lora-rate-2e-3-r-2-1"],
            8,
            ["1e-3-r-2", "1e-3-r-4", "2e-3-r-2"],
        ),
        (["run-1", "run-1-1"], 5, ["1 ru…", "2 ru…"]),
        (["x" * 30 + "a" + "y" * 30, "x" * 30 + "b" + "y" * 30], 8, ["1 xxxxx…", "2 xxxxx…"]),
        (["only" * 9], 12, ["only…nlyonly"]),
        ([], 12, []),
    ],
)
def test_runs_keep_apart_in_few_cells(names: list[str], width: int, told: list[str]) -> None:
    assert told_apart(names, width) == told


def test_recipes_differ_in_what_was_set_and_in_their_data(workspace: Workspace) -> None:
    one = runs.begin(workspace, text=runs.RECIPE + "resolved: {time: 1, data: {train: {sha256: aa}}}\n")
    two = runs.begin(workspace, text=runs.RECIPE + "name: x\nresolved: {time: 2, data: {train: {sha256: bb}}}\n")
    assert differing(settings(one), settings(two)) == [
        ("resolved.data.train.sha256", "aa", "bb"),
        ("name", "–", "x"),
    ]


# -- replay ----------------------------------------------------------------------------------------------------------
def test_a_replay_gives_the_events_when_they_are_due(workspace: Workspace) -> None:
    run = workspace.new_run("old")
    run.recipe_path.write_text(runs.RECIPE)
    moments = [0.0, 10.0, 20.0, 20_000.0, 20_010.0]  # a night in between
    lines = [f'{{"kind":"step","time":{1e9 + at},"step":{n},"loss":1.0}}\n' for n, at in enumerate(moments, 1)]
    run.events_path.write_text("".join(lines))
    now = [0.0]
    replay = Replay(run, 40.0, lambda: now[0])
    assert replay.speed == 2

    def step(seconds: float) -> int:
        now[0] += seconds
        replay.poll()
        return replay.story.step

    assert step(0) == 1
    assert step(4.9) == 1
    assert step(0.2) == 2
    replay.rest()
    assert step(100) == 2
    replay.rest()
    replay.faster(4)
    assert step(1.3) == 3
    assert step(LONGEST / 8) == 4  # the night passes in as much
    assert step(2) == 5
    assert replay.ended
    assert replay.story.curves == read(run).curves


async def test_a_run_is_replayed_on_screen(workspace: Workspace) -> None:
    run = runs.finished(workspace)
    lines, now = list[str](), 1000
    for event in run.events():
        now = 1000 + event["step"] if event["kind"] == "step" else now
        lines.append(json.dumps(event | {"time": now, "ran": now - 1000}))
    run.events_path.write_text("\n".join(lines) + "\n")  # a second a step
    async with studio(workspace, run).run_test(size=(80, 24)) as pilot:
        await until(pilot, "enter compares")
        await press(pilot, "a space")
        text = await until(pilot, "replay standing still")
        screen = pilot.app.screen
        assert screen.replay.story.step < 150  # type: ignore[attr-defined]
        assert "p pause" not in text
        await press(pilot, "right_square_bracket space")
        await until(pilot, "32 times as fast")
        await press(pilot, "escape")
        await until(pilot, "enter compares")


# -- sweeps ----------------------------------------------------------------------------------------------------------
async def test_a_sweep_names_its_best_run_once_all_have_ended(workspace: Workspace) -> None:
    first, second = (runs.finished(workspace, name) for name in ("slow", "fast"))
    second.emit("eval", step=200, loss=0.5)
    second.emit("done")
    third = runs.begin(workspace, "wild", owned=True)
    app = studio(workspace, first)
    gone = workspace.new_run("gone")  # deleted since: it isn't waited for
    join([Waiting(run.name, run) for run in (first, second, third, gone)])
    shutil.rmtree(gone.path)
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, "the sweep's 3 runs have ended")
        third.emit("failed", text="The loss is no number.", hint="")
        third.release()
        text = await until(pilot, "by the model's held-out loss, 1 failed: fast-1")
        assert "of the sweep's 3" in text


# -- alerts ----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("mode", ["train", "data"])
async def test_what_a_run_warns_of_is_heard_and_seen_on_every_screen(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, mode: str
) -> None:
    run = runs.begin(workspace, owned=True)
    runs.steps(run, 1, 10)
    app = studio(workspace, run)
    rung: list[int] = []
    monkeypatch.setattr(app, "bell", lambda: rung.append(1))
    async with app.run_test(size=(100, 30)) as pilot:
        await until(pilot, "step 10/200")
        app.action_go(mode)
        run.emit("alert", level="warning", text="The loss rose.")
        text = await until(pilot, "! 1 alert")
        assert "! 1 alert" in text.splitlines()[1]
        run.emit("alert", level="error", text="The loss is not a number.")
        await until(pilot, "! 2 alerts")
        run.emit("failed", text="It ended without weights that can be used.")
        run.release()
        await until(pilot, "✗ failed")
        await pilot.pause(0.6)
        assert rung == [1, 1, 1]


async def test_a_new_alert_rings_once_and_all_can_be_read(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = runs.begin(workspace, owned=True)
    runs.steps(run, 1, 10)
    run.emit("alert", level="warning", text="The first [/b] one.")
    app = studio(workspace, run)
    rung: list[int] = []
    monkeypatch.setattr(app, "bell", lambda: rung.append(1))
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, "The first [/b] one.")
        run.emit("alert", level="info", text="Only a note.")
        await until(pilot, "Only a note.")
        assert rung == []
        run.emit("alert", level="error", text="The loss is not a number.")
        await until(pilot, "✗ The loss is not a number.")
        await pilot.pause(0.8)
        assert rung == [1]
        await press(pilot, "exclamation_mark")
        text = await until(pilot, f"Alerts of {run.name}: 2 alerts, 1 note")
        lines = [line for line in text.splitlines() if re.search(r"✗ error|! warning|i note", line)]
        assert [re.search(r"(The loss|Only|The first)", line)[0] for line in lines] == ["The loss", "Only", "The first"]  # type: ignore[index]


# -- samples ---------------------------------------------------------------------------------------------------------
async def test_answers_are_set_against_the_base_and_against_the_one_before(workspace: Workspace) -> None:
    run = runs.begin(workspace)
    for step, output in ((0, "a red lamp"), (50, "a red old lamp"), (100, "a blue old lamp")):
        runs.steps(run, max(1, step - 49), step)
        runs.evaluation(run, step, samples=1, output=output, base="a red lamp")
    async with studio(workspace, run).run_test(size=(80, 24)) as pilot:
        await until(pilot, "a blue old lamp")
        await press(pilot, "v d")
        text = await until(pilot, "a red {+old+} lamp")  # the last line of it, once there is room
        assert "against the base" in text
        assert re.search(r"now +a \[-red-\]\{\+blue old\+\} lamp", text)
        assert re.search(r"step 50 +a red \{\+old\+\} lamp", text)
        await press(pilot, "d")
        text = await until(pilot, "{+blue+}")
        assert "against the one before" in text
        assert re.search(r"now +a \[-red-\]\{\+blue\+\} old lamp", text)
        await press(pilot, "d")
        text = await until(pilot, "{+", gone=True)
        assert "a blue old lamp" in text


# -- rows ------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("size", [(80, 24), (120, 40)])
async def test_the_map_of_rows_leads_to_the_hardest_ones_in_the_data(
    workspace: Workspace, size: tuple[int, int]
) -> None:
    run = runs.finished(workspace)
    easy, falling, hard = [0.1, 0.05, 0.04], [2.0, 0.8, 0.1], [2.2, 2.1, 2.0]
    kinds = {7: hard, 31: hard, 5: falling, 9: falling, 11: falling}
    runs.row_losses(run, [[kinds.get(row, easy)[epoch] for row in range(60)] for epoch in range(3)])
    async with studio(workspace, run).run_test(size=size) as pilot:
        await until(pilot, "enter compares")
        await press(pilot, "h")
        text = await until(pilot, "Training rows by confidence  3 epochs")
        assert "○ 20 ambiguous" in text
        listed = [int(found[1]) for line in text.splitlines() if (found := re.search(r" (\d+)   0\.\d\d", line))]
        assert set(listed[:2]) == {7, 31}
        assert re.search(r"7 +0\.12 +\.01 +2\.00 ███", text)
        await press(pilot, "t")
        text = await until(pilot, "Listed: 20 ambiguous rows, most variable first")
        assert re.search(r"(5|9|11) +0\.50 +\.3\d +0\.10 █▄▁", text)
        await press(pilot, "t enter")
        text = await until(pilot, "hard rows of tickets-1", 30)
        assert re.search(r"\b7\b", text)
        await press(pilot, "4 escape")
        await until(pilot, "enter compares")
        Recorder(run.path, range(60), without=tasks.get("embedding").unmapped()).begin()
        await press(pilot, "h")  # a task without probabilities says why there is no map
        text = await until(pilot, "Rows of this task have no place on this map")
        assert "Listed:" not in text


def test_row_numbers_of_another_file_are_refused() -> None:
    rows = [{"prompt": f"ask {n}", "completion": "say"} for n in range(9)]
    dataset, less = from_rows(rows), from_rows(rows[1:])
    asked = RowsAsked("hard rows of tickets-1", [7], "tickets-1", dataset.hash, 9)
    asked.check(dataset, whole=True)
    RowsAsked("hard rows", [7], "tickets-1").check(less, whole=True)  # nothing is known of what it was
    for other, whole in ((less, True), (dataset, False)):
        with pytest.raises(StudioError, match="so no hard rows of tickets-1 are shown"):
            asked.check(other, whole=whole)


@pytest.mark.slow
async def test_rows_of_a_file_that_has_changed_are_not_shown_as_hard(workspace: Workspace, tmp_path: Path) -> None:
    """Their numbers would mean other rows. Where only repairs wait to be saved, every row is found all the same."""
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps({"prompt": f"ask {n}", "completion": f"say {n}"}) + "\n" for n in range(60)))
    known = {"sha256": hashlib.sha256(path.read_bytes()).hexdigest(), "rows": 60}
    run = runs.finished(workspace)
    recipe = {"task": "sft", "model": "demo", "data": {"train": str(path)}, "resolved": {"data": {"train": known}}}
    run.recipe_path.write_text(json.dumps(recipe))
    runs.row_losses(run, [[4.0 if row in (7, 31) else 0.01 if row < 50 else 0.1 for row in range(60)]])
    async with studio(workspace, run).run_test(size=(120, 40), notifications=True) as pilot:
        await until(pilot, "enter compares")
        await press(pilot, "h t")
        await until(pilot, "no ambiguous rows yet")
        await press(pilot, "enter")
        await until(pilot, "How much a row changes is known from the second epoch on")
        await press(pilot, "t enter")
        await until(pilot, "1 of 30 · row 7     filter hard rows of tickets-1")  # no easy one
        await until(pilot, "31   ask 31")
        await press(pilot, "d 4 enter down")
        await until(pilot, "2 of 30 · row 31")
        await press(pilot, "u")
        await until(pilot, "1 repair", gone=True)
    path.write_text("".join(path.read_text().splitlines(keepends=True)[5:]))
    async with studio(workspace, run).run_test(size=(120, 40), notifications=True) as pilot:
        await until(pilot, "enter compares")
        await press(pilot, "h")
        await until(pilot, "Listed: 30 hard rows")
        await press(pilot, "enter")
        text = await until(pilot, "has changed since")
        assert "Put the old file back" in text
        assert "filter hard rows" not in text


async def test_rows_read_for_a_run_that_is_left_do_not_fill_the_next_ones_map(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = (runs.finished(workspace, name) for name in ("first", "second"))
    read_ones: list[Path] = []
    slow = threading.Event()

    def reading(path: Path) -> str:
        read_ones.append(path)
        if path == first.path:
            assert slow.wait(20)
        return path.name

    taken: list[object] = []
    monkeypatch.setattr("ftstudio.ui.train.viewing.rowmap.read", reading)
    monkeypatch.setattr(RowMapPage, "take", lambda self, found, **named: taken.append(found))
    app = studio(workspace, first)
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, "enter compares")
        await press(pilot, "h")
        await pilot.pause(0.1)
        app.session.view_run(second)
        await until(pilot, "loss ──")
        await press(pilot, "h")
        slow.set()
        end = time.monotonic() + 10
        while second.path.name not in taken and time.monotonic() < end:
            await pilot.pause(0.05)
    assert read_ones == [first.path, second.path]
    assert [found for found in taken if found] == [second.path.name]


# -- course ----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("text", "means"),
    [("1e-4", 1e-4), ("x0.5", 1e-3), ("×2", 4e-3), ("0,001", 1e-3), ("fast", None), ("0", None), ("2", None)],
)
def test_a_learning_rate_as_typed(text: str, means: float | None) -> None:
    if means is None:
        with pytest.raises(UsageError):
            course.rate_of(text, 2e-3)
    else:
        assert course.rate_of(text, 2e-3) == pytest.approx(means)


@pytest.mark.parametrize(("text", "means"), [("400", 400), ("+50", 250), ("-50", 150), ("-150", None), ("99", None)])
def test_steps_as_typed(text: str, means: int | None) -> None:
    if means is None:
        with pytest.raises(UsageError):
            course.steps_of(text, 100, 200)
    else:
        assert course.steps_of(text, 100, 200) == means


async def test_rate_and_length_are_asked_for_and_told_until_they_are_changed(workspace: Workspace) -> None:
    run = runs.begin(workspace, owned=True, text=runs.RECIPE + "training: {learning_rate: 0.002}\n")
    runs.steps(run, 1, 60)
    async with studio(workspace, run).run_test(size=(80, 24), notifications=True) as pilot:
        await until(pilot, "step 60/200")
        await press(pilot, "R")
        await until(pilot, "its peak is 0.002 now")
        await press(pilot, "text:x0.5 enter")
        await until(pilot, "another learning rate from the next step on …")
        run.emit("steer", step=61, what="learning_rate", value=0.001, why="as asked")
        await until(pilot, "another learning rate", gone=True)
        await press(pilot, "R")
        await until(pilot, "its peak is 0.001 now")
        await press(pilot, "escape T text:+100 enter")
        await until(pilot, "another number of steps …")
        run.emit("steer", step=62, what="steps", value=300, why="as asked")
        await until(pilot, "step 60/300")
        await press(pilot, "T text:10 enter")
        await until(pilot, "60 steps are taken already.")
        await press(pilot, "0")  # what was typed stays there to be mended
        await until(pilot, "60 steps are taken already.", gone=True)
        await press(pilot, "enter")
        await until(pilot, "another number of steps …")
    asked = [(line["request"], line["value"]) for line in made.json_lines(run.control_path)]
    assert asked == [("learning_rate", 0.001), ("steps", 300), ("steps", 100)]


def test_a_mix_has_a_chart_a_metric_with_a_curve_for_each_source() -> None:
    story = Story()
    for step, value in ((5, 0.25), (10, 0.5)):
        scores = {"f1": {"tickets": value, "mails": 2 * value}}
        story.feed([{"kind": "eval", "step": step, "loss": 1.0, "sources": {"tickets": 1.0, "mails": 1.0},
                     "source_scores": scores}])  # fmt: skip
    assert "f1 by source" in charts.available(story)
    assert charts.title_of("f1 by source") == "F1 (macro) by source"
    assert charts.title_of("eval_entity_f1") == "Entity F1"
    assert charts.title_of("eval_my own") == "my own"
    found = charts.series_of("f1 by source", story, 0.9, charts.Memory())
    assert [(one.shown, one.points) for one in found] == [
        ("tickets", [(5, 0.25), (10, 0.5)]), ("mails", [(5, 0.5), (10, 1.0)]),
    ]  # fmt: skip
