"""What terminals that can draw pixels are sent: the kitty graphics protocol, and sixel. No widgets, no terminal.

Protocols: https://sw.kovidgoyal.net/kitty/graphics-protocol/ and the DEC VT330/VT340 manual, chapter 14 (sixel).
"""

from __future__ import annotations

import base64
import io
import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from PIL.Image import Image

# a picture of one pixel that is only asked about, the size of a cell in pixels, and what the terminal is: the last is
# answered by every terminal, so that nothing is waited for in vain
QUESTION = b"\x1b_Gi=31,s=1,v=1,a=q,t=d,f=24;AAAA\x1b\\\x1b[16t\x1b[c"
ANSWERED = re.compile(rb"\x1b\[\?([0-9;]*)c")
DELETE = b"\x1b_Ga=d,d=A,q=2\x1b\\"
CHUNK = 4096  # base64 characters of a kitty command
COLOURS = 128  # of a sixel picture
USUAL_CELL = (9, 18)  # pixels, where the terminal doesn't tell


def understood(answer: bytes) -> str:
    """The best that a terminal which answers QUESTION so can show: `kitty`, `sixel`, or nothing."""
    if b"\x1b_Gi=31;OK" in answer:
        return "kitty"
    told = ANSWERED.search(answer)
    return "sixel" if told is not None and b"4" in told[1].split(b";")[1:] else ""


def cell_of(answer: bytes) -> tuple[int, int]:
    """(width, height) in pixels of a cell of the terminal that answers QUESTION so."""
    told = re.search(rb"\x1b\[6;(\d{1,3});(\d{1,3})t", answer)
    return (int(told[2]), int(told[1])) if told is not None and int(told[1]) and int(told[2]) else USUAL_CELL


def kitty(image: Image) -> bytes:
    """IMAGE at the cursor, as PNG in pieces."""
    out = io.BytesIO()
    image.save(out, "PNG")
    data = base64.standard_b64encode(out.getvalue())
    pieces = [data[start : start + CHUNK] for start in range(0, len(data), CHUNK)]
    parts = []
    for number, piece in enumerate(pieces):
        more = number + 1 < len(pieces)
        head = b"a=T,f=100,q=2," if number == 0 else b""
        parts.append(b"\x1b_G%sm=%d;%s\x1b\\" % (head, more, piece))
    return b"".join(parts)


def sixel(image: Image) -> bytes:
    """IMAGE at the cursor, in at most COLOURS colours."""
    import numpy as np

    reduced = image.quantize(COLOURS)
    pixels = np.asarray(reduced)
    height, width = pixels.shape
    palette = reduced.getpalette() or []
    parts = [f'\x1bP0;1q"1;1;{width};{height}']
    for colour in np.unique(pixels):
        red, green, blue = (round(part * 100 / 255) for part in palette[3 * colour : 3 * colour + 3])
        parts.append(f"#{colour};2;{red};{green};{blue}")
    for top in range(0, height, 6):
        band = pixels[top : top + 6]
        bits = (1 << np.arange(len(band)))[:, None]
        lines = (f"#{colour}{_runs(((band == colour) * bits).sum(axis=0) + 63)}" for colour in np.unique(band))
        parts.append("$".join(lines) + "-")
    return "".join([*parts, "\x1b\\"]).encode("ascii")


def _runs(codes: Any) -> str:
    """CODES (an array) as characters, equal ones in a row counted (`!12~`); empty ones at the end left out."""
    text = codes.astype("uint8").tobytes().decode("ascii").rstrip("?")
    return re.sub(r"(.)\1{3,}", lambda run: f"!{len(run[0])}{run[1]}", text)
