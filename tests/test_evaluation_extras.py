"""Metrics on request and of one's own: against their libraries, and failing alone."""

from __future__ import annotations

import random
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ftstudio.core.errors import StudioError
from ftstudio.core.recipe import Recipe
from ftstudio.evaluation import extras, metrics, report, textual
from ftstudio.evaluation.comparison import Arm, compare
from ftstudio.evaluation.predictions import Prediction

ROWS = [Prediction(row, f"prompt {row}", f"word one two {row}", f"word one {row}!") for row in range(30)]


def written(place: Path, text: str, name: str = "mine") -> Path:
    (place / "metrics").mkdir(exist_ok=True)
    (place / "metrics" / f"{name}.py").write_text(text)
    return place


@pytest.mark.parametrize(
    ("output", "reference", "wanted"),
    [
        ("so #### 72", "72 clips #### 72", 1.0), ("#### 1,072.0", "#### 1072", 1.0), ("about 7", "#### 72", 0.0),
        ("nothing", "#### 72", 0.0), ("7", "no number", None),
    ],
)  # fmt: skip
def test_numbers_agree(output: str, reference: str, wanted: float | None) -> None:
    assert textual.numeric_match(output, reference) == wanted


def test_token_f1_is_squads() -> None:
    assert textual.token_f1("The cat sat.", "a cat sat down") == pytest.approx(2 * 2 / 5)
    assert textual.token_f1("the", "a") == 1.0
    assert textual.token_f1("", "cat") == 0.0


@given(st.text(max_size=40), st.text(max_size=40))
def test_row_metrics_are_shares(output: str, reference: str) -> None:
    for value in (textual.token_f1(output, reference), textual.edit_similarity(output, reference)):
        assert 0 <= value <= 1
    assert textual.token_f1(reference, reference) == textual.edit_similarity(reference, reference) == 1


def test_ter_is_sacrebleus() -> None:
    from sacrebleu.metrics import TER

    chance = random.Random(1)
    words = ["a", "b", "c", "d", "e", "f"]
    texts = [[" ".join(chance.choices(words, k=chance.randint(0, 8))) for _ in range(40)] for _ in range(2)]
    wanted = TER().corpus_score(texts[0], [texts[1]]).score
    assert metrics.corpus_score("ter", *texts) == pytest.approx(wanted, abs=1e-9)
    right = [Prediction(row.row, row.prompt, row.reference, row.reference or "") for row in ROWS]
    names = ["ter", "numeric_match", "token_f1", "edit"]
    result = compare([Arm("a", ROWS), Arm("b", right)], metrics=names, resamples=500)
    verdicts = {entry["metric"]: entry["verdict"] for entry in result["differences"]}
    assert verdicts["ter"] == "better"  # lower is
    assert verdicts["token_f1"] == "better"
    assert verdicts["numeric_match"] == "no clear difference"
    assert set(result["signatures"]) >= {"ter", "numeric_match", "token_f1", "edit"}


@pytest.mark.parametrize(
    ("name", "key", "better"),
    [
        ("wer", "", False), ("ter", "score", False), ("mape", "", False), ("rouge", "rougeLsum", True),
        ("perplexity", "mean_perplexity", False), ("answer_f1", "", None), ("filtered", "", None),
        ("mine", "mse", False),
    ],
)  # fmt: skip
def test_which_end_is_good_is_known_by_exact_names_alone(name: str, key: str, better: bool | None) -> None:
    assert extras._direction(name, key, object()) is better


def test_a_metric_may_say_itself_which_end_is_good() -> None:
    assert extras._direction("mine", "", SimpleNamespace(HIGHER_IS_BETTER=False)) is False


def test_a_metric_of_ones_own_is_compared_like_any_other(tmp_path: Path) -> None:
    written(
        tmp_path,
        "TITLE = 'Shouting'\nHIGHER_IS_BETTER = False\n"
        "def score(output, reference, prompt):\n    return output.count('!') if 'prompt' in prompt else None\n",
    )
    mine = extras.load("own:mine", tmp_path)
    assert (mine.title, mine.better) == ("Shouting", False)
    calm = [Prediction(row.row, row.prompt, row.reference, row.output.rstrip("!")) for row in ROWS]
    result = compare([Arm("a", ROWS), Arm("b", calm)], metrics=["own:mine"], extras=[mine], resamples=500)
    entry = next(entry for entry in result["differences"] if entry["metric"] == "own:mine")
    assert (entry["difference"], entry["verdict"], entry["n"], entry["better"]) == (-1.0, "better", 30, False)
    assert result["titles"] == {"own:mine": "Shouting"}
    assert result["signatures"]["own:mine"].startswith("own metric|mine.py|sha256:")
    assert "\nShouting " in report.compare_text(result)
    assert "(Shouting -1" in result["overall"][0]["words"]
    assert result["gain"] is None  # nothing that is better when higher
    assert result["overall"][0]["verdict"] == "better"


