"""Repairs: edits are exact, can be undone and done again, and say which row isn't what they expect."""

from __future__ import annotations

import datetime
import decimal
import json
import math
from itertools import count
from typing import Any

import pytest
from edited_rows import ROWS, edited, equal
from hypothesis import given, settings
from hypothesis import strategies as st

from ftstudio.core.errors import StudioError, UsageError
from ftstudio.data.dataset import Dataset, Row, from_rows
from ftstudio.data.shape import recognise
from ftstudio.data.versions import codec
from ftstudio.data.versions.actions import add, drop, set_cell, weigh
from ftstudio.data.versions.edit import WEIGHT, Conflict, Edit, from_plain, weight_of
from ftstudio.data.versions.identity import content_hash, pack, same, unpack
from ftstudio.data.versions.rebase import rebase
from ftstudio.data.versions.repairs import FOR_CHECK, REPAIRS, repair, repairs_of
from ftstudio.data.versions.replace import find_and_replace
from ftstudio.data.versions.working import Working


def rows_of(working: Working) -> list[Row]:
    return list(working.dataset.iter())


@settings(max_examples=150, deadline=None)
@given(edited())
def test_edits_do_what_a_plain_list_would(case: tuple[list[Row], Working, list[Row], list[Edit]]) -> None:
    rows, working, oracle, edits = case
    assert equal(rows_of(working), oracle)
    keys = working.all_keys()
    assert len(set(keys)) == len(keys) == len(working)
    for index, key in enumerate(keys):
        assert working.key(index) == key
        assert working.index(key) == index
        assert same(working.row(key), oracle[index])
    assert set(working.dataset.names) >= {name for row in oracle for name in row}
    # the same from what was written down, undone one by one, and never touching the base
    again = [from_plain(json.loads(json.dumps(edit.plain()))) for edit in edits]
    assert equal(rows_of(Working(from_rows(rows), None, again)), oracle)
    assert equal(
        rows_of(Working(from_rows(rows), None, again[:-1])), rows_of(Working(from_rows(rows), None, edits[:-1]))
    )
    assert equal(list(working.base.iter()), rows)


@given(ROWS)
def test_rows_survive_as_json_whatever_they_hold(rows: list[Row]) -> None:
    for row in rows:
        text, tagged = codec.to_line(row)
        text.encode()
        assert "\n" not in text
        value = json.loads(text, parse_constant=lambda word: pytest.fail(word))
        assert same(codec.untagged(value) if tagged else value, row)


def test_times_numbers_and_bytes_come_back_as_they_were() -> None:
    row = {
        "a": datetime.datetime(2024, 2, 29, 1, 2, 3, 4, datetime.UTC), "b": datetime.date(1999, 1, 1),
        "c": datetime.timedelta(-1, 5, 7), "d": decimal.Decimal("1.10"), "e": math.inf, "f": b"\x00\xff",
        "g": "\ud800", "h": {"$ftstudio": "bytes", "value": "no tag of ours"},
    }  # fmt: skip
    text, tagged = codec.to_line(row)
    assert tagged
    assert codec.untagged(json.loads(text)) == row
    plain, tagged = codec.to_line({"g": "\ud800", "ü": [1, {"x": None}]})
    assert not tagged
    assert json.loads(plain) == {"g": "\ud800", "ü": [1, {"x": None}]}


@given(st.lists(st.one_of(st.integers(0, 30), st.text(min_size=1, max_size=3)), unique=True))
def test_keys_are_packed_and_unpacked(keys: list[Any]) -> None:
    assert list(unpack(json.loads(json.dumps(pack(keys))))) == keys


def test_a_hash_tells_apart_what_a_comparison_does_not() -> None:
    marks = {content_hash({"a": value}) for value in (1, 1.0, True, "1", None, [1], "")}
    assert len(marks) == 7
    assert content_hash({"a": 1, "b": 2}) == content_hash({"b": 2, "a": 1})


def test_an_edit_of_a_row_that_is_not_what_it_was_is_refused() -> None:
    working = Working(from_rows([{"a": "one"}, {"a": "two"}]))
    first, second = set_cell(working, 1, "a", "mine"), set_cell(working, 1, "a", "theirs")
    done = working.with_edit(first)
    with pytest.raises(Conflict, match="Row 1 isn't what it was"):
        done.with_edit(second)
    with pytest.raises(Conflict, match="Row 1 isn't there any more"):
        working.with_edit(drop(working, [1])).with_edit(second)
    assert rows_of(done) == [{"a": "one"}, {"a": "mine"}]
    with pytest.raises(UsageError, match="no row 2"):
        drop(working, [2])


