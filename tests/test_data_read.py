"""Reading: exact counts on awkward files, detection, clear errors, and nothing but StudioError for any bytes."""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
import json
import os
import threading
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from ftstudio.core.errors import Stopped, StudioError, UsageError
from ftstudio.data import spans
from ftstudio.data.dataset import Dataset, from_rows
from ftstudio.data.read import open_dataset

COUNTS = [
    ("gsm8k/train.jsonl", 7473, "jsonl", "utf-8"),
    ("gsm8k/test.jsonl", 1319, "jsonl", "utf-8"),
    ("mlx-wikisql-lora/train.jsonl", 1000, "jsonl", "utf-8"),
    ("openai-cookbook-chat/toy_chat_fine_tuning.jsonl", 5, "jsonl", "utf-8"),
    ("self-instruct-seed/seed_tasks.jsonl", 175, "jsonl", "utf-8"),
    ("scitldr/dev.jsonl", 619, "jsonl", "utf-8"),
    ("fastchat-sharegpt/dummy_conversation.json", 500, "json", "utf-8"),
    ("llamafactory-demo/alpaca_en_demo.json", 999, "json", "utf-8"),
    ("llamafactory-demo/dpo_en_demo.json", 300, "json", "utf-8"),
    ("llamafactory-demo/identity.json", 91, "json", "utf-8"),
    ("banking77/train.csv", 10003, "csv", "utf-8"),
    ("banking77/test.csv", 3080, "csv", "utf-8"),
    ("banking77/categories.json", 77, "json", "utf-8"),
    ("sms-spam/sms.tsv", 5574, "tsv", "utf-8"),
    ("msrp/msr_paraphrase_train.txt", 4076, "tsv", "utf-8-sig"),
    ("uci-sentences/imdb_labelled.txt", 1000, "tsv", "utf-8"),
    ("uci-sentences/Restaurant_Reviews.tsv", 1000, "tsv", "utf-8"),
    ("sst2/train.tsv", 6920, "tsv", "utf-8"),
    ("sst2/dev.tsv", 872, "tsv", "utf-8"),
    ("sst2/test.tsv", 1821, "tsv", "utf-8"),
    ("stsb/stsb-en-train.csv", 5749, "csv", "utf-8"),
    ("stsb/stsb-en-dev.csv", 1500, "csv", "utf-8"),
    ("stsb/stsb-en-test.csv", 1379, "csv", "utf-8"),
    ("trec/TREC.train.all", 5452, "text", "latin-1"),
    ("trec/TREC.test.all", 500, "text", "utf-8"),
    ("multi30k/train.en.gz", 29000, "text", "utf-8"),
    ("wikitext2/valid.txt", 3760, "text", "utf-8"),
    ("wikitext2/test.txt", 4358, "text", "utf-8"),
    ("fewshot-banking77/train_5/seq.in", 385, "text", "utf-8"),
    ("fashion-images/sample_styles.csv", 300, "csv", "utf-8"),
    ("csvkit-awkward/bad.csv", 2, "csv", "utf-8"),
    ("csvkit-awkward/blanks.csv", 1, "csv", "utf-8"),
    ("csvkit-awkward/mac_newlines.csv", 2, "csv", "utf-8"),
    ("csvkit-awkward/null_byte.csv", 1, "csv", "utf-8"),
    ("csvkit-awkward/no_header_row.csv", 1, "csv", "utf-8"),
    ("csvkit-awkward/test_header_newline.csv", 1, "csv", "utf-8"),
    ("csvkit-awkward/test_extra_header.csv", 1, "csv", "utf-8"),
    ("csvkit-awkward/test_latin1.csv", 2, "csv", "latin-1"),
    ("csvkit-awkward/test_utf16_big.csv", 2, "csv", "utf-16"),
    ("csvkit-awkward/test_utf16_little.csv", 2, "csv", "utf-16"),
    ("csvkit-awkward/test_utf8_bom.csv", 2, "csv", "utf-8-sig"),
    ("csvkit-awkward/dummy.tsv", 1, "tsv", "utf-8"),
]


@pytest.mark.parametrize(("file", "rows", "form", "encoding"), COUNTS)
def test_real_files_have_exact_counts(shared: Path, file: str, rows: int, form: str, encoding: str) -> None:
    dataset = open_dataset(shared / "data" / file)
    assert (len(dataset), dataset.format, dataset.encoding) == (rows, form, encoding)
    assert len(list(dataset)) == rows
    assert set(dataset[0]) <= set(dataset.names)


