"""What a person sees: the screen of an app under test as text, and waiting for what should come to stand on it."""

from __future__ import annotations

import asyncio
import threading
import time
import unicodedata
from typing import Any

import pytest
from textual import events
from textual._context import visible_screen_stack
from textual._wait import wait_for_idle
from textual.app import App
from textual.keys import REPLACED_KEYS, _character_to_key, _get_unicode_name_from_key
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
    """Wait until TEXT is on screen (GONE: is not); gives the screen, once what belongs to it is there too. Fails with
    what is there instead."""
    end, pause = time.monotonic() + seconds, 0.02
    while (text in (screen := shown(pilot.app))) == gone:
        if time.monotonic() > end:
            raise AssertionError(f"{text!r} is {'still' if gone else 'not'} on screen:\n{screen}")
        await pilot.pause(pause)
        pause = min(0.1, pause * 1.25)  # looking, too, takes time from the thread that is waited for
    return await whole(pilot, screen)


async def whole(pilot: Pilot[Any], screen: str | None = None) -> str:
    """The screen once it stays as it is, SCREEN being what was there: one that is laid out in several passes shows some
    of its words before the others. One that never rests, such as a clock's, is taken as it is."""
    screen = shown(pilot.app) if screen is None else screen
    for _ in range(20):
        await pilot.pause()
        before, screen = screen, shown(pilot.app)
        if screen == before:
            break
    return screen


async def settle(pilot: Pilot[Any]) -> None:
    """Until the screen has taken in all that was sent to it, and what that led to. Threads are not waited for."""
    for _ in range(50):
        await pilot._wait_for_screen()
        nodes = [pilot.app, *pilot.app.screen.walk_children(with_self=True)]
        if not any(node.message_queue_size for node in nodes):
            break


async def _press(pilot: Pilot[Any], *keys: str) -> None:
    for key in keys:
        send_key(pilot.app, key)
        for _ in range(3):  # the driver hands it over as a task of its own
            await asyncio.sleep(0)
        await settle(pilot)


async def _pause(pilot: Pilot[Any], delay: float | None = None) -> None:
    if delay is not None:
        await asyncio.sleep(delay)
    await settle(pilot)
    pilot.app.screen._on_timer_update()


async def _press_patiently(pilot: Pilot[Any], *keys: str) -> None:
    for key in keys:
        await _press(pilot, key)
        await _threads(pilot)


async def _pause_patiently(pilot: Pilot[Any], delay: float | None = None) -> None:
    await _pause(pilot, delay)
    if delay is None:
        await _threads(pilot)


async def _threads(pilot: Pilot[Any]) -> None:
    """While a thread works for the screen: wait as Textual's own pilot does, until the process is idle."""
    busy = any(not worker.is_finished for worker in pilot.app.workers)
    if busy or any(thread.name.startswith("screen-") for thread in threading.enumerate()):
        await wait_for_idle(0)
        await settle(pilot)


def quicken(monkeypatch: pytest.MonkeyPatch, *, patient: bool = False) -> None:
    """From now on a pilot goes on as soon as its messages are taken in; PATIENT: and no thread of the screen's works.
    Textual's own waits after each key until the whole process is idle: 40 ms at best, two seconds while a thread
    counts."""
    monkeypatch.setattr(Pilot, "press", _press_patiently if patient else _press)
    monkeypatch.setattr(Pilot, "pause", _pause_patiently if patient else _pause)


def send_key(app: App[Any], key: str) -> None:
    """Press KEY, named as Textual names it, in APP."""
    if len(key) == 1 and not key.isalnum():
        key = _character_to_key(key)
    try:
        char: str | None = unicodedata.lookup(_get_unicode_name_from_key(REPLACED_KEYS.get(key, key)))
    except KeyError:
        char = key if len(key) == 1 else None
    event = events.Key(key, char)
    event.set_sender(app)
    assert app._driver is not None
    app._driver.send_message(event)


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
        self.busy, self.current, self.waiting, self.refused = False, None, (), None

    def holds(self, recipe: Any) -> int:
        return 0

    def submit(self, job: Any) -> None:
        self.jobs.append(job)

    def stop(self) -> None:
        pass
