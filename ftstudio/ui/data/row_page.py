"""One row whole: every column's name and all of its text, wrapped."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ftstudio.core.text import one_line
from ftstudio.data.dataset import Dataset
from ftstudio.ui.data.cells import whole
from ftstudio.ui.data.page import Page
from ftstudio.ui.data.picture import lines_of, pictures_of
from ftstudio.ui.text.lines import Line
from ftstudio.ui.text.marked import inked, mark, wrap


class RowPage(Page):
    """The row's columns one under the other; the part a column plays stands beside its name."""

    def __init__(self, id: str | None = None) -> None:
        super().__init__(id)
        self.row: Mapping[str, Any] = {}
        self.names: Sequence[str] = ()
        self.roles: Mapping[str, str] = {}
        self.types: Mapping[str, str] = {}
        self.folder: Path | None = None

    def show(self, row: Mapping[str, Any], dataset: Dataset, roles: Mapping[str, str], *, stay: bool = False) -> None:
        """Show ROW of DATASET."""
        self.row, self.names, self.roles = row, dataset.names, roles
        self.types = {column.name: column.type for column in dataset.columns}
        self.folder = dataset.path.parent if dataset.path is not None else None
        self.fresh(stay=stay)

    def compose_lines(self, width: int) -> list[Line]:
        lines: list[Line] = []
        for name in sorted(self.names, key=lambda name: self.types.get(name) != "image"):  # pictures come first
            if lines:
                lines.append(())
            value = self.row.get(name)
            pieces = whole(value)
            size = len(value) if isinstance(value, str) else None
            role = f"  ▸{self.roles[name]}" if name in self.roles else ""
            note = "  absent" if name not in self.row else "  null" if value is None else ""
            if size is not None:
                note = f"  {size:,} characters" if size else "  empty"
            lines.append(((one_line(name, max(8, width - 30)), "title"), (role, "good"), (note, "dim")))
            for picture in pictures_of(value, self.types.get(name, "")):
                lines += [(("  ", ""), *line) for line in lines_of(picture, width - 4, self.folder)]
            for heading, text in pieces:
                text = self.safe(text)
                if heading:
                    lines.append(((f"  {heading}", "key"),))
                if text:
                    lines += _wrapped(text, width - 2)
        return lines


def _wrapped(text: str, width: int) -> list[Line]:
    """TEXT cut into lines of WIDTH cells, indented by two."""
    marked = mark(text)
    lines: list[Line] = [(("  ", ""), *inked(marked, start, stop)) for start, stop in wrap(marked.text, max(8, width))]
    if marked.hidden:
        lines.append(((f"  … {marked.hidden:,} more characters", "dim"),))
    return lines
