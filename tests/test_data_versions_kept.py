"""What is confirmed is kept: through crashes, with several studios at once, and in versions that never change."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from edited_rows import edited, equal
from hypothesis import given, settings
from hypothesis import strategies as st

from ftstudio.core.errors import StudioError, UsageError
from ftstudio.core.workspace import Workspace
from ftstudio.data.dataset import Dataset, Row
from ftstudio.data.read import open_dataset
from ftstudio.data.versions import address, store
from ftstudio.data.versions.actions import add, drop, duplicate, set_cell
from ftstudio.data.versions.diff import diff
from ftstudio.data.versions.edit import Conflict
from ftstudio.data.versions.identity import same
from ftstudio.data.versions.pending import Pending
from ftstudio.data.versions.shelf import Shelf

ROWS = [{"prompt": f"question {n}", "completion": f"answer {n}"} for n in range(10)]


def rows_file(path: Path, rows: list[Row] | None = None) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows or ROWS), "utf-8")
    return path


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return rows_file(tmp_path / "tickets.jsonl")


def opened(source: Path) -> Pending:
    return Pending.of_source(Shelf.of(Workspace()), open_dataset(source))


def texts(pending: Pending) -> list[str]:
    return [row["completion"] for row in pending.working.dataset.iter()]


def put(index: int, text: str) -> Any:
    return lambda working: set_cell(working, index, "completion", text)


# -- undo, redo, coming back -----------------------------------------------------------------------------------------
@settings(max_examples=20, deadline=None)
@given(edited(), st.lists(st.booleans(), max_size=12))
def test_undo_and_redo_go_back_and_forth(
    tmp_path_factory: pytest.TempPathFactory, case: Any, moves: list[bool]
) -> None:
    rows, _, oracle, edits = case
    folder = tmp_path_factory.mktemp("undo")
    dataset = Dataset(_list(rows), (), "memory", "utf-8", str(folder / "x"))
    pending = Pending.of_source(Shelf(folder), dataset)
    edits = [pending.do(edit) for edit in edits if edit.patches]
    assert equal(list(pending.working.dataset.iter()), oracle)
    states = [list(pending.working.dataset.iter())]
    done = len(edits)
    for _ in range(done):
        assert pending.undo() is not None
        states.append(list(pending.working.dataset.iter()))
    states.reverse()
    assert equal(states[0], rows)
    assert pending.undo() is None
    at = 0
    for forward in moves:
        found = pending.redo() if forward else pending.undo()
        step = 1 if forward and at < done else -1 if not forward and at > 0 else 0
        assert (found is None) == (step == 0)
        at += step
        assert equal(list(pending.working.dataset.iter()), states[at])
    again = Pending.of_source(Shelf(folder), dataset)  # another day
    assert equal(list(again.working.dataset.iter()), states[at])


def _list(rows: list[Row]) -> Any:
    from ftstudio.data.dataset import ListStore

    return ListStore(rows)


def test_a_new_edit_ends_what_could_be_done_again(source: Path) -> None:
    pending = opened(source)
    pending.do(put(0, "a"))
    pending.do(put(1, "b"))
    pending.undo()
    assert pending.redoable is not None
    assert opened(source).redoable is not None
    pending.do(put(2, "c"))
    assert pending.redo() is None
    assert texts(pending)[:3] == ["a", "answer 1", "c"]
    assert pending.do(put(2, "c")).patches == ()  # nothing to do, nothing kept
    assert [edit.text for edit in opened(source).edits] == ["Edit completion of row 0", "Edit completion of row 2"]


# -- several studios -------------------------------------------------------------------------------------------------
def test_two_studios_merge_and_neither_undoes_the_other(source: Path) -> None:
    one, two = opened(source), opened(source)
    one.do(put(0, "one"))
    two.do(put(1, "two"))
    one.do(lambda working: drop(working, [9]))
    assert two.refresh()
    assert texts(two)[:2] == ["one", "two"]
    assert len(two.working) == 9
    mine = two.undo()
    assert mine is not None
    assert mine.text == "Edit completion of row 1"
    assert two.undo() is None  # the others are one's
    one.refresh()
    assert texts(one)[:2] == ["one", "answer 1"]
    assert not one.refresh()


def test_the_same_row_in_two_studios_is_a_conflict_and_both_edits_are_told(source: Path) -> None:
    one, two = opened(source), opened(source)
    stale = set_cell(two.working, 3, "completion", "two")
    one.do(put(3, "one"))
    with pytest.raises(Conflict, match="Row 3 isn't what it was"):
        two.do(stale)
    assert texts(two)[3] == "one"  # it has seen the other's by now
    two.do(put(3, "two after one"))
    with pytest.raises(Conflict, match="another studio"):
        one.undo()
    assert texts(opened(source))[3] == "two after one"


def test_a_studio_follows_the_version_that_another_saved(source: Path) -> None:
    one, two = opened(source), opened(source)
    one.do(lambda working: drop(working, [0]))
    stale = set_cell(two.working, 5, "completion", "by key")  # row 5 is row 4 in the version
    made = one.save("first")
    assert (made.number, made.parent) == (1, "source")
    two.do(stale)
    assert two.base == "1"
    assert [edit.text for edit in two.edits] == ["Edit completion of row 5"]
    assert two.working.dataset[4]["completion"] == "by key"
    assert two.save().about["parent"] == "1"
    assert opened(source).edits == ()


WRITER = """
import sys
from pathlib import Path
from ftstudio.data.dataset import from_rows
from ftstudio.data.read import open_dataset
from ftstudio.data.versions.actions import add, set_cell
from ftstudio.data.versions.pending import Pending
from ftstudio.data.versions.shelf import Shelf
shelf, source, name, count = Shelf(Path(sys.argv[1])), sys.argv[2], sys.argv[3], int(sys.argv[4])
pending = Pending.of_source(shelf, open_dataset(source))
for number in range(count):
    pending.do(lambda working: add(working, [{"prompt": name, "completion": str(number)}]))
    pending.do(lambda working: set_cell(working, 0, "count", working.dataset[0].get("count", 0) + 1))
    print(number, flush=True)