def test_awkward_cells(shared: Path) -> None:
    data = shared / "data"
    assert open_dataset(data / "csvkit-awkward/test_latin1.csv")[1]["c"] == "©"
    assert open_dataset(data / "csvkit-awkward/test_utf16_big.csv")[1]["c"] == "ʤ"
    assert open_dataset(data / "csvkit-awkward/mac_newlines.csv")[1]["a"] == "Once upon\ra time"
    assert open_dataset(data / "csvkit-awkward/null_byte.csv")[0]["a"] == "\x00"
    assert any("\x85" in row["column_1"] for row in open_dataset(data / "uci-sentences/imdb_labelled.txt"))
    paraphrase = open_dataset(data / "msrp/msr_paraphrase_train.txt")
    assert paraphrase.names == ["Quality", "#1 ID", "#2 ID", "#1 String", "#2 String"]
    assert not any(problem for problem in paraphrase.problems)
    bad = open_dataset(data / "csvkit-awkward/bad.csv")
    assert [(problem.line, problem.kept) for problem in bad.problems] == [(2, False), (3, True)]
    assert bad.unread == 1


def test_json_rows_equal_the_json_module(shared: Path) -> None:
    for file in ("llamafactory-demo/alpaca_en_demo.json", "fastchat-sharegpt/dummy_conversation.json"):
        path = shared / "data" / file
        assert list(open_dataset(path)) == json.loads(path.read_bytes())
    path = shared / "data" / "gsm8k/test.jsonl"
    assert list(open_dataset(path)) == [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def test_folders_by_split(shared: Path) -> None:
    data = shared / "data"
    assert len(open_dataset(data / "gsm8k")) == 7473
    assert len(open_dataset(data / "gsm8k", split="eval")) == 1319
    assert len(open_dataset(data / "mlx-wikisql-lora", split="eval")) == 100
    assert len(open_dataset(data / "fastchat-sharegpt")) == 500
    with pytest.raises(StudioError, match="4 data files"):
        open_dataset(data / "llamafactory-demo")


JSONABLE = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
ROWS = st.lists(
    st.dictionaries(st.text(min_size=1, max_size=6), JSONABLE, min_size=1, max_size=4), min_size=1, max_size=6
)
QUICK = settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@QUICK
@given(ROWS, st.booleans(), st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]), st.booleans())
def test_jsonl_round_trip(
    tmp_path: Path, rows: list[dict[str, Any]], escaped: bool, encoding: str, packed: bool
) -> None:
    text = "\n".join(json.dumps(row, ensure_ascii=escaped) for row in rows)
    data = text.encode(encoding)
    path = tmp_path / ("a.jsonl.gz" if packed else "a.jsonl")
    path.write_bytes(gzip.compress(data, mtime=0) if packed else data)
    dataset = open_dataset(path)
    assert list(dataset) == rows
    assert set(dataset.names) == {name for row in rows for name in row}
    assert dataset.encoding == encoding
    assert dataset.problems == ()


@QUICK
@given(ROWS, st.booleans(), st.sampled_from([None, 1]), st.booleans())
def test_json_array_round_trip(
    tmp_path: Path, rows: list[dict[str, Any]], escaped: bool, indent: int | None, wrapped: bool
) -> None:
    path = tmp_path / "a.json"
    value = {"data": rows} if wrapped else rows
    path.write_text(json.dumps(value, ensure_ascii=escaped, indent=indent), "utf-8")
    assert list(open_dataset(path)) == rows


_CELL = st.text(st.characters(codec="utf-8", exclude_characters="\x00\ufeff"), max_size=8)


@QUICK
@given(st.lists(st.tuples(_CELL, _CELL, _CELL), min_size=1, max_size=8), st.sampled_from([",", "\t"]))
def test_csv_round_trip(tmp_path: Path, cells: list[tuple[str, str, str]], delimiter: str) -> None:
    """What Python's csv module writes (all cells quoted) comes back cell by cell."""
    out = io.StringIO(newline="")
    writer = csv.writer(out, delimiter=delimiter, quoting=csv.QUOTE_ALL)
    writer.writerows([("prompt", "completion", "id"), *cells])
    path = tmp_path / ("a.csv" if delimiter == "," else "a.tsv")
    written = out.getvalue().encode()
    assume(sum(byte < 32 and byte not in b"\t\r\n" for byte in written) * 10 <= len(written))  # more is a binary file
    path.write_bytes(written)
    dataset = open_dataset(path)
    assert dataset.names == ["prompt", "completion", "id"]
    assert [tuple(row.values()) for row in dataset] == cells
    assert open_dataset(path, header=False)[0]["column_1"] == "prompt"


