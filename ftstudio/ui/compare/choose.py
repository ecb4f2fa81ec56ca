"""Choosing one of a list: a run, a pair of arms, a view of the rows."""

from __future__ import annotations

from collections.abc import Sequence

from textual.app import ComposeResult
from textual.containers import Vertical
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Static

from ftstudio.core.run import RunFolder
from ftstudio.ui.text.lines import Part
from ftstudio.ui.text.table import Cells, Column, Table


class Choose(ModalScreen[int | None]):
    """ENTRIES (name, remark) under the question TITLE; gives back the place of the one chosen, None for escape."""

    BINDINGS = [("escape,q", "dismiss(None)", "back")]
    DEFAULT_CSS = "Choose Table { height: auto; max-height: 16; min-height: 2; background: $surface; }"

    def __init__(
        self, title: str, entries: Sequence[tuple[str, Part]], present: int = 0, *, heads: tuple[str, str] = ("", "")
    ) -> None:
        super().__init__()
        self.question, self.entries, self.present, self.heads = title, list(entries), present, heads

    def compose(self) -> ComposeResult:
        wide = max([len(self.heads[1]), *(len(remark[0]) for _, remark in self.entries)])
        with Vertical(classes="dialog"):
            yield Static(Content(self.question), classes="dialog-title")
            table = Table((Column(self.heads[0], 0), Column(self.heads[1], min(44, wide))), self._cells)
            table.styles.height = min(16, len(self.entries) + 1)
            yield table
            yield Static(Content("enter chooses · esc goes back"), classes="dialog-hint")

    def on_mount(self) -> None:
        table = self.query_one(Table)
        table.show(len(self.entries), self.present)
        table.focus()

    def _cells(self, index: int) -> Cells:
        name, remark = self.entries[index]
        return (name, remark)

    def on_table_chosen(self, event: Table.Chosen) -> None:
        event.stop()
        self.dismiss(event.index)


def choose_run(runs: Sequence[RunFolder], present: RunFolder | None) -> Choose:
    """The dialog that asks for one of RUNS."""
    entries: list[tuple[str, Part]] = [
        (run.name, ("compared ✓", "good") if (run.compare.path / "report.json").is_file() else ("", "")) for run in runs
    ]
    place = next((place for place, run in enumerate(runs) if present and run.path == present.path), 0)
    return Choose("Which run?", entries, place, heads=("run", ""))
