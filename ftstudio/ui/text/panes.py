"""Texts side by side where there is room, one under the other where there isn't; one scroll moves them all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from rich.cells import cell_len
from textual.binding import Binding

from ftstudio.ui.text.lines import Line, Lines, Part, fit
from ftstudio.ui.text.marked import Marked, inked, wrap

LEAST = 2  # lines a folded pane keeps


@dataclass(frozen=True)
class Pane:
    """One text: its title, the marked text, a note beside the title.

    `fold`: may be shortened where room is scarce. `broad`: stands above the others, not beside them, where columns
    would get too narrow.
    """

    title: str
    body: Marked
    note: str = ""
    fold: bool = False
    broad: bool = False


@dataclass
class _Laid:
    """A pane cut into lines: (start, end) in its text, and a closing remark."""

    pane: Pane
    width: int
    lines: list[tuple[int, int]]
    remark: str = ""
    cut: int = field(default=-1)

    @property
    def shown(self) -> int:
        """Lines of the text that are shown."""
        return len(self.lines) if self.cut < 0 else self.cut

    @property
    def height(self) -> int:
        """All lines but the title."""
        return self.shown + bool(self.remark)

    @property
    def note(self) -> str:
        """What stands beside the title."""
        return self.pane.note if self.cut < 0 else f"… {len(self.lines) - self.cut} more · z shows all"


class Panes(Lines):
    """Panes in columns from `apart` cells on, stacked below that."""

    BINDINGS = [
        Binding("up", "roll(-1)", "up", show=False),
        Binding("down", "roll(1)", "down", show=False),
        Binding("pageup", "page(-1)", "page up", show=False),
        Binding("pagedown", "page(1)", "page down", show=False),
        Binding("home", "edge(0)", "top", show=False),
        Binding("end", "edge(1)", "end", show=False),
    ]

    def __init__(self, *, apart: int = 96, least: int = 32, id: str | None = None, classes: str | None = None) -> None:
        super().__init__(id=id, classes=classes)
        self.apart = apart
        self.least = least  # cells of a column, below which broad panes stand above the others
        self.panes: tuple[Pane, ...] = ()
        self.unfolded = False
        self._laid: list[_Laid] = []
        self._beside: list[_Laid] = []
        self._stack: list[tuple[_Laid | None, int]] = []  # a line of a pane (-1: its title), or of the columns (None)
        self._width = 0  # of a column

    @property
    def side_by_side(self) -> bool:
        """Whether the panes stand in columns."""
        return self.size.width >= self.apart

    @property
    def folded(self) -> bool:
        """Whether a pane is shown shortened."""
        return any(laid.cut >= 0 for laid in self._laid)

    def show(self, panes: Sequence[Pane], *, stay: bool = False) -> None:
        """Show PANES, from their beginning or (STAY) where the view is."""
        panes = tuple(panes)
        if panes == self.panes and self._laid:
            return
        self.panes = panes
        if not stay:
            self.top = 0
        self.lay_out()
        self.paint()

    def toggle_fold(self) -> None:
        """Show all of a folded text, or fold it again."""
        self.unfolded = not self.unfolded
        self.again()

    def lay_out(self) -> None:
        self._laid, self._beside, self._stack, self.total = [], [], [], 0
        if not self.size.width or not self.panes:
            return
        beside: list[Pane] = []
        if self.side_by_side:
            beside = list(self.panes)
            if self._share(len(beside)) < self.least:
                beside = [pane for pane in beside if not pane.broad]
            self._width = self._share(len(beside))
        self._laid = [self._lay(pane, self._width if pane in beside else self.columns) for pane in self.panes]
        self._beside = [laid for laid in self._laid if laid.pane in beside]
        above = [laid for laid in self._laid if laid.pane not in beside]
        rows = max((laid.height + 1 for laid in self._beside), default=0)
        self._fold(above, self.size.height - rows)
        self._stack = [(laid, index) for laid in above for index in range(-1, laid.height)]
        self._stack += [(None, index) for index in range(-1, rows - 1)]
        self.total = len(self._stack)

    def _share(self, count: int) -> int:
        return (self.columns - 3 * (count - 1)) // count

    @staticmethod
    def _lay(pane: Pane, width: int) -> _Laid:
        laid = _Laid(pane, width, wrap(pane.body.text, width))
        if not pane.body.text:
            laid.lines, laid.remark = [], "(empty)"
        elif pane.body.hidden:
            laid.remark = f"… {pane.body.hidden:,} more characters"
        return laid

    def _fold(self, stacked: Sequence[_Laid], room: int) -> None:
        """Shorten what may be shortened of the STACKED panes, evenly, until they fit into ROOM lines."""
        over = sum(laid.height + 1 for laid in stacked) - room
        if self.unfolded or over <= 0:
            return
        foldable = [laid for laid in stacked if laid.pane.fold]
        while over > 0:
            longest = max(foldable, key=lambda laid: laid.shown, default=None)
            if longest is None or longest.shown <= LEAST:
                break
            spare = min(over, max(1, longest.shown - max([LEAST, *(x.shown for x in foldable if x is not longest)])))
            longest.cut = longest.shown - spare
            over -= spare

    # -- drawing ---------------------------------------------------------------------------------------------------
    def line(self, index: int) -> Line:
        laid, place = self._stack[index]
        if laid is not None:
            return tuple(self._title(laid)) if place < 0 else self._text(laid, place)
        parts: list[Part] = []
        for order, laid in enumerate(self._beside):
            if order:
                parts.append((" ┬ " if place < 0 else " │ ", "rule"))
            if place < 0:
                parts += self._title(laid)
                continue
            line = self._text(laid, place) if place < laid.height else ()
            used = sum(cell_len(text) for text, _ in line)
            parts += [*line, (" " * max(0, laid.width - used), "")]
        return tuple(parts)

    @staticmethod
    def _title(laid: _Laid) -> list[Part]:
        title = fit(laid.pane.title, min(laid.width, cell_len(laid.pane.title)))
        left = laid.width - cell_len(title)
        note = f" {laid.note}" if laid.note and left > 6 else ""
        note = fit(note, min(left, cell_len(note)))
        left -= cell_len(note)
        return [(title, "title"), (note, "dim"), ((" " + "─" * (left - 1)) if left > 0 else "", "rule")]

    @staticmethod
    def _text(laid: _Laid, place: int) -> Line:
        if place >= laid.shown:
            return ((fit(laid.remark, min(laid.width, cell_len(laid.remark))), "dim"),)
        start, stop = laid.lines[place]
        return inked(laid.pane.body, start, stop)

    # -- moving ----------------------------------------------------------------------------------------------------
