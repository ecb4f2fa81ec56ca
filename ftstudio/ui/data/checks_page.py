"""What is wrong with the rows: a list by severity, the rows one key away."""

from __future__ import annotations

from collections.abc import Sequence

from ftstudio.core.text import one_line
from ftstudio.data.checks import CHECKS, Check
from ftstudio.data.checks.found import FINAL
from ftstudio.data.dataset import Problem
from ftstudio.data.versions.repairs import REPAIRS, repairs_of
from ftstudio.ui.data.page import Page
from ftstudio.ui.text.lines import Line
from ftstudio.ui.text.marked import mark, wrap
from ftstudio.ui.text.table import Column, Table

SIGNS = {"error": ("✗ error", "bad"), "warning": ("! warning", "warn"), "note": ("· note", "dim")}
WAY_OUT = "Accepting doesn't help: choose another task (3), say which column is which (esc, c), or open other rows (o)."
BY_LINE = ("unreadable", "ragged")  # checks whose numbers are lines of the file, not rows of the table


class ChecksTable(Table):
    """Severity, count and sentence of each check that found something; below, what the one at hand means."""

    def __init__(self, id: str | None = None) -> None:
        columns = (Column("severity", 10), Column("rows", 8, "right"), Column("check", 20, least=70), Column("what"))
        super().__init__(columns, self._cells, empty="Nothing was found: no check has anything to say.", id=id)
        self.checks: Sequence[Check] = ()
        self.accepted: Sequence[str] = ()

    def fill(self, checks: Sequence[Check], accepted: Sequence[str] = ()) -> None:
        """List CHECKS, errors first; those ACCEPTED stop no run."""
        cursor = self.cursor if checks is self.checks else 0
        self.checks, self.accepted = checks, accepted
        self.show(len(checks), cursor)
        self.again()

    def _cells(self, index: int) -> tuple[str | tuple[str, str], ...]:
        check = self.checks[index]
        name = check.name.replace("_", " ")
        taken = check.severity == "error" and check.name in self.accepted and check.name not in FINAL
        sign = ("· accepted", "warn") if taken else SIGNS[check.severity]
        return sign, f"{check.count:,}", name, one_line(check.text, 300)

    @property
    def at_hand(self) -> Check | None:
        """The check under the cursor."""
        return self.checks[self.cursor] if self.checks else None

    def about(self, width: int) -> list[Line]:
        """What the check at hand found and looks for, in lines of WIDTH cells."""
        check = self.at_hand
        if check is None:
            return []
        text = f"{one_line(check.text, 600)}  Looks for {CHECKS.get(check.name, check.name)}."
        if check.severity == "error" and check.name in FINAL:
            text += f"  {WAY_OUT}"
        elif check.severity == "error":
            taken = check.name in self.accepted
            text += "  Accepted: a run goes on with it (a)." if taken else "  Stops a run until a accepts it."
        if names := repairs_of(check.name):
            text += f"  f: {' · '.join(REPAIRS[name] for name in names)}."
        return [((text[start:stop], ""),) for start, stop in wrap(text, width)]


class ProblemsPage(Page):
    """Lines of the file that are no rows, or rows that had to be filled up: line, reason, the text itself."""

    def __init__(self, id: str | None = None) -> None:
        super().__init__(id)
        self.problems: Sequence[Problem] = ()
        self.more = 0
        self.where = ""

    def show(self, problems: Sequence[Problem], more: int = 0, where: str = "") -> None:
        """List PROBLEMS; MORE were counted but not kept here. WHERE says in which file all of them are."""
        self.problems, self.more, self.where = problems, more, where
        self.fresh()

    def compose_lines(self, width: int) -> list[Line]:
        lines: list[Line] = [((self.where[start:stop], "warn"),) for start, stop in wrap(self.where, width)]
        if lines:
            lines.append(())
        for problem in self.problems:
            what = "kept, filled up" if problem.kept else "left out"
            reason = f"{one_line(problem.reason, 200)}, {what}"
            indent = len(f"line {problem.line:,}") + 2
            for start, stop in wrap(reason, max(8, width - indent)):
                head = f"line {problem.line:,}  " if not start else " " * indent
                lines.append(((head, "title"), (reason[start:stop], "")))
            text = mark(self.safe(problem.text), limit=2_000).text
            lines += [(("  " + text[start:stop], "dim"),) for start, stop in wrap(text, max(8, width - 2))[:4]]
        if self.more:
            lines.append(((f"… and {self.more:,} more", "dim"),))
        return lines
