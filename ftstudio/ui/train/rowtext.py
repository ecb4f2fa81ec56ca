"""What the row under the cursor of the map of rows says, and where it stands in the data."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from ftstudio.core.errors import StudioError
from ftstudio.core.run import RunFolder
from ftstudio.core.text import one_line
from ftstudio.ui.data.cells import cell
from ftstudio.ui.text.lines import Line, fit
from ftstudio.ui.text.said import Said, wrapped

if TYPE_CHECKING:
    from ftstudio.engine.trained_rows import TrainedRows

LONGEST = 1200  # characters of a column that are shown
NAME = 12  # cells of a column's name
READING = "Reading the rows …"


class RowText(Said):
    """Reads a run's rows once, in a thread, when it is first asked for one of them; TOLD is called when it has."""

    DEFAULT_CSS = "RowText { height: 5; border-top: solid $foreground 20%; }"

    def __init__(self, told: Callable[[], None], *, id: str | None = None) -> None:
        super().__init__(id=id)
        self.told = told
        self.rows: TrainedRows | None = None
        self.row: int | None = None  # the number of the one shown, in all of the run's data
        self.fault = ""  # why they can't be read
        self._run: RunFolder | None = None

    def of(self, run: RunFolder) -> None:
        """RUN's rows are shown from now on."""
        if self._run is not None and self._run.path == run.path:
            return
        self._run, self.rows, self.fault = run, None, ""
        self.say()

        def work() -> None:
            rows, fault = _opened(run)
            if self.is_mounted:
                self.app.call_from_thread(take, rows, fault)

        def take(rows: TrainedRows | None, fault: str) -> None:
            if self._run is run:
                self.rows, self.fault = rows, fault
                self.told()

        self.run_worker(work, thread=True, exclusive=True, group="row-text", exit_on_error=False)

    def forget(self) -> None:
        """Another run is in view."""
        self._run, self.rows, self.fault = None, None, ""
        self.say()

    def show(self, row: int | None) -> None:
        """Show the row with that number in all of the run's data; None: there is none."""
        self.row = row
        self.say(*(() if row is None else self._lines(row, max(20, self.app.size.width - 3))))

    def on_resize(self) -> None:
        self.show(self.row)

    def _lines(self, row: int, width: int) -> list[Line]:
        if self.rows is None:
            return wrapped(self.fault or READING, width, "warn" if self.fault else "dim", 3)
        place = self.rows.place(row)
        try:
            values = self.rows.row(row)
        except StudioError as error:
            return wrapped(str(error), width, "warn", 3)
        lines: list[Line] = [
            ((f"row {place.number:,}", "title"), (f" of {one_line(place.address, width - 20)}", "dim"))
        ]
        names = self.rows.names(row, values)
        for left, name in zip(range(len(names), 0, -1), names, strict=True):  # a long prompt leaves room for the answer
            most = max(1, (self.room - len(lines)) // left)
            told = wrapped(cell(values[name], LONGEST), width - NAME, "", most)
            lines += [
                ((fit("" if at else one_line(name), NAME - 1) + " ", "dim"), *line) for at, line in enumerate(told)
            ]
        return lines[: max(1, self.room)]


def _opened(run: RunFolder) -> tuple[TrainedRows | None, str]:
    """RUN's rows, or why they can't be read."""
    from ftstudio.engine.recipes import load_recipe
    from ftstudio.engine.trained_rows import open_rows_of

    try:
        return open_rows_of(load_recipe(run.recipe_path)), ""
    except StudioError as error:
        return None, f"The text of the rows can't be shown: {error}"
