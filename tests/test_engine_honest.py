"""A tuning that moved nothing is called neither better nor worse, whatever a sampling model happens to say."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest
from tiny_models import WORDS, make_model, make_rows, recipe_values

from ftstudio.core.jobs import Train
from ftstudio.core.workspace import Workspace
from ftstudio.data.tokenizer import load_tokenizer
from ftstudio.engine.generation import Decoding, decode, generate
from ftstudio.engine.models import ModelStore
from ftstudio.engine.prepare import prepare_run
from ftstudio.engine.recipes import check_recipe, load_recipe
from ftstudio.engine.worker import Worker
from ftstudio.evaluation.comparison import Arm, compare
from ftstudio.evaluation.context import build
from ftstudio.evaluation.predictions import Prediction

pytest.importorskip("torch")
ROWS, DRAWS = 24, 100


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_tuning_without_a_learning_rate_is_called_better_or_worse_in_five_of_a_hundred_draws_at_most(
    tmp_path: Path,
) -> None:
    model = make_model(tmp_path / "model")
    values = recipe_values(model, make_rows(tmp_path / "rows.jsonl"), steps=4, learning_rate=1e-30)
    run, worker = prepare_run(check_recipe(values), Workspace(tmp_path / "studio")), Worker()
    worker.execute(Train(run.path))
    assert run.state() == "done"
    loaded = ModelStore().tuned(run, load_recipe(run.recipe_path))
    tokenizer = load_tokenizer(str(model))
    chance = random.Random(0)
    references = [" ".join(chance.choices(WORDS, k=3)) for _ in range(ROWS)]
    prompts = tokenizer.encode_batch([f"{row}: {text[::-1]}\n" for row, text in enumerate(references)])

    def answers(model: Any, decoding: Decoding) -> list[Prediction]:
        said = [""] * ROWS
        for batch in generate(model, prompts, decoding, {257}, pad_token=258):
            for answer in batch:
                said[answer.index] = decode(tokenizer, answer)
        return [Prediction(row, f"{row}", references[row], text) for row, text in enumerate(said)]

    with loaded.as_base() as base:
        greedy = answers(base, Decoding(12))
        before = [answers(base, Decoding(12, temperature=1.0, seed=2 * draw)) for draw in range(DRAWS)]
    with loaded.as_tuned() as tuned:
        assert answers(tuned, Decoding(12)) == greedy
        after = [answers(tuned, Decoding(12, temperature=1.0, seed=2 * draw + 1)) for draw in range(DRAWS)]
    context = build(["say"], ["red"], infer_contract=False, answer=None, grounded=False, only=("empty",))
    verdicts, differences = [], set()
    for draw, (a, b) in enumerate(zip(before, after, strict=True)):
        found = compare([Arm("base", a), Arm("tuned", b)], context, metrics=["edit", "chrf"], resamples=1000, seed=draw)
        verdicts.append(found["overall"][0]["verdict"])
        differences.add(found["differences"][0]["difference"])
    assert sum(verdict in ("better", "worse", "mixed") for verdict in verdicts) <= 5
    assert len(differences) > DRAWS / 2  # the draws do differ
    assert "too few" not in " ".join(verdicts)
