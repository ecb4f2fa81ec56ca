"""Text classification: labels as the head knows them, texts as the tokenizer frames them, scores as scikit-learn's."""

from __future__ import annotations

import json
import random
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tiny_models import make_encoder, make_labelled

from ftstudio import tasks
from ftstudio.core.errors import StudioError, UsageError
from ftstudio.core.jobs import Answer, Compare, Train
from ftstudio.core.workspace import Workspace
from ftstudio.data import label_cells, labels, likeness
from ftstudio.data.checks import run_checks
from ftstudio.data.dataset import from_rows
from ftstudio.data.example import BadRow
from ftstudio.data.framing import frame
from ftstudio.data.mix import Part, concatenated
from ftstudio.data.shape import Shape, recognise
from ftstudio.data.tokenizer import load_tokenizer
from ftstudio.engine.prepare import prepare_run
from ftstudio.engine.recipes import check_recipe
from ftstudio.engine.worker import Worker
from ftstudio.evaluation import classification
from ftstudio.evaluation.classification import METRICS, summary
from ftstudio.evaluation.metrics import corpus_score
from ftstudio.evaluation.predictions import read_predictions
from ftstudio.tasks.text_classification import TextClassification

SHAPE = Shape("text-label", {"text": "text", "label": "label"}, "")


def survey(values: list[Any], problem: str = "auto") -> labels.Labels:
    rows = [{"text": f"text {place}", "label": value} for place, value in enumerate(values)]
    return labels.survey(from_rows(rows), SHAPE, problem)


@pytest.mark.parametrize(
    ("values", "problem", "names"),
    [
        (["b", "a", "b", None], labels.SINGLE, ("a", "b")),
        ([10, 9, 1, 9], labels.SINGLE, ("1", "9", "10")),
        ([True, False], labels.SINGLE, ("false", "true")),
        ([["x"], ["y", "x"], []], labels.MULTI, ("x", "y")),
        (['["x"]', '["y", "x"]', "[]"], labels.MULTI, ("x", "y")),  # lists in a CSV file
        (["[x", "[y", "[x"], labels.SINGLE, ("[x", "[y")),
        (["['x']", "['y', \"it's\"]", "[]"], labels.MULTI, ("it's", "x", "y")),  # as Python and pandas write them
        (["['x']", "['y'\n 'x']", "[]"], labels.MULTI, ("x", "y")),  # as numpy writes them
        ([1.0, 2.0, float("nan"), 1], labels.SINGLE, ("1", "2")),
        ([0.5, 3.25, 4.1, 2.75, 1.9, 3.3], labels.REGRESSION, ()),
        ([*[place / 5 for place in range(30)], "n/a"], labels.REGRESSION, ()),  # a slip makes no labels of numbers
        ([1, 2, 3, "other"] * 5, labels.SINGLE, ("1", "2", "3", "other")),
        (list(range(300)), labels.REGRESSION, ()),
    ],
)
def test_labels_tell_the_problem(values: list[Any], problem: str, names: tuple[str, ...]) -> None:
    found = survey(values)
    assert (found.problem, found.names) == (problem, names)


@pytest.mark.parametrize(
    ("values", "problem", "words"),
    [
        (["a"] * 5, "auto", "only one label"),
        ([["a"]] * 5, "auto", "only one label .'a'.: there is nothing"),
        (["['a']", None, "['a']"], "auto", "only one label"),
        ([["a", "b"], ["b", "a"], []][:2] * 3, "auto", "the same labels in every row .'a', 'b'."),
        ([None, "", None], "auto", "no label in any row"),
        ([f"free text {place}" for place in range(40)], "auto", "40 labels in 40 rows"),
        ([*[place / 5 for place in range(30)], *["n/a"] * 9], "auto", "none in 9 .row 31: 'n/a', row 32"),
        ([[0, 1, 0], [1, 0, 0]] * 4, "auto", "lists of 3 times 0 or 1"),
        (["a", "b"], labels.REGRESSION, "no number"),
        ([2.0, 2.0, 2.0], labels.REGRESSION, "the same number"),
    ],
)
def test_what_can_not_be_learnt_is_said(values: list[Any], problem: str, words: str) -> None:
    with pytest.raises(StudioError, match=words) as caught:
        survey(values, problem)
    assert caught.value.hint


def test_one_label_that_some_rows_lack_can_be_learnt() -> None:
    for values in ([["spam"], [], ["spam"]], ["['spam']", "[]"]):
        assert survey(values).names == ("spam",)


