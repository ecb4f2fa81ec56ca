"""The repairs that aren't saved yet, one line each."""

from __future__ import annotations

import time

from ftstudio.core.text import one_line
from ftstudio.data.versions.edit import Edit
from ftstudio.ui.data.mended import State, told
from ftstudio.ui.text.table import Column, Table


class PendingTable(Table):
    """When, how many rows, what, and by whom; the newest is at hand."""

    def __init__(self, id: str | None = None) -> None:
        columns = (
            Column("when", 8), Column("rows", 8, "right"), Column("repair"), Column("why", 24, least=100),
            Column("by", 20, least=110),
        )  # fmt: skip
        empty = "Nothing is waiting to be saved: e edits a cell, d drops a row, k lists what checks found."
        super().__init__(columns, self._cells, empty=empty, id=id)
        self.edits: tuple[Edit, ...] = ()
        self._told: list[str] = []

    def fill(self, state: State) -> None:
        """List the repairs of STATE."""
        self.edits = state.edits
        self._told = [told(edit, state) for edit in self.edits]
        self.show(len(self.edits), len(self.edits) - 1)
        self.again()

    @property
    def at_hand(self) -> Edit | None:
        """The repair under the cursor."""
        return self.edits[self.cursor] if self.edits else None

    def _cells(self, index: int) -> tuple[str | tuple[str, str], ...]:
        edit = self.edits[index]
        when = time.strftime("%H:%M:%S", time.localtime(edit.time))
        rows = f"{len(edit.keys):,}"
        return (
            (when, "dim"),
            rows,
            one_line(self._told[index], 200),
            (one_line(edit.why, 60), "dim"),
            (one_line(edit.who, 40), "dim"),
        )
