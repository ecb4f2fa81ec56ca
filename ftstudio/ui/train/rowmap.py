"""The map of rows (Dataset Cartography, Swayamdipta et al. 2020): how sure a run is of each training row, and how much
that changes from epoch to epoch. Hard rows lie low, easy ones high, ambiguous ones to the right."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical

from ftstudio.core.text import one_line
from ftstudio.ui.text.lines import Line, Lines, Part
from ftstudio.ui.text.said import Said, wrapped
from ftstudio.ui.text.table import Column, Table
from ftstudio.ui.train.rowtext import RowText

if TYPE_CHECKING:
    from ftstudio.core.dynamics import Dynamics

# a mark each, so that the map can be read without colours
KINDS = {"hard": ("×", "bad"), "ambiguous": ("○", "warn"), "easy": ("·", "good")}
MEANS = {
    "hard": "wrong labels sit among these",
    "ambiguous": "still undecided, they teach most",
    "easy": "learnt early",
}
FIRST = {"hard": "hardest", "ambiguous": "most variable"}
ORDERS = tuple(FIRST)
MOST = 500  # rows that are listed and handed to the Data screen
LAG = 50  # steps of a run in training that may not have been written yet
LEFT = 6  # cells of the map's axis
UNSEEN = "no row was seen yet"
READING = "Reading what each row lost …"
KEEPS_NONE = "No losses of single rows were kept by this run so far."
LIST = 38  # cells of the list
COLUMNS = (Column("row", 7, "right"), Column("sure", 5, "right"), Column("var", 4, "right"), Column("loss"))
WINDOW = Column("window", 10)
NAMED = Column("source", 14, "ends")
SURE = 0.85  # confidence of the least sure row from which on none of them is hard
_HEIGHTS = "▁▂▃▄▅▆▇█"


class RowMap(Lines, can_focus=False):
    """Confidence up, variability to the right; a cell shows the kind that most of its rows are of."""

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._rows: list[Line] = []
        self._dynamics: Dynamics | None = None

    def show(self, dynamics: Dynamics | None) -> None:
        """Draw DYNAMICS."""
        self._dynamics = dynamics
        self.lay_out()
        self.paint()

    def lay_out(self) -> None:
        width, height = self.columns - LEFT, self.size.height - 2
        self._rows = [] if self._dynamics is None or min(width, height) < 4 else drawn(self._dynamics, width, height)
        self.total = len(self._rows)

    def line(self, index: int) -> Line:
        return self._rows[index]


def drawn(dynamics: Dynamics, width: int, height: int) -> list[Line]:
    """The map as HEIGHT lines and two of axis, of WIDTH cells and the axis."""
    import numpy as np

    from ftstudio.core.dynamics import KINDS as NAMES

    seen = np.flatnonzero(dynamics.seen)
    right = max(0.05, float(np.max(dynamics.variability[seen], initial=0.0)))
    across = np.minimum(width - 1, (dynamics.variability[seen] / right * width).astype(int))
    up = np.minimum(height - 1, (dynamics.confidence[seen] * height).astype(int))
    places = (up * width + across) * len(NAMES) + dynamics.codes[seen]
    counts = np.bincount(places, minlength=height * width * len(NAMES)).reshape(height, width, len(NAMES))
    most = counts.argmax(2).tolist()  # unseen, where there is nothing
    lines: list[Line] = []
    for y in range(height - 1, -1, -1):
        label = {height - 1: "1", height // 2: "0.5", 0: "0"}.get(y, "")
        parts: list[Part] = [(f"{label:>{LEFT - 1}}┤" if label else " " * (LEFT - 1) + "│", "rule")]
        for x in range(width):
            mark, ink = KINDS.get(NAMES[most[y][x]], (" ", ""))
            if len(parts) > 1 and (mark == " " or parts[-1][1] == ink):
                parts[-1] = (parts[-1][0] + mark, parts[-1][1])
            else:
                parts.append((mark, ink))
        lines.append(tuple(parts))
    lines.append(((" " * (LEFT - 1) + "└" + "─" * width, "rule"),))
    far = f"{right:.2f}"
    named = "how much it changes (variability)" if width > 50 else "variability"
    middle = named.center(max(0, width - len(far) - 1))[: max(0, width - len(far) - 1)]
    lines.append(((" " * LEFT + "0" + middle + far, "dim"),))
    return lines


class RowMapPage(Vertical):
    """The map, and the rows of one kind in a list."""

    DEFAULT_CSS = """
    RowMapPage { height: 1fr; }
    RowMapPage #rowmap-list { margin-left: 1; }
    """

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self.dynamics: Dynamics | None = None
        self.order = ORDERS[0]
        self.places: list[int] = []
        self._count = 0  # rows of the kind listed, all of them
        self._looked = False
        self.text = RowText(self._arrange, id="rowmap-text")  # what the row under the cursor says
        self._step, self._live = 0, False

    def compose(self) -> ComposeResult:
        yield Said(id="rowmap-head", grow=True)
        with Horizontal():
            yield RowMap(id="rowmap")
            yield Table(COLUMNS, self._cells, empty=UNSEEN, id="rowmap-list")
        yield self.text

    @property
    def table(self) -> Table:
        """The list."""
        return self.query_one(Table)

    def take(self, dynamics: Dynamics | None, *, looked: bool = True, step: int = 0, live: bool = False) -> None:
        """Show DYNAMICS; the cursor stays where it is. LOOKED: whether the run's files were read. STEP: how far the run
        has come; LIVE: whether it is trained now."""
        self.dynamics, self._looked, self._step, self._live = dynamics, looked, step, live
        self._arrange()

    def turn(self) -> None:
        """The other order."""
        self.order = ORDERS[(ORDERS.index(self.order) + 1) % len(ORDERS)]
        self._arrange(0)

    def _arrange(self, cursor: int | None = None) -> None:
        known = self.dynamics
        self.places = []
        if known is not None:
            self._count = len(known.listed[self.order])
            self.places = known.listed[self.order][:MOST].tolist()
        more = [NAMED] * self.mixed + [WINDOW] * (known is not None and known.windows is not None)
        self.table.layout_columns = (*more[: self.mixed], COLUMNS[0], *more[self.mixed :], *COLUMNS[1:])
        self.table.styles.width = LIST + sum(column.width + 2 for column in more)
        self.query_one(RowMap).show(known)
        seen = known is not None and known.seen.any()
        self.table.empty = f"no {self.order} rows" if seen else "no rows" if known and known.without else UNSEEN
        self.table.show(len(self.places), cursor)
        self.query_one("#rowmap-head", Said).say(*self._head(max(30, self.app.size.width - 3)))
        self._show_text()

    def _show_text(self) -> None:
        self.text.show(self.row)

    def on_table_moved(self, event: Table.Moved) -> None:
        """Another row is under the cursor."""
        event.stop()
        self._show_text()

    def _head(self, width: int) -> list[Line]:
        known = self.dynamics
        if known is None or known.without:
            return wrapped(self.nothing, width)
        passes = "1 epoch" if known.epochs == 1 else f"{known.epochs} epochs"
        parts: list[Part] = [("Training rows by confidence", "title"), (f"  {passes} ", "dim")]
        for kind, (mark, ink) in KINDS.items():
            parts.append((f" {mark} {known.counts[kind]:,} {kind} ", ink))
        if not self.places:
            listed = self.nothing
        else:
            count = f"{self._count:,}" if self._count <= MOST else f"{MOST} of {self._count:,}"
            rows = "rows" if known.windows is None else "windows of rows"
            listed = f"Listed: {count} {self.order} {rows}, {FIRST[self.order]} first; {MEANS[self.order]}."
            least = float(known.confidence[self.places[0]])
            if self.order == "hard" and least >= SURE:
                sure = f"the model is at least {least:.2f} sure of each"
                listed = f"All rows are easy: {sure}. Listed: {count} of the lower half, the least sure first."
        missing = holes(known, self._step, self._live)
        return [tuple(parts), *wrapped(listed, width, "dim"), *(wrapped(missing, width, "warn") if missing else [])]

    def _cells(self, index: int) -> tuple[tuple[str, str], ...]:
        known = self.dynamics
        if known is None:
            return (("", ""),) * len(COLUMNS)
        place = self.places[index]
        _, ink = KINDS.get(known.kinds[place], ("", ""))
        which: tuple[tuple[str, str], ...] = ()
        if known.windows is not None:  # the row alone would stand there as often as it has windows
            which = ((f"{known.windows[0][place]} of {known.windows[1][place]}", ""),)
        name, number = self._named(place)
        return (
            *(((name, "dim"),) if self.mixed else ()),
            (number, ""),
            *which,
            (f"{known.confidence[place]:.2f}", ink),
            (f"{known.variability[place]:.2f}"[1:], "dim"),
            (_history(known.losses[:, place]), ""),
        )

    def _named(self, place: int) -> tuple[str, str]:
        """(source, number in it) of the row at PLACE: as counted among what is used of the source, until it is read."""
        known = self.dynamics
        assert known is not None
        row = int(known.rows[place])
        source = next((one for one in known.sources if one.start <= row < one.stop), None)
        number = row - (source.start if source is not None else 0)
        if self.text.rows is not None:
            number = self.text.rows.place(row).number
        return one_line(source.name, 80) if source is not None else "", f"{number:,}"

    @property
    def row(self) -> int | None:
        """The number of the row under the cursor, in all of the run's data."""
        if self.dynamics is None or not self.places:
            return None
        return int(self.dynamics.rows[self.places[self.table.cursor]])

    @property
    def nothing(self) -> str:
        """Why no row is listed, in a sentence."""
        known = self.dynamics
        if known is None:
            return KEEPS_NONE if self._looked else READING
        if known.without:
            return known.without
        if self.order == "ambiguous" and known.epochs < 2:
            return "How much a row changes is known from the second epoch on: no ambiguous rows yet."
        return f"No row is {self.order} so far." if known.seen.any() else UNSEEN[0].upper() + UNSEEN[1:] + "."

    @property
    def mixed(self) -> bool:
        """Whether the rows come from several sources."""
        return self.dynamics is not None and bool(self.dynamics.sources)

    @property
    def rows(self) -> list[int]:
        """The numbers of the listed rows, in the data they come from, each once."""
        return list(dict.fromkeys(self.dynamics.rows[self.places].tolist())) if self.dynamics is not None else []