def test_labels_of_rows_that_are_left_out_are_none() -> None:
    """No output of a head, and no weight, for what only stands in rows without a text."""
    rows = [{"text": f"text {n}", "label": "ab"[n % 2]} for n in range(10)]
    rows += [{"text": "", "label": "c"}, {"text": None, "label": "a"}, {"text": " \n", "label": "a"}, {"label": "c"}]
    dataset = from_rows(rows)
    task = tasks.get("text-classification")
    facts = task.survey(dataset, SHAPE)
    assert (facts["labels"], facts["counts"]) == (["a", "b"], [5, 5])
    encoded = task.encode_dataset(dataset, SHAPE, None, Words(), None)  # type: ignore[arg-type]
    assert len(encoded) == sum(facts["counts"])
    assert tasks.get("few-shot-classification").survey(dataset, SHAPE)["counts"] == [5, 5]
    pairs = Shape("sentence-pair", {"sentence1": "a", "sentence2": "b", "label": "label"}, "")
    two = [{"a": "x", "b": "", "label": "p"}, {"a": "", "b": "", "label": "q"}, {"a": "", "b": "x", "label": "r"}]
    assert labels.survey(from_rows([*two, {"a": "x", "label": "q"}] * 2), pairs).names == ("p", "r")
    with pytest.raises(StudioError, match=r"only one label .'a'. that has a text .1 of 3 have none."):
        labels.survey(from_rows([*rows[:1], rows[10], *rows[:1]]), SHAPE)


@pytest.mark.parametrize(("values", "mark", "names"), [
    (["sports,politics", "sports", "politics, art", "art"], ",", ("art", "politics", "sports")),
    (["a | b", "b", "a"], "|", ("a", "b")),
    (["Bonn, Germany", "Rome, Italy"], None, ("Bonn, Germany", "Rome, Italy")),  # nothing of them recurs
])  # fmt: skip
def test_several_labels_in_one_text_are_parted_where_they_recur(values: list[str], mark: str, names: Any) -> None:
    found = survey(values * 3, labels.MULTI)
    assert (found.mark, found.names) == (mark, names)
    task = tasks.get("text-classification").bound({"problem": "multi"})
    rows = from_rows([{"text": "x", "label": value} for value in values * 3])
    task = task.bound({"problem": "multi"}, task.survey(rows, SHAPE))
    first = SHAPE.example(rows[0])
    assert sum(task._label(first)) == (2 if mark else 1)  # type: ignore[attr-defined]
    single = tasks.get("text-classification")
    single = single.bound({}, single.survey(rows, SHAPE))
    told = " ".join(f"{doubt.key} {doubt.text}" for doubt in single.doubts(None))  # type: ignore[arg-type]
    assert ("options.problem" in told) == (mark is not None)


def test_a_label_in_another_form_is_the_same_one() -> None:
    """As JSON, CSV and a run from before write it; and what differs by its spelling is told."""
    task: Any = tasks.get("text-classification")
    for names, value, place in [
        (["0", "1"], 1.0, 1), (["0", "1"], "1.0", 1), (["0.0", "1.0"], 1, 1), (["0.0", "1.0"], 1.0, 1),
        (["false", "true"], "True", 1), (["False", "True"], True, 1), (["1", "1.0"], "1.0", 1), (["1", "1.0"], 1, 0),
    ]:  # fmt: skip
        bound = task.bound({}, {"problem": labels.SINGLE, "labels": names})
        example = SHAPE.example({"text": "x", "label": value})
        assert (bound._label(example), bound._reference(example)) == (place, names[place])
    bound = task.bound({}, {"problem": labels.SINGLE, "labels": ["Pos", "Very_bad"], "counts": [3, 4]})
    for value, near in (("pos", "'Pos'"), ("very bad", "'Very_bad'")):
        with pytest.raises(BadRow, match=f"in no training row .training has {near}"):
            bound._label(SHAPE.example({"text": "x", "label": value}))
    assert not bound.doubts(None)
    found = bound.bound({}, {**bound.facts, "labels": ["Pos", "pos", "neg"], "counts": [3, 4, 5]}).doubts(None)
    assert [doubt.text for doubt in found if "'Pos' 3 and 'pos' 4" in doubt.text]


