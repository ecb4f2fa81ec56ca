"""Choosing the runs that are laid over the one in view, and the baseline."""

from __future__ import annotations

import time
from collections.abc import Callable

from textual.app import ComposeResult
from textual.containers import Vertical
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Static
from textual.worker import get_current_worker

from ftstudio.core.run import RunFolder
from ftstudio.core.text import number, one_line
from ftstudio.ui.runs.catalogue import Follower, Summary
from ftstudio.ui.text.table import Column, Table
from ftstudio.ui.train.alerts import FRAME
from ftstudio.ui.train.overlays import MOST, Overlays

PAINT_SECONDS = 0.1  # between two looks at what was read meanwhile
COLUMNS = (
    Column("", 10),
    Column("run", 0, "ends"),
    Column("state", 11, least=90),
    Column("method", 8, least=90),
    Column("steps", 7, "right"),
    Column("loss", 7, "right"),
    Column("eval", 7, "right"),
)


class ChooseRuns(ModalScreen[str | None]):
    """Space lays a run over or takes it away, b pins it as the baseline, d gives its name to be set beside this one."""

    BINDINGS = [
        ("escape,o,q", "dismiss(None)", "back"),
        ("space,enter", "lay_over", "lay over"),
        ("b", "pin", "baseline"),
        ("d", "difference", "recipes"),
    ]
    DEFAULT_CSS = """
    ChooseRuns Table { background: $surface; }
    """

    def __init__(self, here: RunFolder, overlays: Overlays, attempt: Callable[[Callable[[], object]], bool]) -> None:
        super().__init__()
        self.here, self.overlays, self.attempt = here, overlays, attempt
        self.runs = [run for run in overlays.workspace.runs() if run.path != here.path]
        self._read: dict[int, Summary] = {}
        self._wanted: dict[int, None] = {}  # rows in view that nobody has read yet
        self._reading = False

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog") as box:
            box.styles.width = 110  # or as much as there is
            yield Static(Content(f"Runs laid over {self.here.name}"), classes="dialog-title")
            yield Table(COLUMNS, self._cells, empty="there is no other run in this workspace")
            yield Static(
                Content("space lays over · b pins as the baseline of every chart · d compares recipes · esc goes back"),
                classes="dialog-hint",
            )

    def on_mount(self) -> None:
        table = self.query_one(Table)
        table.show(len(self.runs))
        table.focus()
        self._fit()

    def on_resize(self) -> None:
        self._fit()

    def _fit(self) -> None:
        """As many lines as there are runs, and a heading; or as there is room for."""
        room = self.app.size.height * 9 // 10 - FRAME
        self.query_one(Table).styles.height = max(2, min(len(self.runs or [""]) + 1, room))

    def on_table_chosen(self, event: Table.Chosen) -> None:
        """Enter."""
        event.stop()
        self.action_lay_over()

    def _cells(self, index: int) -> tuple[tuple[str, str], ...]:
        run = self.runs[index]
        found = self._read.get(index)
        if found is None:  # only the rows that come into view are read
            self._wanted[index] = None
            if not self._reading:
                self._reading = True
                self.run_worker(self._read_wanted, thread=True, exit_on_error=False)
            found = Summary(run)
        pinned, chosen = run.name == self.overlays.pinned, run.name in self.overlays.chosen
        sign = ("▲ baseline", "key") if pinned else ("● over", "good") if chosen else ("", "")
        return (
            sign,
            (one_line(run.name, 200), ""),
            (found.word or "reading", "dim"),
            (found.method, "dim"),
            (str(found.step) if found.state else "", ""),
            (number(found.loss), ""),
            (number(found.eval_loss), ""),
        )

    def _read_wanted(self) -> None:
        """Read the rows in view: a run of a million events takes a second."""
        worker, painted = get_current_worker(), time.monotonic()
        while self._wanted and not worker.is_cancelled:
            index = min(tuple(self._wanted))
            self._read[index] = Follower(self.runs[index]).summary()
            del self._wanted[index]
            if time.monotonic() > painted + PAINT_SECONDS:
                self.app.call_from_thread(self._show_read)
                painted = time.monotonic()
        if not worker.is_cancelled:
            self.app.call_from_thread(self._show_read, ended=True)

    def _show_read(self, ended: bool = False) -> None:
        if ended:
            self._reading = False  # a row that came into view meanwhile asks again as it is painted
        self.query_one(Table).paint()

    @property
    def _run(self) -> RunFolder | None:
        return self.runs[self.query_one(Table).cursor] if self.runs else None

    def action_lay_over(self) -> None:
        """Lay the run under the cursor over, or not."""
        if self._run is None:
            return
        if not self.overlays.toggle(self._run.name):
            self.notify(f"At most {MOST} runs can be told apart.", timeout=4)
        self.query_one(Table).paint()

    def action_pin(self) -> None:
        """Make the run under the cursor the baseline, or none."""
        run = self._run
        if run is not None:
            name = "" if run.name == self.overlays.pinned else run.name
            self.attempt(lambda: self.overlays.pin(name))
            self.query_one(Table).paint()

    def action_difference(self) -> None:
        """Set the recipe of the run under the cursor beside that of the run in view."""
        if self._run is not None:
            self.dismiss(self._run.name)
