"""The base of pages that tell something of the pair of arms in view."""

from __future__ import annotations

from typing import Any

from ftstudio.ui.compare.arms import Arms
from ftstudio.ui.data.page import Page


class ArmsPage(Page):
    """A page about `arms`, laid out anew where they, their pair or their report are others."""

    DEFAULT_CSS = "ArmsPage { height: 1fr; }"

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id)
        self.arms: Arms | None = None
        self._shown: tuple[Any, ...] | None = None

    def key(self) -> tuple[Any, ...]:
        """What else the page depends on."""
        return ()

    def show(self, arms: Arms) -> None:
        """Bring the page up to date; the place in it stays while it is about the same comparison."""
        now = (id(arms), id(arms.report), arms.a, arms.b, *self.key())
        if now != self._shown:
            same = self._shown is not None and self._shown[0] == now[0]
            self.arms, self._shown = arms, now
            self.fresh(stay=same)