def test_scores_that_a_new_head_takes_long_to_get_to_are_told() -> None:
    """From 0 to 90 in 150 steps the mean squared error went from 3,047 to 2,935 (a tiny BERT, 5e-4)."""
    task: Any = tasks.get("text-classification")
    for low, high, told in ((0.0, 5.0, False), (1.0, 10.0, False), (0.0, 90.0, True), (-100.0, -50.0, True)):
        found = task.bound({}, {"problem": labels.REGRESSION, "labels": [], "range": [low, high]}).doubts(None)
        assert bool(found) == told
        assert all(f"from {low:g} to {high:g}" in doubt.text for doubt in found)


def test_a_score_may_be_the_number_that_stands_for_no_target() -> None:
    import torch

    from ftstudio.engine.collate import asked

    assert asked(torch.tensor([-100.0, 3.0])).tolist() == [True, True]
    assert asked(torch.tensor([[-100, 3]])).tolist() == [[False, True]]


def test_rows_without_a_known_label_are_counted_with_their_reason(tmp_path: Path) -> None:
    tokenizer = load_tokenizer(make_encoder(tmp_path / "m"))
    rows = [{"text": "red cats run", "label": label} for label in ("a", "b", "", None, "c", "a")]
    rows += [{"text": text, "label": "a"} for text in ("", " \n", None)]
    dataset = from_rows(rows)
    task = tasks.get("text-classification").bound({}, {"problem": labels.SINGLE, "labels": ["a", "b"]})
    found = task.encode_dataset(dataset, SHAPE, None, tokenizer)  # type: ignore[arg-type]
    assert [row["labels"] for row in (found[place] for place in range(len(found)))] == [0, 1, 0]
    assert [(row, why) for row, why in found.excluded] == [
        (2, "the label is empty"), (3, "the label is empty"), (4, "the label 'c' is in no training row"),
        (6, "the text is empty"), (7, "the text is empty"), (8, "the text is empty"),
    ]  # fmt: skip
    assert found.stats.rows == 9
    assert [task.usable(SHAPE.example(row)) for row in rows[4:8]] == [False, True, False, False]


def test_framing_equals_transformers(tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    folder = make_encoder(tmp_path / "m")
    ours, theirs = load_tokenizer(folder), AutoTokenizer.from_pretrained(folder)
    one, two = "red green blue seven nine cats", "dogs run quickly sleep"
    for limit in (None, 14, 9, 7, 6):
        cut: dict[str, Any] = {} if limit is None else {"truncation": True, "max_length": limit}
        single, pair = frame(ours, [(one,), (one, two)], limit)
        assert single.ids == theirs(one, **cut)["input_ids"]
        wanted = theirs(one, two, return_token_type_ids=True, **cut)
        assert (pair.ids, pair.types) == (wanted["input_ids"], wanted["token_type_ids"])
        assert pair.lost == len(theirs(one, two)["input_ids"]) - len(pair.ids)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.sampled_from("abcd"), st.sampled_from("abcd")), min_size=1, max_size=40))
def test_scores_of_labels_equal_scikit_learn(pairs: list[tuple[str, str]]) -> None:
    from sklearn.metrics import f1_score, matthews_corrcoef

    given_labels, wanted = [a for a, _ in pairs], [b for _, b in pairs]
    expected = {
        "f1": f1_score(wanted, given_labels, average="macro", zero_division=0.0),
        "f1_micro": f1_score(wanted, given_labels, average="micro"),
        "mcc": matthews_corrcoef(wanted, given_labels),
    }
    for name, value in expected.items():
        metric = METRICS[name](name)
        [counts] = metric.statistics([given_labels], wanted)
        assert metric.score(counts.sum(axis=0, keepdims=True))[0] == pytest.approx(value, abs=1e-12), name
    assert summary(given_labels, wanted, labels.SINGLE)["mcc"] == pytest.approx(expected["mcc"])


