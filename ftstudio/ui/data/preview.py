"""What a repair would do, before it is done: the first cells before and after, or the first rows that would go."""

from __future__ import annotations

from collections.abc import Sequence

from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Vertical
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Static

from ftstudio.core.text import one_line
from ftstudio.data.versions.edit import Drop, Insert
from ftstudio.data.versions.replace import Preview
from ftstudio.ui.data.cells import row_text
from ftstudio.ui.data.differing import differing
from ftstudio.ui.data.mended import State, place_of
from ftstudio.ui.data.page import Page
from ftstudio.ui.text.lines import Line

SHOWN = 20  # cells or rows


class PreviewPage(Page):
    """Row by row what would change; scrolls."""

    def __init__(self, preview: Preview, state: State) -> None:
        super().__init__("preview-lines")
        self.preview, self.state = preview, state

    def compose_lines(self, width: int) -> list[Line]:
        lines: list[Line] = []
        for change in self.preview.cells[:SHOWN]:
            number = self.state.places([change.row])[0]
            lines.append(((f"row {number:,}", "title"), (f"  {one_line(change.column, 40)}", "dim")))
            lines += differing(change.before, change.after, width, 4, bare=self.bare)
        if not self.preview.cells:
            lines += self._rows(width)
        hidden = (len(self.preview.cells) or self.preview.rows) - SHOWN
        if hidden > 0:
            lines.append(((f"… and {hidden:,} more", "dim"),))
        return lines

    def _rows(self, width: int) -> list[Line]:
        place = place_of(self.state.display)
        lines: list[Line] = []
        for patch in self.preview.edit.patches[:SHOWN]:
            if isinstance(patch, Drop):
                number = place(patch.key)
                text = one_line(self.safe(row_text(self.state.shown[number])), max(10, width - 20))
                lines.append(((f"- row {number:,}  ", "del"), (text, "dim")))
            elif isinstance(patch, Insert):
                lines.append((("+ ", "ins"), (one_line(self.safe(row_text(patch.row)), max(10, width - 4)), "")))
        return lines


class PreviewDialog(ModalScreen[bool | None]):
    """Shows what would be done; enter does it."""

    BINDINGS = [
        Binding("escape", "dismiss(None)", "back"),
        Binding("enter", "dismiss(True)", "do it", priority=True),
        Binding("z", "bare", "show masked text"),
    ]
    DEFAULT_CSS = """
    PreviewDialog { align: center middle; }
    PreviewDialog #preview-lines { height: auto; max-height: 50vh; background: $surface; }
    """

    def __init__(self, title: str, about: str, preview: Preview, state: State) -> None:
        super().__init__()
        self.question, self.about, self.page = title, about, PreviewPage(preview, state)

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog") as box:
            box.styles.width = 100
            yield Static(Content(self.question), classes="dialog-title")
            yield Static(Content(self.about), classes="dialog-text")
            yield self.page
            yield Static(Content("enter does it · ↑↓ scrolls · u undoes it later · esc back"), classes="dialog-hint")

    def on_mount(self) -> None:
        lines = len(self.page.compose_lines(76))
        self.page.styles.height = max(2, min(lines, self.app.size.height - 14))
        self.page.focus()

    def action_bare(self) -> None:
        """Show personal data and secrets, or mask them again."""
        self.page.show_bare(not self.page.bare)


def counted(preview: Preview) -> str:
    """How many rows would be changed, dropped and added, in words."""
    counts = preview.edit.counts
    parts: Sequence[str] = [f"{count:,} {name}" for name, count in counts.items() if count]
    return f"Rows: {', '.join(parts)}. Your own file stays as it is." if parts else "Nothing would change."
