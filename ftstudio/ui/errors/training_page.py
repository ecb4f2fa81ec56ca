"""The page from a failing row to the training rows: those near it, and those that share its fault."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from textual.app import ComposeResult
from textual.containers import Vertical

from ftstudio.core.text import one_line
from ftstudio.engine.behind import Training
from ftstudio.engine.repairing import Repairs
from ftstudio.evaluation.categories import Category
from ftstudio.evaluation.neighbours import Neighbour
from ftstudio.evaluation.predictions import Prediction
from ftstudio.ui.errors.marks import PEN
from ftstudio.ui.text.lines import Line
from ftstudio.ui.text.marked import mark
from ftstudio.ui.text.panes import Pane, Panes
from ftstudio.ui.text.said import Said, fitting, wrapped
from ftstudio.ui.text.table import Cells, Column, Table

COLUMNS = (
    Column("row", 7, "right"),
    Column("near", 4, "right"),
    Column("errors", 6),
    Column("prompt", 0),
    Column("answer", 0),
)


class TrainingPage(Vertical):
    """Training rows in a list, the one under the cursor in full. `near` says which of the two lists is shown."""

    DEFAULT_CSS = """
    TrainingPage { height: 1fr; }
    TrainingPage #training-table { height: 1fr; }
    TrainingPage #training-panes { height: 1fr; }
    """

    def __init__(self) -> None:
        super().__init__()
        self.training: Training | None = None
        self.repairs: Repairs | None = None
        self.prediction: Prediction | None = None
        self.categories: list[Category] = []  # those of the row first
        self.category = ""
        self.near = True
        self.doing = ""
        self.trouble = ""
        self.rows: list[int] = []
        self._near: dict[int, Neighbour] = {}
        self._alone = False
        self.own: set[str] = set()  # the categories of the failing row
        self.group: list[Prediction] = []  # the rows of a whole category, where that is asked about
        self._missing: int | None = None  # how many of them no training prompt is near

    def compose(self) -> ComposeResult:
        yield Said(id="training-head", grow=True)
        yield Table(COLUMNS, self._cells, empty="no rows here", id="training-table")
        yield Panes(id="training-panes")

    @property
    def table(self) -> Table:
        """The list."""
        return self.query_one("#training-table", Table)

    @property
    def row(self) -> int | None:
        """The training row under the cursor."""
        return self.rows[self.table.cursor] if self.rows else None

    # -- what is shown -----------------------------------------------------------------------------------------------
    def begin(
        self,
        prediction: Prediction | None,
        own: set[str],
        known: Mapping[str, Category],
        wanted: str,
        group: Sequence[Prediction] = (),
    ) -> None:
        """Show what is near PREDICTION, which is in the categories OWN of those KNOWN, or near all of GROUP; begin with
        WANTED, if any."""
        self.prediction, self.group, self.trouble = prediction, list(group), ""
        self._missing = None
        self.near = prediction is not None or bool(group)
        self.categories = sorted(known.values(), key=lambda one: (one.name != wanted, one.name not in own))
        self.own = own
        self.category = wanted
        self.rows, self._near = [], {}
        self.table.show(0, 0)
        self.show()

    def take(self, training: Training) -> None:
        """The training rows are there."""
        self.training = training
        self._find()

    def turn(self) -> None:
        """From the near rows to those with the fault, or back."""
        self.near = not self.near and (self.prediction is not None or bool(self.group))
        if not self.near and not self.category:
            self.category = self._next()
        self._find()

    def next_category(self) -> None:
        """The next category that occurs in the training answers."""
        self.near, self.category = False, self._next()
        self._find()

    def _next(self) -> str:
        names = [one.name for one in self.categories]
        here = names.index(self.category) + 1 if self.category in names else 0
        order = names[here:] + names[:here]
        training = self.training
        return next((name for name in order if training is not None and training.with_fault(name)), self.category)

    def _find(self) -> None:
        """Fill the list."""
        training, prediction = self.training, self.prediction
        self._choose()
        if training is not None:
            if self.near and self.group:
                self.rows = list(self._near)
            elif self.near and prediction is not None:
                self._near = {found.row: found for found in training.nearest(prediction)}
                self._alone = training.alone(prediction)
                self.rows = list(self._near)
            else:
                self.rows = training.with_fault(self.category)
        self.table.show(len(self.rows), 0)
        self.show()

    def take_near(self, found: Sequence[Neighbour], missing: int) -> None:
        """What is near the group: FOUND; of the group MISSING rows have nothing near."""
        self._near, self._missing = {one.row: one for one in found}, missing
        self._find()

    def faults_found(self) -> None:
        """The detectors are through with the training answers."""
        self._choose()
        if not self.near:
            self.category = self.category or self._next()
            self._find()
        self.show()

    def _choose(self) -> None:
        """Of the failing row's categories, the one that most training answers are in, unless one was chosen."""
        training = self.training
        if not self.category and self.own and training is not None and training.faults is not None:
            names = [one.name for one in self.categories if one.name in self.own]
            self.category = max(names, key=lambda name: len(training.with_fault(name)), default="")

    def show(self) -> None:
        """Bring all lines up to date; the list stays where it is."""
        width = max(40, self.app.size.width - 3)
        self.query_one("#training-head", Said).say(*self._head(width))
        self.table.empty = self.doing or ("no such row" if self.training is not None else "")
        self.table.show(len(self.rows))
        self._show_row()

    def _show_row(self) -> None:
        training, row = self.training, self.row
        panes = self.query_one("#training-panes", Panes)
        panes.display = bool(self.rows)
        if training is None or row is None:
            return
        prompt, answer = training.texts[row]
        findings = training.faults.findings.get(row, ()) if training.faults is not None else ()
        shown = [finding for finding in findings if self.near or finding.category == self.category]
        spans = [(start, end, "mark") for finding in shown for start, end in finding.spans]
        why = "; ".join(one_line(finding.why, 60) for finding in shown)
        state = self.repairs.state(row) if self.repairs is not None else ""
        note = {"dropped": f"{PEN} will be dropped", "edited": f"{PEN} edited, not saved yet"}.get(state, why)
        weight = self.repairs.weight(row) if self.repairs is not None and state != "dropped" else 1.0
        if weight != 1.0:
            note = f"{PEN} trained {weight:g} times an epoch" + (f" · {why}" if why else "")
        if state == "edited" and self.repairs is not None:
            answer, spans = self.repairs.now(row), []
        panes.show(
            [Pane(f"training row {row}: prompt", mark(prompt), fold=True), Pane("answer", mark(answer, spans), note)]
        )

    def _head(self, width: int) -> list[Line]:
        training = self.training
        lines: list[Line] = [self._title(width)]
        if self.trouble:
            lines += wrapped(f"! {self.trouble}", width, "warn", 3)
        if self.doing:
            lines.append(((one_line(self.doing, width - 12), "warn"), ("   s stops", "dim")))
        if training is None:
            return lines
        if self.near and self.group and self._missing is not None:
            lines += wrapped(self._told_group(self._missing), width, "warn" if self._missing else "", 2)
        elif self.near and self._near:
            lines += wrapped(self._told_near(training), width, "warn" if self._alone else "", 2)
        category = next((one for one in self.categories if one.name == self.category), None)
        if category is not None and training.faults is not None:
            text, ink = training.about_fault(category.name, f"{category.mark} {category.title}")
            lines += wrapped(text + ("" if not self.near or ink != "warn" else "  f lists them"), width, ink, 2)
        return lines

    def _title(self, width: int) -> Line:
        count = f"  {len(self.training.texts):,} training rows" if self.training is not None else ""
        repairs = self.repairs.count if self.repairs is not None else 0
        what = "Training rows with the same fault"
        if self.near and self.group:
            what = f"Training rows near the {len(self.group):,} rows of {self._title_of(self.category)}"
        elif self.near and self.prediction is not None:
            what = f"Training rows near row {self.prediction.row}"
        parts = [(what, "title")]
        if repairs:
            parts.append((f"  {repairs:,} {'repair' if repairs == 1 else 'repairs'} pending {PEN} v saves", "key"))
        return fitting([*parts, (count, "dim")], width)

    def _title_of(self, category: str) -> str:
        return next((one.title for one in self.categories if one.name == category), category)

    def _told_group(self, missing: int) -> str:
        """What is missing in the training rows."""
        told = "Those near to most of them stand first. "
        if not missing:
            return told + "Each has a training prompt near it: what is missing is not the topic."
        return told + f"{missing:,} of them have no training prompt near: rows like those may be missing."

    def _told_near(self, training: Training) -> str:
        best = max((found.prompt or 0.0 for found in self._near.values()), default=0.0)
        near = training.index.near
        if near is None:
            return f"The nearest prompt has cosine {best:.2f}. With so few training rows nothing says what is near."
        if self._alone:
            return (
                f"No training prompt is near: cosine {best:.2f} at best, {near:.2f} and more among themselves. "
                "Rows like it may be missing. The list's near counts answers, too."
            )
        told = f"The nearest prompt has cosine {best:.2f}; from {near:.2f} on counts as near in this data."
        return f"{told} The list's near counts answers, too."

    def _cells(self, index: int) -> Cells:
        training, row = self.training, self.rows[index]
        if training is None:
            return ("", "", "", "", "")
        prompt, answer = training.texts[row]
        faults = training.faults
        names = faults.names(row) if faults is not None else set()
        signs = "".join(category.mark for category in self.categories if category.name in names)
        state = self.repairs.state(row) if self.repairs is not None else ""
        if state == "edited" and self.repairs is not None:
            answer = self.repairs.now(row)
        found = self._near.get(row)
        ink = "del" if state == "dropped" else "dim"
        return (
            (f"{row}{PEN if state else ''}", "key" if state else "dim"),
            f"{found.cosine:.2f}" if found is not None and self.near else "",
            (signs, "warn"),
            (one_line(prompt, 160), ink),
            (one_line(answer, 160), "del" if state == "dropped" else ""),
        )

    def on_table_moved(self, event: Table.Moved) -> None:
        event.stop()
        self._show_row()

    def on_table_chosen(self, event: Table.Chosen) -> None:
        event.stop()
        self.query_one("#training-panes", Panes).focus()
