"""The safe field of several lines, apart from that of one: Textual's editor costs the first paint 15 ms."""

from __future__ import annotations

from typing import Any

from textual.widgets import TextArea

from ftstudio.ui.text.safe import Pictured


class SafeTextArea(Pictured, TextArea):  # type: ignore[misc]
    """Several lines."""

    def __init__(self, *args: Any, **named: Any) -> None:
        super().__init__(*args, **named)
        self.cursor_blink = False
