"""The versions of a dataset, and what a version has that its parent hasn't."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

from ftstudio.core.text import number, one_line
from ftstudio.data.dataset import Dataset
from ftstudio.data.versions.diff import Difference
from ftstudio.data.versions.store import Version
from ftstudio.ui.data.cells import row_text
from ftstudio.ui.data.differing import differing
from ftstudio.ui.data.page import Page
from ftstudio.ui.text.lines import Line
from ftstudio.ui.text.table import Column, Table

SHOWN = 200  # rows of each kind


class VersionsTable(Table):
    """The source, then a line a version, the newest last."""

    def __init__(self, id: str | None = None) -> None:
        columns = (
            Column("version", 20), Column("from", 6), Column("rows", 9, "right"), Column("saved", 16),
            Column("repairs", 30, least=100), Column("why"),
        )  # fmt: skip
        super().__init__(columns, self._cells, empty="No versions yet: w saves repairs as the first.", id=id)
        self.name_of_source = ""
        self.versions: Sequence[Version] = ()
        self.here = ""

    def fill(self, source: str, versions: Sequence[Version], here: str) -> None:
        """List SOURCE and VERSIONS; HERE is what is open now."""
        self.name_of_source, self.versions, self.here = source, versions, here
        places = [place for place, version in enumerate(versions, 1) if version.address == here]
        self.show(len(versions) + 1, places[0] if places else 0)
        self.again()

    @property
    def at_hand(self) -> Version | None:
        """The version under the cursor; None for the source."""
        return self.versions[self.cursor - 1] if self.cursor else None

    def _cells(self, index: int) -> tuple[str | tuple[str, str], ...]:
        if not index:
            return ("your own file", "", "", "", "", (one_line(self.name_of_source, 200), "dim"))
        version = self.versions[index - 1]
        about, counts = version.about, version.about.get("counts") or {}
        when = time.strftime("%Y-%m-%d %H:%M", time.localtime(float(about.get("created") or 0)))
        repairs = ", ".join(f"{counts[key]:,} {key}" for key in ("changed", "dropped", "added") if counts.get(key))
        open_now = "  (open)" if version.address == self.here else ""
        return (
            (version.name, "good" if open_now else ""), version.parent, number(about.get("rows")), (when, "dim"),
            repairs, one_line(str(about.get("why") or ""), 200) + open_now,
        )  # fmt: skip


@dataclass(frozen=True)
class Two:
    """Two states of a dataset and how they differ."""

    names: tuple[str, str]
    first: Dataset
    second: Dataset
    found: Difference


class DifferencePage(Page):
    """Rows changed, dropped and added."""

    def __init__(self, id: str | None = None) -> None:
        super().__init__(id)
        self.two: Two | None = None

    def show(self, two: Two) -> None:
        """Show what TWO don't share."""
        self.two = two
        self.fresh()

    def compose_lines(self, width: int) -> list[Line]:
        two = self.two
        if two is None:
            return []
        found = two.found
        lines: list[Line] = [
            ((f"{two.names[0]} → {two.names[1]}", "title"),),
            ((f"rows: {len(found.changed):,} changed, {len(found.dropped):,} dropped, {len(found.added):,} added, "
              f"{found.same:,} the same", ""),
             ("" if found.matched_by == "keys" else "  matched by content", "dim")),
            (),
        ]  # fmt: skip
        for row in found.changed[:SHOWN]:
            moved = f", now {row.after:,}" if row.after != row.before else ""
            lines.append(((f"~ row {row.before:,}{moved}", "warn"),))
            for change in row.cells:
                lines.append(((f"  {one_line(change.column, 40)}", "dim"),))
                lines += differing(change.before, change.after, width, 6, bare=self.bare, indent="    ")
        for sign, ink, rows, dataset in (
            ("- row", "del", found.dropped, two.first),
            ("+ row", "ins", found.added, two.second),
        ):
            for index in rows[:SHOWN]:
                text = one_line(self.safe(row_text(dataset[index])), max(10, width - 16))
                lines.append(((f"{sign} {index:,}", ink), (f"  {text}", "")))
        hidden = sum(max(0, len(rows) - SHOWN) for rows in (found.changed, found.dropped, found.added))
        if hidden:
            lines.append(((f"… and {hidden:,} more", "dim"),))
        return lines
