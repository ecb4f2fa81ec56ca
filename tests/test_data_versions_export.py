"""Exported files hold the rows, run nothing in a spreadsheet, and never take the place of another file unasked."""

from __future__ import annotations

import csv
import json
import math
from datetime import date, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ftstudio.core.errors import Stopped, StudioError, UsageError
from ftstudio.data.dataset import Row, from_rows
from ftstudio.data.read import open_dataset
from ftstudio.data.versions.export import _WRITERS, cell_text, export
from ftstudio.data.versions.formulas import neutral, original
from ftstudio.data.versions.identity import same

TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=8)
STARTS = st.sampled_from(
    ["", "=1+1", "+cmd|' /C calc'!A0", "-2+3", "@SUM(A1)", "\t=1", "\r", "'=1", "''@", "'text", "-5"]
)
NAMES = ("prompt", "completion", "note")
RUN = tuple("=+-@\t\r\n＝＋－＠")


@given(st.one_of(TEXT, st.builds(str.__add__, STARTS, TEXT)))
def test_no_text_is_run_and_each_comes_back(text: str) -> None:
    safe = neutral(text)
    if safe.startswith(RUN):
        float(safe)  # a number, which is none
    assert original(safe) == text


@settings(max_examples=60, deadline=None)
@given(st.lists(st.fixed_dictionaries({name: st.builds(str.__add__, STARTS, TEXT) for name in NAMES}), min_size=2))
def test_csv_round_trip(tmp_path_factory: pytest.TempPathFactory, rows: list[Row]) -> None:
    folder = tmp_path_factory.mktemp("csv")
    for suffix, delimiter in ((".csv", ","), (".tsv", "\t")):
        done = export(from_rows(rows), folder / f"out{suffix}")
        with open(done.path, encoding="utf-8", newline="") as file:
            found = list(csv.DictReader(file, delimiter=delimiter))
        assert [{name: original(cell) for name, cell in row.items()} for row in found] == rows
        read = open_dataset(done.path, delimiter=delimiter, quoted=True, header=True)
        assert [{name: original(cell) for name, cell in row.items()} for row in read.iter()] == rows
        assert len(done.notes) == any(neutral(cell) != cell for row in rows for cell in row.values())


VALUE = st.one_of(
    st.none(), st.booleans(), st.integers(-(2**70), 2**70), st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=4), st.lists(st.integers(0, 9), max_size=2), st.dictionaries(st.sampled_from("xy"), TEXT),
)  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(st.lists(st.dictionaries(st.sampled_from("abc"), VALUE, min_size=1), min_size=1, max_size=5))
def test_json_lines_round_trip(tmp_path_factory: pytest.TempPathFactory, rows: list[Row]) -> None:
    path = tmp_path_factory.mktemp("jsonl") / "out.jsonl"
    done = export(from_rows(rows), path)
    assert not done.notes
    assert [json.loads(line) for line in path.read_text("utf-8").split("\n") if line] == rows
    assert all(same(one, other) for one, other in zip(open_dataset(path).iter(), rows, strict=True))


COLUMNS = {
    "a": st.none() | st.text(st.characters(exclude_categories=["Cs"]), max_size=4),
    "b": st.none() | st.integers(-(2**63), 2**63 - 1),
    "c": st.lists(st.none() | TEXT, max_size=3),
    "d": st.none() | st.binary(max_size=3),
    "e": st.fixed_dictionaries({"x": st.none() | st.booleans(), "y": TEXT}),
    "f": st.none() | st.floats(allow_nan=False),
}


@settings(max_examples=40, deadline=None)
@given(st.lists(st.fixed_dictionaries(COLUMNS), min_size=1, max_size=4))
def test_parquet_round_trip(tmp_path_factory: pytest.TempPathFactory, rows: list[Row]) -> None:
    done = export(from_rows(rows), tmp_path_factory.mktemp("parquet") / "out.parquet")
    assert not done.notes
    found = list(open_dataset(done.path).iter())
    assert found == rows


def test_parquet_takes_mixed_columns_as_json_and_says_so(tmp_path: Path) -> None:
    rows: list[Row] = [{"a": 1, "b": {}}, {"a": "one", "b": {}}, {"a": [1], "b": {}}, {"c": 2**70}, {"c": 1}]
    done = export(from_rows(rows), tmp_path / "out.parquet")
    assert "JSON text: a, b, c" in done.notes[0]
    found = list(open_dataset(done.path).iter())
    assert [json.loads(row["a"]) if row["a"] else None for row in found] == [1, "one", [1], None, None]
    assert json.loads(found[3]["c"]) == 2**70


def test_parquet_takes_hollow_objects_and_days_with_times_as_json(tmp_path: Path) -> None:
    day, moment = date(2024, 5, 1), datetime(2024, 5, 1, 12, 30)
    rows: list[Row] = [
        {"tools": [{"name": "look", "parameters": {}}], "when": day, "raw": "text", "days": day, "some": [b"x"]},
        {"tools": [{"name": "see", "parameters": {}}], "when": moment, "raw": b"\xff", "days": day, "some": [b"y"]},
    ]
    done = export(from_rows(rows), tmp_path / "out.parquet")
    assert "JSON text: raw, tools, when" in done.notes[0]
    found = list(open_dataset(done.path).iter())
    assert json.loads(found[1]["tools"]) == rows[1]["tools"]
    assert "12:30" in found[1]["when"]
    assert (found[1]["days"], found[1]["some"]) == (day, [b"y"])


def test_what_arrow_can_t_write_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> list[str]:
        raise pa.ArrowNotImplementedError("no such thing")

    monkeypatch.setitem(_WRITERS, "parquet", broken)
    with pytest.raises(StudioError, match="can't be written: no such thing"):
        export(from_rows([{"a": 1}]), tmp_path / "out.parquet")
    assert not list(tmp_path.iterdir())


def test_other_values_become_cells_that_can_be_read() -> None:
    assert [cell_text(value) for value in (None, True, 1, -1.5, [1, "ü"], {"a": None}, "x")] == [
        "", "true", "1", "-1.5", '[1, "ü"]', '{"a": null}', "x",
    ]  # fmt: skip
    assert cell_text(math.nan) == "nan"


def test_a_file_that_is_there_stays(tmp_path: Path) -> None:
    path = tmp_path / "mine.csv"
    path.write_text("precious")
    dataset = from_rows([{"a": "1"}])
    with pytest.raises(StudioError, match="is there already and stays"):
        export(dataset, path)
    assert path.read_text() == "precious"
    (tmp_path / "link.csv").symlink_to(tmp_path / "nowhere")
    with pytest.raises(StudioError, match="is there already"):
        export(dataset, tmp_path / "link.csv")
    assert export(dataset, path, force=True).rows == 1
    assert path.read_bytes() == b"a\r\n1\r\n"
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["link.csv", "mine.csv"]
    for bad, what in (("out", "no ending"), ("out.xlsx", "no ending")):
        with pytest.raises(UsageError, match=what):
            export(dataset, tmp_path / bad)


def test_a_stopped_export_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(Stopped):
        export(from_rows([{"a": 1}] * 5000), tmp_path / "out.jsonl", cancel=_second_time())
    assert list(tmp_path.iterdir()) == []


def _second_time() -> Any:
    asked = iter([False])
    return lambda: next(asked, True)


def test_someone_quicker_keeps_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "out.jsonl"

    def meanwhile(done: int, total: int) -> None:
        path.write_text("theirs")

    with pytest.raises(StudioError, match="is there already"):
        export(from_rows([{"a": 1}]), path, progress=meanwhile)
    assert path.read_text() == "theirs"
