"""What a person sees: the screen of an app under test as text, and waiting for what should come to stand on it."""

from __future__ import annotations

import time
from typing import Any

import pytest
from textual._context import visible_screen_stack
from textual.pilot import Pilot

from ftstudio.ui.text.lines import Lines


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


async def drawn_at_rest(pilot: Pilot[Any], monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """The line widgets that are drawn again by five looks of the screen although nothing changed."""
    await pilot.pause(0.5)
    drawn: list[object] = []
    monkeypatch.setattr(Lines, "refresh", lambda self, *regions, **options: drawn.append(self))
    for _ in range(5):
        pilot.app.screen.pull()  # type: ignore[attr-defined]
        await pilot.pause()
    return drawn


class IdleWorker:
    """Takes jobs and does nothing."""

    def __init__(self) -> None:
        self.jobs: list[Any] = []
        self.busy, self.current, self.waiting = False, None, ()

    def submit(self, job: Any) -> None:
        self.jobs.append(job)

    def stop(self) -> None:
        pass
