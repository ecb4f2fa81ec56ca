"""The last line of every screen: the keys that work here."""

from __future__ import annotations

from rich.segment import Segment
from textual.strip import Strip
from textual.widget import Widget

from ftstudio.ui.shell.actions import Action, readable
from ftstudio.ui.text.inks import Inks

INKS = {"key": "bold $accent", "word": "$foreground 75%"}
ALWAYS = (("?", "help"), ("ctrl+p", "all"), ("q", "quit"))
TYPING = (("ctrl+p", "all keys"), ("ctrl+q", "quit"))  # where letters are text


class KeyLine(Widget, can_focus=False):
    """Keys and words, as many as fit; `?` and `q` always do, `ctrl+p` where nothing of the screen's own must go."""

    DEFAULT_CSS = "KeyLine { height: 1; dock: bottom; background: $panel; }"

    def __init__(self) -> None:
        super().__init__()
        self._inks = Inks(self, INKS)
        self.actions: tuple[Action, ...] = ()
        self.typing = False

    def show_actions(self, actions: tuple[Action, ...], typing: bool = False) -> None:
        """Show ACTIONS from now on; TYPING: somebody types, and letters are no keys."""
        if (actions, typing) != (self.actions, self.typing):
            self.actions, self.typing = actions, typing
            self.refresh()

    def words(self, width: int) -> list[tuple[str, str]]:
        """(key, word) of what is shown in WIDTH cells."""
        own = [(readable(action.key.split(",")[0]), action.label) for action in self.actions if action.label]
        tail = [*(TYPING if self.typing else ALWAYS)]
        if cells_of([*own, *tail]) > width and not self.typing:
            tail.remove(("ctrl+p", "all"))
        while own and cells_of([*own, *tail]) > width:
            own.pop()
        return [*own, *tail]

    def notify_style_update(self) -> None:
        super().notify_style_update()
        self._inks.forget()

    def render_line(self, y: int) -> Strip:
        key, word = self._inks["key"], self._inks["word"]
        segments = [Segment(" ")]
        for keys, label in self.words(self.size.width):
            segments += [Segment(keys, key), Segment(f" {label}  ", word)]
        return Strip(segments).adjust_cell_length(self.size.width, self.rich_style).apply_style(self.rich_style)


def cells_of(words: list[tuple[str, str]]) -> int:
    """Cells that WORDS take on the line; the blanks behind the last aren't needed."""
    return sum(len(key) + len(label) + 3 for key, label in words) - 1
