"""Differences of words give both texts back, mark what changed, and stay fast."""

from __future__ import annotations

import random
from itertools import pairwise

import pytest
from guard import ends
from hypothesis import given, settings
from hypothesis import strategies as st

from ftstudio.evaluation.diff import diff


@given(st.text("ab \n.é,", max_size=60), st.text("ab \n.é,", max_size=60))
def test_both_texts_come_back(before: str, after: str) -> None:
    parts = diff(before, after)
    assert "".join(text for operation, text in parts if operation != "+") == before
    assert "".join(text for operation, text in parts if operation != "-") == after
    assert all(text for _, text in parts)
    assert all(a[0] != b[0] for a, b in pairwise(parts))


def test_equal_texts_have_one_part() -> None:
    assert diff("the same", "the same") == [("=", "the same")]
    assert diff("", "") == []


def test_changed_words_are_marked_whole() -> None:
    assert diff("the quick brown fox jumps", "the slow red fox jumps") == [
        ("=", "the "),
        ("-", "quick brown"),
        ("+", "slow red"),
        ("=", " fox jumps"),
    ]
    assert diff("It costs 5 euros.", "It costs 6 euros!") == [
        ("=", "It costs "),
        ("-", "5"),
        ("+", "6"),
        ("=", " euros"),
        ("-", "."),
        ("+", "!"),
    ]


@pytest.mark.parametrize("kind", ["few changes", "nothing common", "one is short"])
def test_long_texts_come_to_an_end(kind: str) -> None:
    chance = random.Random(0)
    words = [chance.choice(("alpha", "beta", "gamma", "delta", "epsilon", "zeta")) for _ in range(100_000)]
    before = " ".join(words)
    for _ in range(2000):
        words[chance.randrange(len(words))] = "changed"
    after = {"few changes": " ".join(words), "nothing common": "y " * 100_000, "one is short": before[:3000]}[kind]
    with ends():
        parts = diff(before, after)
    assert "".join(text for operation, text in parts if operation != "+") == before
    assert "".join(text for operation, text in parts if operation != "-") == after
    if kind == "few changes":
        assert sum(len(text) for operation, text in parts if operation != "=") < 60_000


@settings(max_examples=30, deadline=None)
@given(st.text(max_size=200), st.text(max_size=200))
def test_no_text_raises(before: str, after: str) -> None:
    diff(before, after)
