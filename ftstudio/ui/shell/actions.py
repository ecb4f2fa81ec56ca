"""One registry of actions: what a key does here feeds the bindings, the key line, `?` help and the ctrl+p palette."""

from __future__ import annotations

from dataclasses import dataclass

from textual.binding import Binding, BindingType


@dataclass(frozen=True)
class Action:
    """Something a person can do on a screen.

    `key` is Textual's name of the key (several by comma), `run` the name of the screen's `action_…` method (with
    arguments where needed), `label` the word on the key line (empty: not shown there), `help` one sentence, `name`
    what ctrl+p calls it where it has no label.
    """

    key: str
    run: str
    label: str
    help: str
    priority: bool = False
    name: str = ""

    @property
    def short(self) -> str:
        """What it is called in a list: its name, its label, or its help's beginning."""
        return self.name or self.label or self.help.partition(";")[0].partition(":")[0]

    @property
    def binding(self) -> Binding:
        """As a Textual binding."""
        return Binding(self.key, self.run, self.label or self.help, show=bool(self.label), priority=self.priority)

    @property
    def keys(self) -> str:
        """The keys as a person reads them: `↑`, `enter`, `ctrl+p`, `?`."""
        return " ".join(readable(key) for key in self.key.split(","))


_READABLE = {
    "question_mark": "?", "slash": "/", "escape": "esc", "up": "↑", "down": "↓", "left": "←", "right": "→",
    "pageup": "pgup", "pagedown": "pgdn", "space": "space", "full_stop": ".", "comma": ",", "plus": "+",
    "minus": "-", "left_square_bracket": "[", "right_square_bracket": "]", "less_than_sign": "<",
    "greater_than_sign": ">", "equals_sign": "=", "exclamation_mark": "!", "shift+left": "shift+←",
    "shift+right": "shift+→", "asterisk": "*", "quotation_mark": '"',
}  # fmt: skip


def readable(key: str) -> str:
    """Textual's name of a key as it is printed on the keyboard."""
    key = key.strip()
    return _READABLE.get(key, key)


def bindings(*actions: Action) -> list[BindingType]:
    """ACTIONS as a BINDINGS list."""
    return [action.binding for action in actions]
