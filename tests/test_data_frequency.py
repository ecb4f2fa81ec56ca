"""How often each value occurs: the most frequent first, and no more held than memory bears."""

from __future__ import annotations

from pathlib import Path

import pytest

from ftstudio.core import files
from ftstudio.data import frequency
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
