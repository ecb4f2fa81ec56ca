"""The same question about another picture is no leak, no duplicate, and nothing that a split must keep together."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from ftstudio.data.checks import run_checks
from ftstudio.data.dataset import Dataset
from ftstudio.data.read import open_dataset
from ftstudio.data.shape import recognise
from ftstudio.data.split_parts import asked, without_leaks
from ftstudio.engine.leaking import leaks_of
from ftstudio.evaluation.predictions import Prediction

QUESTION = "Please describe in one sentence what can be seen in this picture of a piece of clothing, colours first."
KINDS = "exact_leak,ngram_leak,near_leak,semantic_leak,near_duplicate,semantic_duplicate"


@pytest.fixture
def parts(tmp_path: Path) -> tuple[Dataset, Dataset]:
    """Thirty rows and three more: each another picture, but the last two, one of which asks for something else."""

    def written(name: str, rows: list[dict[str, str]]) -> Dataset:
        path = tmp_path / name
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        return open_dataset(str(path))

    rows = [{"image": f"{n}.jpg", "prompt": QUESTION, "completion": f"A blue shirt, {n}."} for n in range(32)]
    last = {"image": "3.jpg", "prompt": "Is it new?", "completion": "Yes."}
    return written("train.jsonl", rows[:30]), written("held.jsonl", [rows[30], rows[7], last])


def test_pictures_belong_to_what_is_asked(parts: tuple[Dataset, Dataset]) -> None:
    train, held = parts
    shape = recognise(train, task="image-text-to-text")
    checks = run_checks(train, shape, held_out=held, held_out_shape=shape, only=KINDS)
    found = {check.name: check.rows for check in checks if check.count}
    assert found == {"exact_leak": (7,)}
    kept, leaks = without_leaks(train, held, shape=shape)
    assert (len(kept), leaks) == (29, [7])
    assert asked(train[0], shape) != asked(train[1], shape)

    materials: Any = SimpleNamespace(
        train=train, shape=shape, held_out=held, held_out_shape=shape, part="eval", spare={},
        task=SimpleNamespace(kind="image-text-to-text"),
    )  # fmt: skip
    answers = [Prediction(row, shape.example(held[row]).prompt, "A blue shirt.", "a shirt") for row in range(3)]
    told = leaks_of(materials, answers)
    assert (told["rows"], told["exact"], told["near"]) == ([1], 1, 0)
