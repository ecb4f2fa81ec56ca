"""`?`: what this screen is for, and every key that works on it."""

from __future__ import annotations

from textual.app import ComposeResult
from textual.containers import VerticalScroll
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Static

from ftstudio.ui.shell.actions import Action


class Help(ModalScreen[None]):
    """Text and keys of one screen, scrolled with the arrows; any of esc, ? and q closes it."""

    BINDINGS = [("escape,question_mark,q", "dismiss", "close")]

    def __init__(self, title: str, text: str, actions: tuple[Action, ...], everywhere: tuple[Action, ...]) -> None:
        super().__init__()
        self.title_text, self.text, self.actions, self.everywhere = title, text, actions, everywhere

    def compose(self) -> ComposeResult:
        with VerticalScroll(classes="dialog help"):
            yield Static(Content(self.title_text), classes="dialog-title")
            yield Static(Content(self.text.strip()), classes="dialog-text")
            yield Static(self._table("Here", self.actions))
            yield Static(self._table("Everywhere", self.everywhere))
            yield Static(Content("esc closes"), classes="dialog-hint")

    @staticmethod
    def _table(title: str, actions: tuple[Action, ...]) -> Content:
        parts: list[tuple[str, str] | str] = [(f"{title}\n", "bold")]
        for action in actions:
            parts += [(f"  {action.keys:<12}", "bold $accent"), f" {action.help}\n"]
        return Content.assemble(*parts)