@settings(max_examples=250, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.binary(max_size=200)
    | st.text(st.sampled_from('{}[]",:\\\n\r\tab1 é\x00'), max_size=60).map(str.encode)
    | st.binary(max_size=80).map(lambda data: b"PAR1" + data + b"PAR1")
    | st.binary(max_size=80).map(lambda data: b"ARROW1" + data)
    | st.binary(max_size=80).map(lambda data: b"\x1f\x8b" + data)
    | st.binary(max_size=80).map(lambda data: b"\xff\xfe" + data),
    st.sampled_from([".jsonl", ".json", ".csv", ".tsv", ".txt", ".parquet", ".arrow", ".gz", ".jsonl.gz", "", ".bin"]),
)
def test_any_bytes_give_rows_or_a_studio_error(tmp_path: Path, data: bytes, suffix: str) -> None:
    path = tmp_path / f"fuzz{suffix}"
    path.write_bytes(data)
    try:
        dataset = open_dataset(path)
    except StudioError as error:
        said = error
    else:
        said = None
    if said is not None:
        assert said.message
        assert said.hint
        return
    assert len(dataset) > 0
    rows = list(dataset)
    assert len(rows) == len(dataset)
    assert all(set(row) <= set(dataset.names) for row in rows)
    assert dataset.hash == hashlib.sha256(data).hexdigest()


def test_unreadable_rows_are_kept_aside_with_their_lines(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'{"a": 1}\n\nnot json\n[1, 2]\n{"a": "caf\xe9"}\n{"a": 2}\n{"a": ' + b"[" * 5000 + b"\n")
    dataset = open_dataset(path)
    assert list(dataset) == [{"a": 1}, {"a": 2}]
    assert [problem.line for problem in dataset.problems] == [3, 4, 5, 7]
    reasons = " | ".join(problem.reason for problem in dataset.problems)
    for part in ("not JSON", "array", "not UTF-8", "0xe9"):
        assert part in reasons
    assert dataset.unread == 4


def test_rows_wider_than_the_table_are_kept_aside(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("prompt,completion\na,b\nc,d,e\nf\ng,h,,\n\ni,j\n")
    dataset = open_dataset(path)
    assert [row["prompt"] for row in dataset] == ["a", "f", "g", "i"]
    assert [(problem.line, problem.kept) for problem in dataset.problems] == [(3, False), (4, True)]


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("empty.jsonl", b"", "is empty"),
        ("blank.jsonl", b"\n\n \n", "is empty"),
        ("header.csv", b"prompt,completion\n", "no row"),
        ("broken.json", b'{"a": ', "no row that can be read"),
        ("latin.jsonl", b'{"prompt": "caf\xe9"}\n', "UTF-8"),
        ("latin.json", b'[{"prompt": "caf\xe9"}]\n', "UTF-8"),
        ("scalar.json", b"42", "array of rows"),
        ("numbers.json", b"[1, 2]", "no row"),
        ("picture.jsonl", b"\x89PNG\r\n\x1a\n" + bytes(range(256)), "PNG"),
        ("archive.csv", b"PK\x03\x04" + b"\x00" * 100, "zip"),
        ("noise.txt", bytes(range(256)) * 8, "binary"),
        ("fake.parquet", b"hello", "no Parquet"),
        ("fake2.parquet", b"PAR1hello", "damaged Parquet"),
        ("fake.arrow", b"hello there", "Arrow"),
        ("half.jsonl.gz", gzip.compress(b'{"a": 1}' * 1000, mtime=0)[:40], "damaged gzip"),
    ],
)
def test_bad_files_give_one_sentence_and_a_way_out(tmp_path: Path, name: str, content: bytes, expected: str) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(StudioError, match=expected) as caught:
        open_dataset(path)
    assert name in caught.value.message
    assert "\n" not in caught.value.message
    assert caught.value.hint


