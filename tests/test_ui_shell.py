"""What every screen stands in: strip, key line, help, palette, quitting, signals, sizes, bytes."""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path
from typing import Any

import made_runs
import pytest
from hypothesis import given
from hypothesis import strategies as st
from screens import shown, until
from textual.app import App, ComposeResult
from textual.css.stylesheet import Stylesheet
from textual.widgets import Static

from ftstudio.core.errors import StudioError
from ftstudio.core.jobs import Train
from ftstudio.core.workspace import Workspace
from ftstudio.ui.run import _tell_fault
from ftstudio.ui.shell.app import EVERYWHERE, StudioApp
from ftstudio.ui.shell.help import compact, flowing, hanging
from ftstudio.ui.shell.session import RunFeed, Session
from ftstudio.ui.shell.signals import Signals, Unbroken
from ftstudio.ui.shell.strip import TopStrip, fitting

SIZES = [(80, 24), (120, 40)]


def studio(workspace: Workspace, start: str = "runs") -> StudioApp:
    return StudioApp(Session(workspace), start)


class Busy:
    """A worker that is at work, without working."""

    def __init__(self, *jobs: Any) -> None:
        self.jobs, self.submitted = jobs, []
        self.busy, self.refused = bool(jobs), None

    current = property(lambda self: self.jobs[0] if self.jobs else None)
    waiting = property(lambda self: self.jobs[1:])

    def submit(self, job: Any) -> None:
        self.submitted.append(job)


async def test_a_widget_that_comes_between_two_layouts_makes_no_line_wider_than_the_terminal() -> None:
    class Two(App[None]):
        CSS = "Screen { layers: below above; } #above { layer: above; width: 20; offset: 30 0; display: none; }"

        def compose(self) -> ComposeResult:
            yield Static("below " * 13, id="below")
            yield Static("above", id="above")

    async with Two().run_test(size=(60, 4)) as pilot:
        compositor, above = pilot.app.screen._compositor, pilot.app.query_one("#above")
        assert compositor.cuts[0] == [0, 60]
        with pilot.app.batch_update():  # no layout yet
            above.styles.display = "block"
            compositor._full_map_invalidated = True  # as scrolling and new widgets do
            assert above in compositor.full_map
            strips = compositor.render_strips()
        assert compositor.cuts[0] == [0, 30, 50, 60]
        assert [strip.cell_length for strip in strips] == [60] * 4


def test_a_terminal_that_is_gone_does_not_end_the_thread_that_writes() -> None:
    class Gone:
        def write(self, text: str) -> int:
            raise OSError(5, "Input/output error")

        def flush(self) -> None:
            raise OSError(5, "Input/output error")

    file = Unbroken(Gone())  # type: ignore[arg-type]
    assert file.write("abc") == 3
    file.flush()


# -- signals ---------------------------------------------------------------------------------------------------------
def test_signals_are_told_remembered_and_let_go_of_the_terminal_first() -> None:
    told: list[str] = []
    signals = Signals(lambda: told.append("let go"))
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGHUP)
    signals.install()
    try:
        os.kill(os.getpid(), signal.SIGTERM)
        signals.listen(told.append)  # told of what came before
        os.kill(os.getpid(), signal.SIGHUP)
        os.kill(os.getpid(), signal.SIGHUP)  # the shell's, after the kernel's
        os.kill(os.getpid(), signal.SIGINT)
    finally:
        signals.hung_up = False
        signals.restore()
    assert told == ["stop", "let go", "hangup", "let go", "hangup", "stop"]
    assert signals.stop == 2
    assert (
        signal.getsignal(signal.SIGTERM),
        signal.getsignal(signal.SIGINT),
        signal.getsignal(signal.SIGHUP),
    ) == before


def test_without_a_screen_going_on_means_what_it_does_to_any_process() -> None:
    """A hang-up comes with SIGCONT, and Textual's handler for that raises once its screen is gone."""
    before = signal.getsignal(signal.SIGCONT), signal.getsignal(signal.SIGTSTP)
    signals, drawn = Signals(), []
    signals.install()
    try:
        for number in (signal.SIGCONT, signal.SIGTSTP):
            signal.signal(number, lambda *_: drawn.append("the screen"))
        signals.without_screen()
        os.kill(os.getpid(), signal.SIGCONT)
        assert not drawn
        assert (signal.getsignal(signal.SIGCONT), signal.getsignal(signal.SIGTSTP)) == before
    finally:
        signals.restore()


