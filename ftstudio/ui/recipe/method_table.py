"""The methods as a table to choose from, and the model's parts with what learns."""

from __future__ import annotations

from ftstudio.core.text import size
from ftstudio.engine.choices import Choices
from ftstudio.engine.structure import Row
from ftstudio.ui.common.fields import Picker
from ftstudio.ui.text.lines import Line, fit

HEADING = f"    {'':<9}{'learns':>7}{'memory':>10}{'on disk':>10}{'forgets':>8}{'work':>6}"


def short(count: int) -> str:
    """COUNT weights in a few cells: 1.1M, 70.8B."""
    for unit, name in ((1e9, "B"), (1e6, "M"), (1e3, "k")):
        if count >= unit:
            return f"{count / unit:.3g}{name}"
    return str(count)


class MethodTable(Picker):
    """A line a method: what it is, or, once `found` is known, what it costs for this model."""

    found: Choices | None = None

    def say(self, found: Choices | None) -> None:
        """Show what was FOUND."""
        self.found = found
        self.paint()

    def line(self, index: int) -> Line:
        name, _ = self.options[index]
        choice = self.found.of(name) if self.found is not None else None
        if choice is None:
            return super().line(index)
        here = index == self.cursor
        mark = "*" if self.found is not None and self.found.recommended == name else " "
        head: Line = (
            ("(•) " if here else "( ) ", "key" if here else "dim"),
            (fit(name + mark, 9), "strong" if here else ""),
        )
        ink = "" if here else "dim"
        if choice.refused:
            return (*head, (fit(f" ✗ {choice.refused}", max(4, self.columns - 13)), "dim"))
        cells = f"{short(choice.trainable):>7}{size(choice.memory):>10}{size(choice.saved):>10}{choice.forgets:>8}"
        work = f"{choice.work:>6.0%}"
        room = max(4, self.columns - 13)
        return (*head, (cells + work if len(cells + work) <= room else fit(cells, room), ink))


def tree_lines(rows: tuple[Row, ...], width: int) -> list[str]:
    """ROWS as lines of WIDTH cells: name, class, weights, and of these how many learn."""
    lines = []
    for row in rows:
        mark = "●" if row.trained == row.total else "◐" if row.trained else "·"
        name = f"{'  ' * row.depth}{mark} {row.name}"
        kind = f"{row.times} × {row.kind}" if row.times > 1 else row.kind
        learns = f"{short(row.trained)} learn" if row.trained else "frozen"
        end = f"{short(row.total):>7}  {learns:<12}"
        room = max(10, width - len(end) - 1)
        lines.append(f"{fit(f'{fit(name, room * 3 // 5)} {kind}', room)} {end}")
    return lines
