"""Queries over rows against plain Python, and sorting."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ftstudio.core.errors import Stopped, UsageError
from ftstudio.data.dataset import from_rows
from ftstudio.data.read import open_dataset
from ftstudio.data.search import find, sort_rows, split_terms

ROWS: list[dict[str, Any]] = [
    {"question": "How many apples?", "answer": "#### 72", "score": 1.5, "label": "ham"},
    {"question": "And PEARS, two words", "answer": "none at all", "score": 3, "label": "spam"},
    {"question": "path/to/file a:b", "answer": "", "score": None, "label": "Ham"},
    {"question": "nested", "answer": [{"role": "user", "content": "Deep Apple"}], "score": "2.5", "label": "x y"},
]
DATA = from_rows(ROWS)


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("", [0, 1, 2, 3]),
        ("apple", [0, 3]),
        ("two words", [1]),
        ("words two", []),
        ("question:pears", [1]),
        ("answer:apple", [3]),
        ("/^how/", [0]),
        ("/APPLES\\?$/i", [0]),
        ("answer:/#### \\d+$/", [0]),
        ("label=ham", [0, 2]),
        ("label!=ham", [1, 3]),
        ('label="x y"', [3]),
        ("score>2", [1, 3]),
        ("score>=1.5", [0, 1, 3]),
        ("score=3", [1]),
        ("score<2", [0]),
        ("length>30", [0, 1]),
        ("question.length<8", [3]),
        ("answer.length=0", [2]),
        ("row>1", [2, 3]),
        ("row=0", [0]),
        ("-label=ham", [1, 3]),
        ("label=ham -apples", [2]),
        ('"a:b"', [2]),
        ("path/to/file", [2]),
        ("a:b", [2]),
        ("QUESTION:nested score=2.5", [3]),
        ("deep", [3]),
        ("label:am score<2", [0]),
        ("-", []),
        ('"unclosed', []),
        ("[/", []),
    ],
)
def test_queries(query: str, expected: list[int]) -> None:
    assert list(find(DATA, query)) == expected


@pytest.mark.parametrize("query", ["score>many", "/(/", "answer:/[/", "lenght>3", "row>x", "nothing=3"])
def test_faulty_queries_say_so_at_once(query: str) -> None:
    with pytest.raises(UsageError) as caught:
        find(DATA, query)
    assert caught.value.hint


@settings(max_examples=300, deadline=None)
@given(st.text(st.sampled_from('ab:/"-=<>! .length\\()[]row') | st.characters(), max_size=15))
def test_any_query_finds_or_says_why(query: str) -> None:
    try:
        hits = list(find(DATA, query))
    except UsageError:
        return
    assert hits == sorted(set(hits))
    terms = split_terms(query)
    assert terms is None or "".join(terms) == "".join(query.split()) or any(mark in query for mark in '"/')


@settings(max_examples=100, deadline=None)
@given(st.text(st.sampled_from("aplehoswn 72"), min_size=1, max_size=4))
def test_plain_text_is_a_substring(text: str) -> None:
    needle = text.strip()
    flat = ["\n".join(["How many apples?", "#### 72", "1.5", "ham"]), "And PEARS, two words\nnone at all\n3\nspam"]
    expected = [index for index, whole in enumerate(flat) if needle.lower() in whole.lower()]
    assert [hit for hit in find(DATA, text) if hit < 2] == expected


def test_a_function_is_a_query_too() -> None:
    assert list(find(DATA, lambda index, row: index == 2 or row["label"] == "ham")) == [0, 2]


def test_hits_stream_and_can_be_stopped() -> None:
    dataset = from_rows([{"n": n} for n in range(2000)])
    calls = []

    def cancel() -> bool:
        calls.append(1)
        return len(calls) > 2

    assert list(find(dataset, "n>=0", cancel=cancel)) == list(range(512))
    first = next(find(dataset, lambda index, row: True))
    assert first == 0
    with pytest.raises(Stopped):
        sort_rows(dataset, "n", cancel=lambda: True)


def test_real_rows(shared: Path) -> None:
    dataset = open_dataset(shared / "data/gsm8k/test.jsonl")
    expected = [index for index, row in enumerate(dataset) if "duck" in row["question"].lower()]
    assert list(find(dataset, "question:duck")) == expected
    assert 0 in expected


def test_sorting() -> None:
    assert sort_rows(DATA, "score") == [0, 3, 1, 2]
    assert sort_rows(DATA, "score", descending=True) == [1, 3, 0, 2]
    assert sort_rows(DATA, "label") == [0, 2, 1, 3]
    assert sort_rows(DATA, "question", by_length=True) == [3, 0, 2, 1]
    assert sort_rows(DATA, "score", rows=[1, 0]) == [0, 1]
    with pytest.raises(UsageError, match="no column"):
        sort_rows(DATA, "scroe")
