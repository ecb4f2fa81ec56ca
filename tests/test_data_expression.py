"""Expressions over rows: what they can say, what they refuse, and that nothing gets out of them."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ftstudio.core.errors import UsageError
from ftstudio.data.expression import CannotJudge, Expression

ROW = {"output": "I am sorry, Dave. 42", "prompt": "Open", "score": 0.5, "tags": ["a", "b"], "none": None, "a b": 3}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("words(output) > 4 and 'sorry' in output", True),
        ("'SORRY' in upper(output)", True),
        ("output.lower().startswith('i am')", True),
        ("matches(output, r'\\d+$')", True),
        ("output.matches('^\\\\d')", False),
        ("0 < score <= 0.5", True),
        ("not tags", False),
        ("'a' in tags and 'c' not in tags", True),
        ("row['a b'] == 3", True),
        ("none is None", True),
        ("'x' in none", False),
        ("len(none) == 0 and words(none) == 0", True),
        ("number('1,200') / 2", 600.0),
        ("number(output) is None", True),
        ("output[:4] == 'I am' and output[-2:] == '42'", True),
        ("'long' if len(output) > 10 else 'short'", "long"),
        ("prompt in ['Open', 'Close']", True),
        ("-score + 1", 0.5),
        ("max(words(output), 3) - min(1, 2)", 4),
        ("round(score * 3, 1)", 1.5),
        ("count(output, 'r')", 2),
        ("prompt + ' it'", "Open it"),
        ("score == 0.5 or missing > 3", True),
    ],
)
def test_what_they_say(text: str, value: object) -> None:
    assert Expression(text)(ROW) == value


@pytest.mark.parametrize(
    "text",
    [
        "__import__('os').system('true')",
        "output.__class__",
        "open('/etc/passwd')",
        "(lambda: 1)()",
        "[x for x in output]",
        "f'{output}'",
        "output.format(1)",
        "len.__globals__",
        "b'x'",
        "2 ** 99999999",
        "x := 3",
        "words(*tags)",
        "words(output, 3)",
        "row[output]",
        "1 << 9",
        "",
        "words(",
        "and",
        "(" * 500,
        "-" * 1500 + "1",
        "a" * 3000,
        "matches(output, '(')",
    ],
)
def test_what_they_refuse_and_say_so(text: str) -> None:
    with pytest.raises(UsageError) as error:
        Expression(text)
    assert error.value.hint
    assert "\n" not in error.value.message


@pytest.mark.parametrize(
    "text",
    [
        "output > 3",
        "score.lower() - 1",
        "missing",
        "tags[7]",
        "1 / 0",
        "score['x']",
        "round(score, 0 - 1000000000)",
        "round(5, -1000000)",
    ],
)
def test_rows_that_cant_be_judged(text: str) -> None:
    with pytest.raises(CannotJudge):
        Expression(text)(ROW)


def test_columns_are_known_and_near_ones_named() -> None:
    assert Expression("words(output) > 1 and score < 1", ROW).columns == {"output", "score"}
    with pytest.raises(UsageError, match="no column outptu") as error:
        Expression("words(outptu) > 1", ROW)
    assert "output" in error.value.hint


def test_exploding_patterns_and_growing_texts_end() -> None:
    with pytest.raises(CannotJudge):
        Expression("matches(output, '(a|aa)+$')")({"output": "a" * 60 + "b"})
    doubled = "output + output"
    for _ in range(4):
        doubled = f"({doubled}) + ({doubled})"
    with pytest.raises(CannotJudge):
        Expression(doubled)({"output": "x" * 100_000})


@given(st.text(alphabet="output()[]'\"+-*/<>=!.,:andori not0123\\{}@", max_size=60))
def test_whatever_is_typed_gives_a_value_or_a_word(text: str) -> None:
    with contextlib.suppress(UsageError, CannotJudge):
        Expression(text)(ROW)
