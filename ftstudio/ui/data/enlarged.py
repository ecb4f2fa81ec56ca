"""A picture over the whole terminal: in pixels where the terminal can draw them, else in half-blocks.

The studio must have given the terminal away (`app.suspend`); it is had back after any key.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import select
import struct
import termios
import time
import tty
from collections.abc import Iterator
from typing import TYPE_CHECKING

from rich.color import ColorSystem
from rich.style import Style

from ftstudio.ui.data import graphics
from ftstudio.ui.data.picture import half_blocks
from ftstudio.ui.text.lines import Line

if TYPE_CHECKING:
    from PIL.Image import Image

PATIENCE = 1.5  # seconds for the terminal's answer, which every terminal gives at once, but a slow link later
MOST = (1600, 1200)  # pixels sent
WAYS = {"kitty": "kitty graphics", "sixel": "sixel", "": "half-blocks"}
_ENTER, _LEAVE = b"\x1b[?1049h\x1b[?25l\x1b[2J\x1b[H", b"\x1b[0m\x1b[2J\x1b[?25h\x1b[?1049l"


def enlarge(image: Image, what: str, colours: ColorSystem | None) -> None:
    """Show IMAGE, WHAT in words below it, until a key is pressed. COLOURS: those of the terminal (None: it has none).

    Raises OSError where there is no terminal.
    """
    with _terminal() as handle:
        answer = _ask(handle)
        way = graphics.understood(answer)
        columns, lines = _size(handle)
        try:
            _write(handle, _ENTER + _picture(image, way, graphics.cell_of(answer), (columns, lines - 2), colours))
            _write(handle, f"\x1b[{lines};1H\x1b[0m{what} · {WAYS[way]} · any key goes back".encode()[: columns * 4])
            _key(handle)
        finally:
            _write(handle, (graphics.DELETE if way == "kitty" else b"") + _LEAVE)


def _picture(
    image: Image, way: str, cell: tuple[int, int], room: tuple[int, int], colours: ColorSystem | None
) -> bytes:
    """What draws IMAGE in ROOM (columns, lines) at the top."""
    if not way:
        drawn = half_blocks(image, *room, grey=colours is None)
        return "\r\n".join(_coloured(line, colours) for line in drawn).encode()
    most = (min(MOST[0], room[0] * cell[0]), min(MOST[1], room[1] * cell[1]))
    scale = min(most[0] / image.width, most[1] / image.height, 8.0)
    fitted = image.resize((max(1, int(image.width * scale)), max(1, int(image.height * scale))))
    return graphics.kitty(fitted) if way == "kitty" else graphics.sixel(fitted)


def _coloured(line: Line, colours: ColorSystem | None) -> str:
    """LINE, whose inks are pixels, as a terminal with COLOURS is sent it."""
    parts = []
    for text, ink in line:
        above, _, below = ink[1:].partition(" on ")
        style = Style(color=above, bgcolor=below) if ink else Style()
        parts.append(style.render(text, color_system=colours) if ink and colours is not None else text)
    return "".join(parts)


# -- the terminal ----------------------------------------------------------------------------------------------------
@contextlib.contextmanager
def _terminal() -> Iterator[int]:
    """The terminal, byte by byte and without an echo."""
    handle = os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY)
    try:
        before = termios.tcgetattr(handle)
        try:
            tty.setcbreak(handle, termios.TCSAFLUSH)
            yield handle
        finally:
            with contextlib.suppress(termios.error):
                termios.tcsetattr(handle, termios.TCSAFLUSH, before)
    except termios.error as error:
        raise OSError(*error.args) from error
    finally:
        os.close(handle)


def _ask(handle: int) -> bytes:
    """What the terminal says to `graphics.QUESTION`."""
    _write(handle, graphics.QUESTION)
    answer, end = b"", time.monotonic() + PATIENCE
    while graphics.ANSWERED.search(answer) is None and (left := end - time.monotonic()) > 0:
        if not select.select([handle], [], [], left)[0]:
            break
        got = os.read(handle, 1024)
        if not got:
            break
        answer += got
    return answer


def _key(handle: int) -> None:
    """Wait for a key, or for the terminal to go."""
    with contextlib.suppress(OSError):
        os.read(handle, 64)


def _size(handle: int) -> tuple[int, int]:
    lines, columns = struct.unpack("HHHH", fcntl.ioctl(handle, termios.TIOCGWINSZ, bytes(8)))[:2]
    return max(20, columns), max(6, lines)


def _write(handle: int, data: bytes) -> None:
    """All of DATA; a terminal that is gone takes none."""
    with contextlib.suppress(OSError):
        while data:
            data = data[os.write(handle, data) :]