def test_weights_are_a_column_that_counts() -> None:
    working = Working(from_rows([{"a": 1}, {"a": 2, WEIGHT: "3"}, {"a": 3, WEIGHT: "heavy"}]))
    working = working.with_edit(weigh(working, [0, 1], factor=2))
    assert [weight_of(row) for row in rows_of(working)] == [2.0, 6.0, 1.0]
    working = working.with_edit(weigh(working, [0], to=0))
    assert weight_of(working.dataset[0]) == 0
    with pytest.raises(UsageError, match="not between 0 and 100"):
        weigh(working, [1], factor=1000)


# -- find and replace ------------------------------------------------------------------------------------------------
def test_a_preview_tells_every_cell_and_the_edit_does_just_that() -> None:
    rows = [
        {"q": "colour of Colours", "n": 5},
        {"q": "nothing", "m": [{"role": "user", "content": "my colour"}, {"role": "colour", "content": "x"}]},
    ]
    working = Working(from_rows(rows))
    preview = find_and_replace(working, "colour", "color")
    assert preview.matches == 2
    assert [(cell.row, cell.column) for cell in preview.cells] == [(0, "q"), (1, "m")]
    assert preview.cells[0].before == "colour of Colours"
    assert preview.cells[0].after == "color of Colours"
    done = rows_of(working.with_edit(preview.edit))
    assert done[0] == {"q": "color of Colours", "n": 5}
    assert done[1]["m"] == [{"role": "user", "content": "my color"}, {"role": "colour", "content": "x"}]
    assert rows[1]["m"][0]["content"] == "my colour"
    words = find_and_replace(working, "colour", "color", whole_word=True, match_case=False, columns=["q"])
    assert [cell.after for cell in words.cells] == ["color of Colours"]
    assert not find_and_replace(working, "absent", "x").edit.patches


def test_patterns_have_groups_and_literals_do_not() -> None:
    working = Working(from_rows([{"a": "2024-05-06 a.c \\1"}]))
    preview = find_and_replace(working, r"(\d+)-(\d+)-(?P<day>\d+)", r"\g<day>.\2.\1", pattern=True)
    assert preview.cells[0].after == "06.05.2024 a.c \\1"
    assert find_and_replace(working, "a.c", "\\1").cells[0].after == "2024-05-06 \\1 \\1"
    for find, replacement, what in (("(", "", "no regular expression"), ("(a)", r"\7", "faulty"), ("", "x", "nothing")):
        with pytest.raises(UsageError, match=what):
            find_and_replace(working, find, replacement, pattern=True)


def test_a_pattern_that_never_ends_is_ended() -> None:
    working = Working(from_rows([{"a": "a" * 5000 + "!"}]))
    with pytest.raises(StudioError, match="too long for one text"):
        find_and_replace(working, r"(a|a)*(a|a)*(a|a)*$", "", pattern=True)


# -- repairs of checks -----------------------------------------------------------------------------------------------
def test_every_check_has_a_repair_that_exists() -> None:
    from ftstudio.data.checks import CHECKS

    assert all(set(names) <= set(REPAIRS) for names in FOR_CHECK.values())
    only_a_person = {"unreadable", "ragged", "end_not_learnt", "boundary_merge", "template_variable", "template_text"}
    only_a_person |= {"label_imbalance", "label_spelling", "unlearnable", "unread_parts"}
    assert {name for name in CHECKS if not repairs_of(name)} <= only_a_person
    with pytest.raises(UsageError, match="no repair"):
        repair(Working(from_rows([{"a": 1}])), "polish", [0])


@pytest.mark.parametrize(
    ("name", "row", "wanted"),
    [
        ("strip", {"prompt": " a\n", "completion": "b"}, {"prompt": "a", "completion": "b"}),
        ("fix_text", {"prompt": "cafÃ© “q”", "completion": "b"}, {"prompt": "café “q”", "completion": "b"}),
        ("remove_marks", {"prompt": "a</s>b", "completion": "b"}, {"prompt": "ab", "completion": "b"}),
    ],
)
def test_repairs_of_texts(name: str, row: Row, wanted: Row) -> None:
    working = Working(from_rows([row, {"prompt": "clean", "completion": "as it is"}]))
    preview = repair(working, name, [0, 1], check="some", marks=["</s>"])
    assert [(cell.row, cell.column) for cell in preview.cells] == [(0, "prompt")]
    assert rows_of(working.with_edit(preview.edit)) == [wanted, {"prompt": "clean", "completion": "as it is"}]
    assert preview.edit.details == {"repair": name, "check": "some"}


def test_repairs_of_conversations() -> None:
    said = [("user", "a"), ("user", "b"), ("assistant", "c"), ("user", "late")]
    rows = [{"messages": [{"role": role, "content": text} for role, text in said]}]
    dataset = from_rows(rows)
    shape = recognise(dataset)
    trimmed = Working(dataset).with_edit(repair(Working(dataset), "trim_turns", [0], shape=shape).edit)
    assert [turn["content"] for turn in rows_of(trimmed)[0]["messages"]] == ["a", "b", "c"]
    merged = trimmed.with_edit(repair(trimmed, "merge_turns", [0], shape=shape).edit)
    assert [turn["content"] for turn in rows_of(merged)[0]["messages"]] == ["a\nb", "c"]
    with pytest.raises(UsageError, match="Map the columns"):
        repair(merged, "merge_turns", [0])


