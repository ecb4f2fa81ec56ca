"""`?`: what this screen is for, and every key that works on it."""

from __future__ import annotations

import re
import textwrap

from textual.app import ComposeResult
from textual.containers import VerticalScroll
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Static

from ftstudio.ui.shell.actions import Action

KEYS = 15  # cells before what a key does


class Help(ModalScreen[None]):
    """Text and keys of one screen, scrolled with the arrows; any of esc, ? and q closes it."""

    BINDINGS = [("escape,question_mark,q", "dismiss", "close")]

    def __init__(self, title: str, text: str, actions: tuple[Action, ...], everywhere: tuple[Action, ...]) -> None:
        super().__init__()
        self.title_text, self.text, self.actions, self.everywhere = title, text, actions, everywhere

    def compose(self) -> ComposeResult:
        with VerticalScroll(classes="dialog help"):
            yield Static(Content(self.title_text), classes="dialog-title")
            yield Static(Content(flowing(self.text, self._width)), classes="dialog-text")
            yield Static(self._table("Here", self.actions))
            yield Static(self._table("Everywhere", self.everywhere))
            yield Static(Content("esc closes"), classes="dialog-hint")

    @property
    def _width(self) -> int:
        """Cells of a line: the dialog less its border, padding and bar."""
        return min(78, self.app.size.width * 96 // 100) - 8

    def _table(self, title: str, actions: tuple[Action, ...]) -> Content:
        parts: list[tuple[str, str] | str] = [(f"{title}\n", "bold")]
        for action in compact(actions):
            said = f"\n{' ' * KEYS}".join(textwrap.wrap(action.help, max(20, self._width - KEYS)))
            parts += [(f"  {action.keys:<{KEYS - 3}}", "bold $accent"), f" {said}\n"]
        return Content.assemble(*parts)


def flowing(text: str, width: int) -> str:
    """TEXT with each paragraph on one line, to be wrapped to any width; indented and listed lines stay, and what of
    them WIDTH cells don't hold goes on below their explanation."""
    lines: list[str] = []
    for line in text.strip().split("\n"):
        goes_on = line and lines and lines[-1] and not line.startswith((" ", "- ", "• "))
        if goes_on and not lines[-1].startswith((" ", "- ", "• ")):
            lines[-1] += f" {line}"
        else:
            lines.append(line)
    return "\n".join(hanging(line, width) if line.startswith((" ", "- ", "• ")) else line for line in lines)


def hanging(line: str, width: int) -> str:
    """LINE (two columns parted by two blanks, or a list's item) wrapped, its further lines below its last column."""
    found = re.match(r"[-•] | *\S.*?\S {2,}| +", line)
    indent = found.end() if found else 0
    if len(line) <= width or indent > width // 2:
        return line
    # textwrap would squeeze no blanks between the columns, but break at them: only the last column is wrapped
    said = textwrap.wrap(line[indent:], width - indent)
    return f"\n{' ' * indent}".join([line[:indent] + said[0], *said[1:]])


def compact(actions: tuple[Action, ...]) -> list[Action]:
    """ACTIONS with those that go to the six screens as one."""
    going = [action for action in actions if action.run.startswith("go(")]
    others = [action for action in actions if action not in going]
    if not going:
        return others
    titles = ", ".join(action.help.removeprefix("go to the screen ") for action in going)
    return [Action(f"{going[0].key} … {going[-1].key}", "", "", f"go to the screens {titles}"), *others]
