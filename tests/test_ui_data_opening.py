"""The screen Data while rows are still being read, and what it says of files that are odd."""

from __future__ import annotations

import gzip
import json
import threading
from pathlib import Path
from typing import Any

import pytest
from data_screen import SIZES, retyped, screen, settled, studio
from screens import until

from ftstudio.data import lines as line_module
from ftstudio.data import read_file as file_module
from ftstudio.data.profile import profile_dataset
from ftstudio.engine.recipes import check_recipe
from ftstudio.ui.data.model import open_source
from ftstudio.ui.data.screen import DataScreen

COUNT = 3_000


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """Reading goes on to the end only once this is set: whoever looks before sees the first rows."""
    opened = threading.Event()
    monkeypatch.setattr(file_module, "_BIG", 20_000)
    monkeypatch.setattr(file_module, "_HEAD", 5_000)
    monkeypatch.setattr(line_module, "BLOCK", 30_000)
    original = file_module.Watch.at

    def slow(self: Any, done: int, total: int) -> None:
        original(self, done, total)
        if self.show is not None and done > total // 3:
            while not opened.wait(0.02):
                original(self, done, total)  # raises where nobody wants more

    monkeypatch.setattr(file_module.Watch, "at", slow)
    return opened


def big(folder: Path) -> Path:
    path = folder / "big.jsonl"
    path.write_text("".join(json.dumps({"prompt": f"q {n}", "completion": "x" * 40}) + "\n" for n in range(COUNT)))
    return path


@pytest.mark.parametrize("size", SIZES)
async def test_rows_are_there_while_the_rest_is_read(tmp_path: Path, gate: threading.Event, size: Any) -> None:
    path = big(tmp_path)
    async with studio(tmp_path, path).run_test(size=size, notifications=True) as pilot:
        text = await until(pilot, "so far · ")
        assert "▸prompt" in text
        assert "esc stops" in text
        count = len(screen(pilot).opened.dataset)  # type: ignore[union-attr]
        assert 0 < count < COUNT
        await pilot.press("end", "enter")
        await until(pilot, "▸completion  40 characters")
        await pilot.press("escape", "k")
        await until(pilot, "still being read")
        cursor = screen(pilot).grid.cursor
        gate.set()
        await until(pilot, f"{COUNT:,} rows  JSONL")
        assert screen(pilot).grid.cursor == cursor
        await pilot.press("end")
        await until(pilot, f"row {COUNT - 1}")


@pytest.mark.slow
async def test_escape_stops_reading_and_says_that_rows_are_missing(tmp_path: Path, gate: threading.Event) -> None:
    path = big(tmp_path)
    async with studio(tmp_path, path).run_test(size=(80, 24)) as pilot:
        await until(pilot, "so far · ")
        await pilot.press("escape")
        await until(pilot, "reading was stopped")
        await settled(pilot)
        assert 0 < len(screen(pilot).opened.dataset) < COUNT  # type: ignore[union-attr]
        gate.set()
        await pilot.press("o")
        await retyped(pilot, path)
        await until(pilot, f"{COUNT:,} rows  JSONL")


@pytest.mark.parametrize("size", SIZES)
async def test_what_could_not_be_read_is_kept_and_the_file_named(tmp_path: Path, size: Any) -> None:
    path = tmp_path / "torn.jsonl"
    path.write_text('{"prompt": "a", "completion": "b"}\n' * 5 + "{torn\n")
    async with studio(tmp_path, path).run_test(size=size) as pilot:
        await until(pilot, "1 not read")
        await pilot.press("k")
        await until(pilot, "unreadable")
        await pilot.press("enter")
        text = await until(pilot, "{torn")
        assert "torn.jsonl.unread.jsonl" in "".join(text.split())
        kept = tmp_path / "studio" / "unread" / "torn.jsonl.unread.jsonl"
        assert [json.loads(line)["raw"].strip() for line in kept.read_text().splitlines()] == ["{torn"]


