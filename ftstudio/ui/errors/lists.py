"""The two lists: what is wrong, and the rows where it is. The second follows the cursor of the first."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical
from textual.message import Message

from ftstudio.core.text import one_line
from ftstudio.ui.errors import marks
from ftstudio.ui.errors.answers import ALL, CLEAN, GROUP, Answers
from ftstudio.ui.text.said import Said, wrapped
from ftstudio.ui.text.table import Cells, Column, Table

ROW_COLUMNS = (Column("row", 5, "right"), Column("errors", 8), Column("prompt", 0, least=72), Column("output", 0))


class Lists(Vertical):
    """Categories and rows. `filter` is the category under the cursor, `row` the row under the other one."""

    DEFAULT_CSS = """
    Lists { height: 1fr; }
    Lists #errors-lists { height: 1fr; }
    Lists #errors-categories { width: 43; margin-right: 1; }
    Lists #errors-help { height: 2; }
    """

    @dataclass
    class Opened(Message):
        """Enter on the row `row`."""

        row: int

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self.answers: Answers | None = None
        self.filter = ALL
        self.row: int | None = None
        self.rows: list[int] = []
        self._entries: list[dict[str, Any]] = []
        self._judged: frozenset[int] = frozenset()  # rows the detectors have seen

    def compose(self) -> ComposeResult:
        with Horizontal(id="errors-lists"):
            yield Table(marks.CATEGORY_COLUMNS, self._category_cells, id="errors-categories")
            yield Table(ROW_COLUMNS, self._row_cells, empty="no rows here", id="errors-rows")
        yield Said(id="errors-help")

    @property
    def categories(self) -> Table:
        """The list on the left."""
        return self.query_one("#errors-categories", Table)

    @property
    def table(self) -> Table:
        """The list of rows."""
        return self.query_one("#errors-rows", Table)

    @property
    def title(self) -> str:
        """What the filter is called."""
        found = next((entry["title"] for entry in self._entries if entry["name"] == self.filter), self.filter)
        return "answers" if self.filter == ALL else str(found)

    @property
    def wrong(self) -> tuple[int, int]:
        """(rows with any error, rows judged)."""
        fine = next((entry["count"] for entry in self._entries if entry["name"] == CLEAN), 0)
        return len(self._judged) - fine, len(self._judged)

    # -- showing -----------------------------------------------------------------------------------------------------
    def begin(self, answers: Answers | None) -> None:
        """Show other ANSWERS from now on, all of them first."""
        self.answers, self.filter, self.row, self.rows = answers, ALL, None, []
        self._entries, self._judged = [], frozenset()
        self.categories.show(0, 0)
        self.table.show(0, 0)

    def show(self, answers: Answers) -> None:
        """Bring both lists up to date."""
        self.answers = answers
        self.show_categories()
        self.show_rows()

    def show_categories(self) -> None:
        """Bring the categories up to date; the rows stay as they are."""
        answers = self.answers
        if answers is None:
            return
        self._judged = answers.judged
        table = marks.ordered(answers.table())
        self._entries = [{"name": ALL, "title": "All answers", "count": len(answers.predictions), "rate": None}, *table]
        if answers.group is not None:
            count = len(answers.rows(GROUP))
            share = count / max(1, len(answers.predictions))
            self._entries.insert(1, {"name": GROUP, "title": answers.group.title, "count": count, "rate": share})
        if table:
            fine, judged = len(answers.rows(CLEAN)), len(self._judged)
            rate = fine / judged if judged else None
            self._entries.append({"name": CLEAN, "title": "✓ Nothing found", "count": fine, "rate": rate})
        place = next((i for i, entry in enumerate(self._entries) if entry["name"] == self.filter), 0)
        self.categories.show(len(self._entries), place)
        self.table.paint()
        self._explain(place)

    def show_rows(self) -> None:
        """Bring the rows of the filter up to date."""
        if self.answers is None:
            return
        self.rows = self.answers.rows(self.filter)
        place = self.rows.index(self.row) if self.row in self.rows else None
        table = self.table
        table.empty = "categorising …" if self.filter != ALL and self.answers.corrected is None else "no rows here"
        table.show(len(self.rows), place)
        self.row = self.rows[table.cursor] if self.rows else None

    def go(self, row: int) -> None:
        """Move the cursor of the rows to ROW."""
        self.row = row
        if row in self.rows:
            self.table.show(len(self.rows), self.rows.index(row))

    def _category_cells(self, index: int) -> Cells:
        return marks.cells(self._entries[index], self.answers.known if self.answers else {})

    def _row_cells(self, index: int) -> Cells:
        answers, row = self.answers, self.rows[index]
        prediction = answers.predictions.get(row) if answers else None
        if answers is None or prediction is None:
            return ("", "", "", "")
        names = answers.names(row)
        signs = marks.marks(names, answers.tags.of(row), answers.known)
        fine = (signs or "✓", "good") if row in self._judged else (signs or "…", "dim")
        output = one_line(prediction.output, 160)
        return (
            (f"{row}", "dim"),
            (signs, "warn") if names else fine,
            (one_line(prediction.prompt, 160), "dim"),
            output if output else ("(empty)", "dim"),
        )

    def on_descendant_focus(self) -> None:
        """The lines below speak of the list that has the keys."""
        self.explain()

    def explain(self) -> None:
        """Bring the lines below the lists up to date."""
        if self._entries:
            self._explain(next((i for i, entry in enumerate(self._entries) if entry["name"] == self.filter), 0))

    def _explain(self, place: int) -> None:
        answers = self.answers
        if answers is not None and self.table.has_focus:
            text = f"Order: {answers.order.title}, those you have not looked at first. o changes it."
        else:
            entry = self._entries[place]
            text = marks.explained(entry, answers.known if answers else {})
            agreed = answers.agreement(entry["name"]) if answers and entry["name"] in answers.known else None
            if agreed is not None and not entry["reason"]:
                text = f"{marks.agreed(agreed)} {text}"
        self.query_one("#errors-help", Said).say(*wrapped(text, self.app.size.width - 4))

    def on_table_moved(self, event: Table.Moved) -> None:
        event.stop()
        if event.table is self.table:
            self.row = self.rows[event.index]
            return
        self.filter = self._entries[event.index]["name"]
        self.row = None
        self.table.cursor = 0
        self.show_rows()
        self._explain(event.index)

    def on_table_chosen(self, event: Table.Chosen) -> None:
        event.stop()
        if event.table is self.categories:
            self.table.focus()
        elif self.rows:
            self.row = self.rows[event.index]
            self.post_message(self.Opened(self.row))