def test_merged_turns_keep_their_tool_calls() -> None:
    calls = [{"type": "function", "function": {"name": "look", "arguments": {"city": "Ulm"}}}]
    turns = [
        {"role": "user", "content": "a", "tool_calls": None},
        {"role": "user", "content": "b", "tool_calls": None},
        {"role": "assistant", "content": "wait"},
        {"role": "assistant", "content": "", "tool_calls": calls},
        {"role": "assistant", "content": "there"},
    ]
    dataset = from_rows([{"messages": turns}])
    edit = repair(Working(dataset), "merge_turns", [0], shape=recognise(dataset)).edit
    (row,) = rows_of(Working(dataset).with_edit(edit))
    assert [turn["content"] for turn in row["messages"]] == ["a\nb", "wait", "", "there"]
    assert row["messages"][2]["tool_calls"] == calls


def test_of_conflicting_answers_the_most_frequent_stays_and_nested_ones_become_rows() -> None:
    rows = [{"prompt": "p", "completion": c} for c in ("x", "y", "y")] + [
        {"prompt": "q", "completion": c} for c in "ab"
    ]
    dataset = from_rows(rows)
    edit = repair(Working(dataset), "majority", range(5), shape=recognise(dataset)).edit
    assert [row["completion"] for row in rows_of(Working(dataset).with_edit(edit))] == ["y", "y", "a"]
    nested = from_rows([{"instruction": "i", "instances": [{"input": "", "output": o} for o in "abc"]}])
    edit = repair(Working(nested), "split_instances", [0], shape=recognise(nested)).edit
    done = rows_of(Working(nested).with_edit(edit))
    assert [[item["output"] for item in row["instances"]] for row in done] == [["a"], ["b"], ["c"]]


# -- a source that has changed ---------------------------------------------------------------------------------------
def test_edits_follow_rows_that_moved_and_tell_those_that_are_gone() -> None:
    rows = [{"a": f"row {n}"} for n in range(6)]
    working = Working(from_rows(rows))
    edits: list[Edit] = []
    for make in (
        lambda w: set_cell(w, 1, "a", "new 1"),
        lambda w: set_cell(w, 3, "a", "new 3"),
        lambda w: drop(w, [5]),
        lambda w: add(w, [{"a": "after 1"}], after=1),
        lambda w: set_cell(w, 2, "a", "after 1, edited"),
    ):
        edits.append(make(working))
        working = working.with_edit(edits[-1])
    changed: Dataset = from_rows([{"a": "new at the top"}, *rows[:3], {"a": "row 2 rewritten"}, *rows[4:]])
    found = rebase(edits, changed)
    assert found.moved == 2
    assert [edit.text for edit, _ in found.lost] == ["Edit a of row 3"]
    assert "row 3 isn't there as it was" in found.lost[0][1]
    assert "4 of 5 edits" in found.text
    texts = [row["a"] for row in Working(changed, None, found.edits).dataset.iter()]
    assert texts == ["new at the top", "row 0", "new 1", "after 1, edited", "row 2", "row 2 rewritten", "row 4"]
    assert rebase(edits, from_rows(rows)).edits == tuple(edits)


def test_thousands_of_edits_are_done_again_on_another_source_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = from_rows([{"a": f"row {n}"} for n in range(3000)])
    edits = [drop(Working(dataset), [n]) for n in range(2500)]
    copies = count(1)
    monkeypatch.setattr(Working, "with_edit", lambda *_: pytest.fail(f"all was copied {next(copies)} times"))
    found = rebase(edits, from_rows([{"a": "new"}, *dataset.iter()]))
    assert (len(found.edits), found.moved, found.lost) == (2500, 2500, ())


def test_rows_are_found_without_a_look_at_all_of_them_each() -> None:
    working = Working(from_rows([{"a": n} for n in range(6)]))
    assert working.index(4) == 4
    assert working.places([5, 2, 9]) == {5: 5, 2: 2}
    less = working.with_edit(drop(working, [1])).with_edit(add(working, [{"a": "new"}], after=3))
    new = less.key(3)
    assert less.places([0, 1, 5, new]) == {0: 0, 5: 5, new: 3} == {key: less.index(key) for key in (0, 5, new)}


def test_edits_on_rows_that_stand_twice_in_the_new_source_are_not_guessed() -> None:
    working = Working(from_rows([{"a": "x"}, {"a": "y"}]))
    edits = [set_cell(working, 0, "a", "new")]
    found = rebase(edits, from_rows([{"a": "z"}, {"a": "x"}, {"a": "x"}]))
    assert not found.edits
    assert len(found.lost) == 1