def head(path: Path) -> str:
    """What stands above the table of PATH."""
    return "\n".join("".join(text for text, _ in line) for line in open_source(str(path), None).head())


def test_the_head_tells_line_ends_and_packing(tmp_path: Path) -> None:
    path = tmp_path / "a.csv.gz"
    path.write_bytes(gzip.compress(b"text,label\r\n" + b"some words here,ham\r\nother words,spam\r\n" * 5))
    text = head(path)
    assert "10 rows" in text
    assert "ends CRLF" in text
    assert "packed gzip" in text


def test_rows_that_hold_no_prompts_are_taken_for_what_they_suit(tmp_path: Path) -> None:
    path = tmp_path / "tags.jsonl"
    row = {"tokens": ["Anna", "sleeps"], "ner_tags": ["B-PER", "O"]}
    path.write_text((json.dumps(row) + "\n") * 6)
    assert "✓ tokens and tags, for token-classification, guessed (c changes it): words in 'tokens'" in head(path)


def test_rows_are_taken_as_the_command_takes_them(tmp_path: Path) -> None:
    """For the recipe's task where they are its training data, else for what they suit best."""
    path = tmp_path / "labels.jsonl"
    rows = [{"text": f"a text about the thing {n // 2}", "label": "no" if n % 2 else "yes"} for n in range(20)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert "✓ text → label, for text-classification, guessed (c changes it): text in 'text' with" in head(path)
    for task in ("text-classification", "causal-lm", "sft", "token-classification"):
        recipe = check_recipe({"task": task, "model": "demo", "data": {"train": str(path)}})
        opened = open_source(str(path), recipe)
        told = profile_dataset(opened.dataset, task=task, checks="none")
        assert (dict(opened.shape.columns) if opened.shape else {}) == told["mapping"]
        assert opened.meant.named
    text = "\n".join("".join(text for text, _ in line) for line in opened.head())
    assert "! not for token-classification  no columns for token-classification among text, label." in text
    opened.map_columns({"text": "text", "label": "nothing"})
    assert "has no column 'nothing'" in opened.unmapped


async def test_rows_of_the_run_in_view_are_read_and_looked_through_as_it_did(tmp_path: Path) -> None:
    """A file of two languages is lines of one alone to who doesn't know the other."""
    for name, word in (("en", "bird"), ("de", "Vogel")):
        (tmp_path / f"{name}.txt").write_text("".join(f"{word} {n}\n" for n in range(20)))
    app = studio(tmp_path, None)
    run = app.session.workspace.new_run("birds")
    values = {
        "task": "seq2seq", "model": "demo", "options": {"target_language": "de"},
        "data": {"train": str(tmp_path / "en.txt"), "reading": {"pair": str(tmp_path / "de.txt")}, "eval": 0.1},
        "training": {"steps": 77}, "resolved": {"seed": 0},
    }  # fmt: skip
    run.recipe_path.write_text(json.dumps(values))
    run.emit("done")
    app.session.view_run(run)
    async with app.run_test(size=(160, 30)) as pilot:
        await until(pilot, "trained on by birds-1")
        await pilot.press("down", "enter")
        text = await until(pilot, "20 rows")
        assert "Vogel 0" in text
        assert "source → target" in text
        data = pilot.app.screen
        assert isinstance(data, DataScreen)
        assert data.at_hand(str(tmp_path / "en.txt")).task == "seq2seq"
        assert data.at_hand(str(tmp_path / "de.txt")) is None
        await pilot.press("r")
        await until(pilot, "What is to be learnt?")
        made = app.session.recipe
        assert made is not None
        assert (made.task, made.training.steps, made.resolved, made.data.columns) == ("seq2seq", 77, None, None)
        assert made.data.reading.pair == str(tmp_path / "de.txt")
        assert "keep_checkpoints" not in made.plain().get("training", {})
