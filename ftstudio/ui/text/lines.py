"""The base of the line-drawn widgets: a scrolled view that sends only those lines to the terminal that changed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from rich.cells import cell_len, set_cell_size
from rich.segment import Segment
from rich.style import Style
from textual import events
from textual.geometry import Region
from textual.strip import Strip
from textual.widget import Widget

from ftstudio.ui.text.inks import Inks

Part = tuple[str, str]  # a piece of a line: text that is safe to show, and the name of an ink (or `@colour`)
Line = tuple[Part, ...]

INKS = {
    "dim": "$foreground 60%", "good": "$success", "bad": "$error", "warn": "$warning", "strong": "bold",
    "title": "bold $accent", "key": "bold $accent", "mark": "underline bold $warning", "ins": "underline $success",
    "del": "strike $error", "rule": "$foreground 35%", "cursor": "on $primary 35%", "resting": "on $primary 15%",
}  # fmt: skip


def fit(text: str, width: int, align: str = "left") -> str:
    """TEXT in exactly WIDTH cells: padded, or cut with an ellipsis; ALIGN `ends`: in the middle, for names that differ
    at their end."""
    if width <= 0:
        return ""
    length = len(text) if text.isascii() else cell_len(text)
    if length > width and align == "ends" and text.isascii():
        text = f"{text[: width // 3]}…{text[length - (width - 1 - width // 3) :]}"
        length = width
    if length > width:
        text = set_cell_size(text, width - 1) + "…"
        length = width if text.isascii() else cell_len(text)
    gap = " " * (width - length)
    if align == "right":
        return gap + text
    return text + gap


class Lines(Widget, can_focus=True):
    """Draws lines that a subclass composes. `total` lines exist, `top` is the first in view, `fixed` stay on top.

    A subclass gives `line(index)` for the lines of the content and, where `fixed` isn't 0, `heading(y)`; it calls
    `paint` when something may have changed. INKS are the looks that pieces of a line may have.
    """

    INKS: ClassVar[Mapping[str, str]] = INKS
    DEFAULT_CSS = "Lines { width: 1fr; height: 1fr; background: $background; }"

    def __init__(self, *, id: str | None = None, classes: str | None = None) -> None:
        super().__init__(id=id, classes=classes)
        self.top = 0
        self.total = 0
        self.fixed = 0
        self._drawn: dict[int, tuple[Line, str]] = {}
        self._inks = Inks(self, self.INKS)

    # -- what a subclass gives -------------------------------------------------------------------------------------
    def line(self, index: int) -> Line:
        """Line INDEX of the content, counted from 0."""
        raise NotImplementedError

    def heading(self, y: int) -> Line:
        """Line Y of those that stay on top."""
        return ()

    def ground(self, index: int) -> str:
        """The ink whose background line INDEX has: `cursor`, `resting` or none."""
        return ""

    def lay_out(self) -> None:
        """Lay the content out for the present size: set `total`."""

    # -- drawing ---------------------------------------------------------------------------------------------------
    @property
    def room(self) -> int:
        """Lines of content in view."""
        return max(0, self.size.height - self.fixed)

    @property
    def columns(self) -> int:
        """Cells a line may fill; the last column belongs to the scroll mark."""
        return max(1, self.size.width - 1)

    def paint(self) -> None:
        """Draw again the lines that changed, and nothing else."""
        if not self.is_attached or not self.size.height:
            return
        self.top = max(0, min(self.top, self.total - self.room))
        changed = []
        for y in range(self.size.height):
            now = self._parts_at(y)
            if self._drawn.get(y) != now:
                self._drawn[y] = now
                changed.append(Region(0, y, self.size.width, 1))
        if len(changed) == self.size.height:
            self.refresh()
        elif changed:
            self.refresh(*changed)

    def _parts_at(self, y: int) -> tuple[Line, str]:
        if y < self.fixed:
            return self.heading(y), ""
        index = self.top + y - self.fixed
        if index >= self.total:
            return (), ""
        parts = self.line(index)
        mark = self._scroll_mark(y - self.fixed)
        if mark:
            used = sum(len(text) if text.isascii() else cell_len(text) for text, _ in parts)
            parts = (*parts, (" " * max(0, self.columns - used), ""), (mark, "rule"))
        return parts, self.ground(index)

    def _scroll_mark(self, y: int) -> str:
        room = self.room
        if self.total <= room:
            return ""
        length = max(1, room * room // self.total)
        start = round(self.top / (self.total - room) * (room - length))
        return "█" if start <= y < start + length else "│"

    def render_line(self, y: int) -> Strip:
        """Line Y of the widget, as Textual asks for it."""
        drawn = self._drawn.get(y)
        if drawn is None:
            drawn = self._drawn[y] = self._parts_at(y)
        parts, ground = drawn
        base = self.rich_style
        if ground:
            base = base + Style(bgcolor=self._inks[ground].bgcolor)
        plain = ("", "dim") if ground == "cursor" else ("",)  # what is dim can't be read on the cursor's ground
        segments = [Segment(text, base if ink in plain else base + self._ink(ink)) for text, ink in parts]
        return Strip(segments).adjust_cell_length(self.size.width, base)

    def _ink(self, name: str) -> Style:
        if name.startswith("@"):  # a colour, `@yellow`; a pixel above another, `@#aabbcc on #112233`
            color, _, ground = name[1:].partition(" on ")
            return Style(color=color, bgcolor=ground or None)
        style = self._inks[name]
        return Style(
            color=style.color, bold=style.bold, italic=style.italic, underline=style.underline, strike=style.strike
        )

    def on_resize(self) -> None:
        self.again()

    def on_show(self) -> None:
        self.again()

    def on_focus(self) -> None:
        self.paint()

    def on_blur(self) -> None:
        self.paint()

    def again(self) -> None:
        """Lay out and draw everything afresh."""
        self._drawn.clear()
        self.lay_out()
        self.paint()

    def notify_style_update(self) -> None:
        super().notify_style_update()
        self._drawn.clear()
        self._inks.forget()

    # -- scrolling -------------------------------------------------------------------------------------------------
    def scroll_lines(self, count: int) -> None:
        """Move the view by COUNT lines, within the content."""
        before = self.top
        self.top = max(0, min(self.top + count, self.total - self.room))
        if self.top != before:
            self.paint()

    def action_roll(self, by: int) -> None:
        """A line up or down."""
        self.scroll_lines(by)

    def action_page(self, by: int) -> None:
        """A screenful up or down."""
        self.scroll_lines(by * max(1, self.room - 1))

    def action_edge(self, last: int) -> None:
        """The top or the end."""
        self.scroll_lines(self.total if last else -self.total)

    def on_mouse_scroll_down(self, event: events.MouseScrollDown) -> None:
        event.stop()
        self.scroll_lines(3)

    def on_mouse_scroll_up(self, event: events.MouseScrollUp) -> None:
        event.stop()
        self.scroll_lines(-3)
