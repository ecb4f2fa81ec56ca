"""Pictures in the row's page, personal data masked in the table, languages and labels told, rows by their tokens."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest
from data_screen import cursor, screen, settled, studio
from hypothesis import given
from hypothesis import strategies as st
from screens import press, until

from ftstudio.data import language
from ftstudio.data.dataset import from_rows
from ftstudio.data.mixture import Mixture, mixture
from ftstudio.data.personal import hits, masked_pieces, texts_in
from ftstudio.data.shape import suggest
from ftstudio.ui.data.picture import HALF, HIGHEST, fitted, lines_of, pictures_of
from ftstudio.ui.data.stats_page import mixed


def png(size: tuple[int, int] = (40, 30)) -> bytes:
    """A picture, red above and blue below."""
    image = pytest.importorskip("PIL.Image", reason="Pillow isn't installed").new("RGB", size, (255, 0, 0))
    image.paste((0, 0, 255), (0, size[1] // 2, size[0], size[1]))
    out = io.BytesIO()
    image.save(out, "PNG")
    return out.getvalue()


def test_a_picture_is_half_blocks_of_its_colours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    lines = lines_of(png(), 60)
    assert 4 < len(lines) <= HIGHEST + 1
    assert lines[-1][0][0].startswith("PNG 40×30")
    assert lines[0][0][1] == "@#ff0000 on #ff0000"
    assert lines[-2][0][1] == "@#0000ff on #0000ff"
    assert set(lines[0][0][0]) == {HALF}
    assert len(lines[0]) == 1  # one run, not a part a cell: the link is slow


def test_without_colours_pictures_are_shades(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    lines = lines_of(png(), 20)
    assert not any(ink.startswith("@") for line in lines for _, ink in line)
    assert lines[0][0][0] != lines[-2][0][0]


@pytest.mark.parametrize("size", [(1, 1), (1, 5000), (5000, 1), (60, 80), (4000, 3000)])
@pytest.mark.parametrize("width", [4, 30, 48])
def test_pictures_of_all_sizes_fit(size: tuple[int, int], width: int) -> None:
    columns, rows = fitted(size, width)
    assert 1 <= columns <= width
    assert 2 <= rows <= 2 * HIGHEST
    assert rows % 2 == 0


def test_what_is_no_picture_is_said(tmp_path: Path) -> None:
    pytest.importorskip("PIL", reason="Pillow isn't installed")
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\nnothing \x1b[31m")
    for picture in (str(tmp_path / "a.png"), str(tmp_path / "gone.png"), b"", png()[:60]):
        (line,) = lines_of(picture, 40)
        assert "can't be shown" in line[0][0]
        assert "\x1b" not in line[0][0]
    assert pictures_of({"bytes": None, "path": "x.png"}, "object") == ["x.png"]
    assert pictures_of("no picture", "text") == []
    assert pictures_of(["a.jpg", 3], "list") == ["a.jpg"]


async def test_a_folder_of_pictures_shows_them_beside_their_text(tmp_path: Path) -> None:
    with open(tmp_path / "captions.csv", "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["file_name", "text"])
        for number in range(4):
            (tmp_path / f"{number}.png").write_bytes(png((20 + number, 20)))
            writer.writerow([f"{number}.png", f"a flag, number {number}"])
    app = studio(tmp_path, tmp_path / "captions.csv")
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, "PNG 20×20 · V enlarges it")  # beside the table, even at 80 columns
        await press(pilot, "down")
        await until(pilot, "PNG 21×20")
        await press(pilot, "up enter")
        await settled(pilot)
        await press(pilot, "end")
        assert "PNG 20×20" in await settled(pilot)
        await press(pilot, "home n end")
        assert "PNG 21×20" in await settled(pilot)


async def test_personal_data_is_masked_until_it_is_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text((json.dumps({"prompt": "Write to ann@mail.example.org", "completion": "I did."}) + "\n") * 2)
    app = studio(tmp_path, path)
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, "Write to a•••")
        await press(pilot, "enter")
        assert "ann@mail" not in await settled(pilot)
        await press(pilot, "z")
        assert "ann@mail.example.org" in await settled(pilot)
        await press(pilot, "escape")
        assert "ann@mail" in await settled(pilot)
        await press(pilot, "z")
        assert "ann@mail" not in await settled(pilot)
        for keys, seen in (("t", "trained ("), ("escape F", "1 value in 2 rows"), ("escape i", "distinct")):
            await press(pilot, keys)
            await until(pilot, seen)
            assert "ann" not in await until(pilot, "•")
            await press(pilot, "z")
            assert "ann@mail" in "".join((await settled(pilot)).replace("·", "").split())
            await press(pilot, "z")
        await press(pilot, "escape F enter")
        text = await settled(pilot)
        assert "prompt = Write to a•••" in text  # what is filtered by stands below the table
        assert "ann@mail" not in text


@given(st.lists(st.sampled_from(["Write", " to ", "ann", "@", "mail", ".exa", "mple", ".org", "\n", "x"]), max_size=12))
def test_tokens_of_personal_data_are_masked_wherever_they_are_cut(pieces: list[str]) -> None:
    text = "".join(pieces)
    shown = masked_pieces(pieces, [text])
    assert len(shown) == len(pieces)
    for hit in hits(text):
        assert text[hit.start : hit.stop] not in "".join(shown)
    if not any(hits(text)):
        assert shown == pieces


def test_tokenizers_that_drop_spaces_and_capitals_hide_nothing_from_the_mask() -> None:
    words = ["call", "+", "49", "170", "123", "##4567", "or", "ann", "@", "mail", ".", "org"]
    row = ["Call +49 170 1234567 or Ann@mail.org"]
    shown = masked_pieces([word.removeprefix("##") for word in words], row)
    assert shown == ["call", "+", "4•", "•", "•", "•", "or", "a•", "•", "•", "•", "•"]
    assert list(texts_in({"a": ["x", {"b": "y"}], "c": 3})) == ["x", "y"]


async def test_the_token_view_goes_through_the_rows_by_what_is_trained_or_lost(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    rows = [{"prompt": "a " * asked, "completion": "b " * answered} for asked, answered in ((2, 8), (30, 2), (5, 200))]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    app = studio(tmp_path, path)
    async with app.run_test(size=(120, 40)) as pilot:
        await until(pilot, "3 rows")
        await press(pilot, "t")
        await until(pilot, "trained (")
        screen(pilot).opened.max_length = 100  # type: ignore[union-attr]
        await press(pilot, "s")
        text = await settled(pilot)
        assert "least trained first" in text
        assert cursor(pilot) == 1
        await press(pilot, "right")
        await settled(pilot)
        assert cursor(pilot) == 0
        await press(pilot, "s")
        assert "most lost first" in await settled(pilot)
        assert cursor(pilot) == 2
        await press(pilot, "s")
        assert "first (s)" not in await settled(pilot)
        assert list(screen(pilot).opened.sheet.rows) == [0, 1, 2]  # type: ignore[union-attr]


def test_languages_and_labels_are_counted() -> None:
    texts = ["The weather is fine today and we go for a walk.", "Das Wetter ist heute schön und wir gehen spazieren."]
    rows = from_rows([{"text": texts[n % 4 == 0], "label": "xy"[n % 4 == 0]} for n in range(40)])
    found = mixture(rows, suggest(rows)[0].shape)
    assert found.labels == {"x": 30, "y": 10}
    assert found.evenness == pytest.approx(0.8113, abs=1e-3)
    if language.available():
        assert found.languages == {"prompt": {"en": 30, "de": 10}}
    told = "\n".join("".join(text for text, _ in line) for line in mixed(found, 100))
    assert "rarest y with 10" in told
    assert mixture(rows, None) == Mixture()
    assert mixed(Mixture(), 80) == []
