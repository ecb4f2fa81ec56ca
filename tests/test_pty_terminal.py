"""A terminal changed from outside shows the studio whole again: another size, halted and going on, written on."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import made_runs
import psutil
import pytest
from terminal import Terminal, ftstudio

from ftstudio.core.workspace import Workspace


@pytest.fixture
def opened(tmp_path: Path, request: pytest.FixtureRequest):
    """The studio on its screen Runs, with one run."""
    workspace = Workspace(tmp_path / "w")
    made_runs.finished(workspace)
    with Terminal(ftstudio("--workspace", str(workspace.path)), cwd=tmp_path) as screen:
        screen.wait("tickets-1")
        screen.pump(0.5)
        screen.key("?", "escape")
        screen.wait("shows its curves")
        yield screen


def whole(screen: Terminal, wanted: object) -> None:
    """Wait until SCREEN shows WANTED again, every cell of it."""
    if not screen.pump(30, lambda: screen.cells == wanted):
        raise AssertionError(f"not whole again:\n{screen.text}")


def test_another_size_and_back_shows_every_cell_anew(opened: Terminal) -> None:
    small = opened.cells
    opened.resize(120, 30)
    opened.wait(r"tickets-1(.*\n)+.*ctrl\+p all")
    assert opened.pump(30, lambda: "▒" not in opened.text)
    opened.pump(0.5)
    wide = opened.cells
    opened.key("4")
    opened.resize(80, 24)
    opened.key("6")
    whole(opened, small)
    opened.resize(120, 30)
    opened.resize(80, 24)  # both before anything was drawn: for the studio it may be no other size at all
    opened.resize(120, 30)
    whole(opened, wide)
    opened.garble()
    os.kill(opened.process, signal.SIGWINCH)  # what dtach sends on coming back: the size is the same
    whole(opened, wide)


@pytest.mark.parametrize("how", [signal.SIGTSTP, signal.SIGSTOP])
def test_halted_and_going_on_shows_every_cell_anew(opened: Terminal, how: signal.Signals) -> None:
    before, process = opened.cells, psutil.Process(opened.process)
    for _ in range(2):
        opened.signal(how)
        assert opened.pump(30, lambda: process.status() == psutil.STATUS_STOPPED)
        opened.pump(0.1)
        opened.garble()  # another program had the terminal
        opened.signal(signal.SIGCONT)
        whole(opened, before)
    opened.key("q")
    assert opened.ended(10)
    assert opened.status == 0


def test_what_others_wrote_on_the_screen_is_drawn_over_by_ctrl_l(opened: Terminal) -> None:
    before = opened.cells
    opened.garble()
    opened.key("ctrl+l")
    whole(opened, before)
    opened.key("?")
    opened.wait("all you have trained")
    opened.pump(0.3)
    before = opened.cells
    opened.garble()
    opened.key("ctrl+l")  # in a dialog, too
    whole(opened, before)


@pytest.mark.parametrize("env", [{"NO_COLOR": "1"}, {"TERM": "xterm", "COLORTERM": ""}, {"TERM": "screen-256color"}])
def test_colours_of_any_kind_are_left_as_a_whole_frame_draws_them(tmp_path: Path, env: dict[str, str]) -> None:
    workspace = Workspace(tmp_path / "w")
    made_runs.finished(workspace)
    with Terminal(ftstudio("--workspace", str(workspace.path)), cwd=tmp_path, env=env) as screen:
        screen.wait("tickets-1")
        for keys, there in (("5", "▸5 Compare◂"), ("6", "▸6 Runs◂"), ("?", "all you have trained")):
            screen.key(keys)
            screen.wait(there)
        screen.pump(0.5)
        before = screen.cells
        screen.garble()
        screen.key("ctrl+l")
        whole(screen, before)
