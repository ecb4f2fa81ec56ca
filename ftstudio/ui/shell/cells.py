"""One line of a terminal, cell by cell: what is written to it, and where it differs from what the terminal shows.

A cell is a character that every terminal draws in one cell, or part of a piece whose width terminals may count
differently (wide, combining and joined characters): such a piece lies whole in its first cell, and its others are
empty. A cell that isn't known is None; it differs from everything.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache

from rich.cells import cell_len

from ftstudio.ui.shell.looks import Look, blank

NEAR = 3  # cells between two spans that are sent again rather than jumped over

# what every terminal draws in one cell: letters of Europe, punctuation, arrows, mathematics, boxes, blocks, braille
_NARROW = re.compile(
    "[ -~\xa0-\xac\xae-\u02ff\u0370-\u0377\u037a-\u0482\u048a-\u052f\u2010-\u2027\u2030-\u203b\u203d-\u2048"
    "\u204a-\u205e\u2070-\u209c\u20ac\u2190-\u22ff\u23ce\u2400-\u2426\u2500-\u25fc\u2702\u270e\u2713\u2717\u27e8\u27e9\u2800-\u28ff]*"
)


@lru_cache(4096)
def width(text: str) -> int:
    """Cells that TEXT takes, negative where terminals may count otherwise."""
    return len(text) if _NARROW.fullmatch(text) else -cell_len(text)


class Line:
    """The cells of a line, as far as something was written to it."""

    __slots__ = ("end", "last", "looks", "odd", "text")

    def __init__(self) -> None:
        self.text: list[str | None] = []
        self.looks: list[Look | None] = []
        self.odd = False  # whether there may be pieces of more than a cell
        self.last: object = None  # what has just been written to it, if that came as one
        self.end = 0  # and the cell after that

    def copy(self) -> Line:
        """Another with the same cells."""
        made = Line()
        made.text, made.looks, made.odd = self.text.copy(), self.looks.copy(), self.odd
        made.last, made.end = self.last, self.end
        return made

    def put(self, x: int, text: str, cells: int, look: Look) -> int:
        """Write TEXT of so many CELLS (see `width`) at X; gives the cell after it."""
        end = x + abs(cells)
        if (missing := end - len(self.text)) > 0:
            self.text += [None] * missing
            self.looks += [None] * missing
        if self.odd:
            self._tear(x)
            self._tear(end)
        if cells < 0:
            self.odd = True
            self.text[x:end] = [text, *[""] * (end - x - 1)]
        else:
            self.text[x:end] = text
        self.looks[x:end] = [look] * (end - x)
        self.last = None
        return end

    def tears(self, x: int, end: int) -> bool:
        """Whether text from X to before END would cover part of a piece, and leave the rest."""
        return self.odd and any(at < len(self.text) and self.text[at] == "" for at in (x, end))

    def _tear(self, x: int) -> None:
        """Of a piece that lies across the beginning of the cell X nobody knows what is left."""
        if x >= len(self.text) or self.text[x] != "":
            return
        first, end = x, x
        while first > 0 and self.text[first] == "":
            first -= 1
        while end < len(self.text) and self.text[end] == "":
            end += 1
        self.text[first:end] = [None] * (end - first)

    def differing(self, shown: Line | None) -> Iterator[tuple[int, int]]:
        """Where this line must be sent so that a terminal that shows SHOWN shows it: from cell … to before cell ….

        Cells of which neither knows anything are left out.
        """
        if shown is None:
            shown = Line()
        if self.text == shown.text and self.looks == shown.looks:
            return
        if self.odd or shown.odd:
            if any(self._differs(x, shown) for x in range(len(self.text))):
                yield from self._known()
            return
        first = last = -1
        for x in range(len(self.text)):
            if not self._differs(x, shown):
                continue
            if last < 0:
                first = x
            elif x - last > 1 and not self._joins(last, x):
                yield first, last + 1
                first = x
            last = x
        if last >= 0:
            yield first, last + 1

    def _differs(self, x: int, shown: Line) -> bool:
        text, look = self.text[x], self.looks[x]
        if text is None:
            return False
        if x >= len(shown.text) or text != shown.text[x]:
            return True
        before = shown.looks[x]
        if look == before or look is None or before is None:
            return look != before
        return text != " " or blank(before, look) != before

    def _joins(self, last: int, x: int) -> bool:
        """Whether the cells between LAST and X take fewer bytes than a jump."""
        return x - last - 1 <= NEAR and all(
            (text := self.text[at]) is not None and text.isascii() and self.looks[at] == self.looks[last]
            for at in range(last + 1, x)
        )

    def _known(self) -> Iterator[tuple[int, int]]:
        first = -1
        for x, text in enumerate([*self.text, None]):
            if text is not None and first < 0:
                first = x
            elif text is None and first >= 0:
                yield first, x
                first = -1

    def pieces(self, first: int, end: int) -> Iterator[tuple[int, str, Look]]:
        """The cells from FIRST to before END in pieces of one look: where each begins, its text, its look."""
        x = first
        while x < end:
            look = self.looks[x]
            assert look is not None
            begin = x
            x += 1
            if self.odd and not _NARROW.fullmatch(self.text[begin] or ""):
                while x < end and self.text[x] == "":
                    x += 1
            else:
                while x < end and self.looks[x] == look and self.text[x] and not (
                    self.odd and not _NARROW.fullmatch(self.text[x] or "")
                ):  # fmt: skip
                    x += 1
            yield begin, "".join(text for text in self.text[begin:x] if text), look
