"""A local judge that can judge, taught by the studio itself: what it and the report say comes out as it must.

A judge that only looks at the place is taught likewise, and found out.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from made_judge import BAD, GOOD, RUBRIC, answer, make_lessons, make_untrained, question

from ftstudio.cli import main
from ftstudio.core.folder import JobFolder
from ftstudio.core.recipe import Recipe
from ftstudio.engine.context import JobContext
from ftstudio.engine.judge import Judging
from ftstudio.evaluation.predictions import Prediction
from ftstudio.evaluation.votes.book import NAME, Book

pytest.importorskip("torch")
pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]
Rows = dict[str, list[Prediction]]


@pytest.fixture(scope="module")
def lesson(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Teaches a judge: `ftstudio train` on lessons, by their name; the folder of the tuned model."""
    raw = make_untrained(tmp_path_factory.mktemp("raw") / "model")

    def teach(name: str, steps: int, **rule: Any) -> Path:
        folder = tmp_path_factory.mktemp(name)
        rows = make_lessons(folder / "lessons.jsonl", **rule)
        recipe = {
            "task": "sft", "model": str(raw), "method": {"name": "full"},
            "data": {"train": str(rows), "eval": 0.05, "template": "chat", "max_length": 400},
            "training": {"steps": steps, "batch_size": 32, "learning_rate": 3e-3, "warmup": 0.1, "save_steps": steps,
                         "device": "cpu"},
            "evaluation": {"every": steps, "rows": 8, "samples": 1, "max_new_tokens": 3, "forgetting": False},
        }  # fmt: skip
        (folder / "recipe.yaml").write_text(json.dumps(recipe))
        status = main(["train", str(folder / "recipe.yaml"), "--workspace", str(folder / "studio")])
        assert status == 0
        [model] = folder.glob("studio/runs/*/model")
        return model

    return teach


@pytest.fixture(scope="module")
def judge(lesson: Callable[..., Path]) -> Path:
    return lesson("able", 320)


def two_arms(good: Sequence[tuple[bool, bool]], lengths: Sequence[tuple[int, int]] | None = None) -> Rows:
    """Arms `a` and `b` that answer well where GOOD says so, by row; of so many words more where LENGTHS are given."""
    chance = random.Random(3)
    found: Rows = {"a": [], "b": []}
    for row, both in enumerate(good):
        for place, rows in enumerate(found.values()):
            text = answer(GOOD if both[place] else BAD, chance)
            if lengths is not None:
                text = " ".join([*text.split()[:3], *["stone"] * lengths[row][place]])
            rows.append(Prediction(row, question(row), "sharp", text))
    return found


def judged(folder: Path, model: Path, rows: Rows) -> dict[str, Any]:
    from ftstudio.engine.models import ModelStore

    settings = {"model": str(model), "rubric": RUBRIC, "reference": False}
    recipe = Recipe.model_validate(
        {
            "model": str(model),
            "data": {"train": "demo"},
            "training": {"device": "cpu"},
            "evaluation": {"judge": settings},
        }
    )
    context = JobContext(JobFolder(folder), ModelStore(), lambda: False, lambda *_: None, lambda: None)
    assert recipe.evaluation.judge is not None
    pair: dict[str, Any] = Judging(context, recipe, recipe.evaluation.judge, rows).run(None)["pairs"][0]
    return pair


def test_an_able_judge_finds_the_better_answers(tmp_path: Path, judge: Path) -> None:
    chance = random.Random(1)
    good = [(chance.random() < 0.3, chance.random() < 0.8) for _ in range(80)]
    rows = two_arms(good)
    outputs = {row: (rows["a"][row].output, rows["b"][row].output) for row in range(80)}
    wins, losses = sum(b > a for a, b in good), sum(b < a for a, b in good)
    decided = [row for row, (a, b) in enumerate(good) if a != b][:20]
    book = Book(tmp_path / NAME, "a", "b", "me")
    for place, row in enumerate(decided):  # a person who sees it otherwise every fourth time
        wanted = "b" if good[row][1] != (place % 4 == 0) else "a"
        left, _ = book.ballot.sides(row)
        book.vote(row, "left" if left == wanted else "right", outputs)
    found = judged(tmp_path, judge, rows)
    # 2 % of its verdicts may be wrong: it is a learnt judge, tested on answers it has never seen
    assert abs(found["wins"] - wins) <= 2
    assert abs(found["losses"] - losses) <= 2
    assert found["verdict"] == "better"
    assert found["flips"]["share"] <= 0.04
    assert abs(found["first"]["share"] - 0.5) <= 0.03
    assert abs(found["longer"]["share"] - 0.5) <= 0.25
    assert abs(found["length_controlled"]["rate"] - found["win_rate"]) <= 0.05  # lengths were drawn at random
    assert found["agreement"]["n"] >= 18
    assert abs(found["agreement"]["share"] - 0.75) <= 0.06
    turned = judged(tmp_path / "turned", judge, {"b": rows["b"], "a": rows["a"]})
    assert (turned["wins"], turned["losses"], turned["verdict"]) == (found["losses"], found["wins"], "worse")


def test_where_the_longer_answer_is_mostly_the_better_the_rate_at_equal_length_is_even(
    tmp_path: Path, judge: Path
) -> None:
    """b is longer in seven rows of ten, and the longer one is better in nine of ten, whosever it is."""
    longer = [row % 10 < 7 for row in range(60)]
    better = [now if row not in (0, 10, 20, 30, 7, 17) else not now for row, now in enumerate(longer)]
    rows = two_arms([(not b, b) for b in better], [(0, 2) if b else (2, 0) for b in longer])
    found = judged(tmp_path, judge, rows)
    assert found["win_rate"] == pytest.approx(2 / 3, abs=0.04)
    assert found["longer"]["share"] == pytest.approx(0.9, abs=0.04)
    assert found["length_controlled"]["rate"] == pytest.approx(0.5, abs=0.07)
    assert found["length_controlled"]["low"] < 0.5 < found["length_controlled"]["high"]


def test_a_judge_that_looks_at_the_place_alone_is_found_out(tmp_path: Path, lesson: Callable[..., Path]) -> None:
    model = lesson("placed", 40, always="A", count=1300)
    found = judged(tmp_path, model, two_arms([(False, True)] * 40))
    assert (found["wins"], found["losses"], found["ties"]) == (0, 0, 40)
    assert found["first"]["share"] == 1.0
    assert found["flips"]["share"] == 1.0
    assert "too few rows" in found["verdict"]
