"""Files that are meant to harm, or were harmed: bounded in memory and time, counted to the row, never a traceback."""

from __future__ import annotations

import csv
import gzip
import io
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ftstudio.core.errors import StudioError
from ftstudio.core.reading import FORMATS, Reading
from ftstudio.data import lines as line_module
from ftstudio.data import records as record_module
from ftstudio.data import unpack as unpack_module
from ftstudio.data.encoding import open_bytes, text_of
from ftstudio.data.lines import LineEnds, bare, lines
from ftstudio.data.read import open_dataset

QUICK = settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def bomb(path: Path, size: int, kind: str) -> Path:
    """A file of SIZE zeros, packed."""
    import pyarrow as pa

    if kind == "gzip":
        with gzip.open(path, "wb", compresslevel=9) as out:
            for _ in range(size >> 20):
                out.write(bytes(1 << 20))
    else:
        with pa.CompressedOutputStream(pa.OSFile(str(path), "wb"), "zstd") as out:
            for _ in range(size >> 20):
                out.write(bytes(1 << 20))
    return path


@pytest.mark.parametrize("kind", ["gzip", "zstd"])
def test_bombs_are_refused_while_they_unpack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    monkeypatch.setattr(unpack_module, "_ALWAYS", 8 << 20)
    path = bomb(tmp_path / "a.jsonl.gz", 64 << 20, kind)
    written: list[int] = []
    real = unpack_module.tempfile.TemporaryFile

    def counted(*words: Any, **settings: Any) -> Any:
        file = real(*words, **settings)
        write = file.write

        class Counting:
            def write(self, data: bytes) -> int:
                written.append(len(data))
                return write(data)

            def __getattr__(self, name: str) -> Any:
                return getattr(file, name)

            def __enter__(self) -> Counting:
                return self

            def __exit__(self, *rest: object) -> None:
                file.close()

        return Counting()

    monkeypatch.setattr(unpack_module.tempfile, "TemporaryFile", counted)
    with pytest.raises(StudioError, match="unpacks to more than") as caught:
        open_dataset(path)
    assert "unpack it yourself" in caught.value.hint
    assert 0 < sum(written) <= max(8 << 20, 500 * path.stat().st_size)


