"""Stored predictions: read as they are, refused in a sentence that names line and key."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ftstudio.core.errors import StudioError
from ftstudio.evaluation.predictions import Prediction, from_line, read_predictions, to_line, write_predictions

GOOD = {"prompt": "p", "reference": "r", "output": "o"}


def write(path: Path, *lines: object) -> Path:
    path.write_text("".join((line if isinstance(line, str) else json.dumps(line)) + "\n" for line in lines))
    return path


def test_rows_are_numbered_where_they_carry_no_number(tmp_path: Path) -> None:
    path = write(tmp_path / "p.jsonl", GOOD, "", {"prompt": "q", "output": 3, "source": "x"})
    first, second = read_predictions(path)
    assert (first.row, second.row) == (0, 1)
    assert second == Prediction(1, "q", None, "3", extra={"source": "x"})
    numbered = write(tmp_path / "n.jsonl", GOOD | {"row": 7, "ended": False, "tokens": 9, "arm": "base"})
    assert read_predictions(numbered) == [Prediction(7, "p", "r", "o", tokens=9, ended=False, arm="base")]


@given(
    st.builds(
        Prediction,
        row=st.integers(0, 10**9),
        prompt=st.text(st.characters(codec="utf-8")),
        reference=st.none() | st.text(st.characters(codec="utf-8")),
        output=st.text(st.characters(codec="utf-8")),
        tokens=st.none() | st.integers(0, 10**6),
        ended=st.none() | st.booleans(),
        arm=st.text(st.characters(codec="utf-8"), max_size=5),
        extra=st.dictionaries(st.sampled_from(["seed", "note"]), st.integers()),
    )
)
def test_a_line_and_back(prediction: Prediction) -> None:
    assert from_line(json.loads(json.dumps(to_line(prediction)))) == prediction


def test_written_files_are_read_again(tmp_path: Path) -> None:
    rows = [Prediction(number, "p\u2028q", None, "o\u0085\n" * number) for number in range(5)]
    write_predictions(tmp_path / "o.jsonl", rows)
    assert read_predictions(tmp_path / "o.jsonl") == rows


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ({"prompt": "p", "reference": "r"}, ["line 2", "`output`"]),
        ({"output": "o"}, ["line 2", "`prompt`"]),
        (GOOD | {"output": None}, ["line 2", "`output`", "null"]),
        (GOOD | {"reference": ["a"]}, ["line 2", "`reference`", "list"]),
        (GOOD | {"row": "one"}, ["line 2", "`row`"]),
        (GOOD | {"row": True}, ["line 2", "`row`"]),
        (GOOD | {"tokens": 1.5}, ["line 2", "`tokens`"]),
        (GOOD | {"ended": "yes"}, ["line 2", "`ended`"]),
        ([1, 2], ["line 2", "list"]),
        ("{not json", ["line 2", "JSON"]),
        ("[" * 100_000, ["line 2", "JSON"]),
        (GOOD | {"row": 0, "prompt": "another"}, ["line 2", "row 0"]),
    ],
)
def test_faulty_lines_are_named(tmp_path: Path, line: object, words: list[str]) -> None:
    path = write(tmp_path / "p.jsonl", GOOD | {"row": 0}, line, GOOD)
    with pytest.raises(StudioError) as error:
        read_predictions(path)
    assert all(word in str(error.value) for word in words), str(error.value)
    assert error.value.hint


def test_faulty_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(StudioError, match="No such file"):
        read_predictions(tmp_path / "none.jsonl")
    empty = write(tmp_path / "empty.jsonl")
    with pytest.raises(StudioError, match="no predictions"):
        read_predictions(empty)
    (tmp_path / "latin.jsonl").write_bytes('{"prompt": "é"}\n'.encode("latin-1"))
    with pytest.raises(StudioError, match="line 1 isn't UTF-8"):
        read_predictions(tmp_path / "latin.jsonl")


def test_a_torn_last_line_is_left_out_and_a_repeated_row_counts_once(tmp_path: Path) -> None:
    path = tmp_path / "o.jsonl"
    lines = [GOOD | {"row": 3, "output": "first"}, GOOD | {"row": 3, "output": "second"}]
    path.write_text("\n".join(json.dumps(line) for line in lines) + '\n{"row": 4, "pro')
    assert [prediction.output for prediction in read_predictions(path)] == ["second"]


def test_arrays_byte_order_marks_and_lone_surrogates(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(b"\xef\xbb\xbf" + json.dumps([GOOD, GOOD | {"output": "\ud83d x"}]).encode())
    found = read_predictions(path)
    assert [prediction.output for prediction in found] == ["o", "\ufffd x"]
