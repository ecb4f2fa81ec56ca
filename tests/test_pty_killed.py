"""A training that is interrupted in every way there is, as a whole process: it ends as if nothing had happened."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path

import psutil
import pytest
from nursery import Nursery
from paced import KINDS, Place, at, last_step, losses, until
from terminal import Terminal, ftstudio

from ftstudio.core.run import RunFolder

STEPS = 50


def since_start(run: RunFolder) -> list[int]:
    """The steps that the last process to train RUN has taken."""
    events = run.events()
    begun = max(index for index, event in enumerate(events) if event["kind"] == "start")
    return [event["step"] for event in events[begun:] if event["kind"] == "step"]


def stopped_by_ctrl_c(place: Place) -> RunFolder:
    """Headless, and ctrl+c after four steps."""
    with place.terminal("train", "tiny.yaml") as terminal:
        terminal.wait(rf"step \d+/{STEPS}", 60)
        run = place.last
        until(lambda: last_step(run) >= 4, "at step 4", terminal=terminal)
        terminal.key("ctrl+c")
        terminal.wait("Stopping: saving what was done")
        assert terminal.ended(30)
        assert terminal.status == 130
        assert f"train --resume {run.name}" in terminal.text
    assert run.state() == "stopped"
    return run


def killed(place: Place, run: RunFolder) -> None:
    """Resumed by command, and killed after step 23, three steps after a checkpoint."""
    with place.terminal("train", "--resume", run.name) as terminal:
        terminal.wait(f"resumed from step {last_step(run)}", 60)
        until(lambda: last_step(run) >= 23, "at step 23", terminal=terminal)
        terminal.signal(signal.SIGKILL)
        assert terminal.ended(10)
    told = place.asked("runs", "--json")
    assert [(row["run"], row["state"]) for row in json.loads(told.stdout)] == [(run.name, "interrupted")]


def terminated(place: Place, run: RunFolder) -> None:
    """Resumed by the key that the studio names, and SIGTERM."""
    with place.terminal() as terminal:
        terminal.wait("was interrupted: r goes on with it")
        terminal.wait("r resumes from step 20")
        terminal.key("r")
        until(lambda: since_start(run)[:1] == [21], "going on from step 20", terminal=terminal)
        terminal.signal(signal.SIGTERM)
        assert terminal.ended(30)
        assert terminal.status == 130
        assert "Saving a checkpoint and stopping" in terminal.text
    assert run.state() == "stopped"


def hung_up(place: Place, run: RunFolder) -> None:
    """Resumed under the screen, whose terminal goes away; steered to its end from another studio."""
    halted = last_step(run)
    with place.terminal("train", "--resume", "last", "--watch", env={"NOISE": "1"}) as first:
        until(lambda: last_step(run) > halted + 3, "going on", terminal=first)
        first.hang_up()
        with Terminal(ftstudio("--workspace", str(place.workspace.path)), cwd=place.path) as second:
            second.wait(at("Train"))
            second.wait(rf"step \d+/{STEPS}")
            second.key("p")
            second.wait("paused at step", 30)
            halted = last_step(run)
            owner = run.owner()
            assert owner is not None
            assert owner.process == first.process
            before, began = sum(psutil.Process(first.process).cpu_times()[:2]), time.monotonic()
            second.pump(1.5)
            spent = sum(psutil.Process(first.process).cpu_times()[:2]) - before
            assert spent < 0.3 * (time.monotonic() - began)  # a process that reads a dead terminal takes all
            assert last_step(run) == halted
            second.key("c")
            until(lambda: asked(run) == [halted] and run.state() == "paused", "saved", terminal=second)
            second.wait("paused at step")
            second.key("p")
            second.wait("✓ done", 60)
            assert first.ended(30)
            assert first.status == 0
            second.key("q")
            assert second.ended(10)
            assert second.status == 0
    assert b"NOISE" not in first.raw
    log = run.log_path.read_text()
    assert all(f"NOISE {kind}\n" in log for kind in KINDS if "child" not in kind)


def asked(run: RunFolder) -> list[int]:
    """The steps of the checkpoints that a person asked for."""
    return [event["step"] for event in run.events() if event["kind"] == "checkpoint" and event["reason"] == "as asked"]


@pytest.mark.parametrize("left", [False, pytest.param(True, marks=pytest.mark.slow)], ids=["watched", "left before"])
def test_a_hang_up_ends_nothing(nursery: Nursery, tmp_path: Path, left: bool):
    """The terminal of the studio goes away in the middle of a training: it goes on, saves, and ends by itself; also
    where it had been LEFT to go on headless."""
    place, goes_on = Place.make(tmp_path, 8, nursery), tmp_path / "goes-on"
    env = {"NOISE": "1", "HOLD": str(goes_on)}
    with place.terminal("train", "tiny.yaml", "--watch", pace=0.05, env=env) as terminal:
        until(lambda: place.workspace.runs() and last_step(place.last) >= 2, "at step 2", terminal=terminal)
        run = place.last
        if left:
            terminal.key("q")
            terminal.wait("go on headless")
            terminal.key("h")
            terminal.wait("Going on with")
        terminal.hang_up()
        assert last_step(run) < 8
        goes_on.touch()
        assert terminal.ended(60)
        assert terminal.status == 0
    assert run.state() == "done"
    assert losses(run).keys() == set(range(1, 9))
    assert (run.model / "adapter_model.safetensors").is_file()
    assert not run.owner_path.exists()
    assert b"NOISE" not in terminal.raw


STALL = 60.0  # seconds


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("words", [("--watch",), ()], ids=["studio", "headless"])
def test_a_stalled_link_holds_nothing_up(nursery: Nursery, tmp_path: Path, words: tuple[str, ...]):
    """Nobody reads the terminal for a minute: what it doesn't take waits, the training doesn't."""
    place = Place.make(tmp_path, 3000, nursery)
    with place.terminal("train", "tiny.yaml", *words, pace=0.02) as terminal:
        until(lambda: place.workspace.runs() and last_step(place.last) >= 5, "at step 5", terminal=terminal)
        run = place.last
        counts = []
        for _ in range(6):
            time.sleep(STALL / 6)  # nobody reads
            counts.append(last_step(run))
        taken = [after - before for before, after in zip([5, *counts], counts, strict=False)]
        assert min(taken[1:]) > 0.4 * max(taken), taken  # as fast at the end as at the beginning
        owner = run.owner()
        assert owner is not None
        assert time.time() - owner.heartbeat < 15
        if words:
            terminal.wait(rf"step {counts[-1] // 100}\d\d/3000|step {counts[-1] // 100 + 1}\d\d/3000", 60)
            terminal.key("s")
            terminal.wait("Stop .*?")
            terminal.key("s")
            terminal.wait("stopped at step", 60)
            terminal.key("q")
        else:
            terminal.key("ctrl+c")
        assert terminal.ended(60)
        assert terminal.status == (0 if words else 130)
    assert run.state() == "stopped"


@pytest.mark.slow
@pytest.mark.timeout(300)  # six processes, on a machine that may be busy
def test_interrupted_in_every_way_and_still_the_same(nursery: Nursery, tmp_path: Path):
    places = []
    for name in ("whole", "broken"):
        (tmp_path / name).mkdir()
        places.append(Place.make(tmp_path / name, STEPS, nursery))
    whole, place = places
    printed = whole.path / "printed.json"
    command = whole.command("train", "tiny.yaml", "--json")
    unbroken = nursery.start(
        Path(command[1]), command[2:], cwd=whole.path, out=printed, errors=whole.path / "errors.txt"
    )
    run = stopped_by_ctrl_c(place)
    stops = [last_step(run)]
    assert 4 <= stops[0] < 20  # a checkpoint of its own, not one of every ten steps
    killed(place, run)
    terminated(place, run)
    stops.append(since_start(run)[-1])  # on a slow machine before the step it was killed at
    hung_up(place, run)
    assert nursery.wait(unbroken) == 0, (whole.path / "errors.txt").read_text()
    expected = json.loads(printed.read_text())
    (value,) = json.loads(place.asked("runs", "--json").stdout)
    assert value["state"] == expected["state"] == "done"
    assert value["steps"] == expected["steps"] == STEPS
    assert value["loss"] == expected["loss"]["last"]
    assert value["eval_loss"] == expected["eval"]["loss"]
    assert losses(run) == losses(whole.last)  # bit by bit
    starts = [event["resumed_from"] for event in run.events() if event["kind"] == "start"]
    assert starts == [None, stops[0], 20, stops[1]]
    weights = "adapter_model.safetensors"
    assert (run.model / weights).read_bytes() == (whole.last.model / weights).read_bytes()
    assert not os.path.exists(run.owner_path)
