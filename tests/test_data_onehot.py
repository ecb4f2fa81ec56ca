"""Columns of 0 and 1, one a label, are read as one column with the names of those that are 1."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ftstudio import tasks
from ftstudio.core.errors import UsageError
from ftstudio.core.reading import Reading, parse
from ftstudio.data.onehot import joined
from ftstudio.data.read import open_dataset
from ftstudio.data.shape import recognise
from ftstudio.engine.materials import open_materials
from ftstudio.engine.recipes import check_recipe

LABELS = parse(["labels=toxic, insult,threat"])


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """Twenty comments; of number 7 nobody has said whether it is a threat."""
    path = tmp_path / "comments.csv"
    lines = [f"comment {n} is some text,{int(n % 2 == 0)},{n % 3 == 0},{-1 if n == 7 else float(n % 5 == 0)}"
             for n in range(20)]  # fmt: skip
    path.write_text("comment,toxic,insult,threat\n" + "\n".join(lines) + "\n")
    return path


def test_they_are_learnt_as_several_labels(table: Path) -> None:
    with_one = recognise(open_dataset(table), task="text-classification")
    assert "data.reading.labels=[toxic, insult]" in with_one.why
    values = {
        "task": "text-classification", "model": "demo",
        "data": {"train": str(table), "eval": None, "reading": {"labels": ["toxic", "insult", "threat"]}},
    }  # fmt: skip
    materials = open_materials(check_recipe(values))
    assert materials.train.names == ["comment", "labels"]
    assert materials.train[0]["labels"] == ["toxic", "insult", "threat"]
    task: Any = materials.task
    assert (task.problem, set(task.labels)) == ("multi_label_classification", {"toxic", "insult", "threat"})
    assert dict(zip(task.labels, task.facts["counts"], strict=True)) == {"toxic": 10, "insult": 7, "threat": 4}
    told = [task._reference(materials.shape.example(materials.train[row])) for row in (0, 1, 3)]
    assert told == ["insult | threat | toxic", "", "insult"]
    assert task.fault(materials.shape.example(materials.train[7])) == "the label is missing"


def test_they_are_learnt_as_one_label_where_that_is_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "kinds.jsonl"
    rows = [{"text": f"row {n} of some", "good": n % 2, "bad": 1 - n % 2} for n in range(12)]
    rows[4]["good"] = 1  # now it has both
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    dataset = open_dataset(path, reading=Reading(labels=("good", "bad")))
    shape = recognise(dataset, task="text-classification")
    task: Any = tasks.get("text-classification").bound({"problem": "single"})
    task = task.bound({"problem": "single"}, task.survey(dataset, shape))
    assert (task.labels, task.facts["counts"]) == (("bad", "good"), [5, 6])
    assert task._label(shape.example(dataset[1])) == 1
    assert task.fault(shape.example(dataset[4])) == "the row has 2 labels, and one is wanted"


def test_what_is_no_such_column_is_told(table: Path) -> None:
    whole = open_dataset(table)
    for names, why in (
        (("toxic", "insul"), "no column 'insul'"),
        (("comment", "toxic"), "'comment' .data.reading.labels. holds no 0 or 1, but 'comment 0"),
    ):
        with pytest.raises(UsageError, match=why):
            joined(whole, names)
    with pytest.raises(UsageError, match="stands there twice"):
        parse(["labels=toxic,toxic"])
    once = joined(whole, ("toxic", "insult"))
    assert joined(once, ("toxic", "insult")) is once  # a version of rows that were read so
    assert once.names == ["comment", "labels", "threat"]
