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
from typing import Any

from ftstudio.core.text import one_line
from ftstudio.data.folders import is_picture
from ftstudio.ui.text.lines import Line, Part

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


@lru_cache(maxsize=32)
def _drawn(picture: str | bytes, width: int, grey: bool) -> str | tuple[Line, ...]:
    try:
        from PIL import Image
    except ImportError:
        return "Pictures need Pillow: pip install 'ftstudio[pictures]'."
    try:
        if isinstance(picture, str) and os.path.getsize(picture) > MOST_BYTES:
            return f"a picture of {os.path.getsize(picture) >> 20} MiB: too big to be shown here"
        with Image.open(io.BytesIO(picture) if isinstance(picture, bytes) else picture) as image:
            size, form = image.size, image.format
            if size[0] * size[1] > MOST_PIXELS:
                return f"{form} {size[0]}×{size[1]}: too big to be shown here"
            image.draft("RGB", (2 * WIDEST, 4 * HIGHEST))  # JPEG is decoded small at once
            columns, rows = fitted(size, width)
            small = image.convert("RGBA").resize((columns, rows))
    except Exception as error:  # hostile bytes fail in many ways
        return f"This picture can't be shown: {one_line(error, 120)}"
    back = Image.new("RGBA", small.size, (128, 128, 128, 255))
    back.alpha_composite(small)
    plain = back.convert("L" if grey else "RGB")
    pixels = plain.load()
    assert pixels is not None
    lines = [_line([(pixels[x, y], pixels[x, y + 1]) for x in range(columns)], grey) for y in range(0, rows, 2)]
    return (*lines, ((f"{form} {size[0]}×{size[1]}", "dim"),))


def fitted(size: tuple[int, int], width: int) -> tuple[int, int]:
    """(columns, rows of pixels) in which a picture of SIZE fits into WIDTH cells and the most lines; rows are even."""
    scale = min(width / size[0], 2 * HIGHEST / size[1], 8.0)
    columns = max(1, min(width, round(size[0] * scale)))
    rows = max(2, min(2 * HIGHEST, round(size[1] * scale)))
    return columns, rows + rows % 2


def _line(pairs: list[tuple[Any, Any]], grey: bool) -> Line:
    """A line of cells, runs of equal ones as one part."""
    if grey:
        return (("".join(SHADES[(a + b) // 2 * len(SHADES) // 256] for a, b in pairs), ""),)
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
