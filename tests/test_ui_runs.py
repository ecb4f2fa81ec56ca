"""The screen Runs as a person sees it: every state, and opening, resuming, stopping, deleting, filtering."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import made_answers as made
import made_runs
import pytest
from screens import IdleWorker, press, shown, until
from textual.pilot import Pilot

from ftstudio.core import turn
from ftstudio.core.jobs import Train
from ftstudio.core.workspace import Workspace
from ftstudio.ui.runs.catalogue import Follower
from ftstudio.ui.runs.cells import age, steps
from ftstudio.ui.runs.screen import RunsScreen
from ftstudio.ui.shell.app import StudioApp
from ftstudio.ui.shell.session import Session
from ftstudio.ui.text.lines import fit

SIZES = [(80, 24), (120, 40)]


def studio(workspace: Workspace, worker: IdleWorker | None = None) -> StudioApp:
    session = Session(workspace)
    session._worker = worker or IdleWorker()  # type: ignore[assignment]
    return StudioApp(session, "runs")


def every_state(workspace: Workspace) -> dict[str, Any]:
    """A run in each state a person can meet, the last the newest."""
    runs = {
        "done": made_runs.finished(workspace, "tickets"),
        "failed": made_runs.finished(workspace, "tickets", "failed", 12),
        "stopped": made_runs.finished(workspace, "mails", "stopped", 100),
        "interrupted": made_runs.finished(workspace, "mails", None, 50),
        "queued": workspace.new_run("later"),
        "running": made_runs.begin(workspace, "live", owned=True),
    }
    runs["queued"].recipe_path.write_text(made_runs.RECIPE)
    made_runs.steps(runs["running"], 1, 60)
    return runs


def chosen(pilot: Pilot[Any]) -> str:
    """The name of the run under the cursor."""
    screen = pilot.app.screen_stack[0]
    assert isinstance(screen, RunsScreen)
    assert screen.chosen is not None
    return screen.chosen.name


async def go_to(pilot: Pilot[Any], name: str) -> None:
    """Put the cursor on the run NAME."""
    await pilot.press("home")
    for _ in range(20):
        if chosen(pilot) == name:
            return
        await pilot.press("down")
    raise AssertionError(f"no run {name}:\n{shown(pilot.app)}")


@pytest.mark.parametrize("size", SIZES)
async def test_every_run_with_state_task_method_and_losses(tmp_path: Path, size: Any) -> None:
    runs = every_state(Workspace(tmp_path))
    async with studio(Workspace(tmp_path)).run_test(size=size) as pilot:
        await until(pilot, "interrupted  mails-2")
        text = await until(pilot, "· reading", gone=True)  # a busy machine reads the runs one after the other
        lines = {state: next(line for line in text.splitlines() if f" {run.name} " in line and "·" not in line)
                 for state, run in runs.items()}  # fmt: skip
        for state, line in lines.items():
            assert state in line
            assert "sft" in line  # of one that waits by its recipe
            assert "qlora" in line
        assert f"{made_runs.loss_at(200):.3f}" in lines["done"]  # the last training loss
        assert f"{made_runs.loss_at(200) + 0.1:.3f}" in lines["done"]  # and that on held-out rows
        assert "6 runs · ▶ 1 live" in text
        assert "! mails-2 was interrupted: r" in text
        for state, told in {
            "running": "step 60/200", "queued": "r starts it", "interrupted": "r starts it again",
            "failed": "The GPU ran out of memory.", "stopped": "stopped · r", "done": "c compares base and tuned",
        }.items():  # fmt: skip
            await go_to(pilot, runs[state].name)
            await until(pilot, told)


@pytest.mark.parametrize("size", SIZES)
async def test_the_keys_on_the_last_line_are_those_that_work_on_this_run(tmp_path: Path, size: Any) -> None:
    runs = every_state(Workspace(tmp_path))
    async with studio(Workspace(tmp_path)).run_test(size=size) as pilot:
        await until(pilot, "live-1")
        for state, works, not_here in (
            ("done", "c compare", "r resume"), ("stopped", "r resume", "c compare"), ("running", "s stop", "r resume")
        ):  # fmt: skip
            await go_to(pilot, runs[state].name)
            await pilot.pause()
            last = shown(pilot.app).splitlines()[-1]
            assert works in last
            assert not_here not in last
            assert "enter open" in last


async def test_nothing_trained_yet_names_the_next_keys(tmp_path: Path) -> None:
    async with studio(Workspace(tmp_path)).run_test(size=(80, 24)) as pilot:
        text = await until(pilot, "No runs yet")
        assert "1  opens your data" in text
        assert "3  makes a recipe and trains" in text
        assert "ftstudio demo" in text
        assert "1 data" in text.splitlines()[-1]
        await press(pilot, "enter d r s c i")  # nothing to do anything with
        await until(pilot, "No runs yet")
        await pilot.press("3")
        await until(pilot, "What is to be learnt?")


async def test_enter_shows_the_run_and_c_compares_it(tmp_path: Path) -> None:
    runs = every_state(Workspace(tmp_path))
    app = studio(Workspace(tmp_path))
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, "live-1")
        await go_to(pilot, runs["done"].name)
        await pilot.press("enter")
        await until(pilot, "▸4 Train◂")
        assert app.session.feed is not None
        assert app.session.feed.run.path == runs["done"].path
        await pilot.press("6")
        await until(pilot, "▸6 Runs◂")
        assert chosen(pilot) == runs["done"].name  # the cursor stays
        await pilot.press("c")
        await until(pilot, "▸5 Compare◂")


async def test_resuming_hands_the_run_to_the_worker(tmp_path: Path) -> None:
    runs = every_state(Workspace(tmp_path))
    worker = IdleWorker()
    async with studio(Workspace(tmp_path), worker).run_test(size=(80, 24), notifications=True) as pilot:
        await until(pilot, "live-1")
        await go_to(pilot, runs["done"].name)
        await pilot.press("r")
        await until(pilot, "nothing to resume")
        await go_to(pilot, runs["running"].name)
        await pilot.press("r")
        await until(pilot, "being trained already")
        assert worker.jobs == []
        await go_to(pilot, runs["interrupted"].name)
        await pilot.press("r")
        await until(pilot, "▸4 Train◂")
        assert worker.jobs == [Train(runs["interrupted"].path, resume=False)]  # there is no checkpoint to go on from


async def test_stopping_asks_and_only_asks_the_owner(tmp_path: Path) -> None:
    run = every_state(Workspace(tmp_path))["running"]
    async with studio(Workspace(tmp_path)).run_test(size=(80, 24)) as pilot:
        await until(pilot, "live-1")
        await go_to(pilot, "live-1")
        await pilot.press("s")
        await until(pilot, "Stop live-1?")
        await pilot.press("escape")
        await until(pilot, "Stop live-1?", gone=True)
        assert not run.control_path.exists()
        await pilot.press("s", "s")
        await until(pilot, "Stop live-1?", gone=True)
        assert [line["request"] for line in made.json_lines(run.control_path)] == ["stop"]


async def test_a_run_that_waits_in_another_process_is_told_so_and_only_taken_out(tmp_path: Path) -> None:
    runs = every_state(Workspace(tmp_path))
    run, worker = runs["queued"], IdleWorker()
    where = made_runs.waits_elsewhere(run)
    app = studio(Workspace(tmp_path), worker)
    app.session.view_run(run)
    async with app.run_test(size=(80, 24), notifications=True) as pilot:
        await until(pilot, "live-1")
        await go_to(pilot, run.name)
        text = await until(pilot, f"queued: waits for its turn in {where}")
        assert f"… queued  waits for its turn in {where}" in text.splitlines()[1]
        last = text.splitlines()[-1]
        assert "s take back" in last
        assert "resume" not in last
        assert "delete" not in last
        await pilot.press("r")
        await until(pilot, "waits already for its turn")
        await pilot.press("d")
        await until(pilot, "first (s)")
        await pilot.press("s")
        await until(pilot, f"Take {run.name} out of the queue?")
        await pilot.press("s")
        await until(pilot, "leaves the queue")
        assert [line["request"] for line in made.json_lines(run.control_path)] == ["stop"]
        (run.path / turn.FILE).unlink()
        text = await until(pilot, "has not begun, and waits for nothing · r starts it")
        assert "… queued  not begun" in text.splitlines()[1]
    assert worker.jobs == []


async def test_a_run_whose_turn_came_while_it_was_asked_about_goes_on(tmp_path: Path) -> None:
    run = every_state(Workspace(tmp_path))["queued"]
    made_runs.waits_elsewhere(run)
    app = studio(Workspace(tmp_path))
    app.session.view_run(run)
    async with app.run_test(size=(80, 24), notifications=True) as pilot:
        await until(pilot, "live-1")
        await go_to(pilot, run.name)
        await pilot.press("s")
        await until(pilot, f"Take {run.name} out of the queue?")
        (run.path / turn.FILE).unlink()
        run.claim()
        await pilot.press("s")
        await until(pilot, "has begun meanwhile")
        assert not run.control_path.exists()
        run.release()


@pytest.mark.parametrize("size", SIZES)
async def test_deleting_asks_and_keeps_the_run_in_the_trash(tmp_path: Path, size: Any) -> None:
    runs = every_state(Workspace(tmp_path))
    app = studio(Workspace(tmp_path))
    async with app.run_test(size=size, notifications=True) as pilot:
        await until(pilot, "live-1")
        await go_to(pilot, "live-1")
        await pilot.press("d")
        await until(pilot, "is being trained: stop it first")
        failed = runs["failed"]
        events = failed.events_path.read_bytes()
        await go_to(pilot, failed.name)
        app.session.view_run(failed)
        await pilot.press("d")
        text = await until(pilot, f"Delete {failed.name}?")
        assert "stays there until you remove it" in text
        await pilot.press("escape")
        await until(pilot, "Delete", gone=True)
        assert failed.path.exists()
        await pilot.press("d", "d")
        await until(pilot, "5 runs")
        assert not failed.path.exists()
        kept = [path for path in (tmp_path / "trash").rglob("events.jsonl") if path.read_bytes() == events]
        assert len(kept) == 1
        assert app.session.feed is None  # the strip shows no run that is gone


async def test_filtering_by_words_and_back(tmp_path: Path) -> None:
    every_state(Workspace(tmp_path))
    async with studio(Workspace(tmp_path)).run_test(size=(80, 24)) as pilot:
        await until(pilot, "live-1")
        await press(pilot, "f text:MAILS_stop enter")
        text = await until(pilot, "1 of 6 runs")
        assert "mails-1" in text
        assert "live-1" not in "\n".join(text.splitlines()[2:])
        await press(pilot, "f text:xyz enter")
        await until(pilot, "No run matches; esc clears the filter.")
        await pilot.press("escape")
        await until(pilot, "6 runs ·")


@pytest.mark.parametrize("size", [*SIZES, (160, 48)])
async def test_info_shows_figures_and_recipe(tmp_path: Path, size: Any) -> None:
    runs = every_state(Workspace(tmp_path))
    async with studio(Workspace(tmp_path)).run_test(size=size) as pilot:
        await until(pilot, "live-1")
        await go_to(pilot, runs["failed"].name)
        await pilot.press("i")
        text = await until(pilot, "12 of 200")
        assert "The GPU ran out of" in text
        await press(pilot, "tab down down down")
        await until(pilot, "recipe.yaml")
        await pilot.press("pagedown")
        await until(pilot, "train: demo")
        await pilot.press("escape")
        await until(pilot, "recipe.yaml", gone=True)


async def test_what_happens_elsewhere_is_shown_without_a_key(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    runs = every_state(workspace)
    async with studio(workspace).run_test(size=(80, 24)) as pilot:
        await until(pilot, "6 runs")
        made_runs.ended(runs["running"])
        runs["running"].release()
        await until(pilot, "✓ done         live-1")
        made_runs.finished(workspace, "another")
        await until(pilot, "7 runs")
        shutil.rmtree(runs["done"].path)
        await until(pilot, "6 runs")


async def test_hostile_names_and_broken_folders_are_shown_and_harm_nothing(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    run = made_runs.begin(workspace, "x", text=f"# {made.HOSTILE}\n" + made_runs.RECIPE)
    made_runs.ended(run, "failed", text=made.HOSTILE, hint=made.HOSTILE)
    strange = workspace.runs_path / "[b +[b]\x1b[2J世界"
    shutil.copytree(run.path, strange)
    (strange / "events.jsonl").write_bytes(b'{"kind":"start","task":["[/"],"method":{"name":"[b +"}}\n\xff\xfe{"kind":')
    torn = workspace.new_run("torn")
    torn.recipe_path.write_bytes(b"\xff\xfe\x00: [")
    torn.events_path.write_bytes(b"\x00" * 100)
    async with studio(workspace).run_test(size=(80, 24)) as pilot:
        text = await until(pilot, "3 runs")
        assert "世界" in text
        for keys in ("i", "down", "down", "enter", "6", "d escape", "f text:[/ enter", "?"):
            await press(pilot, keys)
            await pilot.pause(0.05)
            assert made.harmless(shown(pilot.app))


@pytest.mark.parametrize("end", ["stopped", "failed", "done"])
def test_a_run_that_ended_before_it_started_is_what_it_says(tmp_path: Path, end: str) -> None:
    run = Workspace(tmp_path).new_run("early")
    run.emit("phase", phase="loading libraries", text="")
    run.emit("phase", phase="preparing data", text="")
    run.emit(end, text="Early.")
    assert Follower(run).summary().state == end == run.state()


def test_long_names_keep_what_tells_them_apart() -> None:
    names = [f"demo-lora-learning-rate-{rate}-1" for rate in ("1e-4", "2e-4")]
    first, second = (fit(name, 19, "ends") for name in names)
    assert first != second
    assert all(len(text) == 19 and "…" in text for text in (first, second))
    assert [fit("abc", width, "ends") for width in (0, 1, 3, 5)] == ["", "…", "abc", "abc  "]


def test_long_figures_fit_their_columns() -> None:
    assert steps(200, 200) == "200/200"
    assert steps(1_234_567, 2_000_000) == "1.23M/2M"
    assert len(steps(999_999, 1_000_000)) <= 9
    assert [age(0.0, now) for now in (5, 65, 7300, 200_000)] == ["now", "1m", "2h", "2d"]
    assert age(None) == "–"


async def test_runs_are_listed_in_the_order_that_is_chosen(tmp_path: Path) -> None:
    every_state(Workspace(tmp_path))
    async with studio(Workspace(tmp_path)).run_test(size=(120, 40)) as pilot:
        await until(pilot, "· reading", gone=True)

        async def listed() -> list[str]:
            screen = pilot.app.screen_stack[0]
            assert isinstance(screen, RunsScreen)
            await until(pilot, "6 runs")
            return [row.name for row in screen._shown]

        newest = await listed()
        await press(pilot, "O")
        await until(pilot, "6 runs the oldest first")
        assert await listed() == newest[::-1]
        await press(pilot, "O o")
        await until(pilot, "6 runs by held-out loss")
        held_out = ["tickets-1", "mails-1", "mails-2", "tickets-2"]  # at 200, 100, 50, 0 steps
        assert (await listed())[:4] == held_out
        assert set((await listed())[4:]) == {"live-1", "later-1"}  # nothing was measured of them
        await press(pilot, "O")
        await until(pilot, "by held-out loss, turned")
        assert (await listed())[:4] == held_out[::-1]
        assert chosen(pilot) == "tickets-2"
        await press(pilot, "f text:mails enter")
        await until(pilot, "2 of 6 runs")
        screen = pilot.app.screen_stack[0]
        assert isinstance(screen, RunsScreen)
        assert [row.name for row in screen._shown] == ["mails-2", "mails-1"]
        await press(pilot, "escape o o")
        await until(pilot, "6 runs by name")
        assert await listed() == sorted(newest)
        await press(pilot, "o")
        assert (await listed())[:3] == ["live-1", "later-1", "mails-2"]
        await press(pilot, "o o")
        await until(pilot, " by ", gone=True)
        assert await listed() == newest


async def test_all_interrupted_runs_go_on_by_one_key(tmp_path: Path) -> None:
    place, worker = Workspace(tmp_path), IdleWorker()
    first, second = (made_runs.finished(place, "mails", None, upto) for upto in (50, 60))
    later, elsewhere = place.new_run("later"), made_runs.finished(place, "elsewhere", None, 20)
    later.recipe_path.write_text(made_runs.RECIPE)
    made_runs.waits_elsewhere(elsewhere)
    made_runs.finished(place, "tickets")
    async with studio(place, worker).run_test(size=(120, 40)) as pilot:
        await until(pilot, "3 runs were interrupted: R goes on with all")
        assert "R resume all" in shown(pilot.app)
        await press(pilot, "R")
        text = await until(pilot, "Train 3 runs, one after another?")
        assert "2 interrupted (from the last checkpoint) and 1 that never began; the oldest first." in " ".join(
            text.replace("│", " ").split()
        )
        await press(pilot, "escape")
        assert worker.jobs == []
        await press(pilot, "R r")
        assert worker.jobs == [Train(run.path) for run in (first, second, later)]
        assert f"{first.name} goes on, 2 more after it." in [note.message for note in pilot.app._notifications]
