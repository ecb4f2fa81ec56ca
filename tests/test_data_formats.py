"""Every format that can be read, from small files made here and from the real ones where they are."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import os
import sqlite3
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ftstudio.core.errors import StudioError, UsageError
from ftstudio.core.reading import Reading
from ftstudio.data.read import open_dataset
from ftstudio.data.read_conll import as_bio
from ftstudio.data.shape import recognise

QUICK = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
ROWS = [{"prompt": f"question {n}", "completion": f"answer {n}"} for n in range(5)]
LINES = "".join(json.dumps(row) + "\n" for row in ROWS)

REAL = [
    ("wikigold/wikigold.conll.txt", None, 1696, "conll", ["tokens", "tags", "document"]),
    ("wnut17", None, 3394, "conll", ["tokens", "tags"]),
    ("wnut17/emerging.dev.conll", None, 1009, "conll", ["tokens", "tags"]),
    ("wnut17/emerging.test.annotated", None, 1287, "conll", ["tokens", "tags"]),
    ("xquad/xquad.en.json", None, 1190, "squad", ["id", "title", "context", "question", "answer", "answers"]),
    ("xquad/xquad.es.json", None, 1190, "squad", ["id", "title", "context", "question", "answer", "answers"]),
    ("multi30k", None, 29000, "parallel", ["en", "de"]),
    ("multi30k", "test", 1000, "parallel", ["en", "de"]),
    ("multi30k/train", None, 29000, "parallel", ["en", "de"]),
    ("multi30k/train.{de,en}.gz", None, 29000, "parallel", ["de", "en"]),
    ("fewshot-banking77/train_5", None, 385, "parallel", ["text", "label"]),
    ("fewshot-banking77/train_10", None, 770, "parallel", ["text", "label"]),
    ("fewshot-banking77", None, 770, "parallel", ["text", "label"]),
    ("fewshot-banking77", "test", 3080, "parallel", ["text", "label"]),
    ("fashion-images", None, 300, "csv", None),
    ("trec/TREC.train.all", None, 5452, "text", ["label", "text"]),
    ("trec/TREC.test.all", None, 500, "text", ["label", "text"]),
    ("awkward-spam-csv", None, 5575, "csv", ["v1", "v2", "column_3", "column_4", "column_5"]),
    ("stsb", "test", 1379, "csv", ["column_1", "column_2", "column_3"]),
    ("sst2", "eval", 872, "tsv", ["column_1", "column_2"]),
    ("gsm8k/t*.jsonl", None, 8792, "jsonl", ["question", "answer"]),
    ("llamafactory-demo/mllm_demo.json", None, 6, "json", ["messages", "images"]),
]


@pytest.mark.parametrize(("name", "split", "rows", "form", "columns"), REAL)
def test_real_ones(shared: Path, name: str, split: str | None, rows: int, form: str, columns: list[str] | None) -> None:
    dataset = open_dataset(shared / "data" / name, split=split)
    assert (len(dataset), dataset.format, dataset.unread) == (rows, form, 0)
    assert columns is None or dataset.names == columns
    assert len(list(dataset)) == rows
    assert len(dataset.hash) == 64


def test_iob1_becomes_bio(shared: Path) -> None:
    dataset = open_dataset(shared / "data/wikigold/wikigold.conll.txt")
    assert dataset.details["scheme"] == "IOB1, read as BIO"
    assert dataset.details["documents"] == 145
    assert dataset[0]["tags"][:2] == ["B-MISC", "O"]
    assert dataset[0]["tags"][10:14] == ["B-ORG", "I-ORG", "I-ORG", "I-ORG"]
    assert (dataset[0]["document"], dataset[len(dataset) - 1]["document"]) == (1, 145)
    for row in dataset:
        before = "O"
        for tag in row["tags"]:
            assert tag == "O" or tag[0] == "B" or before[2:] == tag[2:]
            before = tag
    kept = open_dataset(shared / "data/wikigold/wikigold.conll.txt", reading=Reading(scheme="keep"))
    assert kept[0]["tags"][:2] == ["I-MISC", "O"]


CONLL = "-DOCSTART- O\n\nAnna B-PER\nSmith I-PER\nsings O\n\n\nin O\nRome B-LOC\n \n-DOCSTART- O\n\nNo O\none O\n"


def test_conll(tmp_path: Path) -> None:
    path = tmp_path / "a.conll"
    path.write_text(CONLL)
    dataset = open_dataset(path)
    assert list(dataset) == [
        {"tokens": ["Anna", "Smith", "sings"], "tags": ["B-PER", "I-PER", "O"], "document": 1},
        {"tokens": ["in", "Rome"], "tags": ["O", "B-LOC"], "document": 1},
        {"tokens": ["No", "one"], "tags": ["O", "O"], "document": 2},
    ]
    path.write_text(
        "EU\tNNP\tI-NP\tI-ORG\nrejects\tVBZ\tI-VP\tO\n\nGerman\tJJ\tI-NP\tI-MISC\ncall\tNN\tI-NP\n\na\tDT\tI-NP\tO\n"
    )
    dataset = open_dataset(path)
    assert dataset.names == ["tokens", "column_2", "column_3", "tags"]
    assert [row["tokens"] for row in dataset] == [["EU", "rejects"], ["a"]]
    assert dataset[0]["tags"] == ["B-ORG", "O"]
    assert [(problem.line, problem.reason) for problem in dataset.problems] == [(4, "3 columns where the file has 4")]


def test_odd_white_space_is_text_in_conll_too(tmp_path: Path) -> None:
    path = tmp_path / "a.conll"
    path.write_bytes("10\u00a0000 B-X\na\x85b O\nc\u2028d O\n\ne\u3000f\tI-X\n".encode())
    rows = [row["tokens"] for row in open_dataset(path, reading=Reading(scheme="bio"))]
    assert rows == [["10\u00a0000", "a\x85b", "c\u2028d"], ["e\u3000f"]]


ENTITIES = st.lists(st.tuples(st.sampled_from(["O", "PER", "LOC"]), st.integers(1, 3)), max_size=6)


def written(entities: list[tuple[str, int]], scheme: str) -> list[str]:
    """ENTITIES (kind, length) as tags of SCHEME."""
    tags: list[str] = []
    before = ""
    for kind, length in entities:
        if kind == "O":
            tags += ["O"] * length
        elif scheme == "bio":
            tags += [f"B-{kind}"] + [f"I-{kind}"] * (length - 1)
        elif scheme == "iob1":
            tags += [f"{'B' if before == kind else 'I'}-{kind}"] + [f"I-{kind}"] * (length - 1)
        else:
            tags += [f"S-{kind}"] if length == 1 else [f"B-{kind}", *[f"I-{kind}"] * (length - 2), f"E-{kind}"]
        before = kind
    return tags


@given(ENTITIES, st.sampled_from(["iob1", "bioes"]))
def test_every_scheme_becomes_the_same_bio(entities: list[tuple[str, int]], scheme: str) -> None:
    assert as_bio(written(entities, scheme), scheme) == written(entities, "bio")


SQUAD = {
    "version": "v2.0",
    "data": [
        {
            "title": "T",
            "paragraphs": [
                {
                    "context": "Ann sings.",
                    "qas": [
                        {"id": "1", "question": "Who?", "answers": [{"text": "Ann", "answer_start": 0}] * 2},
                        {"id": "2", "question": "Why?", "is_impossible": True, "answers": []},
                        {"id": "3"},
                    ],
                },
            ],
        },
    ],
}


@pytest.mark.parametrize("value", [SQUAD, {"data": SQUAD["data"]}, SQUAD["data"]])
def test_squad(tmp_path: Path, value: Any) -> None:
    path = tmp_path / "a.json"
    path.write_text(json.dumps(value))
    dataset = open_dataset(path)
    assert dataset.format == "squad"
    assert [(row["question"], row["answer"], row["context"]) for row in dataset] == [
        ("Who?", "Ann", "Ann sings."),
        ("Why?", "", "Ann sings."),
    ]
    assert dataset[0]["answers"] == {"text": ["Ann", "Ann"], "answer_start": [0, 0]}
    assert dataset.unread == 1


@pytest.mark.parametrize("suffix", [".gz", ".zst", ".bz2", ""])
def test_packed_files(tmp_path: Path, suffix: str) -> None:
    import pyarrow as pa

    pack = {
        ".gz": gzip.compress, ".bz2": bz2.compress, "": bytes,
        ".zst": lambda data: pa.compress(data, "zstd", asbytes=True),
    }[suffix]  # fmt: skip
    path = tmp_path / f"a.jsonl{suffix}"
    path.write_bytes(pack(LINES.encode()))
    dataset = open_dataset(path)
    assert list(dataset) == ROWS
    assert dataset.details.get("packed") == {".gz": "gzip", ".bz2": "bzip2", ".zst": "zstd"}.get(suffix)
    path.write_bytes(pack(LINES.encode() * 500)[:-200] if suffix != ".zst" else pack(os.urandom(5000))[:2000])
    if suffix:
        with pytest.raises(StudioError, match="damaged"):
            open_dataset(path)


def test_parallel_text(tmp_path: Path) -> None:
    (tmp_path / "x.en").write_text("one\ntwo\n\nfour\n")
    (tmp_path / "x.de").write_bytes(gzip.compress("eins\nzwei\n\nvier\nfünf\n".encode()))
    rows = [
        {"en": "one", "de": "eins"},
        {"en": "two", "de": "zwei"},
        {"en": "", "de": ""},
        {"en": "four", "de": "vier"},
    ]
    for name in (tmp_path, tmp_path / "x", tmp_path / "x.*", tmp_path / "x.{en,de}"):
        dataset = open_dataset(name)
        assert list(dataset) == rows, name
        assert [(problem.line, problem.kept) for problem in dataset.problems] == [(5, False)]
        assert "no line 5 in x.en" in dataset.problems[0].reason
    assert list(open_dataset(tmp_path / "x.en", reading=Reading(pair="x.de"))) == rows
    with pytest.raises(StudioError, match=r"x\.fr"):
        open_dataset(tmp_path / "x.en", reading=Reading(pair="x.fr"))
    assert open_dataset(tmp_path / "x").hash != open_dataset(tmp_path / "x.{de,en}").hash


def picture(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"\xff\xd8\xff\xe0 no more than a head")
    return path


def test_pictures_named_by_a_table(tmp_path: Path) -> None:
    for number in (1, 2, 3):
        picture(tmp_path / "images" / f"{number}.jpg")
    (tmp_path / "table.csv").write_text("id,caption\n1,a cat\n2,a dog\n3,a bird\n")
    for name in (tmp_path, tmp_path / "table.csv"):
        dataset = open_dataset(name)
        assert dataset[1] == {"id": "2", "caption": "a dog", "image": str(tmp_path / "images/2.jpg")}
        assert dataset.columns[-1].type == "image"
    (tmp_path / "table.csv").write_text("".join(f"{n},c {n}\n" for n in (1, 2, 3, 1, 2, 3, 9)))
    dataset = open_dataset(tmp_path / "table.csv", header=False)
    assert dataset[6]["image"] == "9"  # as it stands there, so that it can be told
    assert [(problem.line, problem.kept) for problem in dataset.problems] == [(7, True)]
    (tmp_path / "metadata.jsonl").write_text('{"file_name": "images/3.jpg", "text": "a bird"}\n')
    assert open_dataset(tmp_path)[0]["image"] == str(tmp_path / "images/3.jpg")
    with pytest.raises(StudioError, match="No column"):
        open_dataset(tmp_path / "table.csv", reading=Reading(images="images", header=False, delimiter=";"))


def test_pictures_in_a_folder_a_class(tmp_path: Path) -> None:
    cat, dog = picture(tmp_path / "cat" / "1.png"), picture(tmp_path / "dog" / "1.png")
    dataset = open_dataset(tmp_path)
    assert list(dataset) == [{"image": str(cat), "label": "cat"}, {"image": str(dog), "label": "dog"}]
    assert dataset.format == "images"


@pytest.fixture
def database(tmp_path: Path) -> Path:
    path = tmp_path / "a.sqlite"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE pairs (prompt TEXT, completion TEXT)")
        connection.executemany("INSERT INTO pairs VALUES (:prompt, :completion)", ROWS * 100)
        connection.execute("DELETE FROM pairs WHERE rowid % 7 = 0")
    connection.close()
    return path


def test_sqlite(database: Path) -> None:
    before = database.read_bytes()
    dataset = open_dataset(database)
    wanted = [row for number, row in enumerate(ROWS * 100, 1) if number % 7]
    assert list(dataset) == wanted
    assert dataset[-1] == wanted[-1]
    assert (dataset.format, dataset.details["table"]) == ("sqlite", "pairs")
    assert database.read_bytes() == before
    assert sorted(path.name for path in database.parent.iterdir()) == [database.name]


def test_sqlite_tables(database: Path) -> None:
    with sqlite3.connect(database) as connection:
        connection.execute('CREATE TABLE "odd ""name" (k TEXT PRIMARY KEY, "a b" BLOB) WITHOUT ROWID')
        connection.executemany(
            'INSERT INTO "odd ""name" VALUES (?, ?)', [(f"k{n:04}", b"\xff\x00") for n in range(300)]
        )
        connection.execute("CREATE TABLE bare (a)")
    connection.close()
    with pytest.raises(UsageError, match="3 tables") as caught:
        open_dataset(database)
    assert "pairs" in caught.value.hint
    dataset = open_dataset(database, reading=Reading(table='odd "name'))
    assert len(dataset) == 300
    assert dataset[299] == {"k": "k0299", "a b": "\\xff\x00"}
    with pytest.raises(UsageError, match="no table") as caught:
        open_dataset(database, reading=Reading(table="pears"))
    assert "pairs" in caught.value.hint
    with pytest.raises(StudioError, match="no rows"):
        open_dataset(database, reading=Reading(table="bare"))


@QUICK
@given(st.integers(0, 12000), st.binary(min_size=1, max_size=40))
def test_damaged_databases_are_told(tmp_path: Path, place: int, noise: bytes) -> None:
    path = tmp_path / "a.db"
    if not path.exists():
        with sqlite3.connect(path) as connection:
            connection.execute("CREATE TABLE pairs (prompt TEXT, completion TEXT)")
            connection.executemany("INSERT INTO pairs VALUES (:prompt, :completion)", ROWS * 40)
        connection.close()
    whole = path.read_bytes()
    harmed = tmp_path / "b.db"
    harmed.write_bytes(whole[:place] + noise + whole[place + len(noise) :])
    said = None
    try:
        dataset = open_dataset(harmed)
        assert len(list(dataset)) == len(dataset)
    except StudioError as error:
        said = error
    assert said is None or said.hint


def test_folders(tmp_path: Path) -> None:
    for number in range(3):
        (tmp_path / f"train-{number:05}-of-00003.jsonl").write_text(LINES)
    (tmp_path / "test-00000-of-00001.jsonl").write_text(LINES)
    (tmp_path / "README.md").write_text("# about")
    dataset = open_dataset(tmp_path)
    assert list(dataset) == ROWS * 3
    assert dataset[-1] == ROWS[-1]
    assert dataset.details["files"] == 3
    assert len(dataset.files) == 3
    assert dataset.path is None
    assert len(open_dataset(tmp_path, split="test")) == 5
    other = tmp_path / "parts"
    other.mkdir()
    (other / "a.jsonl").write_text(LINES)
    (other / "b.jsonl").write_text(LINES)
    (other / "test.jsonl").write_text('{"prompt": "held out", "completion": "x"}\n')
    assert list(open_dataset(other)) == ROWS * 2  # what is called test is no training row
    (other / "c.jsonl").write_text('{"text": "other columns"}\n')
    with pytest.raises(StudioError, match="different columns"):
        open_dataset(other)
    assert len(open_dataset(other / "*.jsonl")) == 12
    hub = tmp_path / "hub"
    (hub / "data").mkdir(parents=True)
    (hub / "data" / "train-00000-of-00001.csv").write_text("prompt,completion\na,b\n")
    assert list(open_dataset(hub)) == [{"prompt": "a", "completion": "b"}]


def test_few_shot_sets_of_several_sizes(tmp_path: Path) -> None:
    for name, count in (("train_5", 2), ("train_10", 4), ("valid", 3), ("training", 9)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "rows.jsonl").write_text('{"text": "a", "label": "b"}\n' * count)
    assert len(open_dataset(tmp_path)) == 9  # called so exactly
    (tmp_path / "training" / "rows.jsonl").unlink()
    (tmp_path / "training").rmdir()
    found = open_dataset(tmp_path)
    assert (len(found), found.details["folder"], found.details["others"]) == (4, "train_10", "train_5")
    assert [len(open_dataset(tmp_path, split=name)) for name in ("eval", "train_5")] == [3, 2]


def test_patterns(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "a.jsonl").write_text(LINES)
    (tmp_path / "deep" / "b.jsonl").write_text('{"prompt": "p"}\nnonsense\n')
    (tmp_path / "empty.jsonl").write_text("")
    dataset = open_dataset("**/*.jsonl", relative_to=tmp_path)
    assert list(dataset) == [*ROWS, {"prompt": "p"}]
    assert dataset.unread == 1
    assert dataset.problems[0].reason.endswith("(b.jsonl)")
    with pytest.raises(StudioError, match="No file matches"):
        open_dataset(tmp_path / "*.csv")


def test_standard_input(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Pipe:
        def __init__(self, data: bytes, terminal: bool = False) -> None:
            self.buffer, self.terminal = io.BytesIO(data), terminal

        def isatty(self) -> bool:
            return self.terminal

    monkeypatch.setattr(sys, "stdin", Pipe(LINES.encode()))
    dataset = open_dataset("-")
    (tmp_path / "same").write_text(LINES)
    assert list(dataset) == ROWS
    assert (dataset.path, dataset.source, dataset.format) == (None, "-", "jsonl")
    assert dataset.hash == open_dataset(tmp_path / "same").hash
    monkeypatch.setattr(sys, "stdin", Pipe(gzip.compress(b"a,b\n1,2\n")))
    assert list(open_dataset("-", reading=Reading(format="csv"))) == [{"a": "1", "b": "2"}]
    monkeypatch.setattr(sys, "stdin", Pipe(b""))
    with pytest.raises(StudioError, match="standard input is empty"):
        open_dataset("-")
    monkeypatch.setattr(sys, "stdin", Pipe(b"", terminal=True))
    with pytest.raises(UsageError, match="standard input"):
        open_dataset("-")


def test_parquet_in_one_big_group_is_read_anywhere(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pa.table(
        {
            "n": list(range(60_000)),
            "text": [f"{n} " + "x" * 300 for n in range(60_000)],
            "kind": pa.array([f"k{n % 3}" for n in range(60_000)]).dictionary_encode(),
        }
    )
    pq.write_table(table, tmp_path / "a.parquet", row_group_size=60_000, compression="none", use_dictionary=False)
    pq.write_table(table, tmp_path / "b.parquet", row_group_size=1000)
    for name in ("a", "b"):
        dataset = open_dataset(tmp_path / f"{name}.parquet")
        assert len(dataset) == 60_000
        for index in (0, 59_999, 1023, 1024, 31_415):
            assert dataset[index] == {"n": index, "text": f"{index} " + "x" * 300, "kind": f"k{index % 3}"}
        assert [column.type for column in dataset.columns] == ["integer", "text", "text"]
    with pa.OSFile(str(tmp_path / "c.arrow"), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)
    assert open_dataset(tmp_path / "c.arrow")[59_999]["kind"] == "k2"


def test_plain_text_by_unit(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("One.\nstill one.\n\n \nTwo.\n\nThree\n")
    texts = {unit: [row["text"] for row in open_dataset(path, reading=Reading(unit=unit))] for unit in UNITS}
    assert texts["line"] == ["One.", "still one.", "", " ", "Two.", "", "Three"]
    assert texts["paragraph"] == ["One.\nstill one.", "Two.", "Three"]
    assert texts["whole"] == [path.read_text()]


def test_a_folder_of_texts(tmp_path: Path) -> None:
    for name, content in (("b.txt", "bee\n\nbuzz\n"), ("a.md", "ay\n"), ("LICENSE.txt", "not data\n")):
        (tmp_path / name).write_text(content)
    assert [row["text"] for row in open_dataset(tmp_path)] == ["ay", "bee", "", "buzz"]
    whole = open_dataset(tmp_path, reading=Reading(unit="whole"))
    assert [row["text"] for row in whole] == ["ay\n", "bee\n\nbuzz\n"]
    assert whole.details["files"] == 2


UNITS = ("line", "paragraph", "whole")


@QUICK
@given(st.text(st.sampled_from("ab é😀.\n\t"), min_size=1, max_size=300), st.integers(20, 60), st.integers(0, 10))
def test_chunks_lose_nothing(tmp_path: Path, text: str, size: int, overlap: int) -> None:
    path = tmp_path / "a.txt"
    path.write_text(text, newline="")
    if not text.strip(" \n\t"):
        return
    pieces = [row["text"] for row in open_dataset(path, reading=Reading(chunk=size))]
    assert "".join(pieces) == text
    assert all(0 < len(piece) <= size for piece in pieces)
    pieces = [row["text"] for row in open_dataset(path, reading=Reading(chunk=size, overlap=overlap))]
    whole = pieces[0]
    for piece in pieces[1:]:
        most = max(shared for shared in range(overlap + 1) if whole.endswith(piece[:shared]))
        whole += next(piece[n:] for n in range(most, -1, -1) if text.startswith(whole + piece[n:]))
    assert whole == text


def test_lines_that_begin_with_a_label(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("".join(f"__label__{'ab'[n % 2]} text number {n}\n" for n in range(20)))
    assert open_dataset(path)[1] == {"label": "b", "text": "text number 1"}
    assert open_dataset(path, reading=Reading(label=False)).names == ["text"]
    path.write_text("".join(f"{n} is the number of this line\n" for n in range(40)))
    assert open_dataset(path).names == ["text"]
    path.write_text("good it is\nbad it was\n")
    assert open_dataset(path, reading=Reading(label=True))[1] == {"label": "bad", "text": "it was"}


def test_words_that_begin_like_comments_stay_in_their_sentences(tmp_path: Path) -> None:
    path = tmp_path / "tweets.conll"
    path.write_text("# tweet one\n#sun HT\nis VERB\n# SYM\n5 NUM\n# another comment line\nnow HT\n\n#moon HT\n")
    assert [row["tokens"] for row in open_dataset(path)] == [["#sun", "is", "#", "5", "now"], ["#moon"]]
    path.write_text("# doc\nAda B-PER\n# Note\n#sun O\nsang O\n")
    assert [row["tokens"] for row in open_dataset(path)] == [["Ada", "#sun", "sang"]]


def test_several_labels_a_line(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("__label__neg __label__spam buy now\n" + "__label__pos fine\n__label__neg bad\n" * 10)
    dataset = open_dataset(path)
    assert [dataset[n] for n in (0, 1)] == [
        {"label": ["neg", "spam"], "text": "buy now"},
        {"label": ["pos"], "text": "fine"},
    ]
    shape = recognise(dataset, task="text-classification")
    assert shape.columns == {"text": "text", "label": "label"}


def test_pieces_of_a_split_file_are_no_languages(tmp_path: Path) -> None:
    for number, end in enumerate(("aa", "ab")):
        (tmp_path / f"x.{end}").write_text("".join(f'{{"a": {number * 3 + n}}}\n' for n in range(3)))
        (tmp_path / f"y.{('en', 'de')[number]}").write_text('{"a": 1}\n')
        (tmp_path / f"z.{('en', 'de')[number]}").write_text("word\n")
    assert [row["a"] for row in open_dataset(tmp_path / "x.*")] == list(range(6))
    assert open_dataset(tmp_path / "y.*").names == ["a"]
    assert open_dataset(tmp_path / "z.*").names == ["en", "de"]


def test_a_pattern_leaves_out_what_is_about_the_data(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("# about\n")
    (tmp_path / "a.jsonl").write_text('{"a": 1}\n')
    assert list(open_dataset(tmp_path / "*")) == [{"a": 1}]
    assert list(open_dataset(tmp_path / "READ*")) == [{"text": "# about"}]
