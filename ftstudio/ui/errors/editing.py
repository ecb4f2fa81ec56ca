"""A dialog to change a text of several lines."""

from __future__ import annotations

from textual.app import ComposeResult
from textual.containers import Vertical
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Static, TextArea


class EditText(ModalScreen[str | None]):
    """A text to change; ctrl+s gives it back, escape gives None."""

    BINDINGS = [("escape", "dismiss(None)", "back"), ("ctrl+s", "accept", "accept")]
    DEFAULT_CSS = "EditText TextArea { height: 10; }"

    def __init__(self, title: str, text: str) -> None:
        super().__init__()
        self.question, self.text = title, text

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog"):
            yield Static(Content(self.question), classes="dialog-title")
            area = TextArea(self.text, soft_wrap=True, tab_behavior="focus")
            area.cursor_blink = False
            yield area
            yield Static(Content("ctrl+s accepts · esc goes back"), classes="dialog-hint")

    def on_mount(self) -> None:
        area = self.query_one(TextArea)
        area.move_cursor(area.document.end)
        area.focus()

    def action_accept(self) -> None:
        """Give back what stands there."""
        self.dismiss(self.query_one(TextArea).text)
