"""What a repair did: categories of the base, of the run before and of the run in view, with the way from one to the
other."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from textual.app import ComposeResult
from textual.containers import Vertical
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Static

from ftstudio.core.text import one_line
from ftstudio.evaluation.before_after import BASE, EARLIER, NOW
from ftstudio.ui.text.lines import Line
from ftstudio.ui.text.said import Said, wrapped
from ftstudio.ui.text.table import Column, Table

COLUMNS = (
    Column("category", 14),
    Column("base", 5, "right"),
    Column("was", 5, "right"),
    Column("now", 5, "right"),
    Column("step", 5, "right"),
    Column("95 %", 9, "right"),
    Column("fixed", 5, "right"),
    Column("broke", 5, "right"),
    Column("Holm p", 6, "right", least=90),
)
INKS = {"better": "good", "worse": "bad"}


@dataclass(frozen=True)
class Chosen:
    """Rows of a category that were `fixed` or `broke`: shown as a filter of the list."""

    title: str
    rows: tuple[int, ...]


class Outcome(ModalScreen[Chosen | None]):
    """Before and after, category by category; enter shows the rows that were fixed, b those that broke."""

    BINDINGS = [
        ("escape,f,q", "dismiss(None)", "back"),
        ("b", "rows('broke')", "rows that broke"),
    ]
    DEFAULT_CSS = """
    Outcome .dialog { height: 90%; padding: 1 1; }
    Outcome Table, Outcome Said { background: $surface; }
    Outcome Said { margin-bottom: 1; }
    """

    def __init__(self, report: Mapping[str, Any]) -> None:
        super().__init__()
        self.report = report
        self.entries = [
            entry for entry in report["categories"] if entry["meant"] or any(entry[arm] for arm in (BASE, EARLIER, NOW))
        ]

    def compose(self) -> ComposeResult:
        report = self.report
        title = f"{one_line(report['run'], 40)} on {one_line(report['version'] or 'other data', 40)}"
        with Vertical(classes="dialog") as box:
            box.styles.width = 110  # or as much as there is
            yield Static(Content(f"{title}: what the repair did on {report['rows']} rows"), classes="dialog-title")
            yield Said(id="outcome-verdict", grow=True)
            yield Table(COLUMNS, self._cells, empty="no category occurs")
            yield Said(id="outcome-trail", grow=True)
            yield Static(
                Content("● meant to be fixed · enter rows fixed · b rows that broke · esc"), classes="dialog-hint"
            )

    def on_mount(self) -> None:
        table = self.query_one(Table)
        table.show(len(self.entries))
        table.focus()
        self.call_after_refresh(self._say)

    def _say(self) -> None:
        width = max(30, self.query_one(Table).size.width - 1)
        lines: list[Line] = []
        for verdict in self.report["verdicts"]:
            ink = {True: "good", False: "bad"}.get(verdict["did"], "warn")
            told = verdict["words"].partition(" Against the base")[0]  # the table has a column for it
            lines += wrapped(one_line(told, 400), width, ink, 3)
        if self.report["left_out"]:
            lines.append(((f"{self.report['left_out']} rows are left out: they are training rows now.", "dim"),))
        self.query_one("#outcome-verdict", Said).say(*(lines or [(("No repair named a category.", "dim"),)]))
        steps = [
            f"{one_line(link['data'], 30)}{' against ' + ', '.join(link['against']) if link['against'] else ''}"
            f" ({', '.join(link['runs'][-3:]) or 'no run'})"
            for link in self.report["trail"]
        ]
        self.query_one("#outcome-trail", Said).say(*wrapped("Trail: " + " → ".join(steps), width, "dim", 2))

    def _cells(self, index: int) -> tuple[tuple[str, str], ...]:
        entry = self.entries[index]
        step = entry["since_earlier"]
        mark, ink = ("● ", "key") if entry["meant"] else ("  ", "")
        title = (one_line(f"{mark}{entry['title']}", 24), ink)
        if entry["reason"]:
            return (title, (f"not judged: {entry['reason']}", "dim"))
        ink = INKS.get(step["verdict"], "")
        sign = {"better": "▼", "worse": "▲"}.get(step["verdict"], "")
        p = step["p_holm"]
        return (
            title,
            (_share(entry[BASE]), "dim"),
            (_share(entry[EARLIER]), ""),
            (_share(entry[NOW]), "strong"),
            (f"{sign}{100 * step['difference']:+.0f}", ink),
            (_interval(step["low"], step["high"]), ink or "dim"),
            (str(len(step["fixed"])), "good" if step["fixed"] else "dim"),
            (str(len(step["broke"])), "bad" if step["broke"] else "dim"),
            ("–" if p is None else f"{p:.3f}", "dim"),
        )

    def on_table_chosen(self, event: Table.Chosen) -> None:
        """Enter: the rows that were fixed."""
        event.stop()
        self.action_rows("fixed")

    def action_rows(self, which: str) -> None:
        """The rows of the category under the cursor that were fixed, or that broke."""
        if not self.entries:
            return
        entry = self.entries[self.query_one(Table).cursor]
        rows = tuple(entry["since_earlier"].get(which) or ())
        if rows:
            self.dismiss(Chosen(f"{entry['title']}: {which}", rows))
        else:
            self.notify("There are none.", timeout=3)


def _interval(low: float, high: float) -> str:
    digits = 1 if max(abs(low), abs(high)) < 0.0995 else 0
    return f"{100 * low:+.{digits}f}…{100 * high:+.{digits}f}"


def _share(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:.0f} %"
