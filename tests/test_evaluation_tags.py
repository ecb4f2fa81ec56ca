"""A person's tags win over the detectors', are kept with history, and can be taken back."""

from __future__ import annotations

import json
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from ftstudio.evaluation.predictions import Prediction
from ftstudio.evaluation.tags import Agreement, Tags


def test_the_persons_word_wins(tmp_path: Path) -> None:
    tags = Tags.load(tmp_path / "tags.jsonl")
    tags.add(3, "misspelling", who="ana", note="see the second word")
    tags.remove(3, "too_long")
    assert tags.apply(3, {"too_long", "empty"}) == {"misspelling", "empty"}
    assert tags.apply(4, {"too_long"}) == {"too_long"}
    tags.reset(3, "too_long")
    assert tags.apply(3, {"too_long"}) == {"too_long", "misspelling"}


def test_history_is_kept_by_line_and_read_again(tmp_path: Path) -> None:
    path = tmp_path / "tags.jsonl"
    tags = Tags.load(path)
    tags.add(1, "empty", who="ana")
    tags.remove(1, "empty", note="no, a dash")
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert [line["action"] for line in lines] == ["add", "remove"]
    assert lines[0]["who"] == "ana"
    assert lines[1]["note"] == "no, a dash"
    assert all(line["time"] > 0 for line in lines)
    assert Tags.load(path).apply(1, {"empty"}) == set()


def test_foreign_and_torn_lines_are_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "tags.jsonl"
    path.write_text(
        '{"row": 1, "category": "empty", "action": "add", "time": 1}\nnonsense\n{"row": "x"}\n[1]\n{"row": 2, '
    )
    tags = Tags.load(path)
    assert [tag.row for tag in tags.history] == [1]
    tags.add(2, "empty")
    assert [tag.row for tag in Tags.load(path).history] == [1, 2]


def test_undo_takes_back_one_after_the_other(tmp_path: Path) -> None:
    path = tmp_path / "tags.jsonl"
    Tags.load(path).add(1, "format")
    tags = Tags.load(path)
    tags.remove(1, "format")
    tags.toggle(1, "empty", set())
    assert tags.apply(1, {"format"}) == {"empty"}
    assert tags.undo() is not None
    assert tags.apply(1, set()) == set()
    assert tags.undo() is not None
    assert tags.apply(1, set()) == {"format"}
    assert tags.undo() is None  # another session's decisions stay
    assert Tags.load(path).apply(1, set()) == {"format"}


def test_a_decision_is_of_the_answer_it_was_made_on(tmp_path: Path) -> None:
    path = tmp_path / "tags.jsonl"
    path.write_text('{"row": 1, "category": "empty", "action": "add", "time": 1}\n')  # of before: it has no mark
    tags = Tags.load(path)
    tags.see([Prediction(1, "a?", None, "first"), Prediction(2, "b?", None, "second")])
    tags.add(2, "format", note="a table")
    assert "answer" in json.loads(path.read_text().splitlines()[1])
    later = Tags.load(path)
    assert later.decided == {1, 2}
    later.see([Prediction(1, "a?", None, "other"), Prediction(2, "b?", None, "another")])
    assert (later.decided, later.outdated) == ({1}, {2})
    assert (later.apply(2, {"empty"}), later.of(2), later.note(2, "format")) == ({"empty"}, {}, "")
    assert later.agreement({2: {"format"}}) == {"empty": Agreement(person_only=1)}
    later.see([Prediction(2, "c?", None, "second")])  # the same words to another question
    assert later.outdated == {2}
    later.see([Prediction(2, "b?", None, "second")])
    assert (later.decided, later.outdated, later.note(2, "format")) == ({1, 2}, set(), "a table")


def test_toggle_turns_on_and_off(tmp_path: Path) -> None:
    tags = Tags.load(tmp_path / "tags.jsonl")
    assert tags.toggle(0, "empty", {"empty"}) is False
    assert tags.toggle(0, "empty", {"empty"}) is True
    assert tags.apply(0, {"empty"}) == {"empty"}


def test_agreement_counts_only_what_the_person_decided(tmp_path: Path) -> None:
    tags = Tags.load(tmp_path / "tags.jsonl")
    auto = {0: {"empty"}, 1: set(), 2: {"empty"}, 3: set(), 4: {"empty"}}
    tags.add(0, "empty")
    tags.add(1, "empty")
    tags.remove(2, "empty")
    tags.remove(3, "empty")
    found = tags.agreement(auto)["empty"]
    assert found == Agreement(both=1, person_only=1, detector_only=1, neither=1)
    assert found.share == 0.5
    assert Agreement().share is None


ACTIONS = st.lists(st.tuples(st.integers(0, 2), st.sampled_from("ab"), st.sampled_from(("add", "remove", "reset"))))


@given(ACTIONS, st.sets(st.sampled_from("ab")))
def test_the_last_decision_counts(tmp_path_factory, actions, auto) -> None:  # type: ignore[no-untyped-def]
    path = tmp_path_factory.mktemp("tags") / "tags.jsonl"
    tags = Tags.load(path)
    last = {}
    for row, category, action in actions:
        getattr(tags, action)(row, category)
        last[row, category] = action
    for row in range(3):
        wanted = {
            category
            for category in "ab"
            if last.get((row, category)) == "add" or (category in auto and last.get((row, category)) != "remove")
        }
        assert tags.apply(row, auto) == wanted == Tags.load(path).apply(row, auto)
    for _ in actions:
        tags.undo()
    assert all(tags.apply(row, auto) == auto for row in range(3))
