"""How often each value occurs: the most frequent first, and no more held than memory bears."""

from __future__ import annotations

from pathlib import Path

import pytest

from ftstudio.core import files
from ftstudio.data import frequency
from ftstudio.data.dataset import from_rows
from ftstudio.data.read import open_dataset


@pytest.mark.parametrize(("limit", "most"), [("MOST", 3), ("MOST_TEXT", 3)])
def test_values_beyond_what_is_held_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: str, most: int):
    path = tmp_path / "a.jsonl"
    files.write_lines(path, [{"kind": kind} for kind in "abacadaeb"])
    dataset = open_dataset(path)
    found = frequency.frequencies(dataset, "kind")
    assert found.counts[:2] == (("a", 4), ("b", 2))
    assert found.uncounted == 0
    monkeypatch.setattr(frequency, limit, most)
    found = frequency.frequencies(dataset, "kind")
    assert found.counts == (("a", 4), ("b", 2), ("c", 1))
    assert found.uncounted == 2


def test_of_lists_the_items_are_counted_and_lead_to_the_rows_that_have_them() -> None:
    rows = [{"tags": ["O", "B-PER", "O"]}, {"tags": ["O"]}, {"tags": []}, {"tags": None}, {"tags": [["nested"]]}]
    dataset = from_rows(rows)
    found = frequency.frequencies(dataset, "tags")
    assert found.counts == (("O", 2), ("", 2), ("B-PER", 1), ("nested", 1))
    assert found.times == (3, 2, 1, 1)  # of every item, and of what is no list as often as it has rows
    has = frequency.has_value("tags", "O")
    assert [index for index in range(5) if has(index, dataset[index])] == [0, 1]
    assert frequency.frequencies(from_rows([{"kind": "a"}]), "kind").times == ()
