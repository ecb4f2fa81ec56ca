"""Which run is compared: a list to choose from."""

from __future__ import annotations

from collections.abc import Sequence

from textual.app import ComposeResult
from textual.containers import Vertical
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Static

from ftstudio.core.run import RunFolder
from ftstudio.ui.text.table import Cells, Column, Table


class ChooseRun(ModalScreen[RunFolder | None]):
    """The runs that have a tuned model; gives back the one chosen, None for escape."""

    BINDINGS = [("escape,q", "dismiss(None)", "back")]
    DEFAULT_CSS = "ChooseRun Table { height: auto; max-height: 14; min-height: 2; background: $surface; }"

    def __init__(self, runs: Sequence[RunFolder], present: RunFolder | None) -> None:
        super().__init__()
        self.runs = list(runs)
        self.present = present

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog"):
            yield Static(Content("Which run?"), classes="dialog-title")
            table = Table((Column("run", 0), Column("", 12)), self._cells)
            table.styles.height = min(14, len(self.runs) + 1)
            yield table
            yield Static(Content("enter chooses · esc goes back"), classes="dialog-hint")

    def on_mount(self) -> None:
        places = [place for place, run in enumerate(self.runs) if self.present and run.path == self.present.path]
        table = self.query_one(Table)
        table.show(len(self.runs), places[0] if places else 0)
        table.focus()

    def _cells(self, index: int) -> Cells:
        run = self.runs[index]
        return (run.name, ("compared ✓", "good") if (run.compare.path / "report.json").is_file() else ("", ""))

    def on_table_chosen(self, event: Table.Chosen) -> None:
        self.dismiss(self.runs[event.index])
