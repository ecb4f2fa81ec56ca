"""A cell to be edited in place: all of its text, however many lines it has."""

from __future__ import annotations

from typing import Any

from textual import events
from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Vertical
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Static, TextArea

from ftstudio.core.errors import StudioError
from ftstudio.core.text import clean
from ftstudio.data.dataset import Row
from ftstudio.ui.data.editing import editable, parsed, parsed_row, row_as_text


class CellText(TextArea):
    """The text. Enter accepts where it is one line, as in any line to type in."""

    def __init__(self, text: str) -> None:
        super().__init__(text, compact=True, highlight_cursor_line=False, id="cell-text")
        self.cursor_blink = False

    async def _on_key(self, event: events.Key) -> None:
        if event.key == "enter" and "\n" not in self.text:
            event.stop()
            event.prevent_default()
            await self.run_action("screen.accept")
        else:
            await super()._on_key(event)


class CellDialog(ModalScreen[tuple[Any] | None]):
    """Gives back the new value, in a tuple of one, or None for escape."""

    BINDINGS = [
        Binding("escape", "dismiss(None)", "back"),
        Binding("ctrl+s", "accept", "accept", priority=True),
    ]
    DEFAULT_CSS = """
    CellDialog { align: center middle; }
    CellDialog #cell-text { height: auto; min-height: 3; max-height: 60vh; background: $background; }
    CellDialog #cell-fault { height: auto; color: $error; }
    """

    def __init__(self, title: str, value: Any) -> None:
        super().__init__()
        self.question = title
        self.text, self.is_json = editable(value)

    def compose(self) -> ComposeResult:
        several = "\n" in self.text
        keys = "ctrl+s accepts" if several else "enter accepts"
        with Vertical(classes="dialog") as box:
            box.styles.width = 100
            yield Static(Content(self.question), classes="dialog-title")
            yield CellText(self.text)
            yield Static("", id="cell-fault")
            what = "JSON · " if self.is_json else ""
            yield Static(Content(f"{what}{keys} · esc goes back, nothing changed"), classes="dialog-hint")

    def on_mount(self) -> None:
        area = self.query_one(CellText)
        area.focus()
        area.move_cursor(area.document.end)

    def value_of(self, text: str) -> Any:
        """What TEXT stands for. Raises UsageError."""
        return parsed(text, self.is_json)

    def action_accept(self) -> None:
        """Take the text, if it can be a value."""
        try:
            self.dismiss((self.value_of(self.query_one(CellText).text),))
        except StudioError as error:
            self.query_one("#cell-fault", Static).update(Content(f"✗ {clean(error, 400)}"))


class RowDialog(CellDialog):
    """A whole row as JSON; gives back the new row. Cells that JSON can't write (pictures) stay as they are."""

    def __init__(self, title: str, row: Row) -> None:
        super().__init__(title, "")
        self.row = row
        self.text, self.is_json = row_as_text(row), True

    def value_of(self, text: str) -> Any:
        return parsed_row(text, self.row)