def test_bad_names_give_one_sentence_and_a_way_out(tmp_path: Path) -> None:
    (tmp_path / "tickets.jsonl").write_text('{"text": "a"}\n')
    os.mkfifo(tmp_path / "pipe")
    cases = {"tickts.jsonl": "tickets.jsonl", "x/y/z.csv": "path", "pipe": "Name a file", "\x00": "path", ".": ""}
    for name, hint in cases.items():
        with pytest.raises(StudioError) as caught:
            open_dataset(name, relative_to=tmp_path / "." if name != "." else tmp_path / "nothing")
        assert hint in caught.value.hint
    with pytest.raises(UsageError):
        open_dataset(" ")
    empty = tmp_path / "folder"
    empty.mkdir()
    with pytest.raises(StudioError, match="without a data file") as caught:
        open_dataset(empty)
    assert "text" in caught.value.hint
    assert len(open_dataset(tmp_path)) == 1


@pytest.mark.parametrize(("names", "told", "named"), [
    (("test.txt", "valid.txt", "LICENSE"), "2 data files: test.txt, valid.txt and none is called train.", "test.txt"),
    (("test.txt",), "1 data file: test.txt, which isn't called train.", "test.txt"),
    (("test.jsonl", "valid.jsonl"), "2 data files: test.jsonl, valid.jsonl and none is called train.", "test.jsonl"),
    (("a.jsonl", "b.csv"), "2 data files: a.jsonl, b.csv.", "a.jsonl"),
])  # fmt: skip
def test_a_folder_of_other_splits_names_its_files(tmp_path: Path, names: Any, told: str, named: str) -> None:
    for name in names:
        (tmp_path / name).write_text('{"text": "a"}\n')
    with pytest.raises(StudioError) as caught:
        open_dataset(tmp_path)
    assert caught.value.message == f"{tmp_path} is a folder with {told}"
    assert f"{tmp_path}/{named}" in caught.value.hint
    assert len(open_dataset(tmp_path / named))


def test_permission_is_explained(tmp_path: Path) -> None:
    if os.geteuid() == 0:
        pytest.skip("root may read everything")
    path = tmp_path / "a.jsonl"
    path.write_text("{}")
    path.chmod(0)
    with pytest.raises(StudioError, match="Permission"):
        open_dataset(path)


def test_hub_ids_offline_say_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(StudioError, match="HF_HUB_OFFLINE") as caught:
        open_dataset("nobody/nothing-at-all")
    assert "path" in caught.value.hint


