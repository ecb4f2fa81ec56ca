"""Answers that are tags, labels or vectors, from a file: known for what they are, and tags shown where they stand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import made_answers as made
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ftstudio.cli.inspect import stored_errors
from ftstudio.core.workspace import Workspace
from ftstudio.evaluation import classification, kinds, ranking, tagging
from ftstudio.evaluation.detectors import tagging as detectors
from ftstudio.evaluation.predictions import Prediction
from ftstudio.evaluation.tagged_text import KEEP, pieces

SIGNS = {detector.category.name: detector.category.mark for detector in detectors.ALL}
WORDS = "Anna flew from New York City to Paris and met Bob at the Empire State Building in Rome today"
GIVEN = "B-per O O O B-loc I-loc O B-per O O O O B-loc I-loc O O O O I-loc"
WANTED = "B-per O O B-loc I-loc I-loc O B-loc O O B-per O O B-bld I-bld I-bld O B-loc O"


def text(words: str, given: str, wanted: str | None, unread: int = 0) -> str:
    found = pieces(words.split(), given.split(), wanted.split() if wanted is not None else None, SIGNS, unread)
    return "".join(piece.text for piece in found).replace(KEEP, " ")


def test_every_error_stands_where_it_is() -> None:
    assert text(WORDS, GIVEN, WANTED, 2) == (
        "[Anna/per] flew from [| New ‹York City›/loc, not New York City/loc] to [≠ Paris/per, not loc] and met "
        "[- Bob/per] at [× ‹the Empire› State Building/loc, not Empire State Building/bld] in "
        "… never read from here: [- Rome/loc] [! today/I-loc]"
    )
    assert text("a b c", "B-x O B-y", "O O B-y") == "[+ a/x] b [c/y]"
    assert text("a b c", "B-x O B-y", None) == "[a/x] b [c/y]"
    assert text("", "", "") == ""


TAGS = st.lists(st.sampled_from(["O", "B-x", "I-x", "B-y", "I-y"]), min_size=1, max_size=9)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(TAGS, TAGS, st.integers(0, 9))
def test_no_word_is_lost_and_signs_are_those_of_the_detectors(given: list[str], wanted: list[str], unread: int) -> None:
    from ftstudio.evaluation.categories import categorise
    from ftstudio.evaluation.context import Context

    count = min(len(given), len(wanted))
    words, given, wanted = [f"w{place}" for place in range(count)], given[:count], wanted[:count]
    found = pieces(words, given, wanted, SIGNS, min(unread, count))
    told = "".join(piece.text for piece in found)
    places = [told.find(word) for word in words]
    assert places == sorted(places)
    assert min(places) >= 0
    row = Prediction(0, " ".join(words), " ".join(wanted), " ".join(given))
    names = {one.category for one in categorise([row], Context(only=tagging.CATEGORIES)).findings.get(0, ())}
    shown = {piece.kind for piece in found} - {"", "right", "cut", "invalid_bio"}
    assert shown <= names
    assert bool(shown) == bool(names - {"invalid_bio"})


def rows(kind: str, count: int = 30) -> list[dict[str, Any]]:
    """COUNT stored answers of KIND, the tenth of them wrong."""
    made: list[dict[str, Any]] = []
    for row in range(count):
        wrong = row % 10 == 0
        if kind == "tags":
            made.append({"prompt": WORDS, "reference": WANTED, "output": GIVEN if wrong else WANTED})
        elif kind == "labels":
            label, other = ("good", "bad") if row % 2 == 0 else ("bad", "good")
            sure = {label: 0.05, other: 0.95} if wrong else {label: 0.9, other: 0.1}
            made.append({"prompt": f"text {row}", "reference": label, "output": max(sure, key=sure.__getitem__),
                         "probabilities": sure})  # fmt: skip
        elif kind == "searched":
            best = "hub" if row % 3 == 0 else f"answer {row}"
            made.append({"prompt": f"question {row}", "reference": f"answer {row}", "output": best,
                         "rank": 1 + (row % 3 == 0), "cosine": 0.7, "others": 0.6, "words": [2, 2]})  # fmt: skip
        elif kind == "scored":
            made.append({"prompt": f"a {row}", "reference": str(row % 6), "output": str((row % 6) / 6 - wrong),
                         "cosine": (row % 6) / 6 - wrong, "rank": 7, "others": 0.6, "words": [3, 9]})  # fmt: skip
        else:
            made.append({"prompt": f"p {row}", "reference": "It is so.", "output": "B-movie O O"})
    return made


@pytest.mark.parametrize(
    ("kind", "wanted", "found"),
    [
        ("tags", tagging.CATEGORIES, {"missed": 3, "boundary": 3, "type": 3, "boundary_type": 3, "invalid_bio": 3}),
        ("labels", classification.CATEGORIES, {"wrong_label": 3, "confident_wrong": 3, "label_error": 3}),
        ("searched", ranking.SEARCHED, {"not_found": 10, "hub": 10, "anisotropy": 30}),
        ("scored", ranking.SCORED, {"similar_low": 1, "anisotropy": 30}),
        ("text", (), {}),
    ],
)
def test_stored_answers_are_judged_as_what_they_are(
    tmp_path: Path, kind: str, wanted: tuple[str, ...], found: dict[str, int]
) -> None:
    path = tmp_path / f"{kind}.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows(kind)))
    table = {entry["name"]: entry["count"] for entry in stored_errors(path, tmp_path)["categories"]}
    if wanted:
        assert set(table) == set(wanted)
    else:
        assert "misspelling" in table
    assert {name: table[name] for name in found} == found


def test_few_or_torn_rows_are_text() -> None:
    assert kinds.categories_of([]) == ()
    assert kinds.categories_of([Prediction(0, "a b", "B-x O", "B-x")]) == ()
    assert kinds.categories_of([Prediction(0, "a b", "O O", "O O")]) == ()
    assert kinds.categories_of([Prediction(0, "a", "5", "5")]) == ()


async def test_tags_are_read_in_the_text_without_colours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from ftstudio.ui.errors.stored import keep
    from ftstudio.ui.shell.app import StudioApp
    from ftstudio.ui.shell.session import Session

    monkeypatch.setenv("NO_COLOR", "1")
    path = tmp_path / "tags.jsonl"
    hostile = {"prompt": "\x1b[2Jred \u202eabc met [/b]", "reference": "O O O B-per", "output": "O B-loc O O"}
    path.write_text("".join(json.dumps(row) + "\n" for row in [*rows("tags"), hostile]))
    workspace = Workspace(tmp_path / "studio")
    app = StudioApp(Session(workspace), start="errors")
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.pause()
        app.screen.subject.look_at(keep(path, workspace))  # type: ignore[attr-defined]
        app.screen.pull()  # type: ignore[attr-defined]
        await made.until(pilot, "Boundary + type")
        await pilot.press("tab", "enter")
        shown = await made.until(pilot, "in the text")
        assert "[Anna/per] flew from [| New ‹York City›/loc" in shown.replace(KEEP, " ")
        app.screen.reading.lists.go(30)  # type: ignore[attr-defined]
        app.screen.reading.show()  # type: ignore[attr-defined]
        shown = await made.until(pilot, "row 30")
        assert "[-\u00a0[/b]/per]" in shown
        assert made.harmless(shown)