LABELS = st.frozensets(st.sampled_from("abc")).map(classification.joined)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(LABELS, LABELS), min_size=1, max_size=20))
@example([("", ""), ("", "")])
@example([("", ""), ("", "a")])
@example([("a", "a"), ("", ""), ("a", "")])
def test_scores_of_several_labels_are_those_of_a_comparison_and_of_scikit_learn(pairs: list[tuple[str, str]]) -> None:
    """Also where no label occurs, and where a single one does."""
    from sklearn.metrics import f1_score

    given_labels, wanted = [a for a, _ in pairs], [b for _, b in pairs]
    found = summary(given_labels, wanted, labels.MULTI)
    assert found["accuracy"] == sum(a == b for a, b in pairs) / len(pairs)
    names = sorted({name for text in (*given_labels, *wanted) for name in classification.parted(text)})
    told = [[[name in classification.parted(text) for name in [*names, "1", "2"]] for text in texts]
            for texts in (wanted, given_labels)]  # fmt: skip
    each = f1_score(*told, average=None, zero_division=0.0)[: len(names)]  # it takes a column alone for two classes
    assert found["f1"] == pytest.approx(float(each.mean()) if names else 0.0)
    assert found["f1_micro"] == pytest.approx(f1_score(*told, average="micro", zero_division=0.0))
    for name in ("f1", "f1_micro"):
        assert found[name] == corpus_score(name, given_labels, wanted)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), min_size=3, max_size=30))
def test_correlations_equal_scipy(pairs: list[tuple[int, int]]) -> None:
    from scipy.stats import pearsonr, spearmanr

    x, y = [float(a) for a, _ in pairs], [float(b) for _, b in pairs]
    for name, oracle in (("pearson", pearsonr), ("spearman", spearmanr)):
        metric = METRICS[name](name)
        [moments] = metric.statistics([[f"{value:g}" for value in x]], [f"{value:g}" for value in y])
        found = metric.score(moments.sum(axis=0, keepdims=True))[0]
        if min(x) == max(x) or min(y) == max(y):
            assert found == 0
        else:
            assert found == pytest.approx(oracle(x, y).statistic, abs=1e-9)


def test_correlations_of_tiny_numbers_are_told_too() -> None:
    x, y = [1e-6 * at for at in range(20)], [1e-6 * (at + at % 3) for at in range(20)]
    for name in ("pearson", "spearman"):
        metric = METRICS[name](name)
        [moments] = metric.statistics([[f"{value:g}" for value in x]], [f"{value:g}" for value in y])
        assert metric.score(moments.sum(axis=0, keepdims=True))[0] > 0.9


def test_options_are_checked() -> None:
    values = {"task": "text-classification", "model": "m", "data": {"train": "t"}, "options": {"problme": "single"}}
    with pytest.raises(UsageError, match=r"options\.problme") as caught:
        check_recipe(values)
    assert "problem" in str(caught.value)


def test_numbers_are_told_as_exactly_as_they_are() -> None:
    import torch

    task = tasks.get("text-classification").bound({}, {"problem": labels.REGRESSION})
    outputs = SimpleNamespace(logits=torch.tensor([[1987.4], [1987.1], [123456.5]]))
    told = [float(one.text) for one in task.predictions(outputs, {})]
    assert told == pytest.approx([1987.4, 1987.1, 123456.5], rel=1e-6)  # not all 1987, and 123500
    predicted = task.predictions(outputs, {})
    assert (
        task.scores(predicted, [{"labels": value} for value in (12345678.0, 12345679.0, 12345680.0)])["spearman"] == 0.5
    )


def test_weights_of_several_labels_let_the_rows_that_have_each_count_as_much() -> None:
    import torch

    rows = [[1.0, 0.0]] * 90 + [[0.0, 1.0]] * 10
    task = tasks.get("text-classification").bound(
        {"class_weights": True}, {"problem": labels.MULTI, "labels": ["often", "rare"], "counts": [90, 10]}
    )
    logits = torch.zeros(100, 2, requires_grad=True)
    task.loss(SimpleNamespace(logits=logits), {"targets": torch.tensor(rows)}).backward()
    assert logits.grad is not None
    having = [float(logits.grad[torch.tensor(rows)[:, place] == 1, place].sum()) for place in (0, 1)]
    assert having[0] == pytest.approx(having[1])  # the pull of 90 rows up, and that of 10
    lacking = logits.grad[:90, 1]
    assert float(lacking[0]) == pytest.approx(0.5)  # rows without a rare label aren't weighed up with it


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_encoder(tmp_path_factory.mktemp("encoder") / "model")


def recipe(model: Path, rows: Path, method: dict[str, Any], **options: Any) -> dict[str, Any]:
    return {
        "task": "text-classification",
        "options": options,
        "model": str(model),
        "method": method,
        "data": {"train": str(rows), "eval": 0.3},
        "training": {"steps": 60, "batch_size": 32, "learning_rate": 1e-2, "device": "cpu", "save_steps": 60},
        "evaluation": {"every": 30, "rows": 60, "samples": 2},
    }


