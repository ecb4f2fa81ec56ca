"""Pictures over the whole terminal: in pixels by kitty's protocol or sixel where it can, else in half-blocks."""

from __future__ import annotations

import base64
import io
import os
import re
from pathlib import Path

import pytest
from terminal import Terminal, ftstudio

from ftstudio.ui.data.graphics import QUESTION, cell_of, kitty, sixel, understood

Image = pytest.importorskip("PIL.Image", reason="Pillow isn't installed")
RED, BLUE = (255, 0, 0), (0, 0, 255)


def flag(width: int = 20, height: int = 13) -> Image.Image:
    """Red above, blue below."""
    image = Image.new("RGB", (width, height), RED)
    image.paste(BLUE, (0, height // 2, width, height))
    return image


def from_kitty(data: bytes) -> Image.Image:
    """The picture that kitty would draw for DATA."""
    pieces = re.findall(rb"\x1b_G([^;]*);([^\x1b]*)\x1b\\", data)
    assert [b"m=1" in head for head, _ in pieces] == [True] * (len(pieces) - 1) + [False]
    assert b"a=T" in pieces[0][0]
    return Image.open(io.BytesIO(base64.b64decode(b"".join(body for _, body in pieces)))).convert("RGB")


def from_sixel(data: bytes) -> Image.Image:
    """The picture that a sixel terminal would draw for DATA."""
    text = data.decode("ascii")
    head = re.match(r'\x1bP[0-9;]*q"1;1;(\d+);(\d+)', text)
    assert head
    assert text.endswith("\x1b\\")
    image = Image.new("RGB", (int(head[1]), int(head[2])), (1, 2, 3))
    colours: dict[int, tuple[int, ...]] = {}
    x = y = colour = 0
    for part in re.finditer(r"#(\d+);2;(\d+);(\d+);(\d+)|#(\d+)|!(\d+)([?-~])|([?-~])|(\$)|(-)", text[head.end() : -2]):
        if part[1]:
            colours[int(part[1])] = tuple(round(int(one) * 255 / 100) for one in part.groups()[1:4])
        elif part[5]:
            colour = int(part[5])
        elif part[6] or part[8]:
            for _ in range(int(part[6] or 1)):
                for bit in range(6):
                    if (ord(part[7] or part[8]) - 63) >> bit & 1:
                        image.putpixel((x, y + bit), colours[colour])
                x += 1
        else:
            x, y = 0, y if part[9] else y + 6
    return image


@pytest.mark.parametrize("draw", [kitty, sixel])
def test_what_is_sent_is_the_picture(draw: object) -> None:
    image = flag()
    data = draw(image)  # type: ignore[operator]
    found = from_kitty(data) if draw is kitty else from_sixel(data)
    assert found.size == image.size
    assert [found.getpixel((x, y)) for x in (0, 7, 19) for y in (0, 5, 6, 12)] == [RED, RED, BLUE, BLUE] * 3


def test_many_pieces_and_colours_come_whole() -> None:
    noise = Image.frombytes("RGB", (70, 50), os.urandom(70 * 50 * 3))
    assert from_kitty(kitty(noise)).tobytes() == noise.tobytes()
    wide = Image.linear_gradient("L").resize((90, 30)).convert("RGB")
    found = from_sixel(sixel(wide)).convert("L")
    assert max(abs(a - b) for a, b in zip(found.tobytes(), wide.convert("L").tobytes(), strict=True)) <= 8


def test_a_terminal_is_taken_at_its_word() -> None:
    assert understood(b"\x1b_Gi=31;OK\x1b\\\x1b[?62;4c") == "kitty"
    assert understood(b"\x1b[6;20;10t\x1b[?62;4;22c") == "sixel"
    assert understood(b"\x1b[?62;22c") == understood(b"\x1b[?4c") == understood(b"") == ""
    assert cell_of(b"\x1b[6;20;10t\x1b[?62;4;22c") == (10, 20)
    assert cell_of(b"\x1b[6;0;0t") == cell_of(b"") == (9, 18)


@pytest.mark.parametrize(
    ("answer", "said"),
    [(b"\x1b_Gi=31;OK\x1b\\\x1b[?62c", "kitty graphics"), (b"\x1b[?62;4c", "sixel"), (b"\x1b[?62c", "half-blocks")],
)  # fmt: skip
@pytest.mark.slow
def test_a_picture_fills_a_real_terminal_and_the_studio_comes_back(tmp_path: Path, answer: bytes, said: str) -> None:
    flag(300, 200).save(tmp_path / "flag.png")
    (tmp_path / "rows.csv").write_text("file_name,text\nflag.png,a flag\nflag.png,the same\n")
    with Terminal(ftstudio("--workspace", str(tmp_path / "studio")), cwd=tmp_path) as terminal:
        terminal.wait("Data")
        terminal.key("1")
        terminal.wait("Open a dataset")
        terminal.type("rows.csv")
        terminal.key("enter")
        terminal.wait("1 of 2")
        terminal.key("V")
        assert terminal.pump(10, lambda: QUESTION in terminal.raw)
        os.write(terminal.descriptor, answer)
        assert terminal.pump(10, lambda: f"{said} · any key goes back".encode() in terminal.raw)
        drawn = terminal.raw[terminal.raw.rindex(QUESTION) + len(QUESTION) :]
        if said == "kitty graphics":
            assert from_kitty(drawn).getpixel((5, 5)) == RED
        elif said == "sixel":
            start, stop = drawn.index(b"\x1bP0"), drawn.rindex(b"-\x1b\\") + 3
            assert from_sixel(drawn[start:stop]).getpixel((5, 5)) == RED
        else:
            assert "▀".encode() in drawn
        terminal.key("x")
        terminal.wait("1 of 2")
        terminal.key("down")
        terminal.wait("2 of 2")