"""


def writer(shelf: Path, source: Path, name: str, count: int) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", WRITER, str(shelf), str(source), name, str(count)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def test_processes_that_edit_at_once_lose_nothing(tmp_path: Path, source: Path) -> None:
    shelf = tmp_path / "shelf"
    processes = [writer(shelf, source, name, 25) for name in "abc"]
    assert [process.wait(60) for process in processes] == [0, 0, 0]
    for process in processes:
        assert process.stdout is not None
        process.stdout.close()
    pending = Pending.of_source(Shelf(shelf), open_dataset(source))
    assert [path.name for path in shelf.iterdir()] == ["tickets"]
    for name in "abc":
        found = [row["completion"] for row in pending.working.dataset.iter() if row["prompt"] == name]
        assert found == [str(number) for number in range(25)]
    assert pending.rebased is None
    assert pending.working.dataset[0]["count"] == 75  # each saw what the others had done


def test_a_killed_studio_loses_nothing_that_was_confirmed(tmp_path: Path, source: Path) -> None:
    shelf = tmp_path / "shelf"
    process = writer(shelf, source, "a", 100_000)
    assert process.stdout is not None
    confirmed = [process.stdout.readline() for _ in range(20)]
    os.kill(process.pid, signal.SIGKILL)
    confirmed += [line for line in process.stdout if line.endswith("\n")]
    process.wait(30)
    process.stdout.close()
    pending = Pending.of_source(Shelf(shelf), open_dataset(source))
    found = [row["completion"] for row in pending.working.dataset.iter() if row["prompt"] == "a"]
    assert found[: len(confirmed)] == [line.strip() for line in confirmed]
    assert len(found) <= len(confirmed) + 1
    pending.do(put(0, "after the crash"))  # the dead one's claim holds nobody up
    assert texts(pending)[0] == "after the crash"


def test_a_torn_line_is_nobodys_edit(source: Path) -> None:
    pending = opened(source)
    pending.do(put(0, "kept"))
    journal = pending.folder.journal("source")
    with open(journal, "ab") as file:
        file.write(b'{"kind":"edit","id":"torn","patches":[{"chan')
    again = opened(source)
    again.do(put(1, "after"))
    assert texts(opened(source))[:2] == ["kept", "after"]
    assert len(opened(source).edits) == 2


def test_a_full_disk_keeps_the_journal_as_it_was(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pending = opened(source)
    pending.do(put(0, "kept"))
    before = pending.folder.journal("source").read_bytes()
    real = os.write

    def full(handle: int, data: Any) -> int:
        if len(data) > 200:
            return real(handle, data[:100])
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("ftstudio.data.versions.journal.os.write", full)
        with pytest.raises(StudioError, match="disk is full"):
            pending.do(put(1, "lost, and said so"))
    assert pending.folder.journal("source").read_bytes() == before
    assert texts(pending)[:2] == ["kept", "answer 1"]
    pending.do(put(1, "later"))
    assert texts(opened(source))[:2] == ["kept", "later"]


# -- a source that changes -------------------------------------------------------------------------------------------
def test_a_changed_source_is_told_and_nothing_is_done_before_it_is_accepted(source: Path) -> None:
    pending = opened(source)
    pending.do(put(2, "mended"))
    pending.do(put(7, "mended too"))
    rows_file(source, [{"prompt": "new", "completion": "new"}, *ROWS[:7], *ROWS[8:]])
    again = opened(source)
    assert again.rebased is not None
    assert "1 of 2 edits" in again.rebased.text
    with pytest.raises(StudioError, match="rows have changed"):
        again.do(put(0, "x"))
    assert texts(again)[3] == "answer 2"
    again.accept()
    assert texts(again)[3] == "mended"
    assert opened(source).rebased is None
    assert texts(opened(source))[3] == "mended"


@pytest.mark.parametrize("looks", [True, False])
def test_what_another_studio_edits_after_it_accepted_stays(source: Path, looks: bool) -> None:
    opened(source).do(put(2, "mended"))
    rows_file(source, [{"prompt": "new", "completion": "new"}, *ROWS])
    one, other = opened(source), opened(source)
    other.accept()
    other.do(put(4, "theirs"))
    if looks:
        assert one.refresh()
        assert one.rebased is None
    assert one.accept() is None
    assert texts(one)[3:5] == texts(opened(source))[3:5] == ["mended", "theirs"]


def test_a_damaged_line_costs_its_own_edit_only(source: Path) -> None:
    pending = opened(source)
    for text in ("first", "second"):
        pending.do(put(0, text))
    pending.do(put(5, "third"))
    journal = pending.folder.journal("source")
    lines = journal.read_bytes().split(b"\n")
    journal.write_bytes(b"\n".join([lines[0], lines[1][:40], *lines[2:]]))  # the first edit
    again = opened(source)
    assert again.rebased is not None
    assert "1 of 2 edits" in again.rebased.text
    again.accept()
    assert [texts(again)[0], texts(again)[5]] == ["answer 0", "third"]


def test_a_source_written_to_while_it_is_open_is_not_saved(source: Path) -> None:
    pending = opened(source)
    pending.do(put(0, "mended"))
    before = source.read_bytes()
    rows_file(source, [*ROWS[5:], *ROWS[:5]])
    with pytest.raises(StudioError, match="has changed since it was opened"):
        pending.save()
    assert not store.versions(pending.folder)
    source.write_bytes(before)
    assert pending.save().number == 1


# -- versions --------------------------------------------------------------------------------------------------------
def test_a_version_tells_its_parent_what_changed_and_who(source: Path) -> None:
    before = source.read_bytes()
    pending = opened(source)
    pending.do(put(0, "mended"))
    pending.do(lambda working: duplicate(working, [1]))
    pending.do(lambda working: drop(working, [9, 10]))
    first = pending.save("all is well")
    assert source.read_bytes() == before
    about = json.loads((first.path / "version.json").read_text())
    assert about["counts"] == {"rows": 9, "changed": 1, "dropped": 2, "added": 1}
    assert about["parent"] == "source"
    assert about["source"]["path"] == str(source)
    assert about["source"]["sha256"] == open_dataset(source).hash
    assert about["why"] == "all is well"
    assert [repair["action"] for repair in about["repairs"]] == ["cell", "duplicate", "drop"]
    assert all(repair["who"] and repair["time"] for repair in about["repairs"])
    dataset, keys = store.open_version(first)
    assert dataset.hash == about["sha256"]
    assert store.verify(first)
    assert [key for key in keys if isinstance(key, int)] == list(range(8))
    assert equal(list(dataset.iter()), list(open_dataset(first.path / "rows.jsonl").iter()))
    with pytest.raises(StudioError, match="nothing to save"):
        pending.save()
    pending.do(put(0, "again"))
    second = pending.save()
    assert [version.number for version in store.versions(pending.folder)] == [1, 2]
    assert store.read(pending.folder, "latest").number == second.number == 2
    assert not os.access(first.path / "rows.jsonl", os.W_OK) or os.getuid() == 0
    with pytest.raises(UsageError, match="no version tickets@7"):
        store.read(pending.folder, 7)


def test_a_version_that_was_tampered_with_is_refused(source: Path) -> None:
    pending = opened(source)
    pending.do(put(0, "mended"))
    version = pending.save()
    path = version.path / "rows.jsonl"
    path.chmod(0o644)
    path.write_bytes(path.read_bytes() + b'{"prompt": "more"}\n')
    with pytest.raises(StudioError, match="isn't what was saved"):
        store.open_version(version)
    assert not store.verify(version)


SAVER = """
import sys, time
from pathlib import Path
from ftstudio.data.read import open_dataset
from ftstudio.data.versions import codec
from ftstudio.data.versions.pending import Pending
from ftstudio.data.versions.shelf import Shelf
plain = codec.to_line
def slowly(row):
    print("row", flush=True)
    time.sleep(0.05)
    return plain(row)
