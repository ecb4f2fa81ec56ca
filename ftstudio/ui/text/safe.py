"""Fields to type in whose text may come from data or a model: what a terminal would obey is drawn as its picture.

The text itself stays as it is, so that what a person didn't change isn't changed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.segment import Segment
from textual.strip import Strip
from textual.widgets import Input

from ftstudio.core.text import pictured

if TYPE_CHECKING:
    _Base = Input
else:
    _Base = object


class Pictured(_Base):
    """Draws control characters as pictures, whatever else draws the line."""

    def render_line(self, y: int) -> Strip:
        """See Widget."""
        strip: Strip = super().render_line(y)
        if all(pictured(segment.text) == segment.text for segment in strip if not segment.control):
            return strip
        safe = [Segment(pictured(part.text), part.style, part.control) if not part.control else part for part in strip]
        return Strip(safe).crop(0, strip.cell_length)


class SafeInput(Pictured, Input):
    """One line."""
