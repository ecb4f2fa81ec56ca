"""Damaged journals and versions: one sentence or nothing lost but what was damaged; never a traceback."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ftstudio.core.errors import StudioError
from ftstudio.data.dataset import from_rows
from ftstudio.data.versions import store
from ftstudio.data.versions.actions import add, drop, set_cell
from ftstudio.data.versions.pending import Pending
from ftstudio.data.versions.shelf import DatasetFolder, Shelf

ROWS = [{"a": f"row {n}", "b": n} for n in range(6)]


def pending_in(folder: Path) -> Pending:
    return Pending.of_source(Shelf(folder), from_rows(ROWS, str(folder / "x")))


PIECES = (b"", None, b"\n", b"{}", b"null", b"[]", b'"', b"\x00\xff", b"-1")  # None: what is there, twice
HARM = st.lists(st.tuples(st.floats(0, 1), st.integers(0, 80), st.sampled_from(PIECES)), min_size=1, max_size=4)


def harmed(data: bytes, harm: list[tuple[float, int, bytes | None]]) -> bytes:
    """DATA with a few pieces cut out, doubled, or written over."""
    for where, length, new in harm:
        start = int(where * len(data))
        old = data[start : start + length]
        data = data[:start] + (old * 2 if new is None else new) + data[start + length :]
    return data


def edited_in(folder: Path) -> Pending:
    """Edits of every kind, one taken back and done again."""
    pending = pending_in(folder)
    pending.do(set_cell(pending.working, 0, "a", "new"))
    pending.do(lambda working: add(working, [{"a": "added"}], after=1))
    pending.do(lambda working: drop(working, [2, 5]))
    pending.undo()
    pending.redo()
    return pending


@settings(max_examples=20, deadline=None)
@given(HARM)
def test_a_damaged_journal_can_be_gone_on_with(tmp_path_factory: pytest.TempPathFactory, harm: Any) -> None:
    folder = tmp_path_factory.mktemp("journal")
    pending = edited_in(folder)
    journal = pending.folder.journal("source")
    journal.write_bytes(harmed(journal.read_bytes(), harm))
    again = pending_in(folder)
    again.accept()
    list(again.working.dataset.iter())
    again.do(lambda working: add(working, [{"a": "after all"}]))
    later = pending_in(folder)
    later.accept()
    assert {"a": "after all"} in list(later.working.dataset.iter())
    again.undo()
    again.redo()


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.sampled_from(["", "x", "source", "0"]),
    lambda inner: (
        st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(["change", "kind", "a"]), inner, max_size=2)
    ),
    max_leaves=3,
)


def replaced(value: Any, place: int, new: Any) -> tuple[Any, int]:
    """VALUE with its PLACE-th part (counted through) replaced by NEW."""
    if place == 0:
        return new, -1
    place -= 1
    if isinstance(value, dict):
        value = dict(value)
    elif isinstance(value, list):
        value = list(value)
    else:
        return value, place
    for key in list(value) if isinstance(value, dict) else range(len(value)):
        if place >= 0:
            value[key], place = replaced(value[key], place, new)
    return value, place


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 5), st.integers(0, 25), JSON)
def test_a_line_may_say_anything(tmp_path_factory: pytest.TempPathFactory, line: int, place: int, new: Any) -> None:
    folder = tmp_path_factory.mktemp("lines")
    pending = edited_in(folder)
    journal = pending.folder.journal("source")
    lines = [json.loads(text) for text in journal.read_text().splitlines()]
    lines[line % len(lines)], _ = replaced(lines[line % len(lines)], place, new)
    journal.write_text("".join(json.dumps(value) + "\n" for value in lines))
    again = pending_in(folder)
    again.accept()
    list(again.working.dataset.iter())
    again.do(lambda working: add(working, [{"a": "after all"}]))
    assert {"a": "after all"} in list(pending_in(folder).working.dataset.iter())


@settings(max_examples=20, deadline=None)
@given(HARM, st.sampled_from(["version.json", "keys.json", "rows.jsonl", "repairs.jsonl"]))
def test_a_damaged_version_is_told(tmp_path_factory: pytest.TempPathFactory, harm: Any, name: str) -> None:
    folder = tmp_path_factory.mktemp("version")
    pending = pending_in(folder)
    pending.do(lambda working: drop(working, [2]))
    version = pending.save()
    path = version.path / name
    path.chmod(0o644)
    path.write_bytes(harmed(path.read_bytes(), harm))
    with contextlib.suppress(StudioError):
        found = store.read(DatasetFolder(version.folder.path), 1)
        store.verify(found)
        dataset, keys = store.open_version(found)
        assert len(list(dataset.iter())) == len(keys) == 5
    pending_in(folder).do(set_cell(pending_in(folder).working, 0, "a", "the source can be edited all the same"))


@pytest.mark.parametrize(
    "value", [None, [], {"versions": 3}, {"rows": "many", "bytes": 0}, {"columns": 5}, {"details": 1}]
)
def test_any_json_in_place_of_what_is_told_of_a_version(tmp_path: Path, value: Any) -> None:
    pending = pending_in(tmp_path)
    pending.do(lambda working: drop(working, [2]))
    version = pending.save()
    path = version.path / "version.json"
    path.chmod(0o644)
    path.write_text(json.dumps(value))
    with pytest.raises(StudioError):
        store.open_version(store.read(version.folder, 1))