codec.to_line = slowly
Pending.of_source(Shelf(Path(sys.argv[1])), open_dataset(sys.argv[2])).save()
"""


def test_a_save_that_is_killed_leaves_the_edits_and_no_version(tmp_path: Path, source: Path) -> None:
    shelf = Shelf(tmp_path / "shelf")
    Pending.of_source(shelf, open_dataset(source)).do(put(0, "kept"))
    command = [sys.executable, "-c", SAVER, str(shelf.folder), str(source)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "row\n"
        process.kill()
    folder = shelf.named("tickets")
    assert list(folder.path.glob(".new-*"))
    assert folder.numbers() == []
    again = Pending.of_source(shelf, open_dataset(source))
    assert [edit.text for edit in again.edits] == ["Edit completion of row 0"]
    assert again.save().number == 1
    assert not list(folder.path.glob(".new-*"))


def test_a_crash_between_version_and_journal_saves_nothing_twice(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pending = opened(source)
    pending.do(put(0, "mended"))

    def crash(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(pending, "_keep", crash)
        with pytest.raises(KeyboardInterrupt):
            pending.save()
    again = opened(source)
    assert again.edits == ()
    assert [version.number for version in store.versions(again.folder)] == [1]


def test_a_version_is_found_by_its_name_from_anywhere(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pending = opened(source)
    pending.do(put(0, "mended"))
    version = pending.save()
    for text in ("tickets@1", "tickets@v1", "tickets@latest", version.address):
        place = address.parse(text)
        assert place is not None
        dataset, _ = address.open_address(place)
        assert dataset[0]["completion"] == "mended"
        assert dataset.source == version.address
    place = address.parse("tickets@source")
    assert place is not None
    assert address.open_address(place)[0][0]["completion"] == "answer 0"
    run = Workspace().path / "runs" / "run-1"
    monkeypatch.setenv("FTSTUDIO_WORKSPACE", "/nowhere")
    assert address.locate("tickets@1", [run]) == version.address
    assert address.locate("tickets@1", []) is None
    for text in ("tickets", "me@example.com", "a/b", "Tickets@1", "tickets@x"):
        assert address.parse(text) is None
    with pytest.raises(UsageError, match="no dataset 'tickets'"):
        address.open_address(address.parse("tickets@1"))  # type: ignore[arg-type]


def test_two_sources_of_one_name_are_two_datasets(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    one, two = opened(rows_file(tmp_path / "x.jsonl")), opened(rows_file(tmp_path / "other" / "x.jsonl"))
    assert [one.folder.name, two.folder.name] == ["x", "x-2"]
    assert opened(tmp_path / "x.jsonl").folder == one.folder


# -- differences -----------------------------------------------------------------------------------------------------
@settings(max_examples=80, deadline=None)
@given(edited())
def test_a_difference_tells_exactly_the_repairs(case: Any) -> None:
    rows, working, oracle, _ = case
    base = working.base
    found = diff(base, working.dataset, range(len(base)), working.all_keys())
    keys = working.all_keys()
    old = {key: place for place, key in enumerate(range(len(rows)))}
    assert [keys[index] for index in found.added] == [key for key in keys if key not in old]
    assert list(found.dropped) == [key for key in range(len(rows)) if key not in keys]
    changed = {row.before: row for row in found.changed}
    for place, key in enumerate(keys):
        if key in old:
            assert (key in changed) == (not same(rows[old[key]], oracle[place]))
    for row in found.changed:
        again = {
            name: value for name, value in rows[row.before].items() if name not in {c.column for c in row.cells}
        } | {cell.column: cell.after for cell in row.cells if cell.has}
        assert same(again, oracle[row.after])
        assert all(not same(cell.before, cell.after) or cell.had != cell.has for cell in row.cells)
    assert found.same + len(found.changed) + len(found.dropped) == len(rows)
    assert diff(working.dataset, working.dataset).none


def test_files_without_common_keys_are_matched_by_content(tmp_path: Path) -> None:
    first = open_dataset(rows_file(tmp_path / "a.jsonl"))
    changed = [*ROWS[:2], {**ROWS[2], "completion": "new"}, *ROWS[4:], {"prompt": "p", "completion": "c"}]
    second = open_dataset(rows_file(tmp_path / "b.jsonl", changed))
    found = diff(first, second)
    assert (found.matched_by, found.same) == ("content", 8)
    assert [(row.before, row.after, row.cells[0].after) for row in found.changed] == [(2, 2, "new")]
    assert (found.added, found.dropped) == ((9,), (3,))


def test_versions_are_compared_by_row_not_by_place(source: Path) -> None:
    pending = opened(source)
    pending.do(lambda working: drop(working, [0]))
    pending.do(lambda working: add(working, [ROWS[0]], after=4))
    first = pending.save()
    pending.do(put(0, "new"))
    second = pending.save()
    (one, one_keys), (two, two_keys) = store.open_version(first), store.open_version(second)
    found = diff(one, two, one_keys, two_keys)
    assert [(row.before, row.cells[0].column) for row in found.changed] == [(0, "completion")]
    assert not found.added
    assert not found.dropped
    whole = diff(open_dataset(source), two, range(10), two_keys)
    assert (len(whole.added), len(whole.dropped), len(whole.changed)) == (1, 1, 1)
    assert time.time() - second.about["created"] < 3600


def test_looking_writes_nothing_and_sees_what_another_began(source: Path) -> None:
    one, two = opened(source), opened(source)
    assert (one.undo(), one.redo(), one.refresh(), one.accept()) == (None, None, False, None)
    with pytest.raises(StudioError, match="nothing to save"):
        one.save()
    assert not Workspace().path.exists()
    two.do(put(0, "begun"))
    assert one.refresh()
    assert texts(one)[0] == "begun"
    assert one.undo() is None
    assert opened(source).undo() is not None
