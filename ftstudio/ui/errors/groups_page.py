"""The page of groups: answers that mean alike, with the words that set a group apart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from textual.app import ComposeResult
from textual.containers import Vertical
from textual.message import Message

from ftstudio.core.text import one_line
from ftstudio.evaluation.clusters import FEWEST, Cluster
from ftstudio.evaluation.predictions import Prediction
from ftstudio.ui.errors.answers import Group
from ftstudio.ui.errors.marks import percent
from ftstudio.ui.text.lines import Line
from ftstudio.ui.text.marked import mark
from ftstudio.ui.text.panes import Pane, Panes
from ftstudio.ui.text.said import Said, fitting, wrapped
from ftstudio.ui.text.table import Cells, Column, Table

COLUMNS = (
    Column("rows", 6, "right"),
    Column("share", 5, "right"),
    Column("alike", 5, "right", least=100),
    Column("words that set it apart", 0),
    Column("its middle", 0),
)
TYPICAL = 2  # answers nearest to a group's centre that are shown in full


class GroupsPage(Vertical):
    """Groups in a list, the most typical answers of the one under the cursor below."""

    DEFAULT_CSS = """
    GroupsPage { height: 1fr; }
    GroupsPage #groups-table { height: 1fr; }
    GroupsPage #groups-panes { height: 1fr; }
    """

    @dataclass
    class Chosen(Message):
        """Enter on `group`."""

        group: Group

    def __init__(self) -> None:
        super().__init__()
        self.title_text = ""
        self.doing = ""
        self.rows: list[int] = []
        self.predictions: Mapping[int, Prediction] = {}
        self.groups: list[Cluster] | None = None  # None: not grouped yet

    def compose(self) -> ComposeResult:
        yield Said(id="groups-head", grow=True)
        yield Table(COLUMNS, self._cells, id="groups-table")
        yield Panes(id="groups-panes")

    @property
    def table(self) -> Table:
        """The list."""
        return self.query_one("#groups-table", Table)

    def begin(self, title: str, rows: Sequence[int], predictions: Mapping[int, Prediction]) -> None:
        """The ROWS of PREDICTIONS, called TITLE, are to be grouped."""
        self.title_text, self.rows, self.predictions, self.groups = title, list(rows), predictions, None
        self.table.show(0, 0)
        self.show()

    def take(self, groups: list[Cluster]) -> None:
        """The groups are there: places in the rows."""
        self.groups = groups
        self.table.show(len(groups), 0)
        self.show()

    def show(self) -> None:
        """Bring all lines up to date."""
        width = max(40, self.app.size.width - 3)
        self.query_one("#groups-head", Said).say(*self._head(width))
        self._show_middle()

    def _head(self, width: int) -> list[Line]:
        lines: list[Line] = [fitting([("Groups by meaning", "title"), (f"  {self.title_text}", "")], width)]
        if self.doing:
            return [*lines, ((one_line(self.doing, width - 12), "warn"), ("   s stops", "dim"))]
        if self.groups is None:
            return [*lines, (("Stopped: esc leads back, m begins anew.", "dim"),)]
        if not self.groups:
            few = f"There are {len(self.rows)} answers here; groups can be told from {FEWEST} on."
            return [*lines, *wrapped(few, width, "warn")]
        if len(self.groups) == 1:
            return [*lines, *wrapped("These answers mean much alike: they fall into no groups.", width, "warn")]
        text = "The words stand in more answers of a group than of the others. enter shows a group's rows."
        return [*lines, *wrapped(text, width)]

    def _show_middle(self) -> None:
        panes = self.query_one("#groups-panes", Panes)
        panes.display = bool(self.groups)
        if self.groups:
            rows = [self.rows[place] for place in self.groups[self.table.cursor].places[:TYPICAL]]
            panes.show([Pane(f"row {row}: output", mark(self.predictions[row].output), fold=True) for row in rows])

    def _cells(self, index: int) -> Cells:
        group = (self.groups or ())[index]
        middle = self.predictions[self.rows[group.places[0]]].output
        return (
            f"{len(group.places):,}",
            percent(len(group.places) / len(self.rows)),
            f"{group.cosine:.2f}",
            _words(group) or ("none stands out", "dim"),
            (one_line(middle, 160) or "(empty)", "dim"),
        )

    def on_table_moved(self, event: Table.Moved) -> None:
        event.stop()
        self._show_middle()

    def on_table_chosen(self, event: Table.Chosen) -> None:
        event.stop()
        group = (self.groups or ())[event.index]
        title = f"◇ {_words(group) or f'group {event.index + 1}'}"
        self.post_message(self.Chosen(Group(title, tuple(self.rows[place] for place in group.places))))


def _words(group: Cluster) -> str:
    return one_line(", ".join(group.words), 80)
