"""Which part of the steps a chart shows: zoomed and moved in steps, with a cursor. No widgets here."""

from __future__ import annotations

CELLS = 60  # moves of the cursor from one end of the window to the other
LEAST = 4.0  # steps that a window holds at least


def stride(low: float, high: float) -> float:
    """How many steps the cursor moves at a time where the chart shows LOW to HIGH."""
    return max(1.0, float(round((high - low) / CELLS)))


class Window:
    """LEFT to RIGHT of steps 0 to END; RIGHT None shows all. CURSOR is a step, or None."""

    def __init__(self) -> None:
        self.left = 0.0
        self.right: float | None = None
        self.cursor: float | None = None

    @property
    def shown(self) -> tuple[float, float] | None:
        """The first and the last step in view; None where all are."""
        return None if self.right is None else (self.left, self.right)

    def reset(self) -> None:
        """All steps, no cursor."""
        self.left, self.right, self.cursor = 0.0, None, None

    def zoom(self, factor: float, end: float, last: float | None = None) -> None:
        """FACTOR times as many steps in view (below 1: closer), around the cursor, else around the middle; but around
        LAST, the newest step, where that lies before it: there is nothing to be seen behind."""
        low, high = self.left, self.right if self.right is not None else end
        size = max(LEAST, (high - low) * factor)
        if size >= end:
            self.left, self.right = 0.0, None
            return
        middle = self.cursor if self.cursor is not None else (low + high) / 2
        if self.cursor is None and last is not None and last < middle:
            self._place(last - size / 2, size, end)
            return
        share = (middle - low) / (high - low) if high > low else 0.5
        self._place(middle - share * size, size, end)

    def pan(self, share: float, end: float) -> None:
        """Move by SHARE of the window; the cursor stays in view."""
        if self.right is None:
            return
        size = self.right - self.left
        self._place(self.left + share * size, size, end)

    def move(self, cells: int, end: float, last: float) -> None:
        """Move the cursor by CELLS, at least a step each; it begins at LAST, the newest step. The window goes along."""
        low, high = self.left, self.right if self.right is not None else end
        if self.cursor is None:
            self.cursor = float(round(min(max(last, low), high)))
            return
        self.cursor = min(max(0.0, self.cursor + cells * stride(low, high)), end)
        if self.right is not None and not self.left <= self.cursor <= self.right:
            size = self.right - self.left
            self._place(self.cursor - size / 2, size, end)

    def _place(self, left: float, size: float, end: float) -> None:
        self.left = float(round(min(max(0.0, left), max(0.0, end - size))))
        self.right = self.left + float(round(size))
        if self.cursor is not None:
            self.cursor = min(max(self.cursor, self.left), self.right)
