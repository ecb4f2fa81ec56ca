"""Categories of one's own, and the limits of the others: a file's words become what is found."""

from __future__ import annotations

from pathlib import Path

import pytest

from ftstudio.core.errors import UsageError
from ftstudio.core.limits import Limits
from ftstudio.evaluation import own
from ftstudio.evaluation.categories import categorise, detectors
from ftstudio.evaluation.context import of_predictions
from ftstudio.evaluation.predictions import Prediction
from ftstudio.evaluation.summary import category_table

FILE = """
# ours
rude:
  title: Rude
  key: j
  mark: "!"
  colour: red
  help: Talks down to the customer.
  when: matches(lower(output), "stupid|obviously") and words(output) < 50
shouting: {pattern: '[A-Z]{4,}'}
tone:
cheap: {when: price < 10}
"""


def row(number: int, output: str, reference: str | None = "All is well.", **extra: object) -> Prediction:
    return Prediction(number, f"prompt {number}", reference, output, extra=dict(extra))


def found_in(text: str, predictions: list[Prediction]) -> dict[str, list[int]]:
    context = of_predictions(predictions, own=own.parse(text, "categories.yaml"))
    result = categorise(predictions, context)
    return {name: rows for name, rows in result.rows.items() if name not in detectors()}


def test_conditions_and_patterns_find_their_rows() -> None:
    rows = [
        row(0, "That is obviously wrong.", price=3),
        row(1, "Obviously " * 60),
        row(2, "DON'T SHOUT"),
        row(3, "Fine.", price=30),
    ]
    assert found_in(FILE, rows) == {"rude": [0], "shouting": [2], "tone": [], "cheap": [0]}


def test_where_a_condition_has_no_value_the_row_is_not_judged() -> None:
    rows = [row(0, "a", price=3), row(1, "b"), row(2, "c", price="dear")]
    context = of_predictions(rows, own=own.parse(FILE, ""))
    result = categorise(rows, context)
    assert result.judged["cheap"] == 1
    assert result.unjudged["cheap"] == {1, 2}
    table = {entry["name"]: entry for entry in category_table(result)}
    assert table["cheap"]["rate"] == 1.0
    assert table["tone"]["reason"] == "it is given by hand"
    assert table["rude"]["title"] == "Rude"
    # the references have the row's other columns too: the same condition is tried on them
    assert table["cheap"]["reference_rate"] in (None, 1.0)


def test_what_was_found_is_shown_where_it_stands() -> None:
    rows = [row(0, "Well, STOP that. STOP.")]
    context = of_predictions(rows, own=own.parse(FILE, ""))
    finding = next(f for f in categorise(rows, context).findings[0] if f.category == "shouting")
    assert finding.why == "“STOP”"
    assert finding.spans == ((6, 10), (17, 21))


def test_patterns_that_explode_are_given_up() -> None:
    rows = [row(0, "a" * 60 + "b"), row(1, "aaa")]
    context = of_predictions(rows, own=own.parse("slow: {pattern: '(a|aa)+$'}", ""))
    result = categorise(rows, context)
    assert result.rows["slow"] == [1]
    assert 0 in result.unjudged["slow"]


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("- a", "no categories"),
        ("a: [", "not YAML"),
        ("a: 3", "no category"),
        ("truncated: {pattern: x}", "there already"),
        ("a: {pattern: '('}", "no regular expression"),
        ("a: {when: 'open(1)'}", "isn't allowed"),
        ("a: {when: 'x >'}", "no expression"),
        ("a: {patern: x}", "no `patern`"),
        ("a: {pattern: x, when: y}", "both"),
        ("a: {key: t}", "key t is taken"),
        ("a: {key: j}\nb: {key: j}", "key j is taken"),
        ("a: {key: jj}", "can't be its key"),
        ("a: {mark: 漢}", "can't be its mark"),
        ("a: {colour: pink}", "no colour pink"),
        ("'a b': {pattern: x}", "is no name"),
        ("a: {pattern: [x]}", "no text"),
    ],
)
def test_faulty_files_are_told_with_the_way_out(tmp_path: Path, text: str, word: str) -> None:
    (tmp_path / own.FILE).write_text(text)
    with pytest.raises(UsageError, match=word) as error:
        own.load(tmp_path)
    assert own.FILE in error.value.message or "expression" in error.value.message or "pattern" in error.value.message
    assert error.value.hint


def test_adding_keeps_the_comments_and_what_was_there(tmp_path: Path) -> None:
    assert own.load(tmp_path) == ()
    (tmp_path / own.FILE).write_text(FILE)
    before = own.load(tmp_path)
    own.add(tmp_path, own.OwnCategory("long_winded", "Long-winded", "q", when="words(output) > 200"))
    text = (tmp_path / own.FILE).read_text()
    assert "# ours" in text
    after = own.load(tmp_path)
    assert after[:-1] == before
    assert after[-1].when == "words(output) > 200"
    with pytest.raises(UsageError, match="taken"):
        own.add(tmp_path, own.OwnCategory("other", "Other", "q"))
    assert own.load(tmp_path) == after


def test_keys_are_given_out_where_none_is_named() -> None:
    found = own.parse("\n".join(f"c{i}: {{pattern: x}}" for i in range(5)), "")
    keys = {category.key for category in found}
    assert len(keys) == 5
    assert not keys & {detector.category.key for detector in detectors().values()}


def test_limits_move_what_counts() -> None:
    rows = [row(i, "one two three four five six", "one two three four") for i in range(3)]
    assert not categorise(rows, of_predictions(rows)).rows["too_long"]
    strict = of_predictions(rows, limits=Limits(too_long=1.2, same_answer=4))
    result = categorise(rows, strict)
    assert result.rows["too_long"] == [0, 1, 2]
    assert not result.rows["mode_collapse"]
    assert categorise(rows, of_predictions(rows)).rows["mode_collapse"] == [0, 1, 2]


@pytest.mark.parametrize(
    ("times", "output", "loops"), [(2, "no no", True), (3, "no no", False), (4, "a b c " * 3, False)]
)
def test_how_often_a_phrase_must_stand(times: int, output: str, loops: bool) -> None:
    rows = [row(0, output)]
    context = of_predictions(rows, limits=Limits(phrase_times=times, repeated_share=0.99))
    assert bool(categorise(rows, context).rows["repetitive"]) is loops


def test_the_command_counts_them_and_a_persons_word_wins(tmp_path: Path) -> None:
    from ftstudio.evaluation.corrected import corrected
    from ftstudio.evaluation.tags import Tags

    rows = [row(0, "STOP"), row(1, "Fine."), row(2, "Fine.")]
    found = categorise(rows, of_predictions(rows, own=own.parse(FILE, "")))
    tags = Tags(tmp_path / "tags.jsonl")
    tags.remove(0, "shouting")
    tags.add(1, "tone")
    table = {entry["name"]: entry for entry in category_table(corrected(found, tags))}
    assert table["shouting"]["rows"] == []
    assert (table["tone"]["rows"], table["tone"]["judged"], table["tone"]["rate"]) == ([1], 1, 1.0)
