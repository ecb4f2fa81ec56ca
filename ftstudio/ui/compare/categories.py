"""Every error category before and after: rates, difference with interval, rows that were fixed and that broke."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from textual.app import ComposeResult
from textual.containers import Vertical
from textual.message import Message

from ftstudio.core.text import one_line
from ftstudio.evaluation.categories import all_categories
from ftstudio.evaluation.shown import chance
from ftstudio.ui.compare.arms import Arms
from ftstudio.ui.compare.summary import verdict
from ftstudio.ui.text.lines import fit
from ftstudio.ui.text.said import Said, wrapped
from ftstudio.ui.text.table import Cells, Column, Table

COLUMNS = (
    Column("error", 18),
    Column("base", 5, "right"),
    Column("tuned", 5, "right"),
    Column("difference", 10, "right"),
    Column("95 % interval", 15, "right", least=76),
    Column("fixed", 5, "right"),
    Column("broke", 5, "right", least=64),
    Column("p (Holm)", 8, "right", least=100),
    Column("verdict", 0, least=100),
)


SIGNS = "▼ fell · ▲ rose · = may be chance (Holm's p) · in points of per cent"


class Changes(Vertical):
    """The before/after table. Enter shows the rows of a category."""

    DEFAULT_CSS = "Changes { height: 1fr; } Changes #changes-help { height: 3; }"

    @dataclass
    class Picked(Message):
        """Enter on the category `name`."""

        name: str

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._entries: list[dict[str, Any]] = []

    def compose(self) -> ComposeResult:
        yield Table(COLUMNS, lambda index: _cells(self._entries[index]), empty="not judged yet", id="changes-table")
        yield Said(id="changes-help")

    @property
    def table(self) -> Table:
        """The table."""
        return self.query_one(Table)

    def show(self, arms: Arms) -> None:
        """Bring the table up to date: what changed most first, what can't be judged last."""
        here = self._entries[self.table.cursor]["name"] if self._entries else None
        labels = {1: arms.label(arms.a, 5), 2: arms.label(arms.b, 5)}
        self.table.layout_columns = tuple(
            replace(column, title=labels.get(place, column.title)) for place, column in enumerate(COLUMNS)
        )
        self._entries = sorted(arms.categories(), key=lambda entry: (not entry["n"], entry["difference"] or 0.0))
        place = next((i for i, entry in enumerate(self._entries) if entry["name"] == here), 0)
        self.table.show(len(self._entries), place)
        self._explain()

    def _explain(self) -> None:
        entry = self._entries[self.table.cursor] if self._entries else None
        known = all_categories().get(entry["name"]) if entry else None
        text = known.help if known else ""
        if entry and not entry["n"]:
            text = f"Can't be judged here: {entry['reason']}."
        width = self.app.size.width - 4
        lines = wrapped(one_line(text, 400), width) if text else [()]
        self.query_one("#changes-help", Said).say(*lines, ((fit(SIGNS, width), "dim"),))

    def on_table_moved(self, event: Table.Moved) -> None:
        event.stop()
        self._explain()

    def on_table_chosen(self, event: Table.Chosen) -> None:
        event.stop()
        self.post_message(self.Picked(self._entries[event.index]["name"]))


def _cells(entry: Mapping[str, Any]) -> Cells:
    known = all_categories().get(entry["name"])
    title = f"{known.mark} {known.title}" if known else one_line(entry["title"], 18)
    if not entry["n"]:
        return ((title, "dim"), (f"can't judge: {one_line(entry['reason'], 80)}", "dim"))
    if not entry["count_a"] and not entry["count_b"]:
        return tuple((text, "dim") for text in (title, "0 %", "0 %", "", "", "", "", "", "never"))
    text, ink = verdict(entry["verdict"])
    sign = {"better": "▼", "worse": "▲", "no clear difference": "="}.get(entry["verdict"], "…")
    return (
        title,
        f"{100 * entry['a']:.0f} %",
        (f"{100 * entry['b']:.0f} %", "strong"),
        (f"{sign} {100 * entry['difference']:+.1f}", ink),
        f"{100 * entry['low']:+.1f} … {100 * entry['high']:+.1f}",
        (f"{len(entry['fixed'])}", "good" if entry["fixed"] else "dim"),
        (f"{len(entry['broke'])}", "bad" if entry["broke"] else "dim"),
        (chance(entry.get("p_holm")), "dim"),
        (text, ink),
    )
