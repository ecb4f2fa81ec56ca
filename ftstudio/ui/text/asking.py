"""Asking for a number of rows."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from ftstudio.core.errors import UsageError
from ftstudio.core.text import one_line
from ftstudio.ui.shell.dialogs import Prompt

if TYPE_CHECKING:
    from ftstudio.ui.shell.app import StudioApp


def ask_rows(app: StudioApp, present: int, then: Callable[[int | None], None]) -> None:
    """Ask how many held-out rows are answered and hand it to THEN: None for what the recipe says."""

    def chosen(value: str | None) -> None:
        if value is None:
            return
        text = plain(value)
        then(int(text) if text else None)

    def plain(value: str) -> str:
        return value.strip().replace(",", "")

    def check(value: str) -> None:
        text = plain(value)
        if text and not (text.isascii() and text.isdigit() and int(text) >= 1):
            raise UsageError(f"{one_line(value, 30)!r} is no number of rows.", "Type a whole number from 1 on.")

    hint = "empty: as many as the recipe says"
    app.push_screen(Prompt("How many held-out rows are answered, at most?", str(present), hint, check=check), chosen)
