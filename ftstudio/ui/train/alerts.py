"""Alerts: all that a run warned of."""

from __future__ import annotations

import time
from typing import Any

from textual.app import ComposeResult
from textual.containers import Vertical
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Static

from ftstudio.core.run import Story
from ftstudio.ui.shell.bell import counted
from ftstudio.ui.text.lines import Line, Lines
from ftstudio.ui.train.notice import alert_text
from ftstudio.ui.train.samples import wrap

FRAME = 8  # lines of the dialog around its list: border, padding, title, hint
SIGNS = {"error": ("✗ error", "bad"), "warning": ("! warning", "warn")}


class AlertList(Lines):
    """The alerts, the newest first."""

    def __init__(self, alerts: list[dict[str, Any]]) -> None:
        super().__init__()
        self.alerts = alerts
        self._rows: list[Line] = []

    def lay_out(self) -> None:
        self._rows = []
        width = max(10, self.columns - 21)
        for alert in reversed(self.alerts):
            moment = alert.get("time")
            told = time.strftime("%H:%M:%S", time.localtime(moment)) if isinstance(moment, (int, float)) else ""
            sign, ink = SIGNS.get(str(alert.get("level")), ("i note", "dim"))
            for at, row in enumerate(wrap(alert_text(alert), width)):
                head = f"{told:<9} {sign:<10}" if not at else " " * 20
                self._rows.append(((head, ink), (row, "")))
        if not self._rows:
            self._rows = [(("Nothing was warned of.", "dim"),)]
        self.total = len(self._rows)
        self.styles.height = max(1, min(self.total, self.app.size.height * 9 // 10 - FRAME))  # no larger than its text

    def line(self, index: int) -> Line:
        return self._rows[index]


class AlertPage(ModalScreen[None]):
    """All alerts of a run."""

    BINDINGS = [
        ("escape,exclamation_mark,q,enter", "dismiss", "back"),
        ("up,k", "scroll(-1)", "up"),
        ("down,j", "scroll(1)", "down"),
        ("pageup", "scroll(-10)", "up"),
        ("pagedown", "scroll(10)", "down"),
    ]
    DEFAULT_CSS = """
    AlertPage AlertList { background: $surface; }
    """

    def __init__(self, name: str, story: Story) -> None:
        super().__init__()
        self.run_name, self.alerts = name, list(story.alerts)
        self.told = counted(story) or "none"

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog") as box:
            box.styles.width = 110  # or as much as there is
            yield Static(Content(f"Alerts of {self.run_name}: {self.told}"), classes="dialog-title")
            yield AlertList(self.alerts)
            yield Static(Content("esc goes back"), classes="dialog-hint")

    def action_scroll(self, by: int) -> None:
        """BY lines."""
        self.query_one(AlertList).scroll_lines(by)
