"""The Data screen on what is odd: hostile rows, big files, files that change, real files, keys that come early."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import made_answers as made
import pytest
from data_screen import SIZES, retyped, screen, settled, studio
from screens import press, until

from ftstudio.core import files


@pytest.mark.parametrize("size", SIZES)
async def test_hostile_rows_are_shown_and_harm_nothing(tmp_path: Path, size: Any) -> None:
    path = tmp_path / "hostile.jsonl"
    name = "pr[/]om\x1b[2Jpt"
    files.write_lines(path, [{name: made.HOSTILE, "[b +": [made.HOSTILE, {"[/": made.HOSTILE}], "世界": None}] * 3)
    async with studio(tmp_path, path).run_test(size=size) as pilot:
        text = await until(pilot, "3 rows")
        assert "世界" in text
        assert made.harmless(text)
        for keys in ("enter", "escape i", "escape c", "right down right enter", "t", "escape k", "escape h"):
            await press(pilot, keys)
            await pilot.pause(0.3)
            assert made.harmless(await settled(pilot))


@pytest.mark.slow
async def test_a_hundred_thousand_rows_page_without_reading_them_all(tmp_path: Path) -> None:
    path = tmp_path / "big.jsonl"
    path.write_text("".join(f'{{"prompt": "question {n}", "completion": "answer {n}"}}\n' for n in range(100_000)))
    async with studio(tmp_path, path).run_test(size=(80, 24)) as pilot:
        await until(pilot, "100,000 rows")
        grid = screen(pilot).grid
        reads = 0
        store = grid.sheet.dataset.store  # type: ignore[union-attr]
        original = type(store).row

        def counted(self: Any, index: int) -> Any:
            nonlocal reads
            reads += 1
            return original(self, index)

        type(store).row = counted  # type: ignore[method-assign]
        try:
            await pilot.press("end")
            text = await until(pilot, "100,000 of 100,000")
            await pilot.press("pageup")
        finally:
            type(store).row = original  # type: ignore[method-assign]
        assert "99,999" in text
        assert reads < 200
        await pilot.press("home", "f", *"prompt.length>13", "enter")  # numbers of five digits
        await until(pilot, "1 of 90,000", 30)


@pytest.mark.slow
async def test_a_long_filter_is_stopped_by_escape(tmp_path: Path) -> None:
    path = tmp_path / "big.jsonl"
    path.write_text("".join(f'{{"prompt": "question {n}", "completion": "answer {n}"}}\n' for n in range(60_000)))
    async with studio(tmp_path, path).run_test(size=(80, 24)) as pilot:
        await until(pilot, "60,000 rows")
        await pilot.press("f", *"answer", "enter")
        await pilot.press("escape")
        await settled(pilot)
        shown = screen(pilot)
        assert not shown.opened.sheet.layers  # type: ignore[union-attr]
        assert len(shown.opened.sheet) == 60_000  # type: ignore[union-attr]


async def test_idle_writes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = made.dataset(tmp_path)
    async with studio(tmp_path, path).run_test(size=(80, 24)) as pilot:
        await until(pilot, "80 rows")
        await settled(pilot)
        await asyncio.sleep(0.3)
        drawn: list[Any] = []
        original = screen(pilot)._compositor.render_update

        def counted(*values: Any, **named: Any) -> Any:
            drawn.append(values)
            return original(*values, **named)

        monkeypatch.setattr(screen(pilot)._compositor, "render_update", counted)
        await asyncio.sleep(0.8)
        assert drawn == []


REAL = [
    ("gsm8k/test.jsonl", "1,319 rows", "prompt → completion"),
    ("llamafactory-demo/alpaca_en_demo.json", "999 rows", "Alpaca"),
    ("fastchat-sharegpt/dummy_conversation.json", "500 rows", "ShareGPT"),
    ("openai-cookbook-chat/toy_chat_fine_tuning.jsonl", "5 rows", "OpenAI messages"),
    ("mlx-wikisql-lora/test.jsonl", "100 rows", "running text"),
    ("sms-spam/sms.tsv", "5,574 rows", ""),
    ("csvkit-awkward/test_utf16_big.csv", "rows", "utf-16"),
]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "rows", "kind"), REAL)
async def test_real_files_open_and_show_their_tokens(
    shared: Path, tmp_path: Path, name: str, rows: str, kind: str
) -> None:
    path = shared / "data" / name
    if not path.exists():
        pytest.skip(f"{path} is not there")
    async with studio(tmp_path, path).run_test(size=(80, 24)) as pilot:
        text = await until(pilot, rows)
        assert kind.lower() in text.lower()
        assert made.harmless(text)
        if screen(pilot).opened.shape is not None:  # type: ignore[union-attr]
            await pilot.press("t")
            await until(pilot, "trained (")


async def test_a_file_that_changes_or_goes_while_it_is_open_ends_nothing(tmp_path: Path) -> None:
    path = made.dataset(tmp_path, 80)
    async with studio(tmp_path, path).run_test(size=(80, 24), notifications=True) as pilot:
        await until(pilot, "80 rows")
        with open(path, "r+b") as file:
            file.truncate(100)
        for keys in (
            "end",
            "home",
            "enter",
            "escape t",
            "escape k",
            "escape h",
            "escape i",
            "escape f text:otter enter",
        ):
            await press(pilot, keys)
            await settled(pilot)
        path.unlink()
        for keys in ("escape", "end", "pageup", "enter", "escape t", "escape y"):
            await press(pilot, keys)
            await settled(pilot)
        await press(pilot, "escape home end")
        await until(pilot, "✗ the file was changed or moved")
        await press(pilot, "escape o")
        await until(pilot, "Open a dataset")
        await retyped(pilot, path)
        await until(pilot, "✗ There is no file")


@pytest.mark.slow
async def test_what_is_typed_on_the_way_to_the_screen_is_not_lost(tmp_path: Path) -> None:
    app = studio(tmp_path)
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, "Open a dataset")
        await pilot.press("6")  # in the empty line a digit goes to its screen
        await until(pilot, "▸6 Runs◂")
        await pilot.press("1", *"demo2")  # typed before the screen is up again; a digit behind letters is text
        await until(pilot, "demo2")
        await pilot.press("escape")  # out of the line: letters are keys again
        await until(pilot, "o name a file")
        await pilot.press("o", *["backspace"] * 5, "?")
        await until(pilot, "Data is where you look at the rows")
