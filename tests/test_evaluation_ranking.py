"""At which rank a text's partner is found: what ties with it stands before it, by one rule in training and compare."""

from __future__ import annotations

import json
import math
import random
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tiny_models import WORDS, make_sentence_encoder

from ftstudio import tasks
from ftstudio.core.jobs import Compare, Train
from ftstudio.core.workspace import Workspace
from ftstudio.engine.prepare import prepare_run
from ftstudio.engine.recipes import check_recipe
from ftstudio.engine.worker import Worker
from ftstudio.evaluation.ranking import told

POOL = [f"text {number}" for number in range(50)]
NAN = math.nan


@pytest.mark.parametrize(("cosines", "rank"), [
    ([1.0] * 50, 50),
    ([1.0 - (number == 7) * 5e-8 for number in range(50)], 50),  # its own is lower by what rounding makes
    ([1.0 + (number == 7) * 5e-8 for number in range(50)], 50),  # or higher
    ([NAN] * 50, 50),
    ([NAN if number == 7 else 0.1 for number in range(50)], 50),
    ([0.9 if number == 7 else NAN for number in range(50)], 1),
    ([0.9 if number == 7 else 0.1 for number in range(50)], 1),
    ([0.9 if number in (3, 7) else 0.1 for number in range(50)], 2),
])  # fmt: skip
def test_a_tie_is_not_found(cosines: list[float], rank: int) -> None:
    found = told(cosines, POOL, "text 7", cosines[7])
    assert found["rank"] == rank
    assert (found["best"] == "text 7") == (rank == 1)
    assert not math.isnan(found.get("others", 0.0))


def test_the_own_cosine_is_that_of_the_pool() -> None:
    """That of its row was made by another product, and may differ by more than a tie where a GPU rounds."""
    cosines = [0.8001 if number == 7 else 0.8 for number in range(50)]
    assert told(cosines, POOL, "text 7", 0.7)["rank"] == 1
    assert told(cosines, POOL, "no such text", 0.9) | {"others": 0} == {
        "rank": 1, "best": "no such text", "best_cosine": 0.9, "others": 0
    }  # fmt: skip


@given(st.lists(st.integers(-20, 20), min_size=2, max_size=12))
def test_without_ties_it_is_the_place_among_the_sorted(values: list[int]) -> None:
    cosines = [value / 20 for value in dict.fromkeys(values)]
    for place, cosine in enumerate(cosines):
        found = told(cosines, POOL[: len(cosines)], POOL[place], cosine)
        assert found["rank"] == 1 + sorted(cosines, reverse=True).index(cosine)
        assert found["best"] == POOL[cosines.index(max(cosines))]
        assert found["best_cosine"] == max(cosines)


@pytest.mark.parametrize(("third", "text"), [
    ([1.0, 0.0], "far"), ([1.0, 8e-4], "far"), ([0.6, 0.8], "near"), ([NAN, NAN], "near"),
])  # fmt: skip
def test_a_negative_as_near_as_the_partner_is_not_told_apart(third: list[float], text: str) -> None:
    import torch

    task: Any = tasks.get("embedding").bound({}, {"form": "triplets", "negatives": 2})
    outputs = [torch.tensor([one]) for one in ([1.0, 0.0], [1.0, 0.0], [0.0, 1.0], third)]
    [found] = task.predictions(outputs, {"told": [{"texts": ["near", "other", "far"]}]})
    assert found.text == text
    outputs[1:3] = [torch.tensor([[0.8, 0.6]]), torch.tensor([[1.0, 0.0]])]  # one that is nearer than the partner
    [found] = task.predictions(outputs, {"told": [{"texts": ["near", "other", "far"]}]})
    assert found.text in ("other", "far")


@pytest.mark.slow
def test_texts_that_are_cut_to_the_same_are_one(tmp_path: Path) -> None:
    """Partners that differ beyond what is read of them: nothing can be found, while training and in a comparison."""
    draw = random.Random(0)
    head = " ".join(draw.choice(WORDS) for _ in range(40))
    rows = [
        {"anchor": " ".join(draw.choice(WORDS) for _ in range(4)), "positive": f"{head} {number} {draw.choice(WORDS)}"}
        for number in range(60)
    ]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    recipe = check_recipe({
        "task": "embedding", "model": str(make_sentence_encoder(tmp_path / "model")), "method": "full",
        "data": {"train": str(tmp_path / "rows.jsonl"), "eval": 0.4, "max_length": 32},
        "training": {"steps": 2, "batch_size": 8, "learning_rate": 1e-2, "device": "cpu"},
        "evaluation": {"every": 2, "rows": 24, "samples": 0, "forgetting": False},
    })  # fmt: skip
    run, worker = prepare_run(recipe, Workspace(tmp_path / "studio")), Worker()
    worker.execute(Train(run.path))
    found = [event for event in run.events() if event["kind"] == "eval"]
    assert found
    worker.execute(Compare(run.compare.path, (run.path,)))
    arms = json.loads((run.compare.path / "report.json").read_text())["arms"]
    for scores in (*found, *(arm["metrics"] for arm in arms)):
        assert [scores[name] for name in ("accuracy", "mrr@10", "recall@10")] == [0, 0, 0]
