"""The loss of every row, kept while a run trains: each row in each epoch, exact whatever the batch, by source too."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from tiny_models import make_encoder, make_labelled, make_model, make_rows, recipe_values

from ftstudio import tasks
from ftstudio.core import dynamics
from ftstudio.core.jobs import Train
from ftstudio.core.run import RunFolder, Story
from ftstudio.core.workspace import Workspace
from ftstudio.engine import dynamics as dynamics_of_engine
from ftstudio.engine import report
from ftstudio.engine.dynamics import Recorder
from ftstudio.engine.prepare import prepare_run
from ftstudio.engine.recipes import check_recipe
from ftstudio.engine.worker import Worker
from ftstudio.ui.train import rowmap


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


def test_what_a_full_disk_does_not_take_is_written_once_there_is_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    real, full = dynamics_of_engine._append, {"now": True}

    def append(path: Path, data: bytes) -> None:
        if full["now"]:
            raise OSError(28, "No space left on device")
        real(path, data)

    monkeypatch.setattr(dynamics_of_engine, "_append", append)
    kept = Recorder(tmp_path, [4, 5])
    kept.begin()
    kept.took(0, 1, [0, 1], [2, 0], [3.0, 0.0])
    kept.flush()
    assert kept.trouble is not None
    assert "disk is full" in kept.trouble.message
    kept.took(1, 2, [0, 1], [2, 2], [2.0, 1.0])
    full["now"] = False
    kept.flush()
    assert kept.trouble is None
    found = dynamics.read(tmp_path)
    assert found is not None
    assert found.losses[:, 0].tolist() == [1.5, 1.0]
    assert found.seen.tolist() == [2, 1]  # and a row without a label was not recorded
    assert (found.until, found.missing) == (2, ())


def test_what_the_records_stand_on_is_written_later_too(tmp_path: Path):
    (tmp_path / "dynamics").write_text("in the way")
    kept = Recorder(tmp_path, [4, 5])
    kept.begin()
    kept.took(0, 1, [0, 1], [2, 2], [3.0, 1.0])
    kept.flush()
    assert kept.trouble is not None
    (tmp_path / "dynamics").unlink()
    kept.flush()
    found = dynamics.read(tmp_path)
    assert found is not None
    assert found.losses.tolist() == [[1.5, 0.5]]


def test_of_too_much_that_waits_the_oldest_goes_and_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(dynamics_of_engine, "MOST", 6)
    kept = Recorder(tmp_path, [4, 5])
    kept.begin()
    kept.took(0, 1, [0, 1], [2, 2], [3.0, 1.0])
    kept.flush()
    (tmp_path / "dynamics").rename(tmp_path / "away")
    (tmp_path / "dynamics").write_text("in the way")
    for step in range(2, 8):
        kept.took(step, step, [0, 1], [2, 2], [3.0, 1.0])
        kept.flush()
    (tmp_path / "dynamics").unlink()
    (tmp_path / "away").rename(tmp_path / "dynamics")
    kept.flush()
    found = dynamics.read(tmp_path)
    assert found is not None
    assert (found.until, found.missing) == (7, ((2, 4),))
    assert rowmap.holes(found, 7, live=False) == (
        "Nothing is known of steps 2 to 4: the losses of their rows weren't written."
    )


def test_the_map_says_up_to_which_step_it_holds(tmp_path: Path):
    kept = Recorder(tmp_path, [4, 5])
    kept.begin()
    for step in range(1, 41):
        kept.took(0, step, [0, 1], [2, 2], [3.0, 1.0])
    kept.flush()
    found = dynamics.read(tmp_path)
    assert found is not None
    told = "Nothing is known of steps 41 to 400: the losses of their rows weren't written."
    assert rowmap.holes(found, 400, live=True) == rowmap.holes(found, 400, live=False) == told
    assert rowmap.holes(found, 41, live=True) == ""  # it is on its way
    assert "of step 41:" in rowmap.holes(found, 41, live=False)
    assert rowmap.holes(found, 40, live=False) == ""


def test_after_a_torn_record_the_next_are_whole(tmp_path: Path):
    for places in ([0], [1]):
        kept = Recorder(tmp_path, [7, 8])
        kept.begin(after=int(places == [1]))
        kept.took(0, 1, places, [1], [2.0])
        kept.flush()
        with open(tmp_path / "dynamics" / "epoch-000.bin", "ab") as file:
            file.write(b"torn")
    found = dynamics.read(tmp_path)
    assert found is not None
    assert found.losses.tolist() == [[2.0, 2.0]]


def test_losses_of_steps_that_were_given_up_are_no_part_of_the_map(tmp_path: Path):
    """The rows went wrong in the second epoch, and the run went back to before it."""
    kept = Recorder(tmp_path, range(4))
    kept.begin()
    kept.took(0, 1, [0, 1], [5, 5], [2.5, 2.5])
    kept.took(0, 2, [2, 3], [5, 5], [2.5, 60.0])
    kept.took(1, 3, [0, 1], [5, 5], [60.0, 60.0])
    kept.flush()
    for after, losses in ((2, [[0.5, 0.5, 0.5, 12.0]]), (1, [[0.5, 0.5, None, None]]), (1, [[0.5, 0.5, None, None]])):
        Recorder(tmp_path, range(4)).begin(after=after)
        found = dynamics.read(tmp_path)
        assert found is not None
        assert [[None if x != x else x for x in row] for row in found.losses.tolist()] == losses
    kept = Recorder(tmp_path, range(4))
    kept.begin()
    assert not list((tmp_path / "dynamics").glob("epoch-*"))
    aside = {path.name: path.stat().st_size for path in (tmp_path / "dynamics").glob("aside-*")}
    assert aside == {"aside-epoch-000.bin": 32, "aside-epoch-001.bin": 32}


def test_a_mix_for_a_task_without_losses_by_row_records_none(tmp_path: Path):
    found = Recorder(tmp_path, [0, 1, 2], [dynamics.Source("a", 0, 2), dynamics.Source("b", 2, 3)])
    assert found.took(1, 1, [], [], []) == {}
    assert found.took(1, 2, [0, 2], [1.0, 2.0], [0.5, 3.0]) == {"a": 0.5, "b": 1.5}


# -- tasks with labels of their own ----------------------------------------------------------------------------------
def test_a_classifier_keeps_how_probable_each_rows_label_was(tmp_path: Path):
    """Two epochs; the learning rate is so small that the saved model says what was said of each row."""
    import torch
    from transformers import AutoModelForSequenceClassification

    from ftstudio.engine.materials import open_materials
    from ftstudio.engine.models import recipe_of

    make_encoder(tmp_path / "model", hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)
    files = [str(make_labelled(tmp_path / f"{name}.jsonl", count=20, seed=seed)) for seed, name in enumerate("ab")]
    values = {
        "task": "text-classification", "model": str(tmp_path / "model"), "method": "full", "data": {"train": files},
        "training": {"device": "cpu", "epochs": 2, "batch_size": 4, "learning_rate": 1e-9, "save_steps": 100},
        "evaluation": {"samples": 0, "forgetting": False}, "options": {"class_weights": True},
    }  # fmt: skip
    made = prepare_run(check_recipe(values), Workspace(tmp_path / "space"))
    Worker().execute(Train(made.path))
    assert made.state() == "done", made.events()[-1]
    found = dynamics.read(made.path)
    assert found is not None
    assert (found.seen == 2).all()
    assert (found.tokens == 1).all()
    materials = open_materials(recipe_of(made))
    rows = materials.task.encode_dataset(
        materials.train, materials.shape, materials.template, materials.tokenizer, None
    )
    assert len(rows) == len(found.rows) > 20
    model = AutoModelForSequenceClassification.from_pretrained(made.model).eval()
    with torch.no_grad():
        for place in range(len(rows)):
            shares = model(input_ids=torch.tensor([rows[place]["input_ids"]])).logits.softmax(-1)[0]
            assert found.confidence[place] == pytest.approx(float(shares[rows[place]["labels"]]), abs=1e-4)
    assert (found.variability < 1e-4).all()
    told = {name for event in made.events() if event["kind"] == "step" for name in event.get("sources", ())}
    assert told == {"a", "b"}


LABELS = ["red", "green", "blue"]
FACTS = {"single": "single_label_classification", "multi": "multi_label_classification", "regression": "regression"}


def batches() -> list[tuple[str, Any, list[dict[str, Any]], tuple[int, ...]]]:
    """(name, task, rows, shape of its logits)."""
    ids = [[2, 5, 6, 3], [2, 7, 3]]
    told = {"labels": LABELS, "counts": [4, 1, 2]}
    found: list[Any] = []
    for kind, labels in (("single", (0, 2)), ("multi", ([1.0, 0.0, 1.0], [0.0, 0.0, 0.0])), ("regression", (1.5, 2.0))):
        for weighed in (False, True)[: 1 if kind == "regression" else 2]:
            task = tasks.get("text-classification").bound({"class_weights": weighed}, {"problem": FACTS[kind], **told})
            rows = [{"input_ids": one, "labels": label} for one, label in zip(ids, labels, strict=True)]
            found.append((f"{kind} {weighed}", task, rows, (2, 1 if kind == "regression" else 3)))
    tags = [{"input_ids": one, "labels": [-100, *range(len(one) - 2), -100]} for one in ids]
    found.append(("tags", tasks.get("token-classification").bound({}, {"labels": LABELS}), tags, (2, 4, 3)))
    found.append(("masked", tasks.get("masked-lm"), tags, (2, 4, 9)))
    text = [{"input_ids": one, "labels": one[1:]} for one in ids]
    found.append(("seq2seq", tasks.get("seq2seq"), text, (2, 3, 9)))
    return found


@pytest.mark.parametrize("at", range(8))
def test_losses_of_rows_add_up_to_the_loss_that_is_trained(at: int):
    import torch
    from torch.nn import functional

    from ftstudio.engine.objective import TaskObjective
    from ftstudio.engine.row_losses import RowLosses, numbered

    name, task, rows, shape = batches()[at]
    batch = numbered(lambda some: task.collate(list(some), 0))([{**row, "row": 7 + at} for at, row in enumerate(rows)])
    logits = torch.randn(shape, generator=torch.Generator().manual_seed(at), requires_grad=True)
    objective = TaskObjective(task)
    object.__setattr__(objective, "outputs", lambda *_: SimpleNamespace(logits=logits))
    each: list[Any] = []
    loss = objective(None, batch, each)
    targets = batch["targets"]
    weights = torch.tensor([7 / 12, 7 / 3, 7 / 6]) if name.endswith("True") else None  # rows over labels times count
    if name.startswith("single"):
        plain = functional.cross_entropy(logits, targets, weights, reduction="sum")
    elif name.startswith("multi"):
        plain = functional.binary_cross_entropy_with_logits(logits, targets, pos_weight=weights, reduction="sum")
    elif name.startswith("regression"):
        plain = ((logits.squeeze(-1) - targets) ** 2).sum()
    else:
        plain = functional.cross_entropy(logits.flatten(0, 1), targets.flatten(), reduction="sum")
    assert float(loss) == pytest.approx(float(plain), rel=1e-6)
    assert float(objective(None, batch)) == pytest.approx(float(plain), rel=1e-6)
    [mine] = torch.autograd.grad(loss, logits)
    [theirs] = torch.autograd.grad(plain, logits)
    assert torch.allclose(mine, theirs, rtol=1e-5, atol=1e-7)

    kept = RowLosses()
    kept.add(batch, each)
    numbers, counts, sums = kept.sums()
    assert numbers == [7, 8]
    for row in range(2):  # unweighed: minus the log of the probability of what is right
        own = logits[row].detach()
        wanted = targets[row]
        if name.startswith("single"):
            right, count = float(-own.log_softmax(-1)[wanted]), 1
        elif name.startswith("multi"):
            shares = own.sigmoid()
            right, count = float(-(wanted * shares + (1 - wanted) * (1 - shares)).log().sum()), 3
        elif name.startswith("regression"):
            right, count = float((own[0] - wanted) ** 2), 1
        else:
            asked = [(place, int(label)) for place, label in enumerate(wanted) if label != -100]
            right, count = float(sum(-own[place].log_softmax(-1)[label] for place, label in asked)), len(asked)
        assert (sums[row], counts[row]) == (pytest.approx(right, abs=1e-5), count)


def test_a_task_without_probabilities_says_why_it_has_no_map(tmp_path: Path):
    why = tasks.get("embedding").unmapped()
    kept = Recorder(tmp_path, [3, 4], (dynamics.Source("a", 0, 4), dynamics.Source("b", 4, 9)), without=why)
    kept.begin()
    assert kept.took(0, 1, [0, 1], [1, 1], [2.0, 3.0]) == {"a": 2.0, "b": 3.0}
    kept.flush()
    found = dynamics.read(tmp_path)
    assert found is not None
    assert (found.without, len(found.rows), found.hardest(), found.kinds) == (why, 0, [], [])
    assert "no place on this map" in why