def test_a_metric_of_ones_own_may_be_the_one_that_rows_are_sorted_by(tmp_path: Path) -> None:
    code = "def score(output, reference, prompt):\n    return None if output == '-' else float('!' in output)\n"
    mine = extras.load("own:mine", written(tmp_path, code))
    loud = [Prediction(row.row, row.prompt, row.reference, row.output + "!") for row in ROWS]
    calm = [Prediction(row.row, row.prompt, row.reference, row.output.rstrip("!")) for row in ROWS]
    dumb = [Prediction(row.row, row.prompt, row.reference, "-") for row in ROWS]
    arms = [Arm("a", calm), Arm("between", dumb), Arm("b", loud)]
    result = compare(arms, metrics=["own:mine"], extras=[mine], resamples=500)
    assert result["gain"] == "own:mine"
    assert "Biggest gains, by mine\n\nrow 29   0.000 → – → 1.000" in report.compare_text(result)


@pytest.mark.parametrize(
    ("code", "told"),
    [
        ("score = 3\n", "no function"), ("def broken(:\n", "can't be loaded: SyntaxError"),
        ("import nothing_like_it\n", "can't be loaded: ModuleNotFoundError"),
    ],
)  # fmt: skip
def test_a_file_that_is_none_is_named(tmp_path: Path, code: str, told: str) -> None:
    with pytest.raises(StudioError, match=told):
        extras.load("own:mine", written(tmp_path, code))


def test_one_that_fails_costs_itself_alone(tmp_path: Path) -> None:
    mine = extras.load("own:mine", written(tmp_path, "def score(output, reference, prompt):\n    return 1 / 0\n"))
    result = compare([Arm("a", ROWS), Arm("b", ROWS)], metrics=["rouge", "own:mine"], extras=[mine], resamples=100)
    assert [entry["metric"] for entry in result["differences"]] == ["rouge1", "rouge2", "rougeL", "length"]
    reason = next(entry["reason"] for entry in result["skipped"] if entry["metric"] == "own:mine")
    assert "failed on row 0: ZeroDivisionError" in reason


def test_only_the_workspace_is_looked_in(tmp_path: Path) -> None:
    (tmp_path / "outside.py").write_text("raise SystemExit('was run')\n")
    for name in ("own:../outside", "own:/etc/passwd", "own:missing"):
        with pytest.raises(StudioError, match=r"no metric"):
            extras.load(name, written(tmp_path, ""))


def test_recipes_may_name_them() -> None:
    values = {"model": "demo", "data": {"train": "demo"}}
    Recipe.model_validate(
        values | {"evaluation": {"metrics": ["rouge", "own:mine", "evaluate:rouge#rougeLsum", "ter"]}}
    )
    with pytest.raises(ValueError, match="no metric named 'rogue'"):
        Recipe.model_validate(values | {"evaluation": {"metrics": ["rogue"]}})


METRIC = """
import datasets
import evaluate


class Shared(evaluate.Metric):
    def _info(self):
        return evaluate.MetricInfo(
            description="", citation="", features=datasets.Features(
                {"predictions": datasets.Value("string"), "references": datasets.Value("string")}
            ),
        )

    def _compute(self, predictions, references):
        shared = [len(set(p.split()) & set(r.split())) for p, r in zip(predictions, references)]
        return {"shared": sum(shared) / len(shared), "half": sum(shared) / len(shared) / 2}
"""


@pytest.mark.slow
def test_any_metric_of_evaluate_by_local_path(tmp_path: Path) -> None:
    pytest.importorskip("evaluate")
    (tmp_path / "metrics").mkdir()
    (tmp_path / "metrics" / "shared.py").write_text(METRIC)
    loaded = extras.load("evaluate:./shared.py", tmp_path)
    assert loaded.score(ROWS[:2]) == [2.0, 2.0]  # "word", "one"; "0!" isn't "0"
    half = extras.load("evaluate:./shared.py#half", tmp_path)
    assert half.score(ROWS[:1])[0] == loaded.score(ROWS[:1])[0] / 2  # type: ignore[operator]
    with pytest.raises(StudioError, match="gives no number other"):
        extras.load("evaluate:./shared.py#other", tmp_path).score(ROWS[:1])
    with pytest.raises(StudioError, match="HF_HUB_OFFLINE"):
        extras.load("evaluate:there_is_no_such_metric", tmp_path)
    missing = Prediction(1, "p", None, "o")
    assert loaded.score([missing]) == [None]
