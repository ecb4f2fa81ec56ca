"""A job's folder: one owner, a state read from events, requests from anyone."""

import errno
import json
import os
import subprocess
import sys
import threading
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from ftstudio.core import files
from ftstudio.core import folder as folder_module
from ftstudio.core import owner as owner_module
from ftstudio.core.errors import StudioError
from ftstudio.core.folder import JobFolder
from ftstudio.core.owner import Owner, here

CLAIM = (
    "import os, sys; from pathlib import Path; "
    "from ftstudio.core.folder import JobFolder; from ftstudio.core.owner import Owner, here\n"
    "f = JobFolder(Path(sys.argv[1]))\n"
)


def claimant(path: Path, then: str) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-c", CLAIM + then, str(path)], stdout=subprocess.PIPE, text=True)


LINKS = {
    "links": "",
    "no-links": "def none(*_):\n raise OSError(95, 'Operation not supported')\nos.link = none\n",  # FUSE, FAT
}


@pytest.mark.parametrize("links", LINKS)
def test_exactly_one_of_several_claimants_becomes_the_owner(tmp_path: Path, links: str) -> None:
    then = (
        f"{LINKS[links]}import time\ntime.sleep(max(0, float({time.time() + 1}) - time.time()))\n"
        "try:\n f.claim(); print('mine', flush=True); time.sleep(2)\nexcept Exception as e:\n print(type(e).__name__)"
    )
    said = [p.communicate()[0].strip() for p in [claimant(tmp_path, then) for _ in range(6)]]
    assert sorted(said) == ["StudioError"] * 5 + ["mine"]


