"""Lines of a text of any size, with where in the file each begins."""

from __future__ import annotations

import os
from collections.abc import Iterator

from ftstudio.data.encoding import Text
from ftstudio.data.watch import NOBODY, Watch

BLOCK = 1 << 20
MOST_LINE = 256 << 20  # bytes: a longer line is no row, and is not held in memory
TOO_LONG = f"a line of more than {MOST_LINE >> 20} MiB"
_SEPARATORS = {"lf": b"\n", "crlf": b"\r\n", "cr": b"\r"}


class LineEnds:
    """Counts what ends the lines of the blocks it is shown."""

    def __init__(self) -> None:
        self.lf = self.crlf = self.cr = 0
        self._open = False  # the last block ended with a carriage return

    def add(self, block: bytes) -> None:
        """BLOCK comes next."""
        returns = block.count(b"\r")
        pairs = block.count(b"\r\n") if returns else 0
        feeds = block.count(b"\n") - pairs
        if self._open and block.startswith(b"\n"):
            feeds, pairs, self.cr = feeds - 1, pairs + 1, self.cr - 1
            returns += 1
        self._open = block.endswith(b"\r")
        self.lf, self.crlf, self.cr = self.lf + feeds, self.crlf + pairs, self.cr + returns - pairs

    @property
    def name(self) -> str:
        """LF, CRLF, CR, `none` for a single line, or the counts of each where they are mixed."""
        counts = {"LF": self.lf, "CRLF": self.crlf, "CR": self.cr}
        seen = {name: count for name, count in counts.items() if count}
        if len(seen) < 2:
            return next(iter(seen), "none")
        return "mixed: " + ", ".join(f"{count:,} {name}" for name, count in seen.items())


def lines(
    text: Text, watch: Watch = NOBODY, ends: LineEnds | None = None, mode: str = "any", start: int | None = None
) -> Iterator[tuple[int, bytes | None]]:
    """(offset, line with its end) from the byte START on; None stands for a line that is too long to hold.

    MODE says what ends a line: any (\\n, \\r\\n and \\r; U+0085, form feeds and the like are text), lf, crlf or cr.
    """
    offset = place = text.start if start is None else start
    parts: list[bytes] = []
    held = skipped = 0
    while True:
        watch.at(place, text.size)
        block = os.pread(text.handle, min(BLOCK, text.size - place), place) if place < text.size else b""
        if not block:
            break
        place += len(block)
        if ends is not None:
            ends.add(block)
        if b"\n" not in block and (b"\r" not in block or mode in ("lf", "crlf")):
            held += len(block)
            if held > MOST_LINE:
                skipped, parts = skipped + sum(map(len, parts)) + len(block), [b""]
            else:
                parts.append(block)
            continue
        if parts:
            parts.append(block)
            block = b"".join(parts)
        pieces = _split(block, mode)
        parts, held = [], 0
        if place < text.size and not _closed(pieces[-1], mode):
            parts = [pieces.pop()]
            held = len(parts[0])
        if skipped and pieces:
            yield offset, None
            offset += skipped + len(pieces.pop(0))
            skipped = 0
        for piece in pieces:
            yield offset, piece
            offset += len(piece)
    if skipped:
        yield offset, None
    elif parts:
        for piece in _split(b"".join(parts), mode):
            yield offset, piece
            offset += len(piece)
    watch.at(text.size, text.size)


def _split(data: bytes, mode: str) -> list[bytes]:
    if mode == "any":
        return data.splitlines(keepends=True)
    mark = _SEPARATORS[mode]
    pieces = data.split(mark)
    last = pieces.pop()
    found = [piece + mark for piece in pieces]
    return [*found, last] if last else found


def _closed(piece: bytes, mode: str) -> bool:
    """Whether PIECE is a whole line (a final \\r may yet be followed by its \\n)."""
    return piece.endswith(b"\n") if mode == "any" else piece.endswith(_SEPARATORS[mode])


def bare(line: bytes, mode: str = "any") -> bytes:
    """LINE without its end."""
    return line.rstrip(b"\r\n") if mode == "any" else line.removesuffix(_SEPARATORS[mode])
