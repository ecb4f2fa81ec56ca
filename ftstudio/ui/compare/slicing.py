"""Every part of the rows by itself: source, lengths, labels, error categories, columns; enter lists its rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from textual.app import ComposeResult
from textual.containers import Vertical
from textual.message import Message

from ftstudio.core.text import one_line
from ftstudio.evaluation.metrics import TITLES
from ftstudio.evaluation.parts import CATEGORY, LEAK, TRAINED, Facts, Part, parts_of, totals
from ftstudio.evaluation.power import words
from ftstudio.evaluation.shown import chance, figure
from ftstudio.ui.compare.arms import Arms
from ftstudio.ui.compare.filtering import Found
from ftstudio.ui.compare.summary import verdict
from ftstudio.ui.text.lines import fit
from ftstudio.ui.text.said import Said, fitting
from ftstudio.ui.text.table import Cells, Column, Table

NARROW = 96  # cells of the screen below which way and value of a slice share a column
SHORT = {"prompt length": "prompt", "reference length": "reference", "error category": "error", "own filter": "filter"}
COLUMNS = (
    Column("rows where", 16),
    Column("is", 24, least=NARROW - 2),
    Column("rows", 5, "right"),
    Column("base", 7, "right", least=92),
    Column("tuned", 7, "right", least=92),
    Column("difference", 10, "right"),
    Column("95 % interval", 17, "right"),
    Column("p (Holm)", 8, "right", least=110),
    Column("verdict", 0),
)


@dataclass(frozen=True)
class Wanted:
    """What is to be worked out: slices of these rows by METRIC, from a snapshot of the answers."""

    key: tuple[Any, ...]
    facts: Mapping[int, Facts]
    own: tuple[Found, ...]
    leaked: frozenset[int]
    before: Mapping[int, float]
    after: Mapping[int, float]
    seed: int

    def work(self) -> list[dict[str, Any]]:
        """The totals of all slices. May take a while."""
        parts = parts_of(self.facts, self.leaked)
        parts = [Part("own filter", found.text, tuple(sorted(found.rows))) for found in self.own] + parts
        return totals(parts, self.before, self.after, seed=self.seed)


def wanted(arms: Arms, metric: str, own: Sequence[Found]) -> Wanted:
    """A snapshot of ARMS for the slices by METRIC, those of a person's OWN filters first."""
    scores = arms.scores()
    facts = {}
    before, after = {}, {}
    for row in arms.rows:
        prediction, found = arms.base.known[row], scores.get(row, {})
        a, b = found.get(arms.a, {}), found.get(arms.b, {})
        names = frozenset({*a.get("categories", ()), *b.get("categories", ())})
        columns = {**prediction.extra, **arms.columns.get(row, {})}
        facts[row] = Facts(prediction.prompt, prediction.reference, columns, names)
        if isinstance(a.get(metric), int | float) and isinstance(b.get(metric), int | float):
            before[row], after[row] = float(a[metric]), float(b[metric])
    leaked = frozenset(arms.leak.get("rows", ()))
    key = (id(arms.report), arms.a, arms.b, metric, len(arms.columns), tuple(own))
    return Wanted(key, facts, tuple(own), leaked, before, after, arms.recipe.training.seed if arms.recipe else 0)


class Slices(Vertical):
    """The table of slices. `metric` is the one they are compared by."""

    DEFAULT_CSS = "Slices { height: 1fr; } Slices #slices-help { height: 2; margin-top: 0; }"

    @dataclass
    class Picked(Message):
        """Enter on a slice: its name in words, and its rows."""

        name: str
        rows: frozenset[int]

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self.metric = ""
        self.entries: list[dict[str, Any]] = []
        self.key: tuple[Any, ...] = ()

    def compose(self) -> ComposeResult:
        yield Table(COLUMNS, self._cells, empty="working it out …", id="slices-table")
        yield Said(id="slices-help")

    def on_mount(self) -> None:
        self.table.show(0)  # says that it is being worked out

    @property
    def table(self) -> Table:
        """The table."""
        return self.query_one(Table)

    def show(self, arms: Arms, key: tuple[Any, ...], entries: Sequence[dict[str, Any]]) -> None:
        """Show ENTRIES, worked out for KEY."""
        here = self._called(self.table.cursor) if self.entries else None
        self.entries, self.key = list(entries), key
        first, *rest = COLUMNS
        labels = {2: arms.label(arms.a, 7), 3: arms.label(arms.b, 7)}
        self.table.layout_columns = (
            replace(first, width=23) if self._narrow else first,
            *(replace(column, title=labels.get(place, column.title)) for place, column in enumerate(rest)),
        )
        place = next((i for i in range(len(self.entries)) if self._called(i) == here), 0)
        self.table.empty = "the rows can't be parted: all alike, or each its own"
        self.table.show(len(self.entries), place)
        self._explain()

    @property
    def _narrow(self) -> bool:
        return self.app.size.width < NARROW

    def _called(self, index: int) -> str:
        entry = self.entries[index]
        return f"{entry['by']}: {entry['value']}"

    def _explain(self) -> None:
        width = self.app.size.width - 4
        title = TITLES.get(self.metric, one_line(self.metric, 24))
        if self.entries:
            entry = self.entries[self.table.cursor]
            text = words(entry) if entry["n"] else "no row of it has this metric"
            if entry["by"] == CATEGORY:
                text = "no verdict: rows chosen for errors look better afterwards in any case"
                text = text if not self._narrow else "no verdict on rows chosen for errors"
            elif (entry["by"], entry["value"]) == (LEAK, TRAINED):
                text = "a good score on trained rows proves nothing"
            first = fitting([(fit(f"{self._called(self.table.cursor)}: {text}", width).rstrip(), "")], width)
        else:
            first = ()
        signs = f"by {title} · m another metric · verdicts by Holm's p"
        signs += "" if self._narrow else " over the parts of the same kind"
        self.query_one("#slices-help", Said).say(first, ((fit(signs, width), "dim"),))

    def on_table_moved(self, event: Table.Moved) -> None:
        event.stop()
        self._explain()

    def on_table_chosen(self, event: Table.Chosen) -> None:
        event.stop()
        entry = self.entries[event.index]
        self.post_message(self.Picked(self._called(event.index), frozenset(entry["rows"])))

    def _cells(self, index: int) -> Cells:
        entry = self.entries[index]
        by, value = entry["by"], one_line(entry["value"], 60)
        before = self.entries[index - 1]["by"] if index else ""
        first = f"{SHORT.get(by, by)} {value}" if self._narrow else by
        name = (first, "dim" if not self._narrow and by == before else "")
        if not entry["n"]:
            return (name, value, "0", "", "", "", "", "", ("not judged", "dim"))
        text, ink = verdict(entry["verdict"])
        return (
            name,
            value,
            f"{entry['n']:,}",
            figure(self.metric, entry["a"]),
            (figure(self.metric, entry["b"]), "strong"),
            (figure(self.metric, entry["difference"], True), ink),
            f"{figure(self.metric, entry['low'], True)} … {figure(self.metric, entry['high'], True)}",
            (chance(entry["p_holm"]), "dim"),
            (text if entry["verdict"] != "no clear difference" else "= can't tell", ink),
        )
