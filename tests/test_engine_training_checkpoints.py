"""Checkpoints: sealed with hashes, only whole ones are gone on from, old ones go."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ftstudio.engine import resume


def checkpoint(folder: Path, step: int, *, sealed: bool = True, loss: float | None = None) -> Path:
    path = folder / f"checkpoint-{step}"
    path.mkdir(parents=True)
    (path / "weights").write_bytes(bytes([step % 251]) * 5000)
    (path / "state.json").write_text(json.dumps({"step": step}))
    if sealed:
        resume.seal(path, step=step, tokens=7, **({} if loss is None else {"eval_loss": loss}))
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


def damage(path: Path) -> None:
    data = bytearray((path / "weights").read_bytes())
    data[9] ^= 1
    (path / "weights").write_bytes(data)


def steps(folder: Path) -> list[int]:
    return [resume.step_of(path) for path in resume.checkpoints(folder)]


@pytest.mark.parametrize("keep", [1, 2])
def test_damaged_newer_checkpoints_dont_push_out_the_good_one(tmp_path: Path, keep: int):
    for step in (800, 1000):
        damage(checkpoint(tmp_path, step))
    assert resume.newest(tmp_path) is None
    resume.set_aside(tmp_path, -1)  # the run begins again
    for step in (200, 400, 800):
        resume.prune(tmp_path, keep, checkpoint(tmp_path, step))
        assert resume.newest(tmp_path) == tmp_path / f"checkpoint-{step}"
        assert (tmp_path / "aside-800").exists() == (step < 800)  # until the run is there again
    assert (tmp_path / "aside-1000").exists()
    assert resume.drop_aside(tmp_path)
    assert steps(tmp_path) == [800, 400][:keep]
    assert not resume.drop_aside(tmp_path)


def test_the_one_just_written_is_never_pruned(tmp_path: Path):
    for step in (300, 400):
        checkpoint(tmp_path, step)
    resume.prune(tmp_path, 1, checkpoint(tmp_path, 200))
    assert steps(tmp_path) == [400, 200]


def test_the_best_is_a_whole_one(tmp_path: Path):
    for step, loss in ((1, 2.0), (2, 1.5), (3, 1.0), (4, 1.7)):
        checkpoint(tmp_path, step, loss=loss)
    damage(tmp_path / "checkpoint-3")
    best = resume.best(tmp_path, hashes=True)
    assert best is not None
    assert best.name == "checkpoint-2"
    (tmp_path / "checkpoint-2" / "weights").unlink()
    resume.prune(tmp_path, 1, checkpoint(tmp_path, 5))
    assert steps(tmp_path) == [5, 3]  # contents aren't read at every save
    best = resume.best(tmp_path, below=3)
    assert best is None


def test_a_kill_while_a_step_is_saved_again_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    target = checkpoint(tmp_path, 15)
    saving = checkpoint(tmp_path / resume.SAVING, 15)
    (saving / "extra").write_text("new")  # of the files that the seal doesn't name
    replace = resume.os.replace

    def killed(source: Path, to: Path) -> None:
        if source == saving:
            raise KeyboardInterrupt
        replace(source, to)

    monkeypatch.setattr(resume.os, "replace", killed)
    with pytest.raises(KeyboardInterrupt):
        resume.settle(saving, target)
    monkeypatch.undo()
    resume.adopt(tmp_path)
    assert resume.newest(tmp_path) == target
    assert (target / "extra").is_file()


def test_half_a_checkpoint_is_not_adopted(tmp_path: Path):
    damage(checkpoint(tmp_path / resume.SAVING, 30))
    checkpoint(tmp_path / resume.SAVING, 20, sealed=False)
    checkpoint(tmp_path, 10)
    resume.adopt(tmp_path)
    assert steps(tmp_path) == [10]
    checkpoint(tmp_path / resume.SAVING, 40)  # sealed, and killed before it was put in place
    resume.adopt(tmp_path)
    assert steps(tmp_path) == [40, 10]


def test_the_best_checkpoint_is_the_best_of_those_judged_on_the_same_rows(tmp_path: Path) -> None:
    """The recipe was edited between the sessions: a loss of other rows says nothing of the later ones."""
    for step, rows, loss in ((2, "a", 5.1), (4, "b", 5.5), (6, "b", 5.4), (8, "b", float("nan"))):
        folder = tmp_path / f"checkpoint-{step}"
        folder.mkdir()
        resume.seal(folder, step=step, eval_loss=loss, judged_on=rows)
    assert resume.best(tmp_path) == tmp_path / "checkpoint-6"
    assert resume.best(tmp_path, below=4) == tmp_path / "checkpoint-2"
    assert resume.best(tmp_path, on="a") == tmp_path / "checkpoint-2"  # put back as it was
    assert resume.best(tmp_path, on="c") is None
    resume.prune(tmp_path, 1)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["checkpoint-6", "checkpoint-8"]
