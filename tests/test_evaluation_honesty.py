"""Comparisons claim no more than is true: on arms that are alike, on differences that are known, on leaked rows."""

from __future__ import annotations

import random
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from ftstudio.evaluation import leaks, statistics
from ftstudio.evaluation.comparison import Arm, compare
from ftstudio.evaluation.context import build
from ftstudio.evaluation.pairing import overall
from ftstudio.evaluation.power import more_rows
from ftstudio.evaluation.predictions import Prediction

WORDS = ["red", "green", "blue", "seven", "nine", "cats", "dogs", "birds", "run", "sleep", "eat", "quickly", "slowly"]


def answers(seed: int, rows: int = 40, right: float = 0.5) -> list[Prediction]:
    """A model that says each word of the reference with probability RIGHT, sampled by SEED."""
    same, chance = random.Random(0), random.Random(seed)
    found = []
    for row in range(rows):
        reference = [same.choice(WORDS) for _ in range(same.randint(3, 9))]
        said = [word if chance.random() < right else chance.choice(WORDS) for word in reference]
        found.append(Prediction(row, f"say {row}", " ".join(reference), " ".join(said)))
    return found


def test_a_model_against_itself_is_called_better_or_worse_in_five_of_a_hundred_draws_at_most() -> None:
    context = build(["say"], ["red"], infer_contract=False, answer=None, grounded=False, only=("empty",))
    called = 0
    for draw in range(100):
        arms = [Arm("base", answers(2 * draw)), Arm("again", answers(2 * draw + 1))]
        metrics = ["rouge", "exact_match", "token_f1", "edit"]
        result = compare(arms, context, metrics=metrics, resamples=1000, seed=draw)
        called += result["overall"][0]["verdict"] in ("better", "worse", "mixed")
    assert called <= 5


def test_the_very_same_answers_are_never_better() -> None:
    same = answers(1)
    result = compare([Arm("base", same), Arm("tuned", [replace(row, arm="tuned") for row in same])], metrics=["rouge"])
    assert result["overall"][0]["verdict"] == "no clear difference"
    assert result["identical"] == [["base", "tuned"]]


def test_a_difference_that_is_there_is_found() -> None:
    result = compare([Arm("base", answers(1, right=0.4)), Arm("tuned", answers(2, right=0.8))], metrics=["rouge"])
    found = result["overall"][0]
    assert (found["verdict"], found["needed"]) == ("better", None)
    assert "tuned is better than base" in found["words"]


def test_intervals_cover_the_known_difference_of_simulated_arms() -> None:
    """1,000 draws of two arms whose scores lie between 0 and 1 as those of rows do, many at the ends; b raises three
    rows of ten by a random part of what they lack, 0.075 on average. The draws are columns of one call."""
    generator = np.random.default_rng(4)
    rows, draws = 150, 1000
    a = generator.beta(0.5, 0.5, (rows, draws))
    b = a + (generator.random(a.shape) < 0.3) * generator.random(a.shape) * (1 - a)
    low, high = statistics.bootstrap(b - a, resamples=2000, seed=1)
    covered = float(((low <= 0.075) & (high >= 0.075)).mean())
    assert 0.93 <= covered <= 0.97


def test_needed_rows_are_about_what_it_takes() -> None:
    generator = np.random.default_rng(3)
    spread, step = 0.3, 0.05
    wanted = (2.8 * spread / step) ** 2
    found = []
    for seed in range(20):
        values = generator.normal(step, spread, (100, 1))
        values += step - values.mean()
        low, high = statistics.bootstrap(values, resamples=1000, seed=seed)
        entry = {"metric": "rougeL", "difference": step, "low": float(low[0]), "high": float(high[0]), "n": 100,
                 "p": 0.1, "p_holm": 0.1, "verdict": statistics.UNCLEAR, "better": True}  # fmt: skip
        entry["needed"] = more_rows(step, entry["low"], entry["high"], 100)  # type: ignore[arg-type]
        verdict = overall(("base", "tuned"), [entry])
        assert "need about" in verdict["words"]
        found.append(verdict["needed"] + 100)
    assert abs(sum(found) / 20 - wanted) < 0.2 * wanted


def test_leaked_rows_are_found_and_told_beside_the_score() -> None:
    chance = random.Random(5)
    vocabulary = [f"word{number}" for number in range(800)]

    def text(size: int) -> str:
        return " ".join(chance.choice(vocabulary) for _ in range(size))

    instruction = "please read the following text with care and answer the question that comes after it"
    training = [(row, f"{instruction} {text(30)}", text(10)) for row in range(300)]
    held_out = [(row, f"{instruction} {text(30)}", text(10)) for row in range(40)]
    held_out[3] = (3, training[17][1].upper() + "  ", "another answer")
    words = training[200][1].split()
    held_out[8] = (8, " ".join([*words[:-6], *text(6).split()]), training[200][2])
    found = leaks.find(held_out, training)
    assert {(leak.row, leak.training, leak.how) for leak in found} == {(3, 17, "exact"), (8, 200, "near")}
    told = leaks.told(found, 40)
    assert (told["rows"], told["exact"], told["near"], told["share"]) == ([3, 8], 1, 1, 0.05)
    assert "2 of 40 held-out rows stand in the training rows" in told["words"]
    rows = [Prediction(row, prompt, reference, reference) for row, prompt, reference in held_out]
    worse = [replace(row, output="nothing") for row in rows]
    result = compare([Arm("base", worse), Arm("tuned", rows)], metrics=["rouge"], leak=told, resamples=500)
    part, trained = result["slices"][:2]  # first of all
    assert (part["by"], part["value"], part["n"], part["verdict"]) == ("leak", "not in training", 38, "better")
    assert 3 not in part["rows"]
    assert (trained["value"], trained["rows"], trained["verdict"]) == ("in training", [3, 8], "not judged")
    assert leaks.find(held_out[20:], training) == []


def test_leaks_in_short_texts_and_none_at_all() -> None:
    assert leaks.find([(0, "Hi", "x")], [(9, "hi ", "y")]) == [leaks.Leak(0, 9, "exact", 1.0)]
    assert leaks.find([(0, "", "")], [(1, "", "")]) == []
    assert leaks.told([], 0)["share"] == 0.0


def test_stored_rows_are_scored_without_torch() -> None:
    program = (
        "import sys, json\n"
        "from ftstudio.evaluation.comparison import Arm, compare\n"
        "from ftstudio.evaluation.predictions import Prediction\n"
        "rows = [Prediction(i, f'p {i}', f'right {i}', f'out {i}') for i in range(30)]\n"
        "compare([Arm('a', rows), Arm('b', rows)], resamples=100)\n"
        "print(sorted({'torch', 'transformers', 'datasets', 'evaluate', 'sklearn'} & sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.slow
def test_intervals_of_whole_comparisons_cover_the_known_difference() -> None:
    """The same through `compare`: arms whose token F1 differ by a known step on average, 1,000 draws."""
    context = build(["say"], ["red"], infer_contract=False, answer=None, grounded=False, only=("empty",))
    covered, truth = 0, []
    results = []
    for draw in range(1000):
        a, b = answers(3 * draw, 40, 0.5), answers(3 * draw + 1, 40, 0.65)
        result = compare([Arm("a", a), Arm("b", b)], context, metrics=["token_f1"], resamples=1000, seed=draw)
        entry = next(entry for entry in result["differences"] if entry["metric"] == "token_f1")
        results.append((entry["low"], entry["high"]))
        truth.append(entry["difference"])
    middle = sum(truth) / len(truth)
    covered = sum(low <= middle <= high for low, high in results)
    assert 930 <= covered <= 970
