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
    """One text: its title, the marked text, a note beside the title. `fold`: may be shortened where room is scarce."""

    title: str
    body: Marked
    note: str = ""
    fold: bool = False


@dataclass
class _Laid:
    """A pane cut into lines: (start, end) in its text, and a closing remark."""

    pane: Pane
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
        return self.pane.note if self.cut < 0 else f"… {len(self.lines) - self.cut} more lines · z shows all"


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

    def __init__(self, *, apart: int = 96, id: str | None = None, classes: str | None = None) -> None:
        super().__init__(id=id, classes=classes)
        self.apart = apart
        self.panes: tuple[Pane, ...] = ()
        self.unfolded = False
        self._laid: list[_Laid] = []
        self._stack: list[tuple[_Laid, int]] = []  # stacked: which line of which pane; -1 is its title
        self._width = 0

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
        if not self.size.width or not self.panes:
            self.total = 0
            return
        apart = self.side_by_side
        count = len(self.panes)
        self._width = (self.columns - 3 * (count - 1)) // count if apart else self.columns
        self._laid = [self._lay(pane) for pane in self.panes]
        if apart:
            self.fixed = 1
            self.total = max(laid.height for laid in self._laid)
            return
        self.fixed = 0
        self._fold()
        self._stack = [(laid, index) for laid in self._laid for index in range(-1, laid.height)]
        self.total = len(self._stack)

    def _lay(self, pane: Pane) -> _Laid:
        laid = _Laid(pane, wrap(pane.body.text, self._width))
        if not pane.body.text:
            laid.lines, laid.remark = [], "(empty)"
        elif pane.body.hidden:
            laid.remark = f"… {pane.body.hidden:,} more characters"
        return laid

    def _fold(self) -> None:
        """Shorten what may be shortened, evenly, until all fits."""
        over = sum(laid.height + 1 for laid in self._laid) - self.size.height
        if self.unfolded or over <= 0:
            return
        foldable = [laid for laid in self._laid if laid.pane.fold]
        while over > 0:
            longest = max(foldable, key=lambda laid: laid.shown, default=None)
            if longest is None or longest.shown <= LEAST:
                break
            spare = min(over, max(1, longest.shown - max([LEAST, *(x.shown for x in foldable if x is not longest)])))
            longest.cut = longest.shown - spare
            over -= spare

    # -- drawing ---------------------------------------------------------------------------------------------------
    def heading(self, y: int) -> Line:
        parts: list[Part] = []
        for order, laid in enumerate(self._laid):
            if order:
                parts.append((" ┬ ", "rule"))
            parts += self._title(laid, self._width)
        return tuple(parts)

    @staticmethod
    def _title(laid: _Laid, width: int) -> list[Part]:
        title = fit(laid.pane.title, min(width, cell_len(laid.pane.title)))
        left = width - cell_len(title)
        note = f" {laid.note}" if laid.note and left > 6 else ""
        note = fit(note, min(left, cell_len(note)))
        left -= cell_len(note)
        return [(title, "title"), (note, "dim"), ((" " + "─" * (left - 1)) if left > 0 else "", "rule")]

    def line(self, index: int) -> Line:
        if not self.side_by_side:
            laid, place = self._stack[index]
            return tuple(self._title(laid, self._width)) if place < 0 else self._text(laid, place)
        parts: list[Part] = []
        for order, laid in enumerate(self._laid):
            if order:
                parts.append((" │ ", "rule"))
            line = self._text(laid, index) if index < laid.height else ()
            used = sum(cell_len(text) for text, _ in line)
            parts += [*line, (" " * max(0, self._width - used), "")]
        return tuple(parts)

    def _text(self, laid: _Laid, place: int) -> Line:
        if place >= laid.shown:
            return ((fit(laid.remark, min(self._width, cell_len(laid.remark))), "dim"),)
        start, stop = laid.lines[place]
        return inked(laid.pane.body, start, stop)

    # -- moving ----------------------------------------------------------------------------------------------------
    def action_roll(self, by: int) -> None:
        """A line up or down."""
        self.scroll_lines(by)

    def action_page(self, by: int) -> None:
        """A screenful up or down."""
        self.scroll_lines(by * max(1, self.room - 1))

    def action_edge(self, last: int) -> None:
        """The top or the end."""
        self.scroll_lines(self.total if last else -self.total)
