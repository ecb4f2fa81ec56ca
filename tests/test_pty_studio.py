"""The studio as a whole process on a real terminal, worked with keys as a person would."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

import pytest
from nursery import Nursery
from paced import KINDS, SCREENS, Place, at, last_step, losses, until
from terminal import Terminal, ftstudio


def test_the_loop_by_keys(nursery: Nursery, tmp_path: Path):
    """Data, recipe, training, comparison, in one process whose libraries print in every way there is."""
    place = Place.make(tmp_path, 30, nursery)
    goes_on = tmp_path / "goes-on"  # as long as it isn't there no training comes to its end, however fast it is
    with place.terminal(pace=0.02, env={"NOISE": "1", "HOLD": str(goes_on)}) as screen:
        screen.wait("Open a dataset")
        screen.type("rows.jsonl")
        screen.key("enter")
        screen.wait("32 rows")
        screen.wait("Ticket 0: the lamp")
        screen.key("t")
        screen.wait(r"[1-9]\d* trained .*, [1-9]\d* masked")
        screen.wait("end token learnt")
        screen.key("escape")
        for key, name in [*SCREENS.items(), ("3", "Recipe")]:
            screen.key(key)
            screen.wait(at(name))
        screen.key("?")
        screen.wait("enter goes to the next step")
        screen.key("escape", "o")
        screen.wait("Open a preset")
        screen.key("enter")
        screen.wait("Preset tiny is open")
        screen.key("s")
        screen.wait("Start training")
        screen.key("s")
        screen.wait(at("Train"), 60)
        screen.wait(r"step [1-9]\d*/30", 60)
        screen.key("6")
        screen.wait(at("Runs"))
        screen.wait(r"1 run .* 1 live")
        goes_on.touch()
        screen.key("enter")
        screen.wait(at("Train"))
        screen.wait(r"✓ done .*loss", 60)
        run = place.last
        assert run.state() == "done"
        assert losses(run).keys() == set(range(1, 31))
        screen.key("enter")
        screen.wait(at("Compare"))
        screen.key("g")
        screen.wait(r"ROUGE-L", 60)
        screen.key("enter")
        screen.wait("Ticket 4[0-3]: the lamp")
        screen.key("escape")
        assert (run.compare.path / "report.json").is_file()

        # a second training, which the person leaves: the question can be taken back, and answered
        goes_on.unlink()
        screen.key("3", "s")
        screen.wait(at("Train"), 30)
        until(lambda: last_step(place.last) > 0 and place.last.path != run.path, "training again", terminal=screen)
        screen.key("p")
        screen.wait("pausing after this step|paused at step")
        goes_on.touch()
        screen.wait("paused at step")
        screen.key("q")
        screen.wait("go on headless")
        screen.key("escape")
        screen.wait("the model stays loaded")
        assert "go on headless" not in screen.text
        screen.key("q")
        screen.wait("save, stop and quit")
        screen.key("s")
        assert screen.ended(30)
        assert screen.status == 0
        assert place.last.state() == "stopped"
        assert b"NOISE" not in screen.raw
        assert screen.text.strip().splitlines()[-1].startswith("Saving a checkpoint and stopping")
    log = run.log_path.read_text()
    for kind in KINDS:
        assert f"NOISE {kind}\n" in log


def test_quitting_goes_on_headless_and_is_steered_from_elsewhere(nursery: Nursery, tmp_path: Path):
    place = Place.make(tmp_path, 1000, nursery)
    with place.terminal("train", "tiny.yaml", "--watch") as first:
        first.wait(r"step [1-9]\d*/1000", 60)
        run = place.last
        first.key("q")
        first.wait("go on headless")
        first.key("h")
        first.wait(rf"Going on with {run.name} headless")
        assert not first.ended()
        # each command is another process
        assert place.asked("pause", "last").returncode == 0
        until(lambda: run.state() == "paused", "paused")
        assert place.asked("checkpoint", run.name[:4]).returncode == 0
        until(lambda: any(e["kind"] == "checkpoint" and e["reason"] == "as asked" for e in run.events()), "saved")
        assert run.state() == "paused"
        halted = last_step(run)
        assert place.asked("resume", run.name).returncode == 0
        until(lambda: last_step(run) > halted, "going on")
        with Terminal(ftstudio("--workspace", str(place.workspace.path)), cwd=place.path) as second:
            second.wait(at("Train"))
            second.key("s")
            second.wait("Stop .*?")
            second.key("s")
            second.wait("stopped at step", 30)
        assert first.ended(30)
        assert first.status == 0
    assert run.state() == "stopped"
    refused = place.asked("stop", run.name)
    assert refused.returncode == 1
    assert f"train --resume {run.name}" in refused.stderr


@pytest.mark.parametrize("end", ["hang-up", "SIGTERM", "q"])
def test_an_idle_studio_ends_at_once(tmp_path: Path, end: str):
    with Terminal(ftstudio(), cwd=tmp_path, env={"FTSTUDIO_WORKSPACE": str(tmp_path / "w")}) as screen:
        screen.wait("Open a dataset")
        if end == "hang-up":
            screen.hang_up()
        elif end == "SIGTERM":
            screen.signal(signal.SIGTERM)
        else:
            screen.key("escape", "q")
        assert screen.ended(10)
        assert screen.status == (130 if end == "SIGTERM" else 0)
        if end != "hang-up":
            assert b"\x1b[?1049l" in screen.raw  # the shell has its own screen again
    assert not (tmp_path / "w" / "runs").exists()


@pytest.mark.parametrize("words", [(), ("train", "RECIPE", "--watch")])
@pytest.mark.parametrize("where", ["a dumb terminal", "no terminal"])
def test_without_a_terminal_one_sentence_names_the_headless_commands(
    tmp_path: Path, words: tuple[str, ...], where: str
):
    place = Place.make(tmp_path, steps=3)
    command = ftstudio(*("tiny.yaml" if word == "RECIPE" else word for word in words))
    command += ["--workspace", str(tmp_path / "new")]
    if where == "no terminal":
        done = subprocess.run(command, cwd=place.path, capture_output=True, text=True, stdin=subprocess.DEVNULL)
        text, status = done.stderr, done.returncode
        assert done.stdout == ""
    else:
        with Terminal(command, cwd=place.path, env={"TERM": "dumb"}) as screen:
            assert screen.ended(20)
            text, status = screen.text, screen.status  # type: ignore[assignment]
            assert b"\x1b" not in screen.raw
    text = " ".join(text.split())
    assert status == 2
    assert "no terminal here that can show the studio" in text
    assert "ftstudio train RECIPE" in text
    assert not (tmp_path / "new").exists()
    assert os.listdir(place.workspace.path) == ["presets"]
