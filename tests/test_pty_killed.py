"""A training that is interrupted again and again, as a whole process: what goes on is exactly what would have been."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from pathlib import Path

from paced import Place, last_step, losses, until

from ftstudio.core.run import RunFolder

STEPS = 50


def since_start(run: RunFolder) -> list[int]:
    """The steps that the last process to train RUN has taken."""
    events = run.events()
    begun = max(index for index, event in enumerate(events) if event["kind"] == "start")
    return [event["step"] for event in events[begun:] if event["kind"] == "step"]


def test_interrupted_in_every_way_and_still_the_same(tmp_path: Path):
    """SIGINT headless, SIGKILL, SIGTERM under the screen; resumed by command and by key; as good as unbroken."""
    (tmp_path / "whole").mkdir()
    whole = Place.make(tmp_path / "whole", STEPS)
    (tmp_path / "broken").mkdir()
    place = Place.make(tmp_path / "broken", STEPS)
    unbroken = subprocess.Popen(
        whole.command("train", "tiny.yaml", "--json"), cwd=whole.path, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        text=True, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        with place.terminal("train", "tiny.yaml") as first:
            first.wait(rf"step \d+/{STEPS}", 60)
            run = place.last
            until(lambda: last_step(run) >= 4, "at step 4", terminal=first)
            first.key("ctrl+c")
            first.wait("Stopping: saving what was done")
            assert first.ended(30)
            assert first.status == 130
            assert f"train --resume {run.name}" in first.text
        assert run.state() == "stopped"
        stopped_at = last_step(run)
        assert 4 <= stopped_at < 20  # a checkpoint of its own, not one of every ten steps

        with place.terminal("train", "--resume", run.name) as second:
            second.wait(f"resumed from step {stopped_at}", 60)
            until(lambda: last_step(run) >= 23, "at step 23", terminal=second)
            second.signal(signal.SIGKILL)
            assert second.ended(10)
        told = place.asked("runs", "--json")
        assert [(row["run"], row["state"]) for row in json.loads(told.stdout)] == [(run.name, "interrupted")]

        with place.terminal() as third:  # the studio offers to go on
            third.wait("was interrupted: r goes on with it")
            third.wait("r resumes from step 20")
            third.key("r")
            until(lambda: since_start(run)[:1] == [21], "going on from step 20", terminal=third)
            third.signal(signal.SIGTERM)
            assert third.ended(30)
            assert third.status == 130
            assert "Saving a checkpoint and stopping" in third.text
        assert run.state() == "stopped"

        last = place.asked("train", "--resume", "last", "--json")
        assert last.returncode == 0, last.stderr
        value = json.loads(last.stdout)
        printed, complaints = unbroken.communicate(timeout=60)
        assert unbroken.returncode == 0, complaints
    finally:
        unbroken.kill()
    expected = json.loads(printed)
    assert value["state"] == expected["state"] == "done"
    assert value["steps"] == expected["steps"] == STEPS
    assert value["loss"] == expected["loss"]
    assert value["eval"] == expected["eval"]
    assert losses(run) == losses(whole.last)  # bit by bit, whatever was taken twice
    starts = [event["resumed_from"] for event in run.events() if event["kind"] == "start"]
    assert starts[:3] == [None, stopped_at, 20]
    assert len(starts) == 4
    weights = "adapter_model.safetensors"
    assert (run.model / weights).read_bytes() == (whole.last.model / weights).read_bytes()
    assert not os.path.exists(run.owner_path)
