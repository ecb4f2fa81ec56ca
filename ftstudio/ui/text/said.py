"""A few lines of inked text that are drawn again only where they changed."""

from __future__ import annotations

from collections.abc import Sequence

from rich.cells import cell_len

from ftstudio.ui.text.lines import Line, Lines, Part, fit
from ftstudio.ui.text.marked import wrap


class Said(Lines, can_focus=False):
    """Lines of text above or below something. Its height is that of what it says unless CSS fixes it."""

    DEFAULT_CSS = "Said { height: 1; }"

    def __init__(self, *, grow: bool = False, id: str | None = None, classes: str | None = None) -> None:
        super().__init__(id=id, classes=classes)
        self.grow = grow
        self.said: tuple[Line, ...] = ()

    def say(self, *lines: Line) -> None:
        """Show LINES from now on."""
        if lines == self.said:
            return
        if self.grow and len(lines) != len(self.said):
            self.styles.height = len(lines)
        self.said = lines
        self.total = len(lines)
        self.paint()

    @property
    def text(self) -> str:
        """What it says, without inks."""
        return "\n".join("".join(text for text, _ in line) for line in self.said)

    def line(self, index: int) -> Line:
        return self.said[index]


def wrapped(text: str, width: int, ink: str = "dim", most: int = 2) -> list[Line]:
    """TEXT, safe to show, in at most MOST lines of WIDTH cells."""
    places = wrap(text, max(10, width))
    lines: list[Line] = [((text[start:stop], ink),) for start, stop in places[:most]]
    if len(places) > most:
        lines[-1] = ((fit(text[places[most - 1][0] :], width), ink),)
    return lines


def named(name: str, text: str, wide: int, width: int, ink: str = "") -> list[Line]:
    """TEXT beside its NAME, which takes WIDE cells, wrapped into at most three lines of WIDTH cells."""
    rows = wrapped(text, width - wide, ink, 3)
    return [((fit("" if place else name, wide), "dim"), *row) for place, row in enumerate(rows)]


def fitting(parts: Sequence[Part], width: int) -> Line:
    """As many of PARTS, from the first on, as fit into WIDTH cells whole; the first in any case."""
    kept: list[Part] = []
    for part in parts:
        width -= cell_len(part[0])
        if width < 0 and kept:
            break
        kept.append(part)
    return tuple(kept)
