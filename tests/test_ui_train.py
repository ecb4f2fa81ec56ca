"""The screen Train as a person sees it: a run's curves, figures, samples and log, live or past, and its steering."""

from __future__ import annotations

import dataclasses
import json
import math
import re
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import made_answers as made
import made_runs as runs
import pytest
from hypothesis import given
from hypothesis import strategies as st
from screens import whole
from textual.pilot import Pilot

from ftstudio.core import files
from ftstudio.core.errors import DiskFull
from ftstudio.core.files import LineWriter
from ftstudio.core.jobs import Train
from ftstudio.core.run import RunFolder, Story
from ftstudio.core.workspace import Workspace
from ftstudio.ui.plot.chart import LinePlot
from ftstudio.ui.shell.app import StudioApp
from ftstudio.ui.shell.session import Session
from ftstudio.ui.text.lines import Lines
from ftstudio.ui.train import side
from ftstudio.ui.train.asked import Asked
from ftstudio.ui.train.logfile import SHOWN, LogFile, LogLine

SIZES = [(80, 24), (120, 40)]


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path / "studio")


def studio(workspace: Workspace, run: RunFolder | None = None) -> StudioApp:
    session = Session(workspace)
    session.view_run(run)
    return StudioApp(session, start="train")


def training(workspace: Workspace, upto: int = 60, cards: int = 0, **fields: Any) -> RunFolder:
    """A run that this process trains, UPTO steps far."""
    run = runs.begin(workspace, owned=True, **fields)
    runs.evaluation(run, 0)
    runs.steps(run, 1, upto)
    runs.reading(run, cards)
    return run


def requests(run: RunFolder) -> list[str]:
    """What was asked of RUN."""
    return [line["request"] for line in made.json_lines(run.control_path)] if run.control_path.is_file() else []


async def now(pilot: Pilot[Any]) -> str:
    """The screen once what was pressed and written has arrived on it."""
    pilot.app._pull()  # type: ignore[attr-defined]
    await pilot.pause()
    return await whole(pilot)


# -- states -------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("size", SIZES)
async def test_without_a_run_it_names_the_keys_that_lead_on(workspace: Workspace, size: tuple[int, int]) -> None:
    async with studio(workspace).run_test(size=size) as pilot:
        text = await made.until(pilot, "No run is in view")
        assert "3  makes a recipe and starts training" in text
        assert "6  opens an earlier run" in text


@pytest.mark.parametrize("size", SIZES)
async def test_a_live_run_tells_all_its_figures_and_follows_them(workspace: Workspace, size: tuple[int, int]) -> None:
    run = training(workspace, 60)
    async with studio(workspace, run).run_test(size=size) as pilot:
        await made.until(pilot, "step 60/200")
        text = await made.until(pilot, "RAM 12/64 GiB")
        assert "loss ── ⠔ train ── ━ smooth 0.9 ── ○ eval" in text
        assert re.search(r"[⠁-⣿]", text)
        assert text.count("○") == 2  # in the legend, and the one evaluation in the chart
        step = [line for line in made.json_lines(run.events_path) if line["kind"] == "step"][-1]
        figures = {
            "loss": f"{step['loss']:.3f}", "eval": f"{runs.loss_at(0) + 0.1:.3f}", "lr": f"{step['lr']:.2e}",
            "gradient": f"{step['grad_norm']:.3g}", "tokens/s": "1,810", "to go": "28s", "epoch": "1.20 of 4",
        }  # fmt: skip
        for name, value in figures.items():
            assert re.search(rf"{name} +{re.escape(value.replace('e-0', 'e-'))}", text), (name, value, text)
        assert "CPU  45%" in text
        assert "RAM 12/64 GiB" in text
        assert "sample 1 of 2 · after step 0" in text
        runs.steps(run, 61, 70)
        runs.evaluation(run, 70)
        await made.until(pilot, "step 70/200")
        text = await made.until(pilot, "after step 70")
        assert "lamp | broken | step 70" in text
        run.release()
        text = await made.until(pilot, "interrupted: the process that trained it is gone")
        assert "r resume" in text


