"""Plain text in columns, at most 80 wide: tables, wrapped fields, small bars. Knows wide characters."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence

from ftstudio.core.text import clean

WIDTH = 80
_BLOCKS = " ▏▎▍▌▋▊▉"


def width(text: str) -> int:
    """How many columns TEXT takes in a terminal."""
    if text.isascii():
        return len(text)
    return sum(
        0 if unicodedata.combining(character) else 2 if unicodedata.east_asian_width(character) in "WF" else 1
        for character in text
    )


def pad(text: str, columns: int, right: bool = False) -> str:
    """TEXT filled with blanks to COLUMNS, on its right side or before it where RIGHT (numbers)."""
    blanks = " " * max(0, columns - width(text))
    return blanks + text if right else text + blanks


def fit(text: str, columns: int) -> str:
    """TEXT cut to COLUMNS, with an ellipsis where something was lost."""
    return text if width(text) <= columns else _head(text, columns - 1) + "…"


def _head(text: str, columns: int) -> str:
    """As much of TEXT as COLUMNS hold."""
    if text.isascii():
        return text[: max(0, columns)]
    taken = 0
    for index, character in enumerate(text):
        taken += width(character)
        if taken > columns:
            return text[:index]
    return text


def table(header: Sequence[str], rows: Sequence[Sequence[str]], left: Sequence[int] = (0,)) -> list[str]:
    """Lines of a table: HEADER, a rule, ROWS. Columns whose numbers are in LEFT stand left, all others right."""
    widths = [max(width(row[column]) for row in [header, *rows]) for column in range(len(header))]
    lines = []
    for row in [header, *rows]:
        cells = [pad(cell, widths[column], column not in left) for column, cell in enumerate(row)]
        lines.append("  ".join(cells).rstrip())
    lines.insert(1, "─" * max(width(line) for line in lines))
    return [fit(line, WIDTH) for line in lines]


def bar(share: float, columns: int = 8) -> str:
    """SHARE (from 0 to 1) as a bar of COLUMNS; anything above zero shows."""
    eighths = min(columns * 8, max(round(share * columns * 8), 1 if share > 0 else 0))
    full, rest = divmod(eighths, 8)
    return "█" * full + (_BLOCKS[rest] if rest else "")


def wrap(text: str, columns: int, most: int | None = None) -> list[str]:
    """TEXT, made safe, in lines of at most COLUMNS; at most MOST lines, the last then ends in an ellipsis."""
    limit = None if most is None else columns * (most + 1)
    lines: list[str] = []
    for paragraph in clean(text, limit).split("\n"):
        line = ""
        for word in paragraph.split(" "):
            while width(word) > columns:  # longer than a line: broken anywhere
                head = _head(word, columns)
                lines += [line] if line else []
                line = ""
                lines.append(head)
                word = word[len(head) :]
            joined = f"{line} {word}" if line else word
            if width(joined) > columns:
                lines.append(line)
                line = word
            else:
                line = joined
        lines.append(line)
        if most is not None and len(lines) > most:
            break
    lines = [line for line in lines if line.strip()] or [""]
    if most is not None and len(lines) > most:
        last = _head(lines[most - 1], columns - 2).rstrip("… ")
        lines = [*lines[: most - 1], last + " …"]
    return lines


def field(name: str, text: str, indent: int, most: int | None = None) -> list[str]:
    """TEXT wrapped beside NAME: the name takes INDENT columns, the text the rest of the line."""
    lines = wrap(text, WIDTH - indent, most)
    return [pad(fit(name, indent - 1), indent) + lines[0], *(" " * indent + line for line in lines[1:])]