@pytest.mark.parametrize("method", [{"name": "full"}, {"name": "lora", "r": 8, "dropout": 0}], ids=["full", "lora"])
def test_a_classifier_learns_is_saved_and_compared(encoder: Path, tmp_path: Path, method: dict[str, Any]) -> None:
    rows = make_labelled(tmp_path / "rows.jsonl")
    space = Workspace(tmp_path / "studio")
    run = prepare_run(check_recipe(recipe(encoder, rows, method)), space)
    worker = Worker()
    worker.execute(Train(run.path))
    kinds = {event["kind"]: event for event in run.events()}
    assert "done" in kinds, kinds.get("failed")
    assert kinds["done"]["reload_difference"] < 1e-4
    assert kinds["eval"]["accuracy"] > (0.9 if method["name"] == "full" else 0.55)  # a third by chance
    assert {"f1", "mcc", "brier", "ece"} <= kinds["eval"].keys()
    worker.execute(Compare(run.compare.path, (run.path,)))
    report = json.loads((run.compare.path / "report.json").read_text())
    tuned = report["arms"][1]["metrics"]
    assert tuned["accuracy"] == pytest.approx(kinds["eval"]["accuracy"])
    for name in ("f1", "brier", "ece"):
        assert tuned[name] == pytest.approx(kinds["eval"][name]), name
    wrong = next(entry for entry in report["categories"] if entry["name"] == "wrong_label")
    assert wrong["b"] == pytest.approx(1 - tuned["accuracy"])
    answers = read_predictions(run.compare.path / f"{run.name}.jsonl")
    for answer in answers:
        shares = answer.extra["probabilities"]
        assert max(shares, key=shares.get) == answer.output
        assert sum(shares.values()) == pytest.approx(1, abs=1e-3)
    worker.execute(Answer(run.errors.path, check_recipe_of(run), run.path))
    assert len(read_predictions(run.errors.path / "outputs.jsonl")) == len(answers)


def check_recipe_of(run: Any) -> Any:
    from ftstudio.engine.models import recipe_of

    return recipe_of(run)


@pytest.mark.parametrize("kind", ["multi", "regression"])
def test_several_labels_and_numbers(encoder: Path, tmp_path: Path, kind: str) -> None:
    rows = make_labelled(tmp_path / "rows.jsonl", kind)
    run = prepare_run(check_recipe(recipe(encoder, rows, {"name": "full"})), Workspace(tmp_path / "studio"))
    Worker().execute(Train(run.path))
    last = [event for event in run.events() if event["kind"] == "eval"][-1]
    assert last["spearman" if kind == "regression" else "f1_micro"] > 0.8
    assert np.isfinite(last["loss"])


def test_an_evaluation_whose_scores_fail_costs_the_scores_and_not_the_run(
    encoder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: Any) -> dict[str, float]:
        raise ValueError("no such \x1b[31mscore")

    monkeypatch.setattr(TextClassification, "scores", fails)
    values = recipe(encoder, make_labelled(tmp_path / "rows.jsonl"), {"name": "full"})
    values["training"] |= {"steps": 4}
    values["evaluation"] |= {"every": 2, "samples": 0}
    run = prepare_run(check_recipe(values), Workspace(tmp_path / "studio"))
    Worker().execute(Train(run.path))
    events = list(run.events())
    assert run.state() == "done", events[-1]
    told = [event for event in events if event["kind"] == "eval"]
    assert [event["step"] for event in told] == [0, 2, 4]
    assert all(np.isfinite(event["loss"]) and "f1" not in event for event in told)
    [alert] = [event for event in events if event["kind"] == "alert" and "score" in event["text"]]
    assert alert["level"] == "warning"
    assert "ValueError: no such" in alert["text"]
    assert "\x1b" not in alert["text"]
    assert "Traceback" in run.log_path.read_text()


def test_pairs_of_sentences_are_recognised_for_it() -> None:
    draw = random.Random(0)
    rows = [{"sentence1": f"a {n}", "sentence2": f"b {n}", "label": draw.choice(["yes", "no"])} for n in range(20)]
    assert recognise(from_rows(rows), task="text-classification").name == "sentence-pair"


def test_a_score_with_a_comma_is_never_taken_for_a_thousandth():
    told = {"0,5": 0.5, "0,125": 0.125, "1234,5": 1234.5, " 1.234 ": 1.234}
    assert {text: label_cells.number_of(text) for text in told} == told
    for text in ("1,234", "-12,500"):
        with pytest.raises(BadRow, match=r"may mean -?12\d+ or -?12?\.\d+"):
            label_cells.number_of(text)