@pytest.mark.parametrize("number", [errno.EPERM, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK])
def test_a_file_system_without_hard_links_has_owners_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def none(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    def no_rights(*_: object) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", none)
    monkeypatch.setattr(os, "chmod", no_rights)  # as on FAT
    folder, other = JobFolder(tmp_path), JobFolder(tmp_path)
    folder.claim()
    with pytest.raises(StudioError, match=f"process {os.getpid()}"):
        other.claim()
    folder.release()
    other.claim()
    other.beat()
    assert other.owner() is not None
    assert sorted(path.name for path in tmp_path.iterdir()) == ["owner.json"]  # the door is open again


def test_a_claim_that_was_killed_at_the_door_holds_nobody_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    door = tmp_path / ".claiming"
    door.touch()
    sleeps: list[float] = []
    monkeypatch.setattr(owner_module.time, "sleep", sleeps.append)
    with pytest.raises(StudioError, match="being claimed"):  # empty, and perhaps just being filled
        JobFolder(tmp_path).claim()
    assert len(sleeps) == owner_module.TRIES
    os.utime(door, (time.time() - 60, time.time() - 60))
    JobFolder(tmp_path).claim()
    assert not door.exists()


def test_the_owner_is_gone_when_its_process_is_killed_and_another_may_follow(tmp_path: Path) -> None:
    process = claimant(tmp_path, "f.claim(); print('mine', flush=True); import time; time.sleep(60)")
    assert process.stdout is not None
    assert process.stdout.readline().strip() == "mine"
    folder = JobFolder(tmp_path)
    assert folder.owner() is not None
    with pytest.raises(StudioError, match=f"process {process.pid}"):
        folder.claim()
    process.kill()
    process.wait()
    assert folder.owner() is None
    folder.claim()
    assert folder.owner() is not None
    folder.release()
    assert folder.owner() is None


def test_a_reused_process_id_is_not_the_owner(tmp_path: Path) -> None:
    folder = JobFolder(tmp_path)
    folder.claim()
    value = files.read_json(folder.owner_path)
    files.write_json(folder.owner_path, {**value, "began": value["began"] - 100})
    assert folder.owner() is None


def test_a_process_of_another_container_on_a_host_of_the_same_name_is_known_by_its_beats(tmp_path: Path) -> None:
    """Its id means another process here, or none; asked for it, the run would be taken from whoever trains it."""
    folder = JobFolder(tmp_path)
    folder.claim()
    value = files.read_json(folder.owner_path)
    elsewhere = {**value, "process": 2**22 + 1, "processes": "this boot pid:[1]", "token": "another"}
    files.write_json(folder.owner_path, {**elsewhere, "heartbeat": time.time()})
    assert folder.owner() is not None
    with pytest.raises(StudioError, match="worked on"):
        JobFolder(tmp_path).claim()
    files.write_json(folder.owner_path, {**elsewhere, "token": "silent", "heartbeat": time.time() - 1e6})
    assert folder.owner() is None
    del value["processes"]  # of an earlier version
    files.write_json(folder.owner_path, value)
    assert folder.owner() is not None


def test_a_jumping_clock_does_not_end_an_owner_on_this_host(tmp_path: Path) -> None:
    folder = JobFolder(tmp_path)
    folder.claim()
    value = files.read_json(folder.owner_path)
    files.write_json(folder.owner_path, {**value, "heartbeat": time.time() - 1e6})
    assert folder.owner() is not None
    files.write_json(folder.owner_path, {**value, "host": "elsewhere", "heartbeat": time.time() - 1e6})
    assert folder.owner() is None
    files.write_json(folder.owner_path, {**value, "host": "elsewhere", "heartbeat": time.time()})
    assert folder.owner() is not None


def test_a_host_with_another_clock_is_known_by_its_beats(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folder_module, "BEAT_SECONDS", 2.0)
    folder = JobFolder(tmp_path)
    folder.claim()
    there = {**files.read_json(folder.owner_path), "host": "elsewhere", "token": "its own"}

    def beat(seconds: float) -> None:
        files.write_json(folder.owner_path, {**there, "heartbeat": time.time() - 3600 + seconds})

    beat(0)
    assert folder.owner() is None  # an hour old, as far as anyone can tell
    timer = threading.Timer(0.4, beat, [5])
    timer.start()
    with pytest.raises(StudioError, match=r"process \d+ on elsewhere"):
        JobFolder(tmp_path).claim()
    timer.join()
    assert folder.owner() is not None
    monkeypatch.setattr(owner_module, "STALE_SECONDS", 0.0)  # so long it stays silent
    assert folder.owner() is None
    monkeypatch.setattr(folder_module, "BEAT_SECONDS", 0.3)
    JobFolder(tmp_path).claim()


def test_the_state_follows_the_events(tmp_path: Path) -> None:
    folder = JobFolder(tmp_path)
    assert folder.state() == "queued"
    folder.claim()
    folder.emit("start", total_steps=3)
    folder.emit("phase", phase="training", text="")
    assert folder.state() == "running"
    folder.emit("phase", phase="paused", text="")
    for step in range(3000):  # the state's event lies far before the end of the file
        folder.emit("telemetry", cpu=step, filler="x" * 60)
    assert folder.state() == "paused"
    folder.release()
    assert folder.state() == "interrupted"
    for kind in ("failed", "stopped", "done"):
        folder.emit(kind, text="")
        assert folder.state() == kind


def test_events_are_strict_json(tmp_path: Path) -> None:
    folder = JobFolder(tmp_path)
    folder.emit("step", loss=float("nan"), lr=float("inf"), path=Path("x"), nested={"a": [float("nan")]})
    assert "NaN" not in folder.events_path.read_text()
    event = folder.events()[0]
    assert (event["loss"], event["lr"], event["path"], event["nested"]) == (None, None, "x", {"a": [None]})


def test_of_very_many_events_the_rare_ones_are_read_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = JobFolder(tmp_path)
    assert list(folder.rare_events()) == []
    wanted = [folder.emit("start", total_steps=60)]
    for step in range(1, 61):
        event = folder.emit("step", step=step, loss=1.0)
        folder.emit("telemetry", process_ram=step)
        wanted += [event] if step == 6 else []
    wanted.append(folder.emit("eval", step=60, loss=1.0))
    with open(folder.events_path, "ab") as file:
        file.write(b'foreign\n[1]\n{"kind": "step", "step": 6}\n{"kind":"done"')
    parsed: list[Any] = []
    loads = json.loads
    monkeypatch.setattr("ftstudio.core.files.json.loads", lambda line: parsed.append(line) or loads(line))
    assert list(folder.rare_events(6)) == [*wanted, {"kind": "step", "step": 6}]
    assert len(parsed) == len(wanted) + 3
    assert [event for event in folder.rare_events() if event["kind"] != "step"] == [wanted[0], wanted[-1]]


def test_requests_made_before_are_not_heard_again(tmp_path: Path) -> None:
    folder = JobFolder(tmp_path)
    folder.request("stop")
    heard = folder.requests()
    JobFolder(tmp_path).request("pause")
    assert [row["request"] for row in heard.poll()] == ["pause"]
    with pytest.raises(ValueError):
        folder.request("dance")


def test_beating_keeps_the_claim(tmp_path: Path) -> None:
    folder = JobFolder(tmp_path)
    folder.claim()
    folder.beat()
    owner = folder.owner()
    assert owner is not None
    assert owner.process == os.getpid()


def test_what_another_host_took_over_is_written_to_no_more(tmp_path: Path) -> None:
    """This process slept, or its file system hung, for more than 90 s."""
    folder = JobFolder(tmp_path / "run-1")
    folder.claim()
    folder.emit("start")
    mine = files.read_json(folder.owner_path)
    there = {**mine, "host": "elsewhere", "process": 7, "token": "its own", "heartbeat": time.time()}
    files.write_json(folder.owner_path, there)
    for write in (folder.beat, folder.keep, lambda: folder.emit("step"), lambda: folder.keep(look=False)):
        with pytest.raises(StudioError, match="run-1 was taken over by process 7 on elsewhere"):
            write()
    folder.release()
    assert files.read_json(folder.owner_path) == there
    assert [event["kind"] for event in folder.events()] == ["start"]


def test_an_owner_file_that_cannot_be_read_just_now_is_no_takeover_and_one_that_is_gone_is(tmp_path: Path) -> None:
    folder = JobFolder(tmp_path)
    folder.claim()
    folder.owner_path.write_text("{")
    folder.beat()
    assert folder.owner() is not None
    folder.owner_path.unlink()  # whoever took over is through already
    with pytest.raises(StudioError, match="was taken over, since"):
        folder.beat()
    assert not folder.owner_path.exists()


def test_a_slow_claimant_leaves_the_next_ones_door_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both saw the door of a dead process; the faster one has removed it and stands at its own by now."""
    door = tmp_path / ".claiming"
    dead = {**asdict(here("dead")), "began": -100.0}
    files.write_json(door, dead)
    alive = Owner.alive

    def looked(owner: Owner) -> bool:
        found = alive(owner)
        if owner.token == "dead":
            files.write_json(door, asdict(here("the faster one")))
        return found

    monkeypatch.setattr(Owner, "alive", looked)
    monkeypatch.setattr(owner_module.time, "sleep", lambda seconds: None)
    with pytest.raises(StudioError, match="being claimed"):
        JobFolder(tmp_path).claim()
    assert files.read_json(door)["token"] == "the faster one"
    monkeypatch.undo()
    files.write_json(door, dead)
    JobFolder(tmp_path).claim()
    assert [path.name for path in tmp_path.iterdir()] == ["owner.json"]


def test_the_end_is_the_last_event_also_where_a_reading_was_under_way(tmp_path: Path) -> None:
    folder = JobFolder(tmp_path / "job")
    folder.emit("telemetry", gpus=[])
    folder.emit("done", step=3)
    folder.emit("telemetry", gpus=[])
    assert [event["kind"] for event in folder.events()] == ["telemetry", "done"]
    folder.emit("start", resumed_from=3)
    folder.emit("telemetry", gpus=[])
    assert folder.events()[-1]["kind"] == "telemetry"
