"""Lines that stay as wide as the terminal: a repair of Textual's compositor, put in place by importing this.

The compositor cuts each line of the screen where a widget begins or ends, and keeps those cuts until the next layout.
Its map of all widgets is made anew without one when a widget has come in the meantime (a notice, while the screen
scrolls): the widgets are the new ones then, the cuts the old ones, and what lies at the newcomer's left is drawn as
well as what it covers. Such a line is wider than the terminal, which wraps it and scrolls everything. Seen in
Textual 8.2.8 on a busy machine; cuts that are made together with the map cannot disagree with it.
"""

from __future__ import annotations

from textual._compositor import Compositor, CompositorMap

_whole: property = vars(Compositor)["full_map"]


def _full_map(self: Compositor) -> CompositorMap:
    if self._full_map_invalidated:
        self._cuts = None
    made: CompositorMap = _whole.__get__(self)
    return made


Compositor.full_map = property(_full_map, doc=_whole.__doc__)  # type: ignore[method-assign, assignment]
