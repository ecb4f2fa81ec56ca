"""A page of laid-out lines that scrolls with the arrows: what a row, its tokens, a column's figures are shown on."""

from __future__ import annotations

from textual.binding import Binding

from ftstudio.data.personal import masked
from ftstudio.ui.text.lines import Line, Lines


class Page(Lines):
    """Lines composed at once for the present width; a subclass gives `compose_lines`."""

    BINDINGS = [
        Binding("up", "roll(-1)", "up", show=False),
        Binding("down", "roll(1)", "down", show=False),
        Binding("pageup", "page(-1)", "page up", show=False),
        Binding("pagedown,space", "page(1)", "page down", show=False),
        Binding("home", "edge(0)", "top", show=False),
        Binding("end", "edge(1)", "end", show=False),
    ]

    def __init__(self, id: str | None = None) -> None:
        super().__init__(id=id)
        self.laid: list[Line] = []
        self.bare = False  # whether personal data and secrets are shown

    def show_bare(self, bare: bool) -> None:
        """Show personal data and secrets as they are, or masked."""
        self.bare = bare
        self.fresh(stay=True)

    def safe(self, text: str) -> str:
        """TEXT as it may be shown now."""
        return text if self.bare else masked(text)

    def compose_lines(self, width: int) -> list[Line]:
        """The lines of this page, WIDTH cells wide."""
        return []

    def lay_out(self) -> None:
        self.laid = self.compose_lines(self.columns) if self.size.width > 1 else []
        self.total = len(self.laid)

    def line(self, index: int) -> Line:
        return self.laid[index]

    def fresh(self, *, stay: bool = False) -> None:
        """What is shown has changed: from the top, or STAY where the view is."""
        if not stay:
            self.top = 0
        self.again()
