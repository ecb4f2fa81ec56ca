"""Files survive kills, torn lines and full disks."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ftstudio.core import files
from ftstudio.core.errors import StudioError

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(),
    lambda s: st.lists(s, max_size=4) | st.dictionaries(st.text(), s, max_size=4),
    max_leaves=8,
)


@given(st.lists(st.dictionaries(st.text(), JSON, max_size=4), max_size=6))
def test_lines_come_back_as_they_were_written(tmp_path_factory: pytest.TempPathFactory, rows: list[dict]) -> None:
    path = tmp_path_factory.mktemp("lines") / "a.jsonl"
    files.LineWriter(path).append(*rows)
    assert files.read_lines(path) == rows


def test_a_torn_last_line_is_skipped_and_never_swallows_the_next(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    path.write_text('{"a":1}\n{"a":2,"tor')
    reader = files.LineReader(path)
    assert reader.poll() == [{"a": 1}]
    files.LineWriter(path).append({"a": 3})
    assert reader.poll() == [{"a": 3}]
    assert reader.skipped == 1


def test_a_line_is_read_once_and_only_when_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    reader = files.LineReader(path)
    assert reader.poll() == []
    with path.open("ab") as file:
        file.write(b'{"a":')
        file.flush()
        assert reader.poll() == []
        file.write(b"1}\n")
        file.flush()
        assert reader.poll() == [{"a": 1}]
        assert reader.poll() == []


def test_a_file_made_anew_is_read_from_its_beginning_however_long_it_is(tmp_path: Path) -> None:
    path = tmp_path / "outputs.jsonl"
    files.LineWriter(path).append(*({"old": number} for number in range(50)))
    reader = files.LineReader(path)
    assert (len(reader.poll()), reader.restarted) == (50, False)
    path.rename(tmp_path / "outputs.old-1.jsonl")
    assert (reader.poll(), reader.restarted) == ([], False)
    files.LineWriter(path).append(*({"new": number, "text": "longer"} for number in range(50)))
    assert reader.poll() == [{"new": number, "text": "longer"} for number in range(50)]
    assert (reader.restarted, reader.skipped) == (True, 0)
    assert (reader.poll(), reader.restarted) == ([], False)
    files.write_lines(path, [{"new": number, "text": "LONGER"} for number in range(50)])  # as long to the byte
    assert (len(reader.poll()), reader.restarted) == (50, True)


def test_many_processes_append_without_mixing(tmp_path: Path) -> None:
    path = tmp_path / "control.jsonl"
    program = (
        "import sys; from pathlib import Path; from ftstudio.core.files import LineWriter\n"
        "w = LineWriter(Path(sys.argv[1]))\nfor i in range(100): w.append({'who': sys.argv[2], 'i': i, 'x': 'y' * 200})"
    )
    started = [subprocess.Popen([sys.executable, "-c", program, str(path), str(n)]) for n in range(3)]
    assert [p.wait() for p in started] == [0, 0, 0]
    rows = files.read_lines(path)
    for who in "012":
        assert [row["i"] for row in rows if row["who"] == who] == list(range(100))


def test_replacing_keeps_the_old_file_when_it_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.json"
    files.write_json(path, {"old": True})

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(StudioError, match="The disk is full"):
        files.write_json(path, {"new": True})
    assert json.loads(path.read_text()) == {"old": True}
    assert [p.name for p in tmp_path.iterdir()] == ["a.json"], "nothing half-written is left"


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small file system needs root")
def test_a_really_full_disk_is_one_sentence(tmp_path: Path) -> None:
    mount = tmp_path / "small"
    mount.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(mount)], capture_output=True).returncode:
        pytest.skip("this machine doesn't let us mount")
    try:
        with pytest.raises(StudioError, match="The disk is full"):
            files.write(mount / "big", b"x" * 200_000)
        assert list(mount.iterdir()) == []
    finally:
        subprocess.run(["umount", str(mount)], check=False)
