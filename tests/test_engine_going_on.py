"""A run that goes on says what isn't as it was when its checkpoint was written, and an edited learning rate counts."""

from __future__ import annotations

import errno
import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from tiny_models import make_model, make_rows, recipe_values

from ftstudio.core import files
from ftstudio.core.errors import DiskFull, StudioError
from ftstudio.core.files import LineReader
from ftstudio.core.jobs import Train
from ftstudio.core.run import RunFolder
from ftstudio.core.workspace import Workspace
from ftstudio.engine import going_on, resume, weights
from ftstudio.engine.callback import RunDirector
from ftstudio.engine.control import Control
from ftstudio.engine.prepare import prepare_run
from ftstudio.engine.recipes import check_recipe
from ftstudio.engine.worker import Worker

VALUES: dict[str, Any] = {
    "task": "sft",
    "model": "demo",
    "method": {"name": "lora", "r": 4, "alpha": 8},
    "data": {"train": "rows.jsonl"},
    "training": {"learning_rate": 1e-3, "steps": 8},
}


def sealed(place: Path, values: dict[str, Any]) -> tuple[RunFolder, Path]:
    """A run with a checkpoint of step 4, sealed under the recipe of VALUES."""
    run = RunFolder(place / "run")
    checkpoint = run.checkpoints / "checkpoint-4"
    checkpoint.mkdir(parents=True, exist_ok=True)
    resume.seal(checkpoint, step=4, made_by=going_on.made_by(check_recipe(values)))
    return run, checkpoint


def look(run: RunFolder, checkpoint: Path, **changes: Any) -> list[str]:
    recipe = check_recipe({**VALUES, **changes})
    return going_on.look(run, recipe, checkpoint, going_on.made_by(recipe))


def steered(run: RunFolder) -> list[float]:
    return [event["value"] for event in run.events() if event["kind"] == "steer"]


def test_what_was_edited_is_named_and_a_rate_counts_from_there(tmp_path: Path):
    run, checkpoint = sealed(tmp_path, VALUES)
    rows = {"train": "elsewhere.jsonl"}
    training = {"learning_rate": 1e-3, "steps": 20, "save_steps": 3}
    assert look(run, checkpoint, data=rows, training=training) == []  # nothing learnt by, or looked at elsewhere
    assert steered(run) == []
    edited = {"learning_rate": 1e-4, "weight_decay": 0.1, "steps": 8}
    for _ in range(2):  # killed before the next checkpoint: the same again
        told = look(run, checkpoint, training=edited, method={"name": "lora", "r": 4, "alpha": 64})
        assert len(told) == 1
        assert "since the checkpoint of step 4" in told[0]
        for part in ("training.learning_rate is 0.0001 (it was 0.001)", "training.weight_decay is 0.1", "alpha is 64"):
            assert part in told[0]
        assert steered(run) == [1e-4]
    assert look(run, checkpoint) == []  # put back
    assert steered(run) == [1e-4, 1e-3]
    assert look(run, checkpoint) == []
    assert steered(run) == [1e-4, 1e-3]


def test_of_a_model_in_a_folder_no_commit_is_looked_for(tmp_path: Path):
    recipe = check_recipe({**VALUES, "method": "full"})
    for resolved in (None, {"model": {"revision": None}}):
        assert going_on.began_elsewhere(RunFolder(tmp_path), recipe.model_copy(update={"resolved": resolved})) == ""


def test_other_rows_to_be_judged_on_are_told(tmp_path: Path):
    run, checkpoint = sealed(tmp_path, VALUES)
    [told] = look(run, checkpoint, evaluation={"rows": 7})
    assert "evaluation.rows is 7 (it was 200)" in told


def test_a_rate_that_was_steered_stays_where_the_recipe_was_not_edited(tmp_path: Path):
    run, checkpoint = sealed(tmp_path, VALUES)
    run.emit("steer", step=2, what="learning_rate", value=5e-4, why="as asked")
    assert look(run, checkpoint) == []
    assert steered(run) == [5e-4]


def test_a_checkpoint_of_an_earlier_version_tells_nothing(tmp_path: Path):
    run, checkpoint = sealed(tmp_path, VALUES)
    resume.seal(checkpoint, step=4)
    assert look(run, checkpoint, training={"learning_rate": 1e-4}) == []
    assert going_on.look(run, check_recipe(VALUES), None, {}) == []


def test_the_mark_of_weights_goes_by_what_they_are(tmp_path: Path):
    def written(folder: Path, last: bytes) -> str:
        folder.mkdir()
        content = b"\0" * (3 << 20) + last
        head = json.dumps({"w": {"dtype": "U8", "shape": [len(content)], "data_offsets": [0, len(content)]}}).encode()
        (folder / "model.safetensors").write_bytes(len(head).to_bytes(8, "little") + head + content)
        return weights.mark(folder, "m")

    first = written(tmp_path / "a", b"1")
    os.utime(tmp_path / "a" / "model.safetensors", (1, 1))
    assert first == written(tmp_path / "b", b"1") == weights.mark(tmp_path / "a", "m")
    assert first != written(tmp_path / "c", b"2")


