"""Events of a run whose disk is full: kept, told beside the events meanwhile, and written once there is room."""

from __future__ import annotations

import errno
import time
from pathlib import Path
from typing import Any

import pytest
from small_disk import Disk, disk  # noqa: F401

from ftstudio.core import backlog, files
from ftstudio.core.backlog import Backlog
from ftstudio.core.errors import DiskFull, StudioError
from ftstudio.core.folder import JobFolder
from ftstudio.core.run import RunFolder
from ftstudio.core.workspace import Workspace
from ftstudio.engine.lingering import Lingering
from ftstudio.ui.shell.session import RunFeed
from ftstudio.ui.text.following import Following
from ftstudio.ui.train.notice import notice


def begun(path: Path) -> RunFolder:
    run = RunFolder(path)
    run.claim()
    run.patient = True
    run.emit("phase", phase="training", text="")
    run.emit("step", step=1, loss=2.0)
    return run


def until_full(run: RunFolder) -> int:
    """Take steps until one finds no room (the last page has some); the last one that was written."""
    step = 1
    while run.unwritten is None:
        step += 1
        run.emit("step", step=step, loss=2.0)
    return step - 1


def said(feed: RunFeed) -> str:
    return notice(feed.story, feed.state, waits_for=None, asked="", resumable="", held=feed.held)[2]


def test_what_finds_no_room_is_told_meanwhile_and_written_in_order_once_there_is(disk: Disk):  # noqa: F811
    run = begun(disk.path / "runs" / "r")
    feed = RunFeed(RunFolder(run.path))  # as another process reads it
    disk.fill()
    last = until_full(run)
    before = time.time()
    run.emit("eval", step=last + 1, loss=1.5)
    run.emit("alert", level="error", text="The disk is full.", action="pause", step=last + 1)
    run.emit("phase", phase="paused", text="")
    after = time.time()
    feed.poll()
    assert feed.story.step == last
    assert (feed.state, RunFolder(run.path).state()) == ("paused", "paused")
    assert said(feed).startswith("The disk is full. Nothing was written")
    assert f"the run is paused at step {last + 1}." in said(feed)
    run.beat()  # a sign of life needs no room either
    owner = RunFolder(run.path).owner()
    assert owner is not None
    assert owner.heartbeat >= after
    assert not run.catch_up()
    disk.free()
    run.emit("phase", phase="training", text="")
    kinds = [(event["kind"], event.get("phase") or event.get("step")) for event in run.events()]
    assert kinds == [
        ("phase", "training"), *(("step", step) for step in range(1, last + 2)), ("eval", last + 1),
        ("alert", last + 1), ("phase", "paused"), ("phase", "training"),
    ]  # fmt: skip
    evaluation = next(event for event in run.events() if event["kind"] == "eval")
    assert before <= evaluation["time"] <= after
    for _ in range(8):
        feed.poll()
    assert (feed.state, feed.held) == ("running", None)
    assert b"\n\n" not in run.events_path.read_bytes()
    assert files.LineReader(run.events_path).skipped == 0


def test_the_owner_reads_what_waits_too(disk: Disk):  # noqa: F811
    """What it has told and can't write is so all the same; others see it once it is written."""
    run = begun(disk.path / "runs" / "r")
    disk.fill()
    last = until_full(run)
    run.emit("steer", step=1, what="learning_rate", value=1e-4, why="went back")
    run.emit("telemetry", gpus=[])
    told = [("step", last + 1), ("steer", 1), ("telemetry", None)]
    assert [(event["kind"], event.get("step")) for event in run.events()][-3:] == told
    assert [event["kind"] for event in run.rare_events()] == ["phase", "steer"]
    assert [event["kind"] for event in run.rare_events(last + 1)] == ["phase", "step", "steer"]
    assert [event["kind"] for event in RunFolder(run.path).rare_events()] == ["phase"]
    disk.free()
    assert run.catch_up()
    assert [event["kind"] for event in run.rare_events()] == ["phase", "steer"]
    assert run.events() == RunFolder(run.path).events()


def test_who_is_not_patient_hears_of_it_and_nothing_is_lost(disk: Disk):  # noqa: F811
    run = begun(disk.path / "runs" / "r")
    disk.fill()
    last = until_full(run)
    run.patient = False
    with pytest.raises(DiskFull):
        run.emit("failed", text="it failed")
    assert RunFolder(run.path).state() == "failed"  # though it is still at work
    disk.free()
    assert run.catch_up()
    assert [event.get("step") for event in run.events()][-2:] == [last + 1, None]


