"""Losses of rows over epochs: what is written comes back, and hard, ambiguous and easy rows are told apart."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from ftstudio.core import dynamics
from ftstudio.ui.train import rowmap
from ftstudio.ui.train.rowmap import RowMapPage


def kept(folder: Path, epochs: list[list[tuple[int, int, int, float]]], rows: int, **about: object) -> Path:
    place = folder / dynamics.FOLDER
    place.mkdir(parents=True)
    (place / dynamics.ABOUT).write_text(json.dumps({"version": 1, "rows": rows, "sources": [], **about}))
    (10 * np.arange(rows, dtype="<i4")).tofile(place / dynamics.ROWS)
    for epoch, records in enumerate(epochs):
        np.array(records, dtype=dynamics.RECORD).tofile(place / dynamics.epoch_name(epoch))
    return folder


def test_the_map_of_rows(tmp_path: Path):
    def loss(share: float) -> float:
        return float(-np.log(share))

    shares = [[0.9, 0.9, 0.9], [0.1, 0.9, 0.1], [0.1, 0.1, 0.1], [0.8, 0.8, 0.8]]
    epochs = [[(1 + e, row, 7, loss(shares[row][e])) for row in range(4)] for e in range(3)]
    found = dynamics.read(kept(tmp_path, epochs, 5))
    assert found is not None
    assert found.epochs == 3
    assert found.confidence[:4] == pytest.approx([np.mean(row) for row in shares], abs=1e-6)
    assert found.variability[:4] == pytest.approx([np.std(row) for row in shares], abs=1e-6)
    assert found.kinds == ["easy", "ambiguous", "hard", "easy", "unseen"]
    assert found.hardest(2) == [2, 1]
    assert found.most_ambiguous(1) == [1]
    assert {kind: places.tolist() for kind, places in found.listed.items()} == {"hard": [2], "ambiguous": [1]}
    assert found.counts == {"easy": 2, "ambiguous": 1, "hard": 1, "unseen": 1}
    assert found.windows is None
    assert list(found.rows) == [0, 10, 20, 30, 40]
    assert list(found.seen) == [3, 3, 3, 3, 0]
    assert np.isnan(found.confidence[4])


def test_what_was_taken_again_replaces_and_a_torn_record_is_left_out(tmp_path: Path):
    run = kept(tmp_path, [[(1, 0, 3, 2.0), (1, 1, 3, 1.0), (1, 0, 3, 2.5)]], 2)
    path = run / dynamics.FOLDER / dynamics.epoch_name(0)
    with open(path, "ab") as file:
        file.write(b"\x01\x00\x00\x00\x00")
    np.array([(1, 1, 4, 0.5)], dtype=dynamics.RECORD).tofile(run / dynamics.FOLDER / dynamics.epoch_name(1, 1))
    found = dynamics.read(run)
    assert found is not None
    assert found.losses.tolist()[0] == [2.5, 1.0]
    assert found.losses[1, 1] == 0.5
    assert found.tokens.tolist() == [3, 4]


def test_rows_know_their_source(tmp_path: Path):
    sources = [{"name": "a", "start": 0, "stop": 15}, {"name": "b", "start": 15, "stop": 99}]
    found = dynamics.read(kept(tmp_path, [[(1, 0, 1, 1.0)]], 3, sources=sources))
    assert found is not None
    assert [found.source_of(place) for place in range(3)] == ["a", "a", "b"]


def test_windows_of_a_document_are_told_apart_and_their_row_is_handed_on_once(tmp_path: Path):
    losses = [[2.0, 0.1, 3.0, 0.1, 4.0, 0.1]]
    found = dynamics.Dynamics(np.array([5, 2, 5, 2, 5, 9], "<i4"), np.array(losses, "<f4"), np.ones(6, "u4"))
    assert found.windows is not None
    assert [part.tolist() for part in found.windows] == [[1, 1, 2, 2, 3, 1], [3, 2, 3, 2, 3, 1]]
    page = RowMapPage()
    page.dynamics, page.places = found, found.listed["hard"].tolist()
    assert [page._cells(place)[:2] for place in range(3)] == [
        (("5", ""), (f"{window} of 3", "")) for window in (3, 2, 1)
    ]  # fmt: skip
    assert page.rows == [5]


def test_the_map_is_read_again_only_when_it_has_changed(tmp_path: Path):
    assert rowmap.stamp(tmp_path) is None
    run = kept(tmp_path, [[(1, 0, 1, 1.0)]], 3)
    before = rowmap.stamp(run)
    assert before == rowmap.stamp(run) is not None
    with open(run / dynamics.FOLDER / dynamics.epoch_name(0), "ab") as file:
        np.array([(2, 1, 1, 1.0)], dtype=dynamics.RECORD).tofile(file)
    assert rowmap.stamp(run) != before


def test_a_run_without_them_has_none(tmp_path: Path):
    assert dynamics.read(tmp_path) is None
