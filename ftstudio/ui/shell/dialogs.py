"""Small dialogs: a question with named answers, and a line to type in."""

from __future__ import annotations

from collections.abc import Callable

from textual import events
from textual.app import ComposeResult
from textual.containers import Vertical
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Input, Static

from ftstudio.core.errors import StudioError
from ftstudio.core.text import clean
from ftstudio.ui.shell.help import hanging
from ftstudio.ui.text.safe import SafeInput

KEY = 6  # cells of an answer's key
EDGES = 6  # cells of a dialog's border and padding


class Ask(ModalScreen[str | None]):
    """A question; each answer has a key. Gives back the key, or None for escape."""

    def __init__(self, title: str, text: str, answers: dict[str, str]) -> None:
        super().__init__()
        self.question, self.text, self.answers = title, text, answers

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog"):
            yield Static(Content(clean(self.question, 400)), classes="dialog-title")
            if self.text:
                yield Static(Content(clean(self.text, 4000)), classes="dialog-text")
            for key, label in self.answers.items():
                yield self._answer(key, label)
            yield self._answer("esc", "go back")

    def _answer(self, key: str, label: str) -> Static:
        """KEY and what it does, in two columns."""
        room = min(72, self.app.size.width * 96 // 100) - EDGES - KEY
        said = hanging(clean(label, 400), max(20, room)).replace("\n", f"\n{' ' * KEY}")
        return Static(Content.assemble((f" {key:<{KEY - 2}} ", "bold $accent"), said), classes="dialog-answer")

    def on_key(self, event: events.Key) -> None:
        event.stop()
        if event.key == "escape":
            self.dismiss(None)
        elif event.character in self.answers:
            self.dismiss(event.character)
        elif event.key in self.answers:
            self.dismiss(event.key)


class Prompt(ModalScreen[str | None]):
    """One line to type; enter gives it back, escape gives None.

    What CHECK refuses, by a StudioError, isn't taken: it says so, and what was typed stays to be mended. Closed, the
    next letters would be keys of the screen below.
    """

    BINDINGS = [("escape", "dismiss(None)", "back")]

    def __init__(
        self, title: str, value: str = "", hint: str = "", placeholder: str = "",
        check: Callable[[str], object] | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        self.question, self.value, self.hint, self.placeholder = title, value, hint, placeholder
        self.check = check

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog"):
            yield Static(Content(clean(self.question, 400)), classes="dialog-title")
            field = SafeInput(self.value, placeholder=self.placeholder, compact=True, id="prompt-line")
            field.cursor_blink = False
            yield field
            yield Static(id="prompt-fault", classes="bad")
            hint = f"{self.hint}\n" if self.hint else ""
            yield Static(Content(f"{clean(hint, 2000)}enter accepts · esc goes back"), classes="dialog-hint")

    def on_input_changed(self) -> None:
        self._say("")

    def on_input_submitted(self, event: Input.Submitted) -> None:
        try:
            if self.check is not None:
                self.check(event.value)
        except StudioError as error:
            self._say(f"✗ {clean(str(error), 400)}")
        else:
            self.dismiss(event.value)

    def _say(self, fault: str) -> None:
        place = self.query_one("#prompt-fault", Static)
        place.display = bool(fault)
        place.update(Content(fault))