def holes(known: Dynamics, step: int, live: bool) -> str:
    """What KNOWN holds nothing of, of a run that has come to STEP; empty where that is nothing. While it is LIVE the
    last steps are on their way to the disk."""
    gaps = list(known.missing)
    if known.until < step and not (live and known.until and step - known.until <= max(LAG, step // 20)):
        gaps.append((known.until + 1, step))
    if not gaps:
        return ""
    parts = [f"{first:,}" if first == last else f"{first:,} to {last:,}" for first, last in gaps]
    steps = "step" if len(parts) == 1 and " to " not in parts[0] else "steps"
    return f"Nothing is known of {steps} {', '.join(parts)}: the losses of their rows weren't written."


def _history(losses: Any) -> str:
    """The loss of a row, epoch by epoch, as little columns; the last one as a number before them."""
    values = [float(value) for value in losses if value == value]
    if not values:
        return ""
    top = max(*values, 1e-9)
    bars = "".join(_HEIGHTS[max(0, min(7, int(value / top * 7.999)))] for value in values[-8:])
    return f"{values[-1]:.2f} {bars}"


def stamp(run: Path) -> object:
    """What changes when the RUN folder's dynamics do."""
    from ftstudio.core import dynamics

    try:
        found = [(entry.name, entry.stat()) for entry in os.scandir(run / dynamics.FOLDER)]
    except OSError:
        return None
    return run, sorted((name, status.st_size, status.st_mtime_ns) for name, status in found)


def read(run: Path) -> Dynamics | None:
    """The dynamics of the RUN folder, with all that the page shows worked out."""
    from ftstudio.core import dynamics

    found = dynamics.read(run)
    if found is not None:
        _ = found.kinds, found.counts, found.listed, found.windows
    return found
