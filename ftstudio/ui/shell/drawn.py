"""The app as far as it draws: when a frame is due, and when a whole one, whatever the terminal is believed to show."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any

from textual import events
from textual._compositor import LayoutUpdate
from textual.app import App
from textual.geometry import Size
from textual.screen import Screen

from ftstudio.ui.shell import cuts, frames  # noqa: F401  (mend Textual's compositor and screens)
from ftstudio.ui.shell.signals import Unbroken
from ftstudio.ui.shell.thrift import FORGET


class DrawnApp(App[str]):
    """An app whose terminal is sent what it doesn't show yet: see `Thrift`."""

    def __init__(self) -> None:
        super().__init__()
        self._drawn = Size(0, 0)  # for which size the terminal was last drawn

    def delay_update(self, delay: float = 2.0) -> None:
        """See App, which changes screens so: nothing is drawn until the new one is laid out and filled. That is known
        here, and takes a few milliseconds, where Textual waits for 50. DELAY: at most, should the screen go at once."""
        held = ExitStack()
        held.enter_context(self.batch_update())

        def whole() -> None:
            late.stop()
            held.close()  # a second time does nothing
            if not self._batch_count:
                self.screen.refresh()

        late = self.set_timer(delay, whole)
        self.call_later(lambda: self.screen.call_after_refresh(self.call_after_refresh, whole))

    def _end_batch(self) -> None:
        """See App. A tick of the screen's that fell into the batch did nothing, and another comes only if asked for."""
        super()._end_batch()
        if not self._batch_count and self._screen_stacks.get(self._current_mode):
            self.screen.check_idle()

    def _display(self, screen: Screen[Any], renderable: Any) -> None:
        """See App. Whatever was drawn for another size, perhaps after the terminal had changed, counts no more."""
        if renderable is not None and not self._batch_count and self._drawn != screen._compositor.size:
            self._drawn = screen._compositor.size
            self._forget()
            if not isinstance(renderable, LayoutUpdate):
                screen.refresh()
        super()._display(screen, renderable)

    def _forget(self) -> None:
        """Nothing is known any more of what the terminal shows; a whole frame must follow."""
        if self._driver is not None and isinstance(getattr(self._driver, "_file", None), Unbroken):
            self._driver.write(FORGET)

    def on_resize(self, event: events.Resize) -> None:
        """Even where it has its old size again, the terminal may have lost what it showed in the meantime."""
        self._forget()
        if event.size == self._size:
            self.screen.refresh()

    async def on_event(self, event: events.Event) -> None:
        """See App. ctrl+l draws anew wherever it is pressed, in dialogs too, whatever else it does there."""
        if isinstance(event, events.Key) and event.key == "ctrl+l" and not event.is_forwarded:
            self.action_redraw()
        await super().on_event(event)

    def action_redraw(self) -> None:
        """Draw the whole screen anew."""
        self._forget()
        self.screen.refresh()