def test_on_a_disk_that_takes_nothing_at_all_this_process_knows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    run, real = begun(tmp_path / "r"), files.LineWriter.append

    def no(*_: Any) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    def readonly(self: files.LineWriter, *rows: dict[str, Any]) -> None:
        raise files.explain(OSError(errno.EROFS, "Read-only file system"), self.path)

    monkeypatch.setattr(files.LineWriter, "append", readonly)
    monkeypatch.setattr(files, "overwrite_json", no)
    with pytest.raises(StudioError, match="read-only"):
        run.emit("failed", text="it failed")
    feed = RunFeed(RunFolder(run.path))
    feed.poll()
    assert feed.state == "failed"
    assert said(feed) == "it failed (That it failed isn't written: the file system is read-only.)"
    following = Following(JobFolder(run.path))
    following.poll()
    assert not following.running
    assert following.failed_lines(80) == [(("✗ it failed", "bad"),)]
    monkeypatch.setattr(files.LineWriter, "append", real)
    assert run.catch_up()
    assert run.events()[-1]["kind"] == "failed"


def test_a_line_that_is_torn_by_a_full_disk_is_cut_off(disk: Disk):  # noqa: F811
    path = disk.path / "lines.jsonl"
    files.LineWriter(path).append({"n": 0, "text": "x" * 3000})
    disk.fill()
    with pytest.raises(StudioError):
        files.LineWriter(path).append({"n": 1, "text": "x" * 300}, {"n": 2, "text": "x" * 3000})
    assert path.read_bytes().endswith(b"}\n")
    assert [row["n"] for row in files.read_lines(path)] == [0, 1]


def test_numbers_are_thinned_and_what_happened_is_not(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(backlog, "MOST", 100)
    kept = Backlog()
    for step in range(1, 1001):
        kept.add({"kind": "step", "step": step, "time": float(step)})
        if step % 10 == 0:
            kept.add({"kind": "eval", "step": step, "time": float(step)})
            kept.add({"kind": "phase", "phase": "training", "time": float(step)})
    assert kept.told("full")["step"] == 1000
    assert kept.told("full")["state"]["time"] == 1000.0
    found = []
    while kept:
        found.append(kept.first)
        kept.written()
    assert [event["step"] for event in found if event["kind"] == "eval"] == list(range(10, 1001, 10))
    assert sum(event["kind"] == "phase" for event in found) == 100
    steps = [event["step"] for event in found if event["kind"] == "step"]
    assert 20 < len(steps) <= 100
    assert [event["time"] for event in found] == sorted(event["time"] for event in found)


def test_a_job_whose_end_can_not_be_written_tells_it_until_there_is_room(disk: Disk, monkeypatch: pytest.MonkeyPatch):  # noqa: F811
    monkeypatch.setattr("ftstudio.engine.lingering.LOOK", 0.02)
    space = Workspace(disk.path)
    run, lingering = begun(space.runs_path / "r"), Lingering()
    disk.fill()
    until_full(run)
    run.emit("failed", text="it failed", step=1)
    lingering.release(run, stays=True)
    seen = RunFolder(run.path)
    assert seen.state() == "failed"
    disk.free()
    end = time.monotonic() + 20
    while seen.owner() is not None and time.monotonic() < end:
        time.sleep(0.02)
    assert seen.owner() is None
    assert (seen.state(), seen.events()[-1]["kind"]) == ("failed", "failed")


def test_a_run_that_is_through_can_be_begun_again_and_deleted_though_its_end_is_not_written(disk: Disk):  # noqa: F811
    space = Workspace(disk.path)
    run, lingering = begun(space.runs_path / "r"), Lingering()
    disk.fill()
    until_full(run)
    run.emit("failed", text="it failed", step=1)
    lingering.release(run, stays=True)
    assert RunFolder(run.path).owner() is not None
    lingering.leave(run.path)
    assert RunFolder(run.path).owner() is None
    lingering.release(run, stays=True)
    (space.path / "trash").mkdir()
    space.delete_run(RunFolder(run.path))
    disk.free()
    assert not run.path.exists()
