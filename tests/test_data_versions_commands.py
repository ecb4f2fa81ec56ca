"""`ftstudio data` makes, lists, compares and exports versions without a screen."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ftstudio.cli import main

ROWS = [{"prompt": f"question {n}", "completion": f" answer {n}"} for n in range(8)]


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    path = tmp_path / "tickets.jsonl"
    odd = [
        ROWS[0],
        {"prompt": "cafÃ©", "completion": "=1+1"},
        {"prompt": "empty", "completion": ""},
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in [*ROWS, *odd]), "utf-8")
    return path


def told(capfd: pytest.CaptureFixture[str], *words: object, status: int | None = 0) -> Any:
    capfd.readouterr()
    assert main(["data", *map(str, words), "--json"]) == status or status is None
    return json.loads(capfd.readouterr().out)


def said(capfd: pytest.CaptureFixture[str], *words: object, status: int = 0) -> str:
    capfd.readouterr()
    assert main(["data", *map(str, words)]) == status
    output, errors = capfd.readouterr()
    return output + errors


def test_from_repairs_to_versions_to_files(tmp_path: Path, rows: Path, capfd: pytest.CaptureFixture[str]) -> None:
    before = rows.read_bytes()
    place = tmp_path / "elsewhere"
    command = (rows, "--workspace", place)
    assert told(capfd, *command, "--versions")["versions"] == []
    done = told(
        capfd,
        *command,
        "--repair",
        "exact_duplicate,empty",
        "--repair",
        "strip",
        "--why",
        "for the test",
    )
    assert done["version"] == "tickets@1"
    assert done["counts"] == {"rows": 9, "changed": 8, "dropped": 2, "added": 0}
    assert [repair["check"] for repair in done["repairs"]] == [
        "exact_duplicate",
        "empty",
        None,
    ]
    assert told(capfd, "tickets@1", "--workspace", place, "--repair", "fix_text")["version"] == "tickets@2"
    assert rows.read_bytes() == before

    listed = told(capfd, *command, "--versions")
    assert [(item["version"], item["parent"], item["intact"]) for item in listed["versions"]] == [
        ("tickets@1", "source", True), ("tickets@2", "1", True),
    ]  # fmt: skip
    assert listed["versions"][0]["why"] == "for the test"
    text = said(capfd, "tickets", "--workspace", place, "--versions")
    assert "tickets@2" in text
    assert "8 changed, 2 dropped" in text

    found = told(capfd, *command, "--diff", "1", "latest")
    assert found["counts"] == {"added": 0, "dropped": 0, "changed": 1, "same": 8}
    assert found["changed"][0]["cells"] == [{"column": "prompt", "before": "cafÃ©", "after": "café"}]
    text = said(capfd, *command, "--diff", "source", "2")
    assert "9 rows changed, 2 dropped, 0 added, 0 the same" in text
    assert "- row 10  prompt: empty" in text
    assert "- cafÃ©" in said(capfd, *command, "--diff", "1", "2")

    out = tmp_path / "out.csv"
    written = told(capfd, "tickets@2", "--workspace", place, "--export", out)["export"]
    assert (written["rows"], written["format"]) == (9, "csv")
    assert "1 cells begin like a formula" in written["notes"][0]
    assert "café,'=1+1" in out.read_text("utf-8")
    assert "is there already and stays" in said(capfd, "tickets@2", "--workspace", place, "--export", out, status=1)
    said(capfd, "tickets@2", "--workspace", place, "--export", out, "--force")
    value = told(capfd, "tickets@latest", "--workspace", place)  # checks and profile work on versions, too
    assert value["rows"] == 9


@pytest.mark.parametrize(
    ("words", "status", "text"),
    [
        (("--diff", "1", "2"), 2, "has no versions yet"),
        (("--repair", "polish"), 2, "no repair for 'polish'"),
        (("--repair", "empty=polish"), 2, "no repair for 'empty=polish'"),
        (("--repair", "empty", "--task", "text-clasification"), 2, "Did you mean text-classification?"),
        (("--repair", "empty", "--task", "token-classification"), 2, "no columns for token-classification"),
        (("--repair", "empty", "--repair", "cut_by_max_length"), 2, "without a tokenizer: --model MODEL --max-length"),
        (("--repair", "cut_by_max_length", "--model", "demo"), 2, "without a length to cut at: --max-length N"),
        (("--repair", "near_leak"), 2, "without held-out rows: --eval FILE"),
        (("--versions", "--export", "x.csv"), 2, "at a time"),
        (("--export", "x.doc"), 2, "no ending"),
    ],
)
def test_what_cannot_be_done_is_said(
    rows: Path,
    capfd: pytest.CaptureFixture[str],
    words: tuple[str, ...],
    status: int,
    text: str,
) -> None:
    output = said(capfd, rows, *words, status=status)
    assert text in output
    assert output.count("\n") == 1


def test_a_changed_version_is_found_out(tmp_path: Path, rows: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = Path(told(capfd, rows, "--repair", "strip")["path"]) / "rows.jsonl"
    path.chmod(0o644)
    path.write_bytes(path.read_bytes().replace(b"answer 1", b"answer 9"))
    assert told(capfd, rows, "--versions", status=1)["versions"][0]["intact"] is False
    assert "not what was saved" in said(capfd, rows, "--versions", status=1)


def test_nothing_to_repair_makes_no_version(rows: Path, capfd: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert told(capfd, rows, "--repair", "last_turn")["version"] is None
    assert "no version was made" in said(capfd, rows, "--repair", "last_turn")
    assert not (tmp_path / "studio").exists()


def test_a_repair_mends_what_the_check_has_found(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Both take rows of labels for those, whether or not a task is named: as running text every second would repeat."""
    path = tmp_path / "twice.jsonl"
    rows = [{"text": f"a text about the thing {n // 2}", "label": "no" if n % 2 else "yes"} for n in range(20)]
    rows.append(rows[0])
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    names = "exact_duplicate,conflicting_answers"
    for words in ((), ("--task", "text-classification"), ("--column", "text=text", "--column", "label=label")):
        command = (path, *words, "--workspace", tmp_path / f"place{len(words)}")
        found = told(capfd, *command, "--checks", names)
        assert [(check["name"], check["count"]) for check in found["checks"]] == [
            ("exact_duplicate", 1), ("conflicting_answers", 21),
        ]  # fmt: skip
        done = told(capfd, *command, "--repair", "exact_duplicate")
        assert done["counts"]["dropped"] == 1
        assert {key: done[key] for key in ("task", "shape", "mapping")} == {
            key: found[key] for key in ("task", "shape", "mapping")
        }
    text = said(capfd, path, "--repair", "conflicting_answers", "--workspace", tmp_path / "other")
    assert "read as text-label for text-classification: text ← text, label ← label" in text


