"""The repairs that wait to be saved: what each does, and which categories it is meant to fix."""

from __future__ import annotations

from collections.abc import Sequence

from textual.app import ComposeResult
from textual.containers import Vertical
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Static

from ftstudio.core.text import one_line
from ftstudio.data.versions.edit import Edit
from ftstudio.engine.repairing import AIM
from ftstudio.ui.text.table import Column, Table

COLUMNS = (
    Column("repair", 0),
    Column("meant to fix", 18),
    Column("why", 0),
    Column("who", 14, least=110),
)


class PendingRepairs(ModalScreen[str | None]):
    """Gives back u to take the last one back, v to save them all, None for escape."""

    BINDINGS = [
        ("escape,l,q", "dismiss(None)", "back"),
        ("u", "dismiss('u')", "undo the last"),
        ("v", "dismiss('v')", "save"),
    ]
    DEFAULT_CSS = """
    PendingRepairs .dialog { width: 96%; max-width: 120; height: 80%; }
    PendingRepairs Table { background: $surface; }
    """

    def __init__(self, edits: Sequence[Edit]) -> None:
        super().__init__()
        self.edits = list(edits)[::-1]

    def compose(self) -> ComposeResult:
        count = len(self.edits)
        title = f"{count:,} pending {'repair' if count == 1 else 'repairs'}, the last first" if count else "No repairs"
        with Vertical(classes="dialog"):
            yield Static(Content(title), classes="dialog-title")
            yield Table(COLUMNS, self._cells, empty="d drops a row, e edits its answer, + and - weigh it")
            yield Static(Content("v saves them as a version · u takes the last back · esc"), classes="dialog-hint")

    def on_mount(self) -> None:
        table = self.query_one(Table)
        table.show(len(self.edits))
        table.focus()

    def _cells(self, index: int) -> tuple[tuple[str, str], ...]:
        edit = self.edits[index]
        aims = ", ".join(str(name) for name in edit.details.get(AIM) or ())
        return (
            (one_line(edit.text, 120), "strong"),
            (one_line(aims or "–", 60), "key"),
            (one_line(edit.why, 160), ""),
            (one_line(edit.who, 40), "dim"),
        )
