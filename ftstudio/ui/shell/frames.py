"""Fewer frames: a repair of Textual's screens, put in place by importing this.

Textual draws a frame at each layout, at once, and a whole one again at the next tick; a dialog that opens is drawn
empty, filled, and twice more as it is. Here layouts between two ticks lead to one frame, at the tick; what is drawn
whole isn't drawn again; and a frame that would be thrown away, because the app holds its output back, isn't made.
"""

from __future__ import annotations

from textual.geometry import Size
from textual.screen import Screen

_lay_out, _draw, _tick = Screen._refresh_layout, Screen._compositor_refresh, Screen._on_timer_update
_AT_TICK, _HELD = "_frames_at_tick", "_frames_held"  # attributes of a screen


def _refresh_layout(self: Screen[object], size: Size | None = None, scroll: bool = False) -> None:
    """See Screen."""
    setattr(self, _HELD, not getattr(self, _AT_TICK, False))
    try:
        _lay_out(self, size, scroll)
    finally:
        setattr(self, _HELD, False)


def _on_timer_update(self: Screen[object]) -> None:
    """See Screen."""
    setattr(self, _AT_TICK, True)
    try:
        _tick(self)
    finally:
        setattr(self, _AT_TICK, False)


def _compositor_refresh(self: Screen[object]) -> None:
    """See Screen."""
    if self.app._batch_count:
        return
    top = self is self.app.screen
    if top and getattr(self, _HELD, False):
        self._repaint_required = True  # of what the layout has changed
        self.check_idle()
        return
    whole = self.size.region in self._compositor._dirty_regions
    _draw(self)
    if whole and top:
        self._repaint_required = False


Screen._refresh_layout = _refresh_layout  # type: ignore[method-assign, assignment]
Screen._on_timer_update = _on_timer_update  # type: ignore[method-assign, assignment]
Screen._compositor_refresh = _compositor_refresh  # type: ignore[method-assign, assignment]