def test_what_packs_well_is_no_bomb(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl.gz"
    line = json.dumps({"prompt": "the same question again", "completion": "and the same answer"}) + "\n"
    with gzip.open(path, "wt") as out:
        out.write(line * 200_000)
    assert len(open_dataset(path)) == 200_000


PEAK = """
import resource, sys
from ftstudio.data.read import open_dataset
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
dataset = open_dataset(sys.argv[1])
print(len(dataset), dataset.unread, max(len(str(value)) for value in dataset[0].values()))
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""


@pytest.mark.parametrize("form", ["jsonl", "json", "csv", "txt"])
def test_a_line_of_100_mb_is_a_row(tmp_path: Path, form: str) -> None:
    path = tmp_path / f"a.{form}"
    before, after = {
        "jsonl": (b'{"a": "', b'"}\n{"a": "b"}\n'),
        "json": (b'[{"a": "', b'"}, {"a": "b"}]'),
        "csv": (b"a,b\n1,", b"\n2,3\n"),
        "txt": (b"", b"\nend\n"),
    }[form]
    with open(path, "wb") as out:
        out.write(before)
        for _ in range(100):
            out.write(b"x" * (1 << 20))
        out.write(after)
    done = subprocess.run([sys.executable, "-c", PEAK, str(path)], capture_output=True, text=True, check=True)
    counts, peak = done.stdout.splitlines()
    assert counts == f"2 0 {100 << 20}"
    assert int(peak) < 500


def test_a_line_too_long_to_hold_is_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(line_module, "MOST_LINE", 3 << 20)
    line = b'{"a": "' + b"x" * (5 << 20) + b'"}\n'
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'{"a": 1}\n' + line + b'{"a": 2}\n' + line + b'{"a": 3}\n' + line.strip())
    dataset = open_dataset(path)
    assert list(dataset) == [{"a": 1}, {"a": 2}, {"a": 3}]
    assert [problem.line for problem in dataset.problems] == [2, 4, 6]
    path = tmp_path / "a.txt"
    path.write_bytes(b"one\n" + b"x" * (5 << 20) + b"\ntwo\n")
    assert [row["text"] for row in open_dataset(path)] == ["one", "two"]
    assert open_dataset(path).unread == 1


def quoted_table(count: int) -> list[str]:
    return [f'{n},"text ""{n}"", more","y{n}"' for n in range(count)]


def test_a_quote_that_never_closes_costs_one_row(tmp_path: Path) -> None:
    rows = quoted_table(3000)
    rows[777], rows[10], rows[2000] = '777,"never closed,y777', '10,"two\nlines",y10', '2000,fine,"open'
    path = tmp_path / "a.csv"
    path.write_text("id,text,y\n" + "\n".join(rows) + "\n")
    dataset = open_dataset(path)
    assert len(dataset) == 3000
    assert [row["id"] for row in dataset] == [str(n) for n in range(3000)]
    assert dataset[10]["text"] == "two\nlines"
    assert dataset[777] == {"id": "777", "text": '"never closed', "y": "y777"}
    assert dataset[2000]["y"] == '"open'
    assert dataset[778]["text"] == 'text "778", more'
    assert [(problem.line, problem.kept) for problem in dataset.problems] == [(780, True), (2003, True)]
    assert dataset.unread == 0


def test_an_open_quote_does_not_swallow_a_big_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(record_module, "_MOST_RECORD", 10_000)
    rows = [f'{n},"text {n}"' for n in range(200)] + ['200,"open'] + [f"{n},text {n}" for n in range(201, 5000)]
    path = tmp_path / "a.csv"
    path.write_text("id,text\n" + "\n".join(rows) + "\n")
    dataset = open_dataset(path, quoted=True)
    assert [row["id"] for row in dataset] == [str(n) for n in range(5000)]


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"])
@pytest.mark.parametrize("form", ["jsonl", "json", "csv", "txt"])
def test_marks_and_wide_encodings(tmp_path: Path, encoding: str, form: str) -> None:
    rows = [{"text": f"é€😀 number {n}, and on"} for n in range(3)]
    content = {
        "jsonl": "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows),
        "json": json.dumps(rows, ensure_ascii=False),
        "csv": "text\n" + "".join(f'"{row["text"]}"\n' for row in rows),
        "txt": "".join(f"{row['text']}\n" for row in rows),
    }[form]
    path = tmp_path / f"a.{form}"
    path.write_bytes(content.encode(encoding))
    dataset = open_dataset(path)
    assert list(dataset) == rows
    assert dataset.encoding == encoding.removesuffix("-le").removesuffix("-be")
    if encoding.endswith(("le", "be")):
        assert list(open_dataset(path, reading=Reading(encoding=encoding))) == rows


def test_nuls(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(
        b'{"a": "\\u0000"}\n{"a": "\x00"}\n\x00\x00\n{"a": 1, "b": "a longer line, so that this is text"}\n'
    )
    dataset = open_dataset(path)
    assert [row["a"] for row in dataset] == ["\x00", 1]
    assert [problem.line for problem in dataset.problems] == [2, 3]


@pytest.mark.parametrize("quoted", [True, False])
def test_mixed_line_ends(tmp_path: Path, quoted: bool) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(b"a,b\r\n1,2\n3,4\r5,6\r\n7,8")
    dataset = open_dataset(path, quoted=quoted)
    assert [row["a"] for row in dataset] == ["1", "3", "5", "7"]
    assert dataset.details["line_ends"] == "mixed: 1 LF, 2 CRLF, 1 CR"
    only = open_dataset(path, reading=Reading(line_ends="crlf", quoted=quoted, header=True, delimiter=","))
    assert only.details["line_ends"].startswith("mixed")
    assert only[len(only) - 1]["a"] == "7"


BYTES = st.lists(st.sampled_from([b"a", b"\r", b"\n", b"\r\n", b"bc", b"\xc2\x85", b"\x0c"]), max_size=40).map(b"".join)


@QUICK
@given(BYTES, st.integers(1, 7), st.sampled_from(["any", "lf", "crlf", "cr"]))
def test_lines_are_those_of_python(tmp_path: Path, data: bytes, block: int, mode: str) -> None:
    """Whatever the size of the blocks: same lines, offsets that are theirs, and every end counted."""
    path = tmp_path / "a.txt"
    path.write_bytes(b"x" + data)
    text = text_of(open_bytes(path)[0], path, encoding="utf-8")
    ends = LineEnds()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(line_module, "BLOCK", block)
        found = [(offset, line or b"") for offset, line in lines(text, ends=ends, mode=mode)]
    assert b"".join(line for _, line in found) == b"x" + data
    assert all((b"x" + data)[offset:].startswith(line) for offset, line in found)
    mark = {"any": "", "lf": "\n", "crlf": "\r\n", "cr": "\r"}[mode]
    opened = io.TextIOWrapper(io.BytesIO(b"x" + data), encoding="utf-8", newline=mark)
    assert [line.decode() for _, line in found] == list(opened)
    assert all(bare(line, mode) == line.rstrip(b"\r\n") for _, line in found if mode == "any")
    pairs = data.count(b"\r\n")
    assert (ends.crlf, ends.lf, ends.cr) == (pairs, data.count(b"\n") - pairs, data.count(b"\r") - pairs)


SIGNS = st.text(st.sampled_from('a",;\t\n\r é\x00 '), max_size=60)


@QUICK
@given(SIGNS, st.sampled_from([",", ";", "\t"]), st.sampled_from([True, False, None]))
def test_no_cell_is_lost_whatever_the_quotes(tmp_path: Path, content: str, delimiter: str, quoted: bool | None) -> None:
    """Every letter of the file is in a cell, in what was put aside, or nowhere in between."""
    path = tmp_path / "a.csv"
    path.write_bytes(b"key\n" + content.encode())
    try:
        dataset = open_dataset(path, delimiter=delimiter, quoted=quoted, header=True)
    except StudioError:
        return
    kept = "".join(cell for row in dataset for cell in row.values())
    aside = "".join(entry["raw"] for entry in dataset.aside.entries()) if dataset.aside else ""
    for letter in "aé":
        assert kept.count(letter) + aside.count(letter) == content.count(letter)


CELLS = st.lists(st.text(st.sampled_from('ab",\n é'), max_size=6), min_size=2, max_size=2)


@QUICK
@given(st.lists(CELLS, min_size=1, max_size=9))
def test_what_the_csv_module_writes_is_read_by_span(tmp_path: Path, cells: list[list[str]]) -> None:
    out = io.StringIO(newline="")
    csv.writer(out).writerows([["one", "two"], *cells])
    path = tmp_path / "a.csv"
    path.write_bytes(out.getvalue().encode())
    dataset = open_dataset(path, delimiter=",", quoted=True, header=True)
    assert [list(row.values()) for row in dataset] == cells
    assert [list(dataset[index].values()) for index in reversed(range(len(dataset)))] == cells[::-1]


@settings(max_examples=250, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.binary(max_size=120)
    | st.text(st.sampled_from('{}[]",:\\\n\r\tab1 é\x00O-B'), max_size=60).map(str.encode)
    | st.binary(max_size=60).map(lambda data: b"SQLite format 3\x00" + data)
    | st.binary(max_size=60).map(lambda data: b"\x28\xb5\x2f\xfd" + data)
    | st.binary(max_size=60).map(lambda data: b"BZh9" + data),
    st.sampled_from(FORMATS),
    st.sampled_from([None, "utf-8", "utf-16", "latin-1", "shift_jis"]),
    st.sampled_from([Reading(), Reading(unit="paragraph"), Reading(chunk=20), Reading(delimiter=";", line_ends="cr")]),
)
def test_any_bytes_read_in_any_way_give_rows_or_a_studio_error(
    tmp_path: Path, data: bytes, form: str, encoding: str | None, how: Reading
) -> None:
    path = tmp_path / "fuzz"
    path.write_bytes(data)
    said = None
    try:
        dataset = open_dataset(path, reading=how.model_copy(update={"format": form, "encoding": encoding}))
        rows = list(dataset)
    except StudioError as error:
        said = error
    if said is not None:
        assert said.message
        assert said.hint
        return
    assert len(rows) == len(dataset) > 0
    assert all(set(row) <= set(dataset.names) for row in rows)
    json.dumps(rows, ensure_ascii=False)


def test_a_broken_item_tells_what_follows_it(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text('[{"a": 1},\n {"a": 2},\n {"a": oops},\n {"a": 4}]')
    dataset = open_dataset(path)
    assert list(dataset) == [{"a": 1}, {"a": 2}]
    assert dataset.problems[0].line == 3
    assert "from here on" in dataset.problems[0].reason
    assert dataset.aside is not None
    assert next(dataset.aside.entries())["raw"] == '{"a": oops},\n {"a": 4}]'


def test_objects_over_several_lines(tmp_path: Path) -> None:
    rows = [{"a": 1, "b": [1, {"c": "x, y"}]}, {"a": 2, "b": []}, {"a": 3}]
    for name in ("a.json", "a.jsonl", "a"):
        path = tmp_path / name
        path.write_text("\n".join(json.dumps(row, indent=2) for row in rows) + "\n")
        assert list(open_dataset(path)) == rows
        path.write_text("\n".join(json.dumps(row, indent=2) for row in rows) + "\n{broken")
        assert list(open_dataset(path)) == rows
        assert open_dataset(path).unread == 1


def test_bytes_that_are_not_utf8_cost_their_row(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(b'[{"a": "caf\xc3\xa9"}, {"a": "caf\xe9"}, {"a": "caf\xc3\xa9 again"}]')
    dataset = open_dataset(path)
    assert [row["a"] for row in dataset] == ["café", "café again"]
    assert "0xe9" in dataset.problems[0].reason
    assert [row["a"] for row in open_dataset(path, reading=Reading(encoding="latin-1"))][1] == "café"
