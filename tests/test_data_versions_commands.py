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


def told(capfd: pytest.CaptureFixture[str], *words: object, status: int = 0) -> Any:
    capfd.readouterr()
    assert main(["data", *map(str, words), "--json"]) == status
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
