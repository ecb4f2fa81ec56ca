"""Comparisons hold what scripts rely on, agree with the parts they are made of, and read well."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from dataclasses import replace

import evaluation_samples as samples
import numpy as np
import pytest

from ftstudio.core.errors import StudioError, UsageError
from ftstudio.evaluation import flips, metrics, overlap, report, statistics
from ftstudio.evaluation.categories import categorise
from ftstudio.evaluation.comparison import Arm, aligned, compare
from ftstudio.evaluation.context import of_predictions
from ftstudio.evaluation.layout import field, fit, width, wrap
from ftstudio.evaluation.pairing import overall
from ftstudio.evaluation.parts import Facts, parts_of
from ftstudio.evaluation.predictions import Prediction
from ftstudio.evaluation.scoring import RowScorer
from ftstudio.evaluation.shown import chance, chance_of, figure
from ftstudio.evaluation.similarity import Embedder, load_embedder
from ftstudio.evaluation.summary import category_table


def letters(texts: Sequence[str]) -> np.ndarray:
    counts = np.asarray([[text.count(letter) for letter in "aeioutns"] for text in texts], dtype=np.float32)
    return counts / np.maximum(np.linalg.norm(counts, axis=1, keepdims=True), 1e-9)


@pytest.fixture
def embedder() -> Embedder:
    return Embedder("letters", "letters|8d", 8, letters)


@pytest.fixture(scope="module")
def arms() -> tuple[Arm, Arm]:
    """A base that loses half of its words and often repeats itself, and a tuned model that loses few."""
    chance = random.Random(0)
    clean = samples.synthetic(120)

    def worse(row: Prediction, lost: float, loops: float) -> Prediction:
        words = [word for word in row.output.split() if chance.random() > lost]
        return replace(row, output=" ".join(words) + (" and on it goes" * 5 if chance.random() < loops else ""))

    return Arm("base", [worse(row, 0.5, 0.4) for row in clean]), Arm("tuned", [worse(row, 0.1, 0.02) for row in clean])


def test_the_result_holds_what_scripts_rely_on(arms: tuple[Arm, Arm], embedder: Embedder) -> None:
    result = json.loads(json.dumps(compare(arms, embedder=embedder, forgetting={"x": 1}), allow_nan=False))
    assert result["rows"] == 120
    assert [arm["name"] for arm in result["arms"]] == ["base", "tuned"]
    names = ["rouge1", "rouge2", "rougeL", "bleu", "chrf", "similarity", "exact_match", "length"]
    assert all(list(arm["metrics"]) == names for arm in result["arms"])
    assert [entry["metric"] for entry in result["differences"]] == names
    for entry in result["differences"]:
        assert {"a", "b", "metric", "difference", "low", "high", "p", "n", "verdict"} <= entry.keys()
        a, b = (arm["metrics"][entry["metric"]] for arm in result["arms"])
        assert entry["difference"] == pytest.approx(b - a)
        assert entry["low"] <= entry["difference"] <= entry["high"]
        assert 0 < entry["p"] <= 1
        assert entry["n"] == 120
    assert all({"name", "a", "b", "difference", "low", "high"} <= entry.keys() for entry in result["categories"])
    assert len(result["categories"]) == 16
    assert result["forgetting"] == {"x": 1}
    assert result["similarity"] == {"name": "letters", "signature": "letters|8d"}
    assert set(names) | {"interval"} == result["signatures"].keys()
    assert len(result["per_row"]) == 120
    assert result["identical"] == []


def test_what_got_better_is_told(arms: tuple[Arm, Arm], embedder: Embedder) -> None:
    result = compare(arms, embedder=embedder)
    by_metric = {entry["metric"]: entry for entry in result["differences"]}
    for name in ("rouge1", "rouge2", "rougeL", "bleu", "chrf"):
        assert by_metric[name]["verdict"] == "better"
        assert by_metric[name]["low"] > 0
        assert by_metric[name]["p"] < 0.001
    assert by_metric["length"]["verdict"] in ("greater", "smaller", "no clear difference")
    loops = next(entry for entry in result["categories"] if entry["name"] == "repetitive")
    assert loops["verdict"] == "better"
    assert loops["high"] < 0
    assert loops["p_holm"] >= loops["p"]
    assert loops["count_a"] - loops["count_b"] == len(loops["fixed"]) - len(loops["broke"])
    assert loops["a"] == loops["count_a"] / loops["n"]


def test_numbers_are_those_of_the_parts(arms: tuple[Arm, Arm], embedder: Embedder) -> None:
    result = compare(arms, embedder=embedder, seed=3)
    a, b = ([overlap.rouge(p.output, p.reference or "").rougeL for p in arm.predictions] for arm in arms)
    wanted = statistics.paired(a, b, seed=3)
    entry = next(entry for entry in result["differences"] if entry["metric"] == "rougeL")
    assert (entry["difference"], entry["low"], entry["high"], entry["p"]) == pytest.approx(wanted)
    references = [p.reference or "" for p in arms[0].predictions]
    for name in ("bleu", "chrf"):
        scores = [metrics.corpus_score(name, [p.output for p in arm.predictions], references) for arm in arms]
        assert [arm["metrics"][name] for arm in result["arms"]] == pytest.approx(scores)
    context = of_predictions(arms[0].predictions)
    found = categorise(arms[1].predictions, context, embedder=embedder)
    assert {e["name"]: e["count_b"] for e in result["categories"] if e["n"]} == {
        name: len(rows) for name, rows in found.rows.items() if found.judged[name]
    }
    again = compare(arms, embedder=embedder, seed=3)
    assert again == result


def test_bleu_intervals_agree_with_sacrebleus_paired_bootstrap(arms: tuple[Arm, Arm]) -> None:
    from sacrebleu.metrics import BLEU

    result = compare(arms, metrics=["bleu"])
    entry = next(entry for entry in result["differences"] if entry["metric"] == "bleu")
    metric = BLEU(force=True)
    references = [[p.reference or "" for p in arms[0].predictions]]
    counts = [
        np.asarray(metric._extract_corpus_statistics([p.output for p in arm.predictions], references)) for arm in arms
    ]
    drawn = np.random.default_rng(1).integers(0, 120, (1000, 120))
    scores = [[metric._compute_score_from_stats(list(c[s].sum(axis=0))).score for s in drawn] for c in counts]
    low, high = np.percentile(np.subtract(scores[1], scores[0]), [2.5, 97.5])
    assert (entry["low"], entry["high"]) == pytest.approx((low, high), abs=0.8)


def test_rows_can_be_sorted_by_gain(arms: tuple[Arm, Arm]) -> None:
    result = compare(arms)
    assert result["gain"] == "rougeL"
    assert {"metric": "similarity", "reason": "no embedding model is loaded"} in result["skipped"]
    for entry in result["per_row"]:
        assert entry["gain"] == entry["arms"]["tuned"]["rougeL"] - entry["arms"]["base"]["rougeL"]
        assert {"rouge1", "rouge2", "rougeL", "length", "categories"} <= entry["arms"]["base"].keys()
    gains = [entry["gain"] for entry in result["examples"]["gains"]]
    assert gains == sorted((entry["gain"] for entry in result["per_row"]), reverse=True)[: len(gains)]
    assert all(entry["gain"] < 0 for entry in result["examples"]["losses"])


def test_rows_of_tags_can_be_sorted_by_gain_too() -> None:
    rows = [Prediction(row, f"word {row} and so", "B-X O O O", "O O O O") for row in range(24)]
    tuned = [replace(row, output="B-X O O O" if row.row < 3 else row.output) for row in rows]
    result = compare([Arm("base", rows), Arm("tuned", tuned)], metrics=["tag_accuracy", "entity_f1"], resamples=1000)
    assert result["gain"] == "tag_accuracy"
    assert [entry["row"] for entry in result["examples"]["gains"]] == [2, 1, 0]
    assert "Biggest gains, by Tag accuracy" in report.compare_text(result)


def test_the_label_parts_the_rows_once_though_a_column_holds_it_too() -> None:
    names = ("bad", "good")
    facts = {
        row: Facts("word " * (1 + row % 7), names[row % 2], {"label": row % 2, "prompt length": row // 5})
        for row in range(40)
    }
    ways = [part.by for part in parts_of(facts)]
    assert ways == ["label"] * 2 + ["prompt length"] * 3 + ["column prompt length"] * 8
    facts = {row: Facts(fact.prompt, fact.reference, {"label": row // 20}) for row, fact in facts.items()}
    assert [part.by for part in parts_of(facts)][-2:] == ["column label"] * 2


def test_a_likelihood_that_not_all_arms_tell_is_named_as_left_out() -> None:
    told = {"nats": 5.0, "text_tokens": 4, "text_bytes": 9}
    rows = [Prediction(row, f"p{row}", "some words", "words", extra=told) for row in range(20)]
    arms = [Arm("base", rows), Arm("file", [replace(row, output="some", extra={}) for row in rows])]
    result = compare(arms, metrics=["perplexity", "rouge"], resamples=100)
    assert [entry["metric"] for entry in result["skipped"]] == ["perplexity"]
    assert "Perplexity: only a model that runs here" in report.compare_text(result)


def test_hints_of_any_task_make_no_row_wrong_and_categories_have_their_titles() -> None:
    assert flips.right({"categories": ["anisotropy", "length_bias", "label_error"]}, "") is True
    assert flips.right({"categories": ["not_found"]}, "") is False
    facts = {row: Facts(f"p{row}", None, {}, frozenset(["not_found"] if row else [])) for row in range(3)}
    assert [part.value for part in parts_of(facts)] == ["Not found first"]


def test_the_one_verdict_is_by_a_metric_that_has_rows_enough() -> None:
    rows = [Prediction(row, f"p{row}", "7" if row < 5 else "some words", "some words") for row in range(40)]
    tuned = [replace(row, output="words some" if row.row % 2 else row.output) for row in rows]
    result = compare([Arm("base", rows), Arm("tuned", tuned)], metrics=["numeric_match", "rouge"], resamples=200)
    assert {entry["metric"]: entry["n"] for entry in result["differences"]}["numeric_match"] == 5
    assert not result["overall"][0]["verdict"].startswith("too few")
    told = {"metric": "rougeL", "better": True, "verdict": "no clear difference", "p": 0.004, "p_holm": 0.06}
    few = {**told, "n": 5, "difference": 1.0, "low": 1.0, "high": 1.0, "needed": 0}
    held_back = {**told, "n": 200, "difference": 0.2, "low": 0.09, "high": 0.31, "needed": 0}
    assert overall(("a", "b"), [few, held_back])["needed"] == 20  # not 1: the correction, not the rows, holds it back


def test_arms_that_do_not_differ_are_named(arms: tuple[Arm, Arm]) -> None:
    same = Arm("tuned", arms[0].predictions)
    result = compare([arms[0], same])
    assert result["identical"] == [["base", "tuned"]]
    assert all(entry["difference"] == 0 and entry["p"] == 1 for entry in result["differences"])
    assert all(entry["verdict"] == "no clear difference" for entry in result["differences"])
    assert "same output on every row" in report.compare_text(result)


def test_the_signature_says_how_answers_are_read() -> None:
    rows = [Prediction(row, f"p{row}", f"so many\n#### {row}", f"It is {row}.") for row in range(20)]
    right = [replace(row, output=f"either 3 or {row.row}") for row in rows]
    result = compare([Arm("a", rows), Arm("b", right)], metrics=["exact_match"], resamples=200)
    assert result["arms"][1]["metrics"]["exact_match"] == 1.0
    assert "the number after the last ####" in result["signatures"]["exact_match"]


def test_few_rows_get_no_verdict(arms: tuple[Arm, Arm]) -> None:
    few = [Arm(arm.name, arm.predictions[:7]) for arm in arms]
    result = compare(few)
    assert {entry["verdict"] for entry in result["differences"]} == {"too few rows (13 more needed)"}
    assert "13 more are needed" in report.compare_text(result)


def test_a_category_that_goes_on_very_many_rows_is_called_better() -> None:
    """So sure a change that its p is smaller than a float can say."""
    rows = [Prediction(row, f"p{row}", "yes it is", "", ended=True) for row in range(1500)]
    mended = [replace(row, output="yes it is") for row in rows]
    found = {entry["name"]: entry for entry in compare([Arm("a", rows), Arm("b", mended)], resamples=200)["categories"]}
    assert len(found["empty"]["fixed"]) == 1500
    assert 0 < found["empty"]["p_holm"] < 1e-300
    assert found["empty"]["verdict"] == "better"


def test_three_arms_are_compared_in_pairs(arms: tuple[Arm, Arm]) -> None:
    third = Arm("longer", [replace(p, output=p.reference or "") for p in arms[0].predictions])
    result = compare([*arms, third], metrics=["rouge"])
    pairs = [("base", "tuned"), ("base", "longer"), ("tuned", "longer")]
    assert list(dict.fromkeys((entry["a"], entry["b"]) for entry in result["differences"])) == pairs
    assert len(result["categories"]) == 48
    assert "tuned → longer" in report.compare_text(result)


def test_rows_without_reference_are_compared_by_length_and_errors() -> None:
    rows = [Prediction(row, f"p{row}", None, "some words here") for row in range(30)]
    result = compare([Arm("a", rows), Arm("b", [replace(row, output="no no no no") for row in rows])])
    assert [entry["metric"] for entry in result["differences"]] == ["length"]
    assert result["gain"] is None
    assert next(entry for entry in result["categories"] if entry["name"] == "repetitive")["b"] == 1
    assert report.compare_text(result)
    half = [replace(row, reference="some words") if row.row % 2 else row for row in rows]
    mixed = compare([Arm("a", half), Arm("b", [replace(row, output="words") for row in half])])
    assert {entry["metric"]: entry["n"] for entry in mixed["differences"]}["rougeL"] == 15
    assert {entry["metric"]: entry["n"] for entry in mixed["differences"]}["length"] == 30


def test_the_words_of_labels_are_not_counted() -> None:
    rows = [Prediction(row, f"p{row}", "yes", "yes" if row % 3 else "no") for row in range(30)]
    both = [Arm("a", rows), Arm("b", [replace(row, output="yes") for row in rows])]
    labels = compare(both, metrics=["accuracy", "f1"])
    assert [entry["metric"] for entry in labels["differences"]] == ["accuracy", "f1"]
    assert "length" not in labels["per_row"][0]["arms"]["a"]
    texts = compare(both, metrics=["accuracy", "rouge"])
    assert "length" in {entry["metric"] for entry in texts["differences"]}


def test_arms_on_different_rows_are_refused(arms: tuple[Arm, Arm]) -> None:
    base, tuned = arms
    with pytest.raises(StudioError, match="row 119 is missing in tuned"):
        aligned([base, Arm("tuned", tuned.predictions[:-1])])
    changed = [replace(row, prompt="another") if row.row == 4 else row for row in tuned.predictions]
    with pytest.raises(StudioError, match="Row 4 has one prompt"):
        aligned([base, Arm("tuned", changed)])
    with pytest.raises(StudioError, match="twice"):
        aligned([base, Arm("tuned", [*tuned.predictions, tuned.predictions[0]])])
    with pytest.raises(UsageError, match="named base"):
        aligned([base, Arm("base", tuned.predictions)])
    with pytest.raises(UsageError, match="One arm"):
        aligned([base])
    assert compare([base, Arm("tuned", list(reversed(tuned.predictions)))], metrics=["rouge"])["rows"] == 120


def test_rows_are_scored_as_they_come(arms: tuple[Arm, Arm], embedder: Embedder) -> None:
    scorer = RowScorer(embedder=embedder)
    one_by_one = [scorer.score([row])[0] for row in arms[0].predictions]
    at_once = RowScorer(embedder=embedder).score(arms[0].predictions)
    assert [dict(row) for row in one_by_one] == [pytest.approx(row) for row in at_once]
    rouge = overlap.rouge(arms[0].predictions[5].output, arms[0].predictions[5].reference or "")
    assert one_by_one[5]["rougeL"] == rouge.rougeL
    assert RowScorer().score([Prediction(0, "p", None, "two words")]) == [{"length": 2.0}]
    result = compare(arms, embedder=embedder, scorer=scorer)
    assert result["per_row"][5]["arms"]["base"]["rougeL"] == rouge.rougeL


def test_reports_fit_eighty_columns_and_are_safe(embedder: Embedder) -> None:
    chance = random.Random(1)
    hostile = [
        "\x1b[31mred\x1b[0m \x07",
        "你好" * 60,
        "x" * 500,
        "[bold]no markup[/]",
        "\u202eabc\u202c",
        "a\nb\n\nc\td",
        "",
        "\x00",
    ]
    rows = [Prediction(row, chance.choice(hostile) + str(row), chance.choice(hostile), "") for row in range(40)]
    arms = [
        Arm(f"\x1b[31m{name} with a long name", [replace(row, output=chance.choice(hostile)) for row in rows])
        for name in ("base", "tuned")
    ]
    result = compare(arms, embedder=embedder)
    found = categorise(arms[0].predictions)
    value = {"rows": 40, "categories": category_table(found)}
    for text in (
        report.compare_text(result, examples=5),
        report.errors_text(value, "\x1b[1mname"),
        report.findings_text(found, "encoding"),
    ):
        assert text
        assert all(width(line) <= 80 for line in text.split("\n")), max(text.split("\n"), key=width)
        assert not any(ord(character) < 32 for character in text.replace("\n", ""))
        assert "\u202e" not in text


def test_the_report_says_it_all(arms: tuple[Arm, Arm], embedder: Embedder) -> None:
    text = report.compare_text(
        compare(arms, embedder=embedder, forgetting={"base_bits_per_byte": 2.0, "tuned_bits_per_byte": 2.1})
    )
    for words in (
        "base → tuned",
        "120 rows",
        "ROUGE-L",
        "▲ better",
        "Repetitive",
        "letters|8d",
        "Biggest gains",
        "+0.100 bits",
    ):
        assert words in text
    value = {"rows": 120, "categories": category_table(categorise(arms[0].predictions))}
    errors = report.errors_text(value, "base")
    for words in ("Errors in 120 outputs of base", "Repetitive", "not found", "not judged", "Off topic"):
        assert words in errors
    assert "No errors were found" in report.errors_text({"rows": 1, "categories": []})


def test_layout() -> None:
    assert width("你好a") == 5
    assert fit("你好你好", 5) == "你好…"
    assert wrap("one two three", 8) == ["one two", "three"]
    assert wrap("x" * 20, 8) == ["x" * 8, "x" * 8, "x" * 4]
    assert wrap("a b c d e f g", 3, 2) == ["a b", "c …"]
    assert wrap("", 10) == [""]
    assert field("name", "text", 8) == ["name    text"]


@pytest.mark.parametrize(("few", "many"), [(0.1, 0.5), (0.0, 0.0)])
def test_off_topic_counts_all_that_are_by_one_bound_for_both_and_gives_no_verdict(few: float, many: float) -> None:
    rows, chance = samples.sums(240), random.Random(3)

    def arm(name: str, share: float) -> Arm:
        aside = set(chance.sample(range(len(rows)), round(share * len(rows))))
        return Arm(name, [replace(row, output=samples.off_topic(row, chance)) if row.row in aside else row
                          for row in rows])  # fmt: skip

    embedder = load_embedder("static", allow_torch=False)
    found = compare([arm("a", few), arm("b", many)], None, embedder, ("rouge1",), resamples=200)
    entry = next(one for one in found["categories"] if one["name"] == "off_topic")
    assert (entry["count_a"], entry["count_b"]) == (round(few * 240), round(many * 240))
    assert (entry["verdict"], entry["p_holm"], entry["reason"]) == ("not judged", None, "")


def test_what_one_arm_alone_could_not_be_judged_on_is_told_with_its_name() -> None:
    """A base whose head is new doubts nothing; the tuned model may."""
    draw = random.Random(0)

    def arm(name: str, right: float) -> Arm:
        rows = []
        for row in range(60):
            label = "ab"[row % 2]
            told = label if draw.random() < right else "ba"[row % 2]
            extra = {"probabilities": {told: 0.9, "ba"["ab".index(told)]: 0.1}}
            rows.append(Prediction(row, f"text {row}", label, told, extra=extra))
        return Arm(name, rows)

    context = of_predictions(arm("x", 1.0).predictions, only=("wrong_label", "label_error"))
    found = compare([arm("base", 0.5), arm("tuned", 0.95)], context, None, (), resamples=100)
    entry = next(one for one in found["categories"] if one["name"] == "label_error")
    assert entry["verdict"] == "not judged"
    assert entry["reason"].startswith("base: the model is right in ")
    assert "tuned: " not in entry["reason"]


def test_who_calls_no_word_an_entity_is_not_better_for_being_right_about_the_others() -> None:
    tags = "O O O B-person O O O"
    base = [Prediction(row, f"p{row}", tags, "B-person O B-place O B-place O B-person") for row in range(40)]
    none = [replace(row, output="O O O O O O O") for row in base]
    found = compare([Arm("base", base), Arm("tuned", none)], metrics=["entity_f1", "tag_accuracy"])
    assert {entry["metric"]: entry["verdict"] for entry in found["differences"]} == {
        "entity_f1": "no clear difference",
        "tag_accuracy": "better",
    }
    assert (found["overall"][0]["verdict"], found["overall"][0]["metric"]) == ("no clear difference", "entity_f1")
    alone = compare([Arm("base", base), Arm("tuned", none)], metrics=["tag_accuracy"])
    assert alone["overall"][0]["verdict"] == "better"


def test_figures_have_as_many_digits_as_say_something() -> None:
    assert [figure("perplexity", value) for value in (355.5204, 76.4951, 3.2104, None)] == [
        "355.5",
        "76.50",
        "3.210",
        "–",
    ]
    assert figure("perplexity", -605.551, True) == "-605.6"
    assert (figure("bleu", 3.21), figure("accuracy", 1.0)) == ("3.2", "1.000")
    assert chance_of({"p": 0.029, "p_holm": 0.118}) == "0.118"  # what the verdict stands on
    assert (chance_of({"p": 0.029, "p_holm": None}), chance(0.0001)) == ("0.029", "<0.001")


def test_arms_that_say_the_same_with_other_probabilities_do_differ() -> None:
    rows = [
        Prediction(row, f"p{row}", "yes", "yes", extra={"probabilities": {"yes": 0.6, "no": 0.4}}) for row in range(30)
    ]
    surer = [replace(row, extra={"probabilities": {"yes": 0.9, "no": 0.1}}) for row in rows]
    found = compare([Arm("base", rows), Arm("tuned", surer)], metrics=["accuracy", "brier"])
    assert {entry["metric"]: entry["verdict"] for entry in found["differences"]}["brier"] == "better"
    assert found["identical"] == []
    assert compare([Arm("base", rows), Arm("tuned", rows)], metrics=["accuracy", "brier"])["identical"]
