"""What was done to the table, step by step, and the command that does it again without a screen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ftstudio.core.text import one_line
from ftstudio.data.personal import masked
from ftstudio.ui.data.page import Page
from ftstudio.ui.text.lines import Line
from ftstudio.ui.text.marked import wrap


class StepsPage(Page):
    """A line a step, the oldest first."""

    def __init__(self, id: str | None = None) -> None:
        super().__init__(id)
        self.steps: Sequence[Mapping[str, Any]] = ()
        self.command = ""

    def show(self, steps: Sequence[Mapping[str, Any]], command: str) -> None:
        """List STEPS; COMMAND does them again."""
        self.steps, self.command = steps, command
        self.fresh()

    def compose_lines(self, width: int) -> list[Line]:
        lines: list[Line] = [(("Kept in a log as you work. Without a screen it is done again by", "dim"),)]
        lines += [((self.command[start:stop], "strong"),) for start, stop in wrap(self.command, max(20, width))]
        lines.append(())
        for number, step in enumerate(self.steps, 1):
            what = one_line(masked(said(step)), max(10, width - 20))
            lines.append(((f"{number:>4}  ", "dim"), (f"{one_line(step.get('do'), 12):<12}", "key"), (what, "")))
        return lines


def said(step: Mapping[str, Any]) -> str:
    """STEP in words, without its name."""
    rows = step.get("rows")
    if isinstance(rows, list):
        count = sum(last - first + 1 for first, last in rows)
        return f"{step.get('label', '')} {count:,} rows".strip()
    edit = step.get("edit")
    if isinstance(edit, Mapping):
        return str(edit.get("text", ""))
    parts = [str(value) for key, value in step.items() if key not in ("do", "time", "edit")]
    return " ".join(parts)
