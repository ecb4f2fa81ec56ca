"""A line to type in, the same everywhere: quiet, and out of the way of the keys that lead to other screens."""

from __future__ import annotations

from textual import events

from ftstudio.ui.text.safe import SafeInput

SCREENS = frozenset("123456")


class TextLine(SafeInput):
    """An input whose cursor doesn't blink. `?` explains the screen from here, too; with DIGITS_LEAVE, 1 to 6 in the
    empty line go to the screens: whoever has typed nothing yet isn't typing. (`./2` names what begins with a digit.)
    """

    def __init__(
        self, value: str = "", *, digits_leave: bool = False, placeholder: str = "", id: str | None = None
    ) -> None:
        super().__init__(
            value, placeholder=placeholder, compact=True, select_on_focus=False, valid_empty=True, id=id
        )  # fmt: skip
        self.cursor_blink = False
        self.digits_leave = digits_leave

    def is_text(self, character: str | None) -> bool:
        """Whether CHARACTER, typed now, belongs into the line."""
        return character != "?" and not (self.digits_leave and not self.value and character in SCREENS)

    def check_consume_key(self, key: str, character: str | None) -> bool:
        """See Input."""
        return self.is_text(character) and super().check_consume_key(key, character)

    async def _on_key(self, event: events.Key) -> None:
        if not self.is_text(event.character):
            event.prevent_default()  # it goes on to the screen's keys
