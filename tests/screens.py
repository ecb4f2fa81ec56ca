"""What a person sees: the screen of an app under test as text, from its own screenshot."""

from __future__ import annotations

import html
import re
from typing import Any

from textual.pilot import Pilot

_PIECE = re.compile(r'<text class="[^"]*" x="([0-9.]+)" y="([0-9.]+)"[^>]*>(.*?)</text>', re.DOTALL)


def shown(app: Any) -> str:
    """The screen of APP, line by line."""
    found: dict[float, list[tuple[float, str]]] = {}
    svg = app.export_screenshot()
    for x, y, text in _PIECE.findall(svg[svg.index("-matrix") :]):
        found.setdefault(float(y), []).append((float(x), html.unescape(text).replace("\xa0", " ")))
    width = 12.2  # of a cell in Rich's drawings
    lines = []
    for _, pieces in sorted(found.items()):
        line = ""
        for x, text in sorted(pieces):
            line = line.ljust(round(x / width)) + text
        lines.append(line.rstrip())
    return "\n".join(lines)


async def until(pilot: Pilot[Any], text: str, seconds: float = 5.0) -> str:
    """Wait until TEXT is on screen; gives the screen. Raises AssertionError with what is there instead."""
    waited = 0.0
    while text not in (screen := shown(pilot.app)):
        if waited >= seconds:
            raise AssertionError(f"{text!r} is not on screen:\n{screen}")
        await pilot.pause(0.1)
        waited += 0.1
    return screen
