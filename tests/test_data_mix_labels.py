"""Every source of a mix is recognised by itself: its scheme of tags, its kind of labels, what parts several of them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from ftstudio import tasks
from ftstudio.core.errors import StudioError
from ftstudio.core.recipe import Data
from ftstudio.data.mix_open import Opened, open_sources

Rows = Sequence[Mapping[str, Any]]


def mixed(folder: Path, task: str, **sources: Rows) -> Opened:
    told = []
    for name, rows in sources.items():
        path = folder / f"{name}.jsonl"
        path.write_text("\n".join(map(json.dumps, rows)), "utf-8")
        told.append({"path": str(path), "name": name})
    return open_sources(Data.model_validate({"train": told}), None, task=task)


def tagged(*tags: str) -> Rows:
    """Rows of words w0, w1 … with the TAGS of each row, blanks between them."""
    return [{"tokens": [f"w{place}" for place in range(len(row.split()))], "tags": row.split()} for row in tags]


BIO = tagged("B-PER I-PER O", "O B-PER B-PER", "B-ORG O O")
IOB1 = tagged("I-PER I-PER O", "O I-PER B-PER", "I-LOC O O", "I-PER O I-PER", "I-LOC I-LOC O", "O O I-PER")
BIOES = tagged("B-PER E-PER O", "O S-PER S-PER", "S-LOC O O", "B-LOC I-LOC E-LOC")


def test_tags_of_each_source_are_read_in_its_own_scheme(tmp_path: Path) -> None:
    opened = mixed(tmp_path, "token-classification", bio=BIO, iob=IOB1, ends=BIOES)
    found = [list(opened.shape.example(opened.whole[row]).fields["tags"]) for row in range(len(opened.whole))]
    assert [" ".join(row) for row in found] == [
        *(" ".join(row["tags"]) for row in BIO),
        "B-PER I-PER O", "O B-PER B-PER", "B-LOC O O", "B-PER O B-PER", "B-LOC I-LOC O", "O O B-PER",
        "B-PER I-PER O", "O B-PER B-PER", "B-LOC O O", "B-LOC I-LOC I-LOC",
    ]  # fmt: skip
    task = tasks.get("token-classification")
    task = task.bound({}, task.survey(opened.whole, opened.shape))
    assert task.labels == ("O", "B-LOC", "I-LOC", "B-ORG", "I-ORG", "B-PER", "I-PER")
    assert task.entities() == {"LOC": 4, "ORG": 1, "PER": 3 + 6 + 3}
    assert "IOB1 read as BIO" in opened.shape.why
    doubts = [doubt.text for doubt in task.doubts(None)]  # type: ignore[arg-type]
    assert [text.partition(",")[0] for text in doubts] == ["bio tags no LOC", "iob tags no ORG", "ends tags no ORG"]


def test_tags_of_entities_and_of_another_kind_are_refused_with_rows(tmp_path: Path) -> None:
    words = tagged("O O", "NN VB", "VB NN")
    with pytest.raises(StudioError) as error:
        mixed(tmp_path, "token-classification", people=BIO, words=words)
    assert "people mark entities ('B-PER' in row 1)" in error.value.message
    assert "words mark none ('NN' in row 2)" in error.value.message
    assert len(mixed(tmp_path, "token-classification", people=BIO, nothing=tagged("O O", "O")).whole) == 5


def surveyed(opened: Opened, **options: Any) -> Any:
    task = tasks.get("text-classification").bound(options, {})
    return task.bound(options, task.survey(opened.whole, opened.shape))


def labelled(*labels: Any) -> Rows:
    return [{"text": f"a text of {place} words", "label": label} for place, label in enumerate(labels)]


def test_a_label_that_two_sources_have_is_one(tmp_path: Path) -> None:
    opened = mixed(tmp_path, "text-classification", one=labelled(1, 2, 1, 2), two=labelled("1.0", "3.0", "1.0", "3.0"))
    task = surveyed(opened)
    assert task.labels == ("1", "2", "3.0")
    assert list(task.facts["counts"]) == [4, 2, 2]
    assert task._reference(opened.shape.example(opened.whole[4])) == "1"


def test_several_labels_are_parted_as_each_source_parts_them(tmp_path: Path) -> None:
    one, two = labelled("a|b", "b", "a", "a|b"), labelled("b;c/d", "c/d", "b", "b;c/d")
    opened = mixed(tmp_path, "text-classification", one=one, two=two)
    task = surveyed(opened, problem="multi")
    assert task.labels == ("a", "b", "c/d")
    assert [task._reference(opened.shape.example(opened.whole[row])) for row in (0, 4)] == ["a | b", "b | c/d"]


def test_labels_of_another_kind_are_refused_with_rows(tmp_path: Path) -> None:
    scores = labelled(*(place / 7 for place in range(40)))
    opened = mixed(tmp_path, "text-classification", kinds=labelled("0", "1", "0", "1"), scores=scores)
    with pytest.raises(StudioError, match="don't go together") as error:
        surveyed(opened)
    assert "kinds has one label a row (row 1: '0'), scores has numbers (row 1: '0.0')" in error.value.message
    assert surveyed(opened, problem="regression").facts["range"] == [0.0, 39 / 7]
