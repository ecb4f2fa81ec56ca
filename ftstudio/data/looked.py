"""The pictures of a row: where their files are, whether they can be read, and where in the turns they stand."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ftstudio.core.text import one_line
from ftstudio.data.chat import PICTURE
from ftstudio.data.example import BadRow, Example

MOST_PIXELS = 178_000_000  # a picture of more is taken for an attack on memory (Pillow's own limit)


def sources(example: Example, folders: Sequence[Path]) -> list[str | bytes]:
    """The pictures of EXAMPLE as full paths or bytes; relative ones are looked for in FOLDERS. Raises BadRow."""
    given = example.fields.get("images")
    values = list(given) if isinstance(given, (list, tuple)) else [given] if given else []
    return [_source(value, folders) for value in values]


def _source(value: Any, folders: Sequence[Path]) -> str | bytes:
    if isinstance(value, Mapping):
        data = value.get("bytes")
        if isinstance(data, bytes) and data:
            return data
        value = value.get("path") or value.get("url") or value.get("file_name")
    if isinstance(value, bytes):
        return value
    if not isinstance(value, str) or not value or "\0" in value:
        raise BadRow("a picture is neither a path nor the bytes of a file")
    if value.startswith(("http://", "https://")):
        raise BadRow(f"the picture is an address, and nothing is fetched: {one_line(value, 80)}")
    path = Path(value).expanduser()
    for place in [path] if path.is_absolute() else [folder / path for folder in folders]:
        if place.is_file():
            if not place.stat().st_size:
                raise BadRow(f"the picture {one_line(place.name, 60)} is empty (0 bytes)")
            return str(place)
    raise BadRow(f"the picture {one_line(value, 80)} isn't there")


def state(found: Sequence[str | bytes]) -> str:
    """Size and time of the picture files among FOUND: another picture under the same name is another one.
    Raises BadRow."""
    try:
        states = [Path(source).stat() for source in found if isinstance(source, str)]
    except OSError as error:
        raise BadRow(f"the picture is missing: {one_line(error.filename, 80)}") from None
    return " ".join(f"{one.st_size}@{one.st_mtime_ns}" for one in states)


def load(source: str | bytes, whole: bool = True) -> Any:
    """The picture as Pillow's RGB image, turned as its EXIF data say; not WHOLE: only its head is read, and None given.
    Raises BadRow where it is broken."""
    from PIL import Image, ImageOps

    name = one_line(Path(source).name, 60) if isinstance(source, str) else "in the row"
    try:
        with Image.open(io.BytesIO(source) if isinstance(source, bytes) else source) as image:
            if image.width * image.height > MOST_PIXELS:
                raise BadRow(f"the picture {name} has {image.width} × {image.height} pixels, which is too many")
            return ImageOps.exif_transpose(image).convert("RGB") if whole else None
    except BadRow:
        raise
    except Exception as error:  # Pillow's plugins raise whatever they like on broken files
        why = str(error).replace(repr(source), "").strip() if isinstance(source, str) else str(error)
        raise BadRow(f"the picture {name} can't be read ({one_line(why, 80)})") from error


def placed(example: Example, count: int) -> Example:
    """EXAMPLE with a mark in its turns for each of COUNT pictures: those that have none stand before the first
    question. Raises BadRow where there are more marks than pictures."""
    marks = sum(turn.content.count(PICTURE) for turn in example.messages)
    if marks > count:
        raise BadRow(f"{marks} marks {PICTURE} for {count} {'picture' if count == 1 else 'pictures'}")
    if marks == count:
        return example
    first = next((place for place, turn in enumerate(example.messages) if turn.role == "user"), None)
    if first is None:
        raise BadRow("no turn asks about the picture")
    turns = list(example.messages)
    turns[first] = replace(turns[first], content=PICTURE * (count - marks) + turns[first].content)
    return replace(example, messages=tuple(turns))