@pytest.mark.parametrize("method", ["lora", "full"])
def test_a_hub_model_that_has_moved_on_is_told_with_the_way_back(
    method: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    import numpy as np
    from safetensors.numpy import save_file

    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    entry = tmp_path / "cache" / "models--acme--tiny"
    snapshots = {sign: entry / "snapshots" / (sign * 40) for sign in "abc"}
    for sign, folder in snapshots.items():  # c: other words about the same weights
        folder.mkdir(parents=True)
        (folder / "config.json").write_text("{}")
        save_file({"w": np.full(3, float(sign == "b"))}, folder / "model.safetensors")
    (entry / "refs").mkdir()
    main = entry / "refs" / "main"
    main.write_text("a" * 40)
    values = {**VALUES, "model": "acme/tiny", "method": {"name": method}}
    run, checkpoint = sealed(tmp_path, values)
    recipe = check_recipe({**values, "resolved": {"model": {"name": "acme/tiny", "revision": "a" * 40}}})
    told = going_on.other_base if method == "lora" else going_on.began_elsewhere
    for sign in "ac":
        main.write_text(sign * 40)
        assert told(run, recipe) == ""
    main.write_text("b" * 40)
    text = told(run, recipe)
    assert "other weights than those acme/tiny holds now. The hub's cache went from commit aaaaaaaaaaaa to" in text
    assert text.endswith(f"set `model` in the run's recipe.yaml to {snapshots['a']}.")
    if method == "lora":
        resumed = going_on.look(run, recipe, checkpoint, going_on.made_by(recipe))
        assert resumed[0].endswith(text.partition(" holds now.")[2])
    back = recipe.model_copy(update={"model": str(snapshots["a"])})
    assert told(run, back) == ""
    assert going_on.look(run, back, checkpoint, going_on.made_by(back)) == []
    shutil.rmtree(snapshots["a"])
    assert told(run, recipe).endswith("that one isn't on this machine any more.")


@pytest.mark.parametrize("name", ["gsm8k-lora-1", "gsm8k-full-1"])
def test_only_a_full_disk_waits_for_room(name: str, tmp_path: Path):
    run = RunFolder(tmp_path / "runs" / name)
    run.path.mkdir(parents=True)
    director = RunDirector(run, Control(LineReader(run.control_path)), every=None, save=10, first=0)
    with pytest.raises(StudioError, match="Permission denied"), director._on_disk():
        raise files.explain(OSError(errno.EACCES, "x"), run.events_path)
    assert not director.paused
    for number in (errno.ENOSPC, errno.EDQUOT):
        error = files.explain(OSError(number, "x"), run.events_path)
        assert isinstance(error, DiskFull)
        with director._on_disk():
            raise error
    assert director.paused


@pytest.mark.slow
def test_an_edited_rate_and_another_base_are_told_and_the_rate_is_taken(tmp_path: Path):
    from safetensors.torch import load_file, save_file

    make_model(tmp_path / "model", layers=1)
    values = recipe_values(tmp_path / "model", make_rows(tmp_path / "rows.jsonl", 16), steps=4, save_steps=2)
    values["training"] |= {"scheduler": "constant", "warmup": 0, "batch_size": 2, "learning_rate": 1e-3}
    values["evaluation"] |= {"every": 2, "samples": 0}
    run, worker = prepare_run(check_recipe(values), Workspace(tmp_path / "space")), Worker()
    worker.execute(Train(run.path))
    shutil.rmtree(run.model)
    shutil.rmtree(run.checkpoints / "checkpoint-4")
    text = run.recipe_path.read_text()
    edited = text.replace("learning_rate: 0.001", "learning_rate: 0.0001")
    assert edited.count("0.0001") == text.count("0.0001") + 1
    run.recipe_path.write_text(edited)
    path = tmp_path / "model" / "model.safetensors"
    save_file({name: value + 0.01 for name, value in load_file(path).items()}, path, metadata={"format": "pt"})
    since = len(run.events())
    Worker().execute(Train(run.path, resume=True))
    events = run.events()[since:]
    assert run.state() == "done", events[-1]
    assert [event["lr"] for event in events if event["kind"] == "step"] == [1e-4, 1e-4]
    told = [event["text"] for event in events if event["kind"] == "alert" and event.get("watch") == "resume_fault"]
    assert len(told) == 2
    assert "training.learning_rate is 0.0001 (it was 0.001)" in told[0]
    assert "aren't those that this run was trained on" in told[1]
    recipe = check_recipe(values)
    assert going_on.other_base(run, recipe) == ""  # it went on over them: they are its base now
    save_file({name: value + 0.01 for name, value in load_file(path).items()}, path, metadata={"format": "pt"})
    assert "was trained over other weights than those" in going_on.other_base(run, recipe)
    whole = {**values, "method": {"name": "full"}}
    assert going_on.other_base(run, check_recipe(whole)) == ""