@pytest.mark.parametrize("size", SIZES)
async def test_a_gpu_is_told_with_use_memory_temperature_and_power(workspace: Workspace, size: tuple[int, int]) -> None:
    run = training(workspace, cards=1)
    for step in range(61, 71):
        run.emit("step", step=step, loss=1.2, lr=1e-4, grad_norm=0.7, tokens_per_second=1900.0, mfu=step / 200)
    async with studio(workspace, run).run_test(size=size) as pilot:
        text = await made.until(pilot, "512 W")
        for part in (" 87%", "mem 41/139 GiB", "61°C", "512 W", "CPU  45%", "RAM 12/64G", "GPU 87%"):
            assert part in text
        assert re.search(r"MFU +35\.0% of peak", text)
        await pilot.press(*"ggggg")
        text = await made.until(pilot, "MFU, share of the card's peak")
        plot = pilot.app.screen.query_one("#plot", LinePlot)
        assert re.search(r"0\.3[0-9]*┤", plot.text())
        assert sum(0x2800 < ord(sign) <= 0x28FF for sign in plot.text()) > 1  # the curve itself


@pytest.mark.parametrize(
    ("kind", "told", "keys"),
    [
        ("done", "✓ done in 3m12s: loss 3.173 → 1.100, held-out 1.124 · enter compares", "enter compare"),
        ("stopped", "■ stopped at step 200 · r starts it again: there is no checkpoint yet", "r resume"),
        ("failed", "✗ The GPU ran out of memory. Lower training.batch_size. · l shows the log", "r resume"),
        (None, "! interrupted: the process that trained it is gone · r starts it again: there", "r resume"),
    ],
)
async def test_how_a_run_ended_and_which_key_leads_on(
    workspace: Workspace, kind: str | None, told: str, keys: str
) -> None:
    async with studio(workspace, runs.finished(workspace, kind=kind)).run_test(size=(80, 24)) as pilot:
        text = await made.until(pilot, told)
        assert keys in text.splitlines()[-1]
        assert "p pause" not in text


async def test_before_the_first_step_it_says_what_is_being_done(workspace: Workspace) -> None:
    run = workspace.new_run("young")
    run.recipe_path.write_text(runs.RECIPE)
    run.claim()
    run.emit("phase", phase="loading libraries", text="torch, transformers, peft")
    async with studio(workspace, run).run_test(size=(80, 24)) as pilot:
        await made.until(pilot, "loading libraries: takes some seconds, once")
        run.emit("phase", phase="evaluating", text="")
        await made.until(pilot, "evaluating on held-out rows")
        run.emit("phase", phase="training", text="")
        await made.until(pilot, "the first step is on its way")


async def test_a_run_of_another_machine_is_watched_and_steered(workspace: Workspace) -> None:
    run = training(workspace)
    owner = run.owner()
    assert owner is not None
    there = dataclasses.asdict(dataclasses.replace(owner, host="gpu7", process=4711, heartbeat=time.time()))
    run.owner_path.write_text(json.dumps(there))
    async with studio(workspace, RunFolder(run.path)).run_test(size=(80, 24)) as pilot:
        text = await made.until(pilot, "trained by process 4711 on gpu7, steered from here too")
        assert "p pause" in text
        await pilot.press("c")
        await made.until(pilot, "saving a checkpoint after this step")
    assert requests(run) == ["checkpoint"]


