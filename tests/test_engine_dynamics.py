"""The loss of every row, kept while a run trains: each row in each epoch, exact whatever the batch, by source too."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tiny_models import make_model, make_rows, recipe_values

from ftstudio.core import dynamics
from ftstudio.core.jobs import Train
from ftstudio.core.run import RunFolder, Story
from ftstudio.core.workspace import Workspace
from ftstudio.engine import report
from ftstudio.engine.dynamics import Recorder
from ftstudio.engine.prepare import prepare_run
from ftstudio.engine.recipes import check_recipe
from ftstudio.engine.worker import Worker


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """Two epochs over two sources; the learning rate is so small that every row keeps its loss."""
    base = tmp_path_factory.mktemp("base")
    make_model(base / "model")
    values = recipe_values(base / "model", make_rows(base / "a.jsonl", 30), "lora", learning_rate=1e-9)
    values["training"] |= {"steps": None, "epochs": 2, "gradient_accumulation": 2, "save_steps": 100}
    values["method"]["dropout"] = 0.0
    values["data"]["train"] = [str(base / "a.jsonl"), str(make_rows(base / "b.jsonl", 12, seed=1))]
    values["evaluation"] |= {"samples": 0}
    del values["training"]["steps"]
    found = prepare_run(check_recipe(values), Workspace(base / "space"))
    report.INTERVAL, before = 0.0, report.INTERVAL
    Worker().execute(Train(found.path))
    report.INTERVAL = before
    assert found.state() == "done", found.events()[-1]
    return found


def test_every_row_has_its_own_loss_in_every_epoch(run: RunFolder):
    import torch
    from transformers import AutoModelForCausalLM

    from ftstudio.engine.materials import open_materials
    from ftstudio.engine.models import recipe_of

    found = dynamics.read(run.path)
    assert found is not None
    assert found.epochs == 2
    assert (found.seen == 2).all()
    recipe = recipe_of(run)
    materials = open_materials(recipe)
    encoded = materials.task.encode_dataset(
        materials.train, materials.shape, materials.template, materials.tokenizer, recipe.data.max_length
    )
    assert len(encoded) == len(found.rows) > 30
    model = AutoModelForCausalLM.from_pretrained(recipe.model)
    for place in range(len(encoded)):
        row = encoded[place]
        with torch.no_grad():
            loss = model(input_ids=torch.tensor([row["input_ids"]]), labels=torch.tensor([row["labels"]])).loss
        assert found.losses[0, place] == pytest.approx(float(loss), abs=2e-5)
        assert found.losses[1, place] == pytest.approx(float(loss), abs=2e-5)
        assert found.tokens[place] == sum(label >= 0 for label in row["labels"][1:])
        origin = materials.train.origin_of(encoded.rows[place])
        assert found.rows[place] == origin
        assert found.source_of(place) == materials.whole[origin]["_source"]


def test_steps_tell_the_loss_of_each_source(run: RunFolder):
    steps = [event for event in run.events() if event["kind"] == "step"]
    assert {name for step in steps for name in step["sources"]} == {"a", "b"}
    for step in steps:
        low, high = min(step["sources"].values()), max(step["sources"].values())
        assert low - 1e-5 <= step["loss"] <= high + 1e-5
    story = Story()
    story.feed(run.events())
    assert len(story.curves["source a"]) > 4


def test_a_disk_that_takes_no_more_ends_the_recording_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    kept = Recorder(tmp_path, [4, 5])
    kept.begin(resumed=False)
    kept.took(0, 1, [0, 1], [2, 0], [3.0, 0.0])
    kept.flush()

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("ftstudio.engine.dynamics._append", full)
    kept.took(0, 2, [1], [2], [1.0])
    kept.flush()
    assert kept.trouble is not None
    assert "disk is full" in kept.trouble.message
    found = dynamics.read(tmp_path)
    assert found is not None
    assert found.losses[0, 0] == 1.5  # and a row without a label was not recorded
    assert found.seen.tolist() == [1, 0]


def test_after_a_torn_record_the_next_are_whole(tmp_path: Path):
    for places in ([0], [1]):
        kept = Recorder(tmp_path, [7, 8])
        kept.begin(resumed=places == [1])
        kept.took(0, 1, places, [1], [2.0])
        kept.flush()
        with open(tmp_path / "dynamics" / "epoch-000.bin", "ab") as file:
            file.write(b"torn")
    found = dynamics.read(tmp_path)
    assert found is not None
    assert found.losses.tolist() == [[2.0, 2.0]]


def test_a_mix_for_a_task_without_losses_by_row_records_none(tmp_path: Path):
    found = Recorder(tmp_path, [0, 1, 2], [dynamics.Source("a", 0, 2), dynamics.Source("b", 2, 3)])
    assert found.took(1, 1, [], [], []) == {}
    assert found.took(1, 2, [0, 2], [1.0, 2.0], [0.5, 3.0]) == {"a": 0.5, "b": 1.5}
