"""A dialog to change a text of several lines, here or in one's own editor."""

from __future__ import annotations

from textual.app import ComposeResult
from textual.containers import Vertical
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Static, TextArea

from ftstudio.core.errors import StudioError
from ftstudio.core.text import clean
from ftstudio.ui.text.safe_area import SafeTextArea


class EditText(ModalScreen[str | None]):
    """A text to change; ctrl+s gives it back, escape gives None. BESIDE is shown above it, such as what it is about."""

    BINDINGS = [
        ("escape", "dismiss(None)", "back"),
        ("ctrl+s", "accept", "accept"),
        ("ctrl+o", "outside", "own editor"),
    ]
    DEFAULT_CSS = """
    EditText TextArea { height: 10; }
    EditText .beside { max-height: 6; color: $foreground 75%; margin-bottom: 1; }
    """

    def __init__(self, title: str, text: str, beside: str = "") -> None:
        super().__init__()
        self.question, self.text, self.beside = title, text, beside

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog"):
            yield Static(Content(clean(self.question, 400)), classes="dialog-title")
            if self.beside:
                yield Static(Content(clean(self.beside, 2000)), classes="beside")
            area = SafeTextArea(self.text, soft_wrap=True, tab_behavior="focus")
            yield area
            yield Static(Content("ctrl+s accepts · ctrl+o your own editor · esc goes back"), classes="dialog-hint")

    def on_mount(self) -> None:
        area = self.query_one(TextArea)
        area.move_cursor(area.document.end)
        area.focus()

    def action_accept(self) -> None:
        """Give back what stands there."""
        self.dismiss(self.query_one(TextArea).text)

    def action_outside(self) -> None:
        """Go on in the person's own editor."""
        from ftstudio.ui.data.editing import edited_outside

        area = self.query_one(TextArea)
        try:
            with self.app.suspend():
                text = edited_outside(area.text, False)
            area.load_text(text)
        except StudioError as error:
            self.app.notify(clean(error, 400), severity="error", markup=False, timeout=10)
        except Exception as error:  # no terminal to lend: a test, a web driver
            text = f"No editor can be opened here ({type(error).__name__})."
            self.app.notify(text, severity="warning", markup=False, timeout=6)
        self.app.refresh(layout=True)
