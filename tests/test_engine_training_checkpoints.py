"""Checkpoints: sealed with hashes, only whole ones are gone on from, old ones go."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ftstudio.engine import resume


def checkpoint(folder: Path, step: int, *, sealed: bool = True) -> Path:
    path = folder / f"checkpoint-{step}"
    path.mkdir(parents=True)
    (path / "weights").write_bytes(bytes([step]) * 5000)
    (path / "state.json").write_text(json.dumps({"step": step}))
    if sealed:
        resume.seal(path, step=step, tokens=7)
    return path


def test_the_newest_whole_checkpoint_is_chosen(tmp_path: Path):
    for step in (5, 10, 100):
        checkpoint(tmp_path, step)
    checkpoint(tmp_path, 200, sealed=False)
    assert resume.newest(tmp_path) == tmp_path / "checkpoint-100"
    assert resume.facts(tmp_path / "checkpoint-100") == {"step": 100, "tokens": 7}
    assert [resume.step_of(path) for path in resume.checkpoints(tmp_path)] == [100, 10, 5]


@pytest.mark.parametrize("harm", ["change", "cut", "remove", "seal"])
def test_a_harmed_checkpoint_is_passed_over(tmp_path: Path, harm: str):
    checkpoint(tmp_path, 5)
    last = checkpoint(tmp_path, 10)
    weights = last / "weights"
    if harm == "change":
        data = bytearray(weights.read_bytes())
        data[2500] ^= 1
        weights.write_bytes(data)
        assert resume.is_complete(last, hashes=False)  # the size alone doesn't tell
    elif harm == "cut":
        weights.write_bytes(weights.read_bytes()[:-1])
    elif harm == "remove":
        weights.unlink()
    else:
        (last / resume.SEAL).write_text('{"files": ')
    assert not resume.is_complete(last)
    assert resume.newest(tmp_path) == tmp_path / "checkpoint-5"


def test_no_checkpoint_is_none(tmp_path: Path):
    assert resume.newest(tmp_path / "absent") is None
    (tmp_path / "checkpoint-x").mkdir()
    assert resume.newest(tmp_path) is None


def test_settling_replaces_and_pruning_keeps_the_last(tmp_path: Path):
    for step in (5, 10, 15):
        checkpoint(tmp_path, step)
    saving = checkpoint(tmp_path / resume.SAVING, 15)
    (saving / "extra").write_text("new")
    resume.settle(saving, tmp_path / "checkpoint-15")
    assert (tmp_path / "checkpoint-15" / "extra").is_file()
    resume.prune(tmp_path, 2)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["checkpoint-10", "checkpoint-15"]