# -- several sources, and rows that nobody labelled --------------------------------------------------------------------
def mixed(shapes: dict[str, Shape], rows: dict[str, list[dict[str, Any]]]) -> tuple[Any, Shape]:
    return concatenated([Part(name, from_rows(rows[name]), shape) for name, shape in shapes.items()])


def test_labels_of_several_sources_are_read_from_the_column_of_each() -> None:
    other = Shape("text-label", {"text": "text", "label": "category"}, "")
    dataset, shape = mixed(
        {"a": SHAPE, "b": other},
        {
            "a": [{"text": f"t {at}", "label": "xy"[at % 2]} for at in range(6)],
            # a column of the first one's name means something else here
            "b": [{"text": f"t {at}", "category": "xu"[at % 2], "label": "elsewhere"} for at in range(4)],
        },
    )
    found = labels.survey(dataset, shape)
    assert dict(zip(found.names, found.counts, strict=True)) == {"u": 2, "x": 5, "y": 3}
    task = tasks.get("text-classification")
    encoded = task.encode_dataset(dataset, shape, None, Words(), None)  # type: ignore[arg-type]
    assert (len(encoded), encoded.excluded) == (10, [])
    few = tasks.get("few-shot-classification").survey(dataset, shape)
    assert few["counts"] == [2, 5, 3]
    with pytest.raises(StudioError, match="column 'label' or 'category' holds only one label"):
        labels.survey(dataset.select([0, 2]), shape)


class Words:
    """A tokenizer that gives each word an id."""

    prefix, suffix, between = (), (), ()

    def encode_batch(self, texts: list[str]) -> list[list[int]]:
        return [[len(word) for word in text.split()] for text in texts]


def test_scores_of_several_sources_are_read_from_the_column_of_each() -> None:
    one = Shape("sentence-pair", {"sentence1": "a", "sentence2": "b", "score": "score"}, "")
    two = Shape("sentence-pair", {"sentence1": "a", "sentence2": "b", "label": "same"}, "")
    dataset, shape = mixed(
        {"one": one, "two": two},
        {
            "one": [{"a": "p", "b": "q", "score": at} for at in (0.0, 4.5)],
            "two": [{"a": "p", "b": "q", "same": at, "score": 99} for at in (1, 4.5)],
        },
    )
    assert likeness.survey(dataset, shape).high == 5.0


@pytest.mark.parametrize(
    ("name", "columns"),
    [
        ("text-label", {"text": "a", "label": "c"}),
        ("text-label", {"text": "a", "label": "c", "score": "d"}),
        ("sentence-pair", {"sentence1": "a", "sentence2": "b", "label": "c"}),
        ("sentence-pair", {"sentence1": "a", "sentence2": "b", "label": "c", "score": "d"}),
        ("sentence-pair", {"sentence1": "a", "sentence2": "b"}),
        ("prompt-completion", {"prompt": "a", "completion": "b", "label": "c"}),
    ],
)
def test_the_label_of_a_row_is_that_of_its_example(name: str, columns: dict[str, str]) -> None:
    shape, row = Shape(name, columns, ""), {"a": "one", "b": "two", "c": ["x"], "d": 2}
    assert shape.label(row) == shape.example(row).fields.get("raw_label")


def test_a_row_that_nobody_labelled_is_not_learnt_as_none_of_the_labels() -> None:
    values: list[Any] = [["a"], None, ["a", "b"], "", [], "[]", "  ", ["b"]]
    dataset = from_rows([{"text": "red cats", "label": value} for value in values])
    task = tasks.get("text-classification")
    encoded = task.encode_dataset(dataset, SHAPE, None, Words(), None)  # type: ignore[arg-type]
    assert [encoded[place]["labels"] for place in range(len(encoded))] == [[1, 0], [1, 1], [0, 0], [0, 0], [0, 1]]
    assert encoded.excluded == [(row, "the label is missing") for row in (1, 3, 6)]
    bound = task.bound({}, task.survey(dataset, SHAPE))
    assert [bound.usable(SHAPE.example(row)) for row in dataset] == [value not in (None, "", "  ") for value in values]
    [empty] = [check for check in run_checks(dataset, SHAPE) if check.name == "empty"]
    assert empty.rows == (1, 3, 6)  # an empty list is an answer