def test_hub_datasets_are_read_through_datasets(monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    table = datasets.Dataset.from_list([{"question": "a", "answer": "b", "score": 1.5, "tags": ["x"]}] * 3)
    asked: list[Any] = []

    def load(name: str, configuration: str | None = None, split: str | None = None) -> datasets.Dataset:
        asked.append((name, configuration, split))
        return table

    monkeypatch.setattr(datasets, "load_dataset", load)
    dataset = open_dataset("openai/gsm8k:main", split="test")
    assert asked == [("openai/gsm8k", "main", "test")]
    assert (len(dataset), dataset.format, dataset.path) == (3, "hub", None)
    assert dataset[2] == {"question": "a", "answer": "b", "score": 1.5, "tags": ["x"]}
    assert [column.type for column in dataset.columns] == ["text", "text", "number", "list"]
    assert len(dataset.hash) == 64


def test_parquet_and_arrow(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = [{"prompt": f"p{n}", "n": n, "turns": [{"role": "user", "content": "x"}]} for n in range(700)]
    table = pa.Table.from_pylist(rows)
    pq.write_table(table, tmp_path / "a.parquet")
    with pa.OSFile(str(tmp_path / "a.arrow"), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)
    with pa.OSFile(str(tmp_path / "b.arrow"), "wb") as sink, pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    for name, form in (("a.parquet", "parquet"), ("a.arrow", "arrow"), ("b.arrow", "arrow")):
        dataset = open_dataset(tmp_path / name)
        assert (len(dataset), dataset.format) == (700, form)
        assert [dataset[index] for index in (0, 699, 256, 255, -1)] == [rows[index] for index in (0, 699, 256, 255, -1)]
        assert [column.type for column in dataset.columns] == ["text", "integer", "list"]


def test_class_numbers_have_the_names_that_datasets_wrote(tmp_path: Path) -> None:
    """The metadata as `datasets` writes it; a part of the rows is in groups of their own, a part is copied."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    classes = {"names": ["O", "B-PER"], "_type": "ClassLabel"}
    features = {
        "ner_tags": {"feature": classes, "_type": "Sequence"},
        "label": {"names": ["neg", "pos"], "_type": "ClassLabel"},
        "inner": {"label": classes, "n": {"dtype": "int64", "_type": "Value"}},
        "n": {"dtype": "int64", "_type": "Value"},
        "old": {"feature": {"cat": classes}, "_type": "Sequence"},
        "new": {"cat": {"feature": classes, "_type": "List"}},
    }
    rows = [
        {
            "old": {"cat": [1, 0]},
            "new": {"cat": [1]},
            "ner_tags": [0, 1],
            "label": n % 3 - 1,
            "inner": {"label": 1, "n": 1},
            "n": n,
        }
        for n in range(9)
    ]
    told = {
        "old": {"cat": ["B-PER", "O"]},
        "new": {"cat": ["B-PER"]},
        "ner_tags": ["O", "B-PER"],
        "label": None,
        "inner": {"label": "B-PER", "n": 1},
        "n": 0,
    }
    schema = pa.Table.from_pylist(rows).schema.with_metadata(
        {"huggingface": json.dumps({"info": {"features": features}})}
    )
    table = pa.Table.from_pylist(rows, schema=schema)
    pq.write_table(table, tmp_path / "a.parquet")
    with pa.OSFile(str(tmp_path / "a.arrow"), "wb") as sink, pa.ipc.new_file(sink, schema) as writer:
        writer.write_table(table)
    with pa.OSFile(str(tmp_path / "b.arrow"), "wb") as sink, pa.ipc.new_stream(sink, schema) as writer:
        writer.write_table(table)
    for name in ("a.parquet", "a.arrow", "b.arrow"):
        dataset = open_dataset(tmp_path / name)
        assert [dataset[n] for n in range(3)] == [
            told,
            {**told, "label": "neg", "n": 1},
            {**told, "label": "pos", "n": 2},
        ]
        assert [column.type for column in dataset.columns] == [
            "object",
            "object",
            "list",
            "text",
            "object",
            "integer",
        ], name


def test_json_in_other_clothes(tmp_path: Path) -> None:
    files = {
        "lines.json": '{"a": 1}\n{"a": 2}\n',
        "array.jsonl": '[{"a": 1},\n {"a": 2}]',
        "columns.json": '{"a": [1, 2]}',
        "inside.json": '{"version": 3, "stuff": [{"a": 1}, {"a": 2}], "n": []}',
        "no_suffix": '{"a": 1}\n{"a": 2}\n',
        "array_no_suffix": '[{"a": 1}, {"a": 2}]',
    }
    for name, content in files.items():
        (tmp_path / name).write_text(content)
        assert list(open_dataset(tmp_path / name)) == [{"a": 1}, {"a": 2}], name
    (tmp_path / "tail.json").write_text('[{"a": 1}][{"a": 2}]')
    assert open_dataset(tmp_path / "tail.json").problems[0].reason == "text after the end of the array"


def _told(**value: Any) -> str:
    return json.dumps(value)


NINE = [{"a": n} for n in range(9)]


@pytest.mark.parametrize(
    ("content", "rows", "names"),
    [
        (
            5 * (_told(instances=[{"input": "", "output": "x"}], instruction="q") + "\n"),
            5,
            ["instances", "instruction"],
        ),
        (5 * (_told(data=[{"input": "", "output": "x"}]) + "\n"), 5, ["data"]),
        (_told(data=["x", "y"], label=[0, 1]), 2, ["data", "label"]),
        (_told(data=["x", "y"], version=1), 2, ["text"]),
        (_told(samples=NINE[:1], data=NINE), 9, ["a"]),
        (_told(meta=[{"z": 1}] * 20, rows=NINE), 9, ["a"]),
        (_told(data=NINE, version=1), 9, ["a"]),
        (_told(data=NINE) + "\n", 9, ["a"]),
    ],
)
def test_arrays_inside_objects(tmp_path: Path, content: str, rows: int, names: list[str]) -> None:
    path = tmp_path / "a.json"
    path.write_text(content)
    dataset = open_dataset(path)
    assert (len(dataset), dataset.names, dataset.problems) == (rows, names, ())


def test_rows_beside_rows_are_told(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text(_told(train=NINE, test=NINE[:2]))
    dataset = open_dataset(path)
    assert len(dataset) == 9
    assert "left out: test" in dataset.problems[0].reason


@pytest.mark.parametrize(
    ("content", "names", "rows"),
    [
        ("a;b\n1;2\n3;4\n", ["a", "b"], 2),
        ("prompt|completion\nx, y|z\n", ["prompt", "completion"], 1),
        ("good,1\nbad,0\ngood,1\n", ["column_1", "column_2"], 3),
        ('text\n"one, two"\nthree\n', ["text"], 2),
        ("id,id,,\n1,2,3,4\n", ["id", "id_2", "column_3", "column_4"], 1),
    ],
)
def test_delimiters_and_headers(tmp_path: Path, content: str, names: list[str], rows: int) -> None:
    path = tmp_path / "a.csv"
    path.write_text(content)
    dataset = open_dataset(path)
    assert (dataset.names[: len(names)], len(dataset)) == (names, rows)


@pytest.mark.parametrize(
    ("rows", "header"),
    [
        (["Who was it?,question", "It is late.,statement", "Where?,question", "Why?,question"], False),
        (["great film,pos", "dull,neg", "fine,pos", "bad,neg"], False),
        (["query,find me a flight", "chat,hello there", "query,find me a train"], False),
        (["text,mood", "great film,pos", "dull,neg"], True),
        (["text,label", "text,pos", "label,neg"], True),
        (["name,mood", "great film,pos", "name,mood", "dull,neg"], True),
        (["text,mood", *(f"film {n},{'pn'[n % 2]}" for n in range(150)), "text,p"], True),
    ],
)
def test_a_first_row_that_comes_again_is_no_header(tmp_path: Path, rows: list[str], header: bool) -> None:
    path = tmp_path / "a.csv"
    path.write_text("\n".join(rows) + "\n")
    assert (open_dataset(path).details["header"], len(open_dataset(path))) == (header, len(rows) - header)


def test_one_bad_byte_leaves_utf8_what_it_is(tmp_path: Path) -> None:
    rows = [f"Größe {n},müßig" for n in range(200)]
    for name, header in (("a.csv", 1), ("a.txt", 0)):
        path = tmp_path / name
        path.write_bytes("\n".join(["text,label"][:header] + rows).encode() + b"\nbad \xff,x\n")
        dataset = open_dataset(path)
        assert (len(dataset), dataset.encoding, dataset[0]["text"][:5]) == (200, "utf-8", "Größe")
        assert "not UTF-8" in dataset.problems[0].reason
    path.write_bytes("\n".join(rows).encode("latin-1"))
    assert (open_dataset(path).encoding, open_dataset(path)[0]["text"][:5]) == ("latin-1", "Größe")


def test_escaped_quotes_and_blanks_before_quotes(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    for content, told in (
        (
            'text,n\n"She \\"x, z\\" y",1\nC:\\new,2\n"two\nlines \\" end",3\n',
            ['She "x, z" y', "C:\\new", 'two\nlines " end'],
        ),
        ('n, text\n1, "a, b"\n2, plain\n3, "c, d, e"\n', ["a, b", "plain", "c, d, e"]),
        ('n, text\n1, "ab"\n2, "c"\n', ["ab", "c"]),
        ('n,text\n1,"ends with \\"\n2,"c, d"\n', ["ends with \\", "c, d"]),
        ('text,n\n"a ""b"", c",1\n"d",2\n', ['a "b", c', "d"]),
    ):
        path.write_text(content)
        dataset = open_dataset(path)
        assert [row["text"] for row in dataset] == told
        assert dataset.problems == ()


def test_overrides(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text('x:"y\nz:w"\n')
    assert len(open_dataset(path)) == 2
    assert open_dataset(path, delimiter=":", quoted=False, header=False)[0] == {"column_1": "x", "column_2": '"y'}
    assert open_dataset(path, delimiter=":", quoted=False, header=False).details == {
        "delimiter": ":",
        "quoted": False,
        "header": False,
        "line_ends": "LF",
    }


def test_a_hundred_thousand_rows_take_little_memory(tmp_path: Path) -> None:
    """Rows stay on disk: 16 bytes a row are held, whatever the rows' size."""
    path = tmp_path / "big.jsonl"
    line = json.dumps({"prompt": "x" * 150, "completion": "y" * 100}) + "\n"
    path.write_text(line * 100_000)
    dataset = open_dataset(path)
    assert len(dataset) == 100_000
    held = dataset.store.starts.buffer_info()[1] + dataset.store.ends.buffer_info()[1]  # type: ignore[attr-defined]
    assert held == 200_000
    assert dataset[99_999]["completion"] == "y" * 100


def test_a_file_changed_meanwhile_says_so(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"a": 1}\n{"a": 2}\n')
    dataset = open_dataset(path)
    path.write_text("{")
    with pytest.raises(StudioError, match="changed"):
        dataset[1]


def test_a_file_that_becomes_another_in_place_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spans, "_LOOK", 0)
    path = tmp_path / "a.csv"
    path.write_text("a,b\n1,2\n3,4\n")
    dataset = open_dataset(path)
    assert list(dataset) == [{"a": "1", "b": "2"}, {"a": "3", "b": "4"}]
    with open(path, "r+b") as file:
        file.seek(4)
        file.write(b"5")
    os.utime(path, ns=(1, 1))
    with pytest.raises(StudioError, match="changed"):
        dataset[0]
    path.write_text("a,b\n1,2\n3,4\n5,6\n")  # it has only grown
    os.utime(path, ns=(2, 2))
    assert list(dataset) == [{"a": "1", "b": "2"}, {"a": "3", "b": "4"}]
    with open(path, "r+b") as file:
        file.truncate(8)
    os.utime(path, ns=(3, 3))
    with pytest.raises(StudioError, match="changed"):
        dataset[0]


def test_a_line_put_in_front_gives_no_garbled_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spans, "_LOOK", 0)
    path = tmp_path / "a.txt"
    lines = "".join(f"line number {n} of the text\n" for n in range(5000))
    path.write_text(lines)
    dataset = open_dataset(path)
    path.write_text("a prefix " + lines)
    os.utime(path, ns=(1, 1))
    with pytest.raises(StudioError, match="changed"):
        dataset[4000]


