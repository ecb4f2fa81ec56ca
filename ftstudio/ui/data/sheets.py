"""Rows selected, sheets of them, frequency tables, expressions; and the log in which every step is kept."""

from __future__ import annotations

import math
import shlex
from typing import Any

from ftstudio.core.errors import StudioError
from ftstudio.core.text import one_line
from ftstudio.data.frequency import Frequencies, frequencies
from ftstudio.data.selected import packed
from ftstudio.data.steps import StepLog
from ftstudio.ui.common.paths import shown
from ftstudio.ui.data.frequency_page import FrequencyTable
from ftstudio.ui.data.model import Opened
from ftstudio.ui.data.rows import Rows
from ftstudio.ui.data.steps_page import StepsPage
from ftstudio.ui.data.token_page import TokenPage

ORDERS = ("", "least trained", "most lost")  # of the rows in the token view


class Sheets(Rows):
    """What VisiData does, on the rows in view."""

    step_log: StepLog | None = None
    token_order = 0

    # -- the log -----------------------------------------------------------------------------------------------------
    def note(self, do: str, **values: Any) -> None:
        """Keep a step in the log of what is open."""
        opened = self.opened
        if opened is None:
            return
        try:
            if self.step_log is None or self.step_log.source != opened.first_source:
                self.step_log = StepLog(self.session.workspace.path / "logs", opened.first_source)
                new = values.get("edit", {}).get("id") if do == "edit" else None
                for edit in opened.state.edits if opened.state is not None else ():
                    if edit.id != new:  # those of an earlier day: the rows look as they do because of them
                        self.step_log.add("edit", edit=edit.plain())
            self.step_log.add(do, **values)
        except StudioError as error:
            self.studio.show_error(error)

    def action_steps(self) -> None:
        """What was done, and how it is done again."""
        if self.step_log is None or not self.step_log.steps:
            self.studio.tell(
                "Nothing was done to the table yet: filters, sorts, selections and repairs are listed here."
            )
            return
        source, path = (shlex.quote(shown(name)) for name in (self.step_log.source, self.step_log.path))
        command = f"ftstudio data {source} --replay {path}"
        self.query_one(StepsPage).show(self.step_log.steps, one_line(command, 1_000))
        self.show_view("steps")

    # -- selecting ---------------------------------------------------------------------------------------------------
    def action_select(self, how: str) -> None:
        """Select or unselect the row at hand, and go on to the next."""
        opened, number = self.opened, self.grid.row_number
        if opened is None or number is None:
            return
        opened.sheet.pick(range(number, number + 1), how)
        self.note(how, rows=[[number, number]])
        self.grid.go(self.grid.cursor + 1)
        self.grid.paint()
        self.tell()

    def action_toggle_view(self) -> None:
        """Turn the selection of all rows in view round."""
        opened = self.opened
        if opened is None or not self.all_read() or not len(opened.sheet):
            return
        if any(layer.finding for layer in opened.sheet.layers):
            self.studio.tell("The filter is still looking; esc stops it.", "warning")
            return
        rows = opened.sheet.rows
        opened.sheet.pick(rows, "toggle")
        self.note("toggle", rows=packed(sorted(rows) if not isinstance(rows, range) else rows))
        self.grid.paint()
        self.tell()

    def action_open_selected(self) -> None:
        """Only the rows selected, as a sheet on top."""
        opened = self.opened
        if opened is None:
            return
        rows = opened.sheet.selected.rows()
        if not rows:
            self.studio.tell("No rows are selected: + selects the row at hand, * all rows in view.")
            return
        self.finder.only(opened, "selected", rows, note=False)
        self.note("sheet")
        self.tell()

    # -- values ------------------------------------------------------------------------------------------------------
    def action_where(self) -> None:
        """Ask for an expression."""
        if self.all_read():
            self._ask_query("where")

    def action_frequency(self) -> None:
        """How often each value of the column at hand occurs in the rows in view."""
        opened, column = self.opened, self.grid.column_name
        if opened is None or column is None or not self.all_read():
            return
        dataset, rows = opened.dataset, opened.sheet.rows

        def done(found: Frequencies) -> None:
            self.query_one(FrequencyTable).fill(found)
            self.show_view("frequency")
            self.note("frequency", column=column)

        self.background.start(
            "count", f"counting the values of {one_line(column, 30)}",
            lambda work: frequencies(dataset, column, rows, progress=work.progress, cancel=work.cancel),
            done, self.failed,
        )  # fmt: skip
        self.tell()

    def action_value_rows(self) -> None:
        """The rows that have the value at hand."""
        table = self.query_one(FrequencyTable)
        opened, value = self.opened, table.at_hand
        if opened is not None and value is not None and table.found is not None:
            self.back_to_table()
            self.finder.having(opened, table.found.column, value)

    # -- the token view ----------------------------------------------------------------------------------------------
    def action_token_order(self) -> None:
        """Go through the rows by how much of them is trained, or lost to the cut; then as they were."""
        if self.opened is not None and self.opened.lens is not None and self.all_read():
            self._with_tokens(self._order_tokens)

    def _order_tokens(self, encoded: Any) -> None:
        opened = self.opened
        if opened is None:
            return
        if self.token_order and opened.sheet.layers and opened.sheet.layers[-1].label in ORDERS:
            self.finder.pop(opened)
        self.token_order = (self.token_order + 1) % len(ORDERS)
        if self.token_order:
            rows = ordered_rows(opened, encoded, ORDERS[self.token_order])
            self.finder.only(opened, ORDERS[self.token_order], rows)
        self.query_one(TokenPage).order = ORDERS[self.token_order]
        self._tokens()


def ordered_rows(opened: Opened, encoded: Any, order: str) -> list[int]:
    """The rows in view, those with the smallest share of trained tokens or with most tokens lost first."""
    table = encoded.table
    lost = [a + b for a, b in zip(table["lost_prompt"], table["lost_completion"], strict=True)]
    if order == "most lost":
        keys = [float(-count) for count in lost]
    else:
        kept = [total - gone for total, gone in zip(table["total"], lost, strict=True)]
        keys = [trained / max(1, count) for trained, count in zip(table["trained"], kept, strict=True)]
    keys = [key if total else math.inf for key, total in zip(keys, table["total"], strict=True)]  # unusable ones last
    by_row = dict(zip(opened.places(range(len(keys))), keys, strict=True))
    return sorted((row for row in opened.sheet.rows if row in by_row), key=lambda row: (by_row[row], row))
