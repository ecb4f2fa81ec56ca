"""What `--json` prints on a terminal: JSON, and nothing that the terminal obeys."""

from __future__ import annotations

import json
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ftstudio.cli import main, parser
from ftstudio.cli.output import _json


@given(st.dictionaries(st.text(max_size=5), st.text(max_size=40), max_size=3))
def test_it_reads_back_as_it_was_and_steers_no_terminal(value: dict[str, str]) -> None:
    said = _json(value, indent=1)
    assert json.loads(said) == value
    assert not {sign for sign in said if unicodedata.category(sign) == "Cc"} - {"\n"}


def test_what_was_typed_wrong_is_json_too(capfd: pytest.CaptureFixture[str]) -> None:
    for words in (["runs", "--json", "--bogus"], ["nonsense", "--json"], ["launch", "demo", "--gpus", "x", "--json"]):
        with pytest.raises(SystemExit) as ended:
            main(words)
        out, err = capfd.readouterr()
        assert ended.value.code == 2
        assert json.loads(out)["error"]["code"] == 2
        assert len(err.strip().splitlines()) == 1


@pytest.mark.parametrize(
    "line",
    ["", "--json", "--workspace runs", "--no-mouse --work=y", "-h", "--workspace", "runs", "--nope", "--json=3", "--"],
)
def test_without_a_command_the_quick_way_understands_what_the_whole_one_does(line: str) -> None:
    alone = parser._without_command(line.split())
    if line.split()[:1] in ([], ["--json"], ["--workspace"], ["--no-mouse"]) and line != "--workspace":
        assert (alone, []) == parser.build().parse_known_args(line.split())
    else:
        assert alone is None  # the whole one tells


def test_control_and_direction_marks_are_escapes() -> None:
    hostile = {"output": "\x9b31m\u202eabc\u2066\x7f\u2028", "fine": "Zürich – 東京 €"}
    said = _json(hostile)
    assert json.loads(said) == hostile
    assert "\\u009b31m\\u202eabc\\u2066\\u007f\\u2028" in said
    assert "Zürich – 東京 €" in said