def test_what_tokens_tell_is_repaired_too(tmp_path: Path, rows: Path, capfd: pytest.CaptureFixture[str]) -> None:
    mark = "</s>"
    row = {"prompt": f"what ends {mark} here", "completion": "a word " * 60}
    with rows.open("a") as file:
        file.write(json.dumps(row) + "\n")
    through = ("--model", "demo", "--max-length", "40")
    found = {check["name"]: check for check in told(capfd, rows, *through, status=None)["checks"]}
    assert found["cut_by_max_length"]["rows"] == [11]
    assert found["special_tokens"]["rows"] == [11]
    done = told(capfd, rows, *through, "--repair", "special_tokens", "--workspace", tmp_path / "a")
    assert done["counts"] == {"rows": 12, "changed": 1, "dropped": 0, "added": 0}
    done = told(capfd, rows, *through, "--repair", "cut_by_max_length", "--workspace", tmp_path / "b")
    assert done["counts"] == {"rows": 11, "changed": 0, "dropped": 1, "added": 0}


def test_held_out_rows_are_read_as_they_are_for_the_checks(
    tmp_path: Path, rows: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    held = tmp_path / "held.txt"
    held.write_text("question 1|answer 1\nquestion 2|answer 2\n")
    words = ("format=csv", "delimiter=bar", "header=no", "--eval", held)
    train = tmp_path / "rows.txt"
    train.write_text("".join(f"question {n}|answer {n}\n" for n in range(9)))
    columns = ("--column", "prompt=column_1", "--column", "completion=column_2")
    found = told(capfd, train, *words, *columns, "--checks", "exact_leak", status=1)
    assert [check["count"] for check in found["checks"]] == [2]
    assert told(capfd, train, *words, *columns, "--repair", "exact_leak")["counts"]["dropped"] == 2


def test_a_difference_shows_no_personal_data():
    from ftstudio.cli.versions import _around

    before, after = _around("Write to anna.berg@mail.example today", "Write to anna.berg@mail.example now")
    assert before.startswith("Write to a•")
    assert after.endswith("now")
    before, after = _around("to anna.berg@mail.example", "to ada.lund@mail.example ")
    assert "@" not in before + after
    hidden = _around("key AKIA0123456789ABCDEF", "key AKIAFEDCBA9876543210")
    assert "0123" not in hidden[0]
    assert hidden[1].endswith("(differs in what is masked)")
