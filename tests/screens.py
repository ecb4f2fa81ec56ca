"""What a person sees: the screen of an app under test as text, and waiting for what should come to stand on it."""

from __future__ import annotations

import time
from typing import Any

from textual._context import visible_screen_stack
from textual.pilot import Pilot


def shown(app: Any) -> str:
    """The screen of APP line by line, dialogs and what shines through behind them included.

    Fails where a line is wider than the terminal.
    """
    visible_screen_stack.set(app._background_screens)
    strips = app.screen._compositor.render_strips()
    assert all(strip.cell_length <= app.size.width for strip in strips)
    return "\n".join(strip.text.rstrip() for strip in strips)


async def until(pilot: Pilot[Any], text: str, seconds: float = 10.0, *, gone: bool = False) -> str:
    """Wait until TEXT is on screen (GONE: is not); gives the screen. Fails with what is there instead."""
    end = time.monotonic() + seconds
    while (text in (screen := shown(pilot.app))) == gone:
        if time.monotonic() > end:
            raise AssertionError(f"{text!r} is {'still' if gone else 'not'} on screen:\n{screen}")
        await pilot.pause(0.02)
    return screen


async def press(pilot: Pilot[Any], keys: str) -> None:
    """Press KEYS, names with blanks between; `text:abc` is typed letter by letter (`_` for a blank)."""
    for key in keys.split():
        await pilot.press(*(key[5:].replace("_", " ") if key.startswith("text:") else [key]))
