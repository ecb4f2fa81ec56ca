"""Datasets that are looked at while they are read: the same rows under the same numbers, stoppable, small in memory."""

from __future__ import annotations

import gzip
import json
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ftstudio.core.errors import Stopped, StudioError
from ftstudio.core.reading import Reading
from ftstudio.data import lines as line_module
from ftstudio.data import read_file as file_module
from ftstudio.data import read_json as json_module
from ftstudio.data.dataset import Dataset
from ftstudio.data.opening import Opening
from ftstudio.data.read import open_dataset
from ftstudio.data.search import find, sort_rows
from ftstudio.data.watch import Watch

COUNT = 30_000


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files of a megabyte are big ones."""
    monkeypatch.setattr(file_module, "_BIG", 100_000)
    monkeypatch.setattr(file_module, "_HEAD", 20_000)
    monkeypatch.setattr(line_module, "BLOCK", 30_000)
    monkeypatch.setattr(json_module, "_BLOCK", 30_000)


def row(number: int) -> dict[str, Any]:
    return {"n": number, "text": f"row {number} é " + "x" * (number % 40)}


def make(path: Path) -> Path:
    """A file of COUNT rows in the format of its name."""
    rows = [row(number) for number in range(COUNT)]
    if path.name.startswith("a.jsonl"):
        content = "".join(json.dumps(one, ensure_ascii=False) + "\n" for one in rows)
    elif path.suffix == ".json":
        content = json.dumps(rows, ensure_ascii=False)
    elif path.suffix == ".csv":
        content = "n,text\n" + "".join(f'{one["n"]},"{one["text"]}"\n' for one in rows)
    else:
        content = "".join(f"{one['text']}\n" for one in rows)
    data = content.encode()
    path.write_bytes(gzip.compress(data, 1) if path.suffix == ".gz" else data)
    return path


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize("name", ["a.jsonl", "a.json", "a.csv", "a.txt", "a.jsonl.gz"])
def test_what_is_shown_early_is_what_comes(tmp_path: Path, name: str) -> None:
    path = make(tmp_path / name)
    whole = open_dataset(path)
    shown: list[Dataset] = []
    makers: list[Callable[[], Dataset]] = []
    steps: list[tuple[int, int]] = []

    def progress(done: int, total: int) -> None:
        steps.append((done, total))
        if makers and len(steps) % 5 == 0:
            shown.append(makers[-1]())

    again = open_dataset(path, watch=Watch(progress, show=makers.append))
    assert len(makers) >= 2  # the first rows, then those of the index
    assert 0 < len(makers[0]()) < 2000
    assert len({len(part) for part in shown}) > 3
    for part in (makers[0](), *shown):
        assert part.format == whole.format
        assert part.names == whole.names
        assert len(part) <= len(whole)
        for place in {0, len(part) // 2, len(part) - 1} if len(part) else ():
            assert part[place] == whole[place]
    assert len(again) == len(whole) == COUNT
    assert list(again) == list(whole)
    assert steps[-1][0] == steps[-1][1]


def test_a_thread_reads_on(tmp_path: Path) -> None:
    path = make(tmp_path / "a.jsonl")
    opening = Opening(path)
    first = opening.first(20)
    assert first is not None
    assert first[0] == row(0)
    whole = opening.result(60)
    assert opening.done
    assert len(whole) == len(opening.now() or ()) == COUNT
    assert opening.progress == (path.stat().st_size, path.stat().st_size)
    assert whole[COUNT - 1] == row(COUNT - 1)
    assert whole.hash == open_dataset(path).hash


def test_settings_go_through(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("1;2\n3;4\n")
    assert Opening(path, reading=Reading(delimiter=";", header=False)).result(20)[1] == {
        "column_1": "3",
        "column_2": "4",
    }


def test_what_goes_wrong_is_raised_where_it_is_asked_for(tmp_path: Path) -> None:
    opening = Opening(tmp_path / "missing.jsonl")
    with pytest.raises(StudioError, match="no file"):
        opening.first(20)
    with pytest.raises(StudioError, match="no file"):
        opening.result(20)
    assert opening.now() is None


@pytest.mark.usefixtures("small_blocks")
def test_reading_is_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = make(tmp_path / "a.jsonl")
    held, go = threading.Event(), threading.Event()
    real = Watch.at

    def slow(self: Watch, done: int, total: int) -> None:
        if self.show is not None and done > 300_000:
            held.set()
            go.wait(20)
        real(self, done, total)

    monkeypatch.setattr(Watch, "at", slow)
    opening = Opening(path)
    assert held.wait(20)
    found = opening.now()
    assert found is not None
    assert 100 < len(found) < COUNT
    assert not opening.done
    with pytest.raises(StudioError, match="still being read"):
        opening.result(0)
    opening.stop()
    go.set()
    with pytest.raises(Stopped):
        opening.result(20)
    assert found[len(found) - 1] == row(len(found) - 1)


def test_searches_go_on_while_rows_come(tmp_path: Path) -> None:
    """A search over what is there by now streams its hits, and ends when it is told to."""
    path = make(tmp_path / "a.jsonl")
    dataset = open_dataset(path)
    hits = find(dataset, "n>10")
    assert [next(hits) for _ in range(3)] == [11, 12, 13]
    asked = iter([False, True])
    assert list(find(dataset, "text:row", cancel=lambda: next(asked))) == list(range(256))
    with pytest.raises(Stopped):
        sort_rows(dataset, "n", cancel=lambda: True)


def test_readers_and_indexer_share_a_file(tmp_path: Path) -> None:
    path = make(tmp_path / "a.csv")
    opening = Opening(path)
    wrong: list[str] = []
    read = [0]

    def look() -> None:
        while not opening.done:
            part = opening.now()
            if part is None or not len(part):
                time.sleep(0.001)
                continue
            for place in (0, len(part) // 3, len(part) - 1):
                read[0] += 1
                if part[place] != {key: str(value) for key, value in row(place).items()}:
                    wrong.append(f"row {place} of {len(part)}")

    threads = [threading.Thread(target=look) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert wrong == []
    assert opening.result(60)[COUNT - 1]["n"] == str(COUNT - 1)