def test_signals_stay_out_of_other_threads() -> None:
    found: list[BaseException] = []

    def run() -> None:
        try:
            Signals().install()
        except BaseException as error:
            found.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert found == []


# -- the frame of every screen -----------------------------------------------------------------------------------------
@pytest.mark.parametrize("size", SIZES)
async def test_strip_keys_and_help(tmp_path: Path, size: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    workspace = Workspace(tmp_path)
    made_runs.finished(workspace)
    app = studio(workspace)
    parsed, whole = [], Stylesheet.reparse
    monkeypatch.setattr(Stylesheet, "reparse", lambda sheet: (parsed.append(app.theme), whole(sheet)))
    async with app.run_test(size=size) as pilot:
        screen = await until(pilot, "tickets-1")
        assert "▸6 Runs◂" in screen.splitlines()[0]
        assert "? help" in screen.splitlines()[-1]
        assert len(screen.splitlines()) == size[1]
        await pilot.press("?")
        assert "A run is one training from one recipe." in await until(pilot, "all you have trained")
        await pilot.press("end")
        await until(pilot, "1 … 6")
        await pilot.press("escape")
        await until(pilot, "▸6 Runs◂")
        await pilot.press("4")
        await until(pilot, "No run is in view")
        assert not parsed  # style sheets are parsed once, for all screens, …
        strip = app.screen.query_one(TopStrip)
        before = strip.render_line(0)
        app.theme = "textual-light"
        await pilot.pause()
        assert parsed == ["textual-light"]  # … and again for other colours
        assert strip.render_line(0).text == before.text
        assert strip.render_line(0) != before


async def test_every_action_is_found_by_its_name(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    made_runs.finished(workspace)
    app = studio(workspace)
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, "tickets-1")
        await pilot.press("ctrl+p")
        screen = await until(pilot, "what do you want to do?")
        wanted = [action.short for action in app.actions_known(app.screen_stack[0])]
        assert {"open", "compare", "delete", "filter", "Data", "Runs", "help", "quit"} <= set(wanted)
        lines = [line.split() for line in screen.splitlines()]
        places = [next(at for at, words in enumerate(lines) if words[:1] == [name]) for name in ("open", "filter")]
        assert places == sorted(places)  # in the key line's order, the screen's own before the studio's
        await pilot.press(*"hold a word")  # found by what it does, too
        await until(pilot, "show only runs")
        assert "recipe and figures" not in shown(app)
        await pilot.press("enter")
        await until(pilot, "Filter the runs")


async def test_too_small_a_terminal_is_told_politely_and_nothing_is_lost(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    made_runs.finished(workspace)
    app = studio(workspace)
    async with app.run_test(size=(59, 20)) as pilot:
        screen = await until(pilot, "59×20")
        assert "60×18" in screen
        assert "tickets" not in screen
        await pilot.resize_terminal(80, 24)
        await until(pilot, "tickets-1")


async def test_hostile_names_errors_and_notices_are_shown_not_obeyed(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    app = studio(workspace)
    async with app.run_test(size=(80, 24), notifications=True) as pilot:
        await until(pilot, "No runs yet")
        app.show_error(StudioError("No file [/b] \x1b[31mred\x00.", "Look at [bold."))
        app.tell("[/link] 世界")
        screen = await until(pilot, "[/link] 世界")
        assert "No file [/b] ␛red␀. Look at [bold." in screen


def test_a_screen_that_fails_says_so_in_one_sentence_and_keeps_its_traceback(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    try:
        raise RuntimeError("planted [/b] \x1b[31m")
    except RuntimeError as error:
        _tell_fault(error, Workspace(tmp_path))
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "RuntimeError: planted [/b] ␛" in said
    assert str(tmp_path / "fault.txt") in said
    assert "test_a_screen_that_fails" in (tmp_path / "fault.txt").read_text()
    _tell_fault(None, Workspace(tmp_path))
    assert capsys.readouterr().err == ""


async def test_at_the_start_the_run_that_lives_is_in_view_else_the_newest(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    session = Session(workspace)
    session.adopt()
    assert session.feed is None
    live = made_runs.begin(workspace, "live", owned=True)
    newest = made_runs.finished(workspace, "newest")
    session.adopt()
    assert session.feed is not None
    assert session.feed.run.path == live.path
    assert session.live
    live.release()
    again = Session(workspace)
    again.adopt()
    assert again.feed is not None
    assert again.feed.run.path == newest.path
    assert not again.live
    async with StudioApp(again, "compare").run_test(size=(80, 24)) as pilot:
        await until(pilot, "✓ done")  # the strip tells of it on every screen
        assert "newest-1" in shown(pilot.app).splitlines()[0]


# -- quitting --------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(("key", "outcome"), [("h", "headless"), ("s", "stop")])
async def test_quitting_asks_while_something_runs_here(tmp_path: Path, key: str, outcome: str) -> None:
    app = studio(Workspace(tmp_path))
    app.session._worker = Busy(Train(tmp_path / "tickets-7"))  # type: ignore[assignment]
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, "No runs yet")
        await pilot.press("q")
        await until(pilot, "training tickets-7")
        await pilot.press("escape")
        await pilot.pause()
        assert app.return_value is None
        await pilot.press("q")
        await until(pilot, "training tickets-7")
        await pilot.press(key)
        await pilot.pause()
    assert app.return_value == outcome


async def test_quitting_with_nothing_to_lose_is_one_key(tmp_path: Path) -> None:
    app = studio(Workspace(tmp_path))
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, "No runs yet")
        await pilot.press("q")
        await pilot.pause()
    assert app.return_value == ""


# -- small parts -----------------------------------------------------------------------------------------------------
@given(st.lists(st.tuples(st.integers(0, 4), st.text("abc", min_size=1, max_size=12)), max_size=8), st.integers(0, 80))
def test_the_strip_drops_the_least_important_first(parts: list[tuple[int, str]], width: int) -> None:
    text = fitting(parts, width)
    kept = text.split("  ") if text else []
    assert [word for word in kept if word] == kept
    assert all(word in kept for rank, word in parts if rank == 0)
    assert len(text) <= width or len(kept) == sum(rank == 0 for rank, _ in parts)
    if len(kept) < len(parts):  # the least important of what was dropped matters no more than what was kept
        dropped = len(parts) - len(kept)
        ranks = sorted(rank for rank, _ in parts)
        assert sorted(ranks[-dropped:])[0] >= max(ranks[: len(kept)], default=0)


def test_help_flows_and_is_compact() -> None:
    assert flowing("one\ntwo\n\nthree\n- four\n- five\n  six", 60) == "one two\n\nthree\n- four\n- five\n  six"
    long = "one\n  cat dog   both words, in any column"
    assert flowing(long, 24) == "one\n  cat dog   both words,\n            in any\n            column"
    assert hanging("least sure   where tags say least", 24) == "least sure   where tags say least"  # no room to hang
    assert hanging("low   where tags say least", 16) == "low   where tags\n      say least"
    assert flowing("- four and five", 9) == "- four\n  and\n  five"
    actions = compact(EVERYWHERE)
    assert actions[0].key == "1 … 6"
    assert not any(action.run.startswith("go(") for action in actions[1:])


def test_a_long_history_is_taken_in_pieces(tmp_path: Path) -> None:
    run = made_runs.begin(Workspace(tmp_path), total=20_000)
    lines = b"".join(b'{"kind":"step","time":1,"step":%d,"loss":1.0}\n' % step for step in range(1, 20_001))
    with open(run.events_path, "ab") as file:
        file.write(lines)
    feed, polls = RunFeed(run), 0
    while feed.poll():
        polls += 1
    assert feed.story.step == 20_000
    assert len(feed.story.curves["loss"]) == 20_000
    assert polls >= 1
