"""Inks: the looks of pieces of a line, in Textual's words for styles (`bold $warning`, `on $primary 35%`).

A component class for each ink is the usual way. It has the stylesheet make a style for every ink of every widget each
time that a screen is styled, half of all styling; these are looked up when something is drawn in them.
"""

from __future__ import annotations

from collections.abc import Mapping

from rich.style import Style as Drawn
from textual.style import Style
from textual.widget import Widget


class Inks:
    """The looks that one widget draws in. `forget` when the widget's own colours may have changed."""

    def __init__(self, widget: Widget, named: Mapping[str, str]) -> None:
        self._widget = widget
        self._named = named
        self._known: dict[str, Drawn] = {}

    def __getitem__(self, name: str) -> Drawn:
        """The ink NAME over the widget's own colours; KeyError where there is none of that name."""
        drawn = self._known.get(name)
        if drawn is None:
            drawn = self._known[name] = (self._widget.visual_style + Style.parse(self._named[name])).rich_style
        return drawn

    def forget(self) -> None:
        """Look everything up again."""
        self._known.clear()
