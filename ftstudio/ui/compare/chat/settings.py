"""How a turn of the chat is asked: a small form."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import Any

from textual.app import ComposeResult
from textual.containers import Vertical
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Static

from ftstudio.core.chatlog import ChatSettings
from ftstudio.ui.common.fields import FieldRow, Spec

SPECS = (
    Spec("temperature", "temperature", "0 is greedy: the same answer every time", "float", default="0"),
    Spec("max_new_tokens", "tokens at most", "how long an answer may get", "int", default="256"),
    Spec("seed", "seed", "of sampled answers", "int", default="0"),
    Spec("system", "system", "a message before the conversation", default="none"),
    Spec(
        "template",
        "template",
        "how the conversation is written: by the model's chat template, where it has one, or as in training",
        "choice",
        (("auto", "the model's own"), ("recipe", "as in training")),
    ),
)


class SettingsDialog(ModalScreen[ChatSettings | None]):
    """Gives back the settings, None for escape."""

    BINDINGS = [
        ("escape", "dismiss(None)", "back"),
        ("enter", "accept", "accept"),
        ("down", "app.focus_next", "next"),
        ("up", "app.focus_previous", "before"),
    ]

    def __init__(self, settings: ChatSettings) -> None:
        super().__init__()
        self.settings = settings
        self.values: dict[str, Any] = {}

    def compose(self) -> ComposeResult:
        known = asdict(self.settings)
        with Vertical(classes="dialog"):
            yield Static(Content("How the next turn is asked"), classes="dialog-title")
            for spec in SPECS:
                yield FieldRow(spec, known[spec.key])
            hint = "temperature 0 is greedy: the same answer every time; above it the seed decides"
            yield Static(Content(f"{hint}\nenter accepts · ↑ ↓ another field · esc goes back"), classes="dialog-hint")

    def on_field_row_changed(self, event: FieldRow.Changed) -> None:
        event.stop()
        self.values[event.row.spec.key] = event.value
        event.row.fault("")

    def on_input_submitted(self) -> None:
        """Enter in a line."""
        self.action_accept()

    def action_accept(self) -> None:
        """Give the settings back, if they are some."""
        usual = asdict(ChatSettings())
        faults = {}
        values = {}
        for key, value in self.values.items():
            values[key] = usual[key] if value is None else value
            faults[key] = fault(key, values[key])
        for row in self.query(FieldRow):
            row.fault(faults.get(row.spec.key, ""))
        if not any(faults.values()):
            self.dismiss(replace(self.settings, **values))


def fault(key: str, value: Any) -> str:
    """What is wrong with VALUE of the setting KEY; empty where nothing is."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if key == "temperature" and not (number and 0 <= value <= 10):
        return "a number from 0 to 10"
    if key == "max_new_tokens" and not (isinstance(value, int) and 1 <= value <= 100_000):
        return "a whole number from 1 on"
    if key == "seed" and not (isinstance(value, int) and 0 <= value < 1 << 31):
        return "a whole number from 0 on"
    return ""
