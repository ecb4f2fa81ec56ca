"""Pictures in a terminal: two pixels a cell, one above the other, as upper half-blocks in two colours.

Without colours (NO_COLOR) shades of grey. Pillow is imported when the first picture is shown; a picture that can't be
read is said, never raised.
"""

from __future__ import annotations

import io
import os
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ftstudio.core.errors import StudioError
from ftstudio.core.text import one_line
from ftstudio.data.folders import is_picture
from ftstudio.ui.text.lines import Line, Part

if TYPE_CHECKING:
    from PIL.Image import Image

WIDEST, HIGHEST = 48, 16  # cells: 16 lines of 48 cells are 25 KB on the wire at most
MOST_PIXELS = 40_000_000
MOST_BYTES = 64 << 20
SHADES = " ░▒▓█"
HALF = "▀"


def pictures_of(value: Any, kind: str) -> list[str | bytes]:
    """The pictures that a cell's VALUE holds or names, of a column of type KIND: paths, or their bytes."""
    values = value if isinstance(value, (list, tuple)) else [value]
    found: list[str | bytes] = []
    for part in values[:4]:
        if isinstance(part, Mapping) and {"bytes", "path"} <= set(part):
            part = part["bytes"] or part["path"]
        if isinstance(part, (bytes, bytearray)) or (isinstance(part, str) and (kind == "image" or is_picture(part))):
            found.append(bytes(part) if isinstance(part, bytearray) else part)
    return found


def lines_of(picture: str | bytes, width: int, folder: Path | None = None) -> list[Line]:
    """PICTURE (bytes, or a path from FOLDER on) in lines of at most WIDTH cells; a sentence where it can't be shown."""
    if isinstance(picture, str) and folder is not None:
        picture = str(folder / picture)
    found = _drawn(picture, min(WIDEST, max(4, width)), bool(os.environ.get("NO_COLOR")))
    return [((found, "dim"),)] if isinstance(found, str) else list(found)


def reduced(picture: str | bytes, most: tuple[int, int]) -> tuple[Image, str]:
    """(PICTURE in RGB on grey, decoded at about MOST pixels or more where its format can do that, what it is in words).

    Raises StudioError with the sentence that says why it can't be shown.
    """
    try:
        from PIL import Image
    except ImportError as error:
        raise StudioError("Pictures need Pillow: pip install 'ftstudio[pictures]'.") from error
    try:
        if isinstance(picture, str) and os.path.getsize(picture) > MOST_BYTES:
            raise StudioError(f"a picture of {os.path.getsize(picture) >> 20} MiB: too big to be shown here")
        with Image.open(io.BytesIO(picture) if isinstance(picture, bytes) else picture) as image:
            size, form = image.size, image.format
            if size[0] * size[1] > MOST_PIXELS:
                raise StudioError(f"{form} {size[0]}×{size[1]}: too big to be shown here")
            image.draft("RGB", most)  # JPEG is decoded small at once
            whole = image.convert("RGBA")
    except StudioError:
        raise
    except Exception as error:  # hostile bytes fail in many ways
        raise StudioError(f"This picture can't be shown: {one_line(error, 120)}") from error
    back = Image.new("RGBA", whole.size, (128, 128, 128, 255))
    back.alpha_composite(whole)
    return back.convert("RGB"), f"{form} {size[0]}×{size[1]}"


@lru_cache(maxsize=32)
def _drawn(picture: str | bytes, width: int, grey: bool) -> str | tuple[Line, ...]:
    try:
        image, what = reduced(picture, (2 * WIDEST, 4 * HIGHEST))
    except StudioError as error:
        return str(error)
    return (*half_blocks(image, width, HIGHEST, grey=grey), ((f"{what} · V enlarges it", "dim"),))


def half_blocks(image: Image, width: int, height: int, *, grey: bool) -> list[Line]:
    """IMAGE in at most HEIGHT lines of WIDTH cells, two pixels a cell; GREY: as shades that need no colour."""
    columns, rows = fitted(image.size, width, height)
    if grey:
        return _shades(image.resize((columns, rows // 2)).convert("L"))
    pixels = image.resize((columns, rows)).convert("RGB").load()
    assert pixels is not None
    return [_line([(pixels[x, y], pixels[x, y + 1]) for x in range(columns)]) for y in range(0, rows, 2)]


def _shades(image: Image) -> list[Line]:
    """IMAGE, a pixel a cell, in SHADES; what lies between two of them is dithered, so that pale things are seen too."""
    from PIL import Image

    levels = Image.new("P", (1, 1))
    levels.putpalette([round(255 * place / (len(SHADES) - 1)) for place in range(len(SHADES)) for _ in range(3)])
    found = image.convert("RGB").quantize(palette=levels, dither=Image.Dither.FLOYDSTEINBERG).tobytes()
    width = image.width
    return [(("".join(SHADES[min(one, len(SHADES) - 1)] for one in found[at : at + width]), ""),)
            for at in range(0, len(found), width)]  # fmt: skip


def fitted(size: tuple[int, int], width: int, height: int = HIGHEST) -> tuple[int, int]:
    """(columns, rows of pixels) in which a picture of SIZE fits into WIDTH cells and HEIGHT lines; rows are even."""
    scale = min(width / size[0], 2 * height / size[1], 8.0)
    columns = max(1, min(width, round(size[0] * scale)))
    rows = max(2, min(2 * height, round(size[1] * scale)))
    return columns, rows + rows % 2


def _line(pairs: list[tuple[Any, Any]]) -> Line:
    """A line of cells, runs of equal ones as one part."""
    parts: list[Part] = []
    for above, below in pairs:
        ink = f"@{_name(above)} on {_name(below)}"
        if parts and parts[-1][1] == ink:
            parts[-1] = (parts[-1][0] + HALF, ink)
        else:
            parts.append((HALF, ink))
    return tuple(parts)


def _name(pixel: tuple[int, int, int]) -> str:
    return "#{:02x}{:02x}{:02x}".format(*(16 * round(part / 17) + round(part / 17) for part in pixel))