async def test_a_run_whose_disk_is_full_is_shown_as_it_is(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """None of its events can be written: its owner file, or this process's memory, tells."""
    run, real = training(workspace), LineWriter.append
    run.patient = True

    def full(self: LineWriter, *rows: dict[str, Any]) -> None:
        raise DiskFull(f"The disk is full: {self.path}.", "Free some space.")

    async with studio(workspace, RunFolder(run.path)).run_test(size=(80, 24)) as pilot:
        await made.until(pilot, "step 60/200")
        monkeypatch.setattr(LineWriter, "append", full)
        run.emit("step", step=61, loss=1.0)
        text = await made.until(pilot, "nothing written since")
        assert "ETA" not in text.splitlines()[1]
        assert "The disk is full. Nothing was written; it goes on, and is at step 61" in text
        run.emit("phase", phase="paused", text="")
        text = await made.until(pilot, "the run is paused at step 61")
        assert "p go on" in text
        monkeypatch.setattr(LineWriter, "append", real)
        run.emit("phase", phase="training", text="")
        text = await made.until(pilot, "g next chart")
        assert "step 61/200" in text


# -- steering -----------------------------------------------------------------------------------------------------
async def test_every_request_reaches_the_run_and_is_told_until_it_is_answered(workspace: Workspace) -> None:
    run = training(workspace)
    async with studio(workspace, run).run_test(size=(80, 24)) as pilot:
        await made.until(pilot, "step 60/200")
        await pilot.press("p")
        assert "pausing after this step" in await now(pilot)
        run.emit("phase", phase="paused", text="")
        text = await made.until(pilot, "paused at step 60; the model stays loaded · p goes on")
        assert "p go on" in text
        await pilot.press("p")
        assert "going on …" in await now(pilot)
        run.emit("phase", phase="training", text="")
        await made.until(pilot, "g next chart")
        await pilot.press("c")
        assert "saving a checkpoint after this step" in await now(pilot)
        run.emit("checkpoint", step=60, path="checkpoints/checkpoint-60")
        await made.until(pilot, "g next chart")
        await pilot.press("e")
        assert "evaluating after this step" in await now(pilot)
        runs.evaluation(run, 61)
        await made.until(pilot, "g next chart")
        await pilot.press("s")
        assert f"Stop {run.name}?" in await now(pilot)
        await pilot.press("escape", "s", "s")
        assert "saving a checkpoint and stopping" in await now(pilot)
        runs.ended(run, "stopped", step=60)
        run.release()
        await made.until(pilot, "stopped at step 60")
    assert requests(run) == ["pause", "resume", "checkpoint", "evaluate", "stop"]


def test_a_request_is_told_until_it_is_answered_or_nobody_is_there() -> None:
    """A step or an evaluation may take minutes."""
    story = Story()
    feed: Any = SimpleNamespace(story=story, state="running")
    answers = {"checkpoint": {"kind": "checkpoint"}, "evaluate": {"kind": "eval", "step": 3, "loss": 1.0},
               "steps": {"kind": "steer"}}  # fmt: skip
    for what, answer in answers.items():
        for told in (answer, answer, {"kind": "alert", "text": "why not"}):  # at the same step, too
            asked = dataclasses.replace(Asked.now(what, feed), when=time.monotonic() - 100)
            assert not asked.answered(feed)
            assert asked.told.endswith("… asked 1m40s ago")
            story.feed([told])
            assert asked.answered(feed)
    feed.state = "paused"
    asked = Asked.now("resume", feed)
    assert not asked.answered(feed)
    story.feed([{"kind": "alert", "text": "The next checkpoint takes 300 KiB, and the disk has 4 KiB left."}])
    assert asked.answered(feed)  # it tried, and says why it can't
    feed.state = "running"
    asked = Asked.now("stop", feed)
    assert not asked.answered(feed)
    assert asked.told.endswith("after this step …")
    feed.state = "interrupted"
    assert asked.answered(feed)


async def test_nobody_is_asked_where_nobody_trains(workspace: Workspace) -> None:
    run = runs.finished(workspace, kind="stopped")
    async with studio(workspace, run).run_test(size=(80, 24), notifications=True) as pilot:
        await made.until(pilot, "stopped at step 200")
        await pilot.press("p", "c", "e", "s")
        await made.until(pilot, "Nobody is training")
    assert requests(run) == []


@pytest.mark.parametrize("step", [None, 100])
async def test_r_hands_the_run_back_to_the_worker(
    workspace: Workspace, step: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = runs.finished(workspace, kind="stopped")
    monkeypatch.setattr("ftstudio.ui.train.steer.last_step", lambda run: step)
    app = studio(workspace, run)
    submitted: list[Any] = []
    monkeypatch.setattr(app.session, "submit", submitted.append)
    async with app.run_test(size=(80, 24)) as pilot:
        await made.until(pilot, "r resumes from step 100" if step else "r starts it again")
        await pilot.press("r")
        await pilot.pause()
    assert submitted == [Train(run.path, resume=step is not None)]


async def test_enter_leads_from_a_finished_run_to_the_comparison(workspace: Workspace) -> None:
    run = runs.finished(workspace)
    run.model.mkdir()
    async with studio(workspace, run).run_test(size=(80, 24)) as pilot:
        await made.until(pilot, "enter compares")
        await pilot.press("enter")
        await made.until(pilot, f"{run.name} against its base model")


# -- views --------------------------------------------------------------------------------------------------------
async def test_every_chart_axis_and_smoothing_has_its_key(workspace: Workspace) -> None:
    async with studio(workspace, runs.finished(workspace)).run_test(size=(80, 24)) as pilot:
        await made.until(pilot, "smooth 0.9")
        await pilot.press("w")
        assert "smooth 0.98" in await now(pilot)
        await pilot.press("w")
        assert "smooth 0" not in await now(pilot)
        await pilot.press("w", "w", "y")
        assert "loss · log" in await now(pilot)
        for title in ("eval loss, held-out rows", "learning rate", "gradient norm", "tokens/s", "memory, GiB"):
            await pilot.press("g")
            text = await now(pilot)
            assert f"╭─ {title} · log" in text
            assert re.search(r"[⠁-⣿]", pilot.app.screen.query_one(LinePlot).text())
        await pilot.press("b")
        assert "╭─ tokens/s · log" in await now(pilot)
        await pilot.press("g", "g", "y")
        assert "╭─ loss ──" in await now(pilot)
        await pilot.press("b")
        assert "╭─ memory, GiB ──" in await now(pilot)


@pytest.mark.parametrize("size", SIZES)
async def test_samples_turn_open_in_full_and_show_how_they_changed(workspace: Workspace, size: tuple[int, int]) -> None:
    run = runs.finished(workspace)
    for step in range(201, 231):
        runs.evaluation(run, step)
    async with studio(workspace, run).run_test(size=size) as pilot:
        text = await made.until(pilot, "sample 1 of 2 · after step 230 · held-out row 0")
        for name in ("prompt", "base", "now", "reference"):
            assert f"│{name}" in text
        await pilot.press("m")
        assert "Prompt 1: my lamp is broken" in await now(pilot)
        await pilot.press("M", "v")
        assert "step 150" not in await now(pilot)  # the rest lies below
        await pilot.press("end")
        text = await now(pilot)
        for step in (0, 50, 100, 150):
            assert re.search(rf"step {step} +lamp \| broken \| step {step}", text)
        await pilot.press("home", *["down"] * 20, "pageup", "pageup")
        assert "│prompt" in await now(pilot)
        await pilot.press("escape")
        assert "╭─ loss ──" in await now(pilot)


@pytest.mark.parametrize("size", SIZES)
async def test_hostile_empty_and_long_texts_do_no_harm(workspace: Workspace, size: tuple[int, int]) -> None:
    run = training(workspace, total=None)
    texts = {"prompt": "x" * 2000, "base": "", "output": made.HOSTILE, "reference": "世界" * 600}
    runs.evaluation(run, 60, **texts)
    run.emit("alert", level="warning", text=f"Look: {made.HOSTILE}")
    async with studio(workspace, run).run_test(size=size) as pilot:
        text = await made.until(pilot, "[/b] [b +")
        assert made.harmless(text)
        assert re.search(r"base +\(empty\)", text)
        for key in ("v", "end", "escape", "l"):
            await pilot.press(key)
            assert made.harmless(await now(pilot))


async def test_a_loss_that_is_no_number_is_told_and_the_chart_stays(workspace: Workspace) -> None:
    run = training(workspace)
    run.emit("step", step=61, loss=math.nan, lr=1e-4, grad_norm=math.inf, tokens=1, tokens_per_second=1.0, eta=1.0)
    run.emit("alert", level="error", text="The loss is not a number since step 61.")
    async with studio(workspace, run).run_test(size=(80, 24)) as pilot:
        await made.until(pilot, "✗ The loss is not a number since step 61.")
        text = await made.until(pilot, "loss     not finite")
        assert re.search(r"gradient +not finite", text)
        assert "smooth 0.9" in text


async def test_one_step_and_a_hundred_thousand(workspace: Workspace) -> None:
    one = runs.begin(workspace, "one", total=1)
    runs.steps(one, 1, 1, 1)
    async with studio(workspace, one).run_test(size=(80, 24)) as pilot:
        await made.until(pilot, "step 1/1")
    long = runs.begin(workspace, "long", total=100_000, owned=True)
    lines = [
        {"kind": "step", "time": 1.0, "step": step, "loss": 1 + 1000 / (step + 300), "lr": 1e-4, "tokens": step}
        for step in range(1, 60_001)
    ]
    with open(long.events_path, "a") as file:
        file.writelines(json.dumps(line) + "\n" for line in lines)
    app = studio(workspace, long)
    async with app.run_test(size=(80, 24)) as pilot:
        text = await made.until(pilot, "step 60000/100000")
        assert "100k" in text
        curve = app.screen.query_one(LinePlot).text().splitlines()
        drawn = [max((place for place, mark in enumerate(line) if "⠁" <= mark <= "⣿"), default=0) for line in curve]
        assert 0.55 < max(drawn) / len(curve[0]) < 0.75  # the curve ends where 60 % of the steps are done


# -- the log ------------------------------------------------------------------------------------------------------
async def test_the_log_is_followed_searched_and_harmless(workspace: Workspace) -> None:
    run = training(workspace)
    async with studio(workspace, run).run_test(size=(80, 24)) as pilot:
        await made.until(pilot, "step 60/200")
        await pilot.press("l")
        await made.until(pilot, "Nothing has been printed.")
        with open(run.log_path, "ab") as file:
            for number in range(300):
                file.write(f"line {number}\n".encode())
            file.write(b"\x1b[2J\x1b]0;owned\x07 10%\r 50%\r100% \xff done [/b]\n")
        text = await made.until(pilot, "done [/b]")
        assert made.harmless(text)
        assert "10%" not in text
        assert "line 299" in text
        await pilot.press("home")
        text = await now(pilot)
        assert "line 0" in text
        assert "line 299" not in text
        await pilot.press("slash", *"LINE 17", "enter")
        await made.until(pilot, "log 2.6 KiB · at 11 % · 'LINE 17'")
        assert (await now(pilot)).splitlines()[3].strip() == "line 17"
        await pilot.press("n")
        await made.until(pilot, "line 188")
        assert (await now(pilot)).splitlines()[3].strip() == "line 170"
        await pilot.press("N")
        await made.until(pilot, "line 18\n")
        await pilot.press("f")
        await made.until(pilot, "done [/b]")
        await pilot.press("l")
        await made.until(pilot, "╭─ loss")


@given(
    st.lists(st.binary(max_size=30).map(lambda raw: raw.replace(b"\n", b"")), max_size=40),
    st.integers(1, 12),
    st.booleans(),
)
def test_a_log_read_backwards_is_the_log_read_forwards(lines: list[bytes], count: int, closed: bool) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "log.txt"
        path.write_bytes(b"\n".join(lines) + (b"\n" if closed and lines else b""))
        log = LogFile(path)
        forwards: list[LogLine] = []
        at = 0
        while more := log.after(at, count):
            forwards += more
            at = more[-1].end
        backwards: list[LogLine] = []
        at = log.size()
        while more := log.before(at, count):
            backwards = more + backwards
            at = more[0].start
        assert forwards == backwards
        assert at == 0
        pieces = [path.read_bytes()[line.start : line.end] for line in forwards]
        assert b"".join(pieces) == path.read_bytes()
        assert all(piece.count(b"\n") <= 1 for piece in pieces)
        assert all(made.harmless(line.text.replace("\n", "")) and len(line.text) <= SHOWN for line in forwards)


# -- the link -----------------------------------------------------------------------------------------------------
async def test_nothing_is_drawn_while_nothing_changes(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    app = studio(workspace, runs.finished(workspace))
    async with app.run_test(size=(80, 24)) as pilot:
        await made.until(pilot, "enter compares")
        await pilot.pause(0.5)
        drawn: list[object] = []
        for kind in (Lines, LinePlot):
            monkeypatch.setattr(kind, "refresh", lambda self, *regions, **options: drawn.append(self))
        for _ in range(5):
            app._pull()
            await pilot.pause()
        assert drawn == []


async def test_a_step_draws_again_only_the_rows_it_changed(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = training(workspace, 150)
    app = studio(workspace, run)
    async with app.run_test(size=(80, 24)) as pilot:
        await made.until(pilot, "step 150/200")
        await pilot.pause(0.5)
        rows: list[int] = []
        refresh = LinePlot.refresh

        def counted(self: LinePlot, *regions: Any, **options: Any) -> Any:
            rows.append(sum(region.height for region in regions) if regions else self.size.height)
            return refresh(self, *regions, **options)

        monkeypatch.setattr(LinePlot, "refresh", counted)
        for step in range(151, 161):
            runs.steps(run, step, step)
            app._pull()
            await pilot.pause()
        assert rows
        assert sum(rows) <= 25  # of 130


def test_a_full_disk_is_told_not_raised(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A request that can't be written ends in a notice."""
    from ftstudio.core.errors import StudioError
    from ftstudio.ui.train.screen import TrainScreen

    run = training(Workspace(tmp_path / "studio"))
    app = studio(Workspace(tmp_path / "studio"), run)
    told: list[BaseException] = []

    def full(self: Any, *lines: Any) -> None:
        raise StudioError("The disk is full.", "Make room.")

    async def press() -> None:
        async with app.run_test(size=(80, 24)) as pilot:
            await made.until(pilot, "step 60/200")
            monkeypatch.setattr(files.LineWriter, "append", full)
            monkeypatch.setattr(app, "show_error", told.append)
            await pilot.press("p")
            await pilot.pause()
            assert isinstance(app.screen, TrainScreen)
            monkeypatch.undo()

    import asyncio

    asyncio.run(press())
    assert [str(error).split(".")[0] for error in told] == ["The disk is full"]


@pytest.mark.parametrize(("state", "told"), [("running", "2.500 (+0.300 ▲)"), ("stopped", "0.500 (+1.500 ▲)")])
def test_a_baseline_is_judged_at_the_same_step_while_the_run_lives(state: str, told: str) -> None:
    """Best beside best would say of every run that it is far behind, until its end."""
    here, before = Story(), Story()
    here.feed([{"kind": "eval", "step": step, "loss": loss} for step, loss in ((0, 2.0), (50, 2.8))])
    before.feed([{"kind": "eval", "step": step, "loss": loss} for step, loss in ((0, 3.0), (100, 2.0), (200, 0.5))])
    [line] = [line for line in side.lines(here, state, 40, 30, before) if line and line[0][0].startswith("baseline")]
    assert line[1][0].strip() == told


@pytest.mark.parametrize(("precision", "told"), [("fp16", "step skipped"), ("bf16", "not finite")])
def test_a_step_that_the_scaler_of_fp16_skips_is_no_alarm(precision: str, told: str) -> None:
    story = Story()
    start = {"kind": "start", "time": 1.0, "precision": precision, "total_steps": 9}
    story.feed([start, {"kind": "step", "time": 2.0, "step": 1, "loss": 2.0, "lr": 1e-4, "grad_norm": None}])
    [line] = [line for line in side.lines(story, "running", 40, 30) if line and str(line[0][0]).startswith("gradient")]
    assert line[1] == (told, "dim" if precision == "fp16" else "bad")