def test_cancel_and_progress(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"a": 1}\n' * 300_000)
    seen: list[tuple[int, int]] = []
    open_dataset(path, progress=lambda done, total: seen.append((done, total)))
    assert seen[-1] == (path.stat().st_size, path.stat().st_size)
    with pytest.raises(Stopped):
        open_dataset(path, cancel=lambda: True)


def test_no_descriptor_leaks(tmp_path: Path) -> None:
    good, bad = tmp_path / "a.jsonl", tmp_path / "b.jsonl"
    good.write_text('{"a": 1}\n')
    bad.write_text("nope\n")
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(30):
        open_dataset(good)
        for cancel in (None, lambda: True):
            with pytest.raises(StudioError):
                open_dataset(bad, cancel=cancel)
    assert len(os.listdir("/proc/self/fd")) <= before + 2


class TestDataset:
    """The table itself."""

    def make(self) -> Dataset:
        return from_rows([{"n": n, "even": n % 2 == 0} for n in range(10)])

    def test_access(self) -> None:
        dataset = self.make()
        assert dataset[-1] == dataset[9] == {"n": 9, "even": False}
        assert [row["n"] for row in dataset.iter(3, 5)] == [3, 4]
        assert [(column.name, column.type) for column in dataset.columns] == [("n", "integer"), ("even", "boolean")]
        for index in (10, -11):
            with pytest.raises(IndexError):
                dataset[index]
        with pytest.raises(AttributeError):
            dataset.format = "x"  # type: ignore[misc]

    def test_rows_are_copies(self) -> None:
        dataset = self.make()
        dataset[0]["n"] = 99
        assert dataset[0]["n"] == 0

    def test_selections_of_selections_know_their_origin(self) -> None:
        part = self.make().select([8, 6, 4, 2]).select([3, 0])
        assert [row["n"] for row in part] == [2, 8]
        assert [part.origin_of(index) for index in range(2)] == [2, 8]
        assert part.hash != self.make().hash
        assert part.hash == self.make().select([2, 8]).hash

    def test_many_threads_read_the_same(self, tmp_path: Path) -> None:
        path = tmp_path / "a.jsonl"
        path.write_text("".join(json.dumps({"n": n, "pad": "x" * (n % 50)}) + "\n" for n in range(2000)))
        dataset = open_dataset(path)
        wrong: list[int] = []

        def work(offset: int) -> None:
            wrong.extend(n for n in range(offset, 2000, 4) if dataset[n]["n"] != n)

        threads = [threading.Thread(target=work, args=(offset,)) for offset in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert wrong == []
