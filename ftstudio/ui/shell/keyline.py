"""The last line of every screen: the keys that work here."""

from __future__ import annotations

from rich.segment import Segment
from textual.strip import Strip
from textual.widget import Widget

from ftstudio.ui.shell.actions import Action, readable

ALWAYS = (("?", "help"), ("ctrl+p", "all"), ("q", "quit"))


class KeyLine(Widget, can_focus=False):
    """Keys and words, as many as fit; `?` always does."""

    DEFAULT_CSS = "KeyLine { height: 1; dock: bottom; background: $panel; }"
    COMPONENT_CLASSES = {"keyline--key", "keyline--word"}

    def __init__(self) -> None:
        super().__init__()
        self.actions: tuple[Action, ...] = ()

    def show_actions(self, actions: tuple[Action, ...]) -> None:
        """Show ACTIONS from now on."""
        if actions != self.actions:
            self.actions = actions
            self.refresh()

    def render_line(self, y: int) -> Strip:
        key, word = self.get_component_rich_style("keyline--key"), self.get_component_rich_style("keyline--word")
        width = self.size.width
        tail = [*ALWAYS]
        reserved = sum(len(k) + len(w) + 3 for k, w in tail)
        segments, used = [Segment(" ")], 1
        for action in self.actions:
            if not action.label:
                continue
            keys = readable(action.key.split(",")[0])
            need = len(keys) + len(action.label) + 3
            if used + need + reserved > width:
                break
            segments += [Segment(keys, key), Segment(f" {action.label}  ", word)]
            used += need
        for keys, label in tail:
            if used + len(keys) + len(label) + 2 <= width:
                segments += [Segment(keys, key), Segment(f" {label}  ", word)]
                used += len(keys) + len(label) + 3
        return Strip(segments).adjust_cell_length(width, self.rich_style).apply_style(self.rich_style)
