"""How a file is read is shown and can be told: in a recipe, on the command line; what couldn't be read is kept."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path

import pytest

from ftstudio.cli import main
from ftstudio.core.errors import UsageError
from ftstudio.core.reading import Reading, parse
from ftstudio.data.aside import Aside, keep_aside
from ftstudio.data.read import open_dataset
from ftstudio.engine.materials import open_materials
from ftstudio.engine.recipes import check_recipe


def command(capfd: pytest.CaptureFixture[str], *words: str, status: int = 0) -> dict:
    assert main([*words, "--json"]) == status
    return json.loads(capfd.readouterr().out)


def test_words() -> None:
    found = parse(["delimiter=tab", "data.reading.header=false", "reading.chunk=300", "encoding=UTF_8", "unit=auto"])
    assert found == Reading(delimiter="\t", header=False, chunk=300, encoding="utf-8")
    assert found.set == {"delimiter": "\t", "header": False, "chunk": 300, "encoding": "utf-8"}
    assert parse([]).set == {}


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("delimitr=;", "Did you mean delimiter"),
        ("nonsense=1", "There are: format"),
        ("header", "Write key=value"),
        ("header=maybe", "header"),
        ("delimiter=ab", "one character"),
        ("delimiter=\n", "one character"),
        ("encoding=klingon", "no encoding"),
        ("encoding=rot13", "no encoding of text"),
        ("chunk=3", "greater than or equal to 20"),
        ("overlap=10", "overlap needs a chunk"),
        ("format=docx", "'jsonl'"),
    ],
)
def test_faulty_words_name_what_is_right(word: str, said: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse([word])
    assert said in str(caught.value)
    assert caught.value.code == 2


def test_the_command_shows_how_a_file_is_read(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes("prompt;completion\r\ncaf\xe9;x\r\n".encode("latin-1"))
    found = command(capfd, "data", str(path))
    assert (found["rows"], found["format"], found["encoding"]) == (1, "csv", "latin-1")
    assert found["details"] == {"delimiter": ";", "quoted": False, "header": True, "line_ends": "CRLF"}
    found = command(capfd, "data", str(path), "delimiter=,", "header=false", "encoding=cp1252")
    assert (found["rows"], found["encoding"], found["details"]["delimiter"]) == (2, "cp1252", ",")
    assert found["reading"] == {"delimiter": ",", "header": False, "encoding": "cp1252"}
    assert main(["data", str(path), "delimiter=,"]) == 0
    assert "delimiter comma" in capfd.readouterr().out
    assert main(["data", str(path), "delimitr=,"]) == 2
    assert "Did you mean delimiter" in capfd.readouterr().err


def test_unread_rows_are_kept_in_the_workspace(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'{"prompt": "a", "completion": "b"}\nbroken \xff\n[1]\n')
    found = command(capfd, "data", str(path), status=1)
    assert (found["rows"], found["unread"]) == (1, 2)
    kept = Path(found["unread_file"])
    assert kept.is_relative_to(tmp_path / "studio")
    entries = [json.loads(line) for line in kept.read_text().splitlines()]
    assert [(entry["line"], entry["raw"]) for entry in entries] == [(2, "broken \\xff"), (3, "[1]")]
    assert command(capfd, "data", str(path), status=1)["unread_file"] == str(kept)
    path.write_bytes(b'{"prompt": "a", "completion": "b"}\nother\n')
    other = Path(command(capfd, "data", str(path), status=1)["unread_file"])
    assert other != kept
    assert kept.exists()
    assert main(["data", str(path)]) == 1
    assert str(other) in capfd.readouterr().out
    path.write_bytes(b'{"prompt": "a", "completion": "b"}\n')
    assert command(capfd, "data", str(path))["unread_file"] is None


def test_all_that_is_unread_is_kept(tmp_path: Path) -> None:
    """More than are listed, and more than stay in memory."""
    path = tmp_path / "a.jsonl"
    bad = [f"broken {n} " + "x" * 200 for n in range(12_000)]
    path.write_text('{"a": 1}\n' + "\n".join(bad) + "\n")
    dataset = open_dataset(path)
    assert (len(dataset), dataset.unread, len(dataset.problems)) == (1, 12_000, 10_000)
    kept = keep_aside(dataset, tmp_path / "kept")
    assert kept is not None
    assert [json.loads(line)["raw"] for line in kept.read_text().splitlines()] == bad


def test_two_asides_become_one(tmp_path: Path) -> None:
    whole, part = Aside(), Aside()
    part.add(3, "because", b"raw \xff")
    part.add(4, "mended", "x", kept=True)
    whole.take(part, "a.csv")
    assert (whole.gone, whole.kept) == (1, 1)
    assert [problem.reason for problem in whole.problems] == ["because (a.csv)", "mended (a.csv)"]
    assert list(whole.entries()) == [{"file": "a.csv", "line": 3, "reason": "because", "raw": "raw \\xff"}]


def test_standard_input(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    class Pipe:
        buffer = io.BytesIO(b"text,label\na good one,1\na bad one,0\n" * 1)

        def isatty(self) -> bool:
            return False

    monkeypatch.setattr(sys, "stdin", Pipe())
    found = command(capfd, "data", "-", "format=csv")
    assert (found["rows"], found["path"], found["task"]) == (2, None, "text-classification")
    assert found["mapping"] == {"text": "text", "label": "label"}


def test_a_task_is_asked_for(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"source": "a", "target": "b"}\n' * 3)
    found = command(capfd, "data", str(path))
    assert (found["task"], found["mapping"]) == ("seq2seq", {"source": "source", "target": "target"})
    assert [one["task"] for one in found["tasks"]] == ["seq2seq", "sft"]
    assert command(capfd, "data", str(path), "--task", "sft")["mapping"] == {"prompt": "source", "completion": "target"}


def test_recipes_tell_how_their_files_are_read(tmp_path: Path) -> None:
    for name in ("train", "eval"):
        (tmp_path / f"{name}.csv").write_text("".join(f'"q{n} of {name};a{n}\n' for n in range(4)))
    data = {
        "train": str(tmp_path / "train.csv"),
        "eval": str(tmp_path / "eval.csv"),
        "reading": {"delimiter": ";", "header": False, "quoted": False},
        "columns": {"prompt": "column_1", "completion": "column_2"},
    }
    materials = open_materials(check_recipe({"task": "sft", "model": "demo", "data": data}))
    assert materials.whole[0] == {"column_1": '"q0 of train', "column_2": "a0"}
    assert materials.held_out is not None
    assert materials.held_out[3]["column_2"] == "a3"
    with pytest.raises(UsageError, match="delimitr"):
        check_recipe({"task": "sft", "model": "demo", "data": {**data, "reading": {"delimitr": ";"}}})
