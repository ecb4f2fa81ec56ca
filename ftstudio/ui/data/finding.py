"""Search, filter and sort on the Data screen: they run off the screen's thread and fill in as they find."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ftstudio.core.text import one_line
from ftstudio.data.frequency import has_value
from ftstudio.data.personal import masked
from ftstudio.data.search import Predicate, Where, parse, sort_rows
from ftstudio.data.selected import packed
from ftstudio.ui.common.background import Background, Work
from ftstudio.ui.data.grid import Grid
from ftstudio.ui.data.model import Opened
from ftstudio.ui.data.sheet import Layer, Search, scan
from ftstudio.ui.text.lines import Line

if TYPE_CHECKING:
    from collections.abc import Callable


class Finder:
    """Puts layers on the sheet and hits on the grid. One search or filter at a time; a new one stops the last."""

    def __init__(
        self,
        grid: Grid,
        background: Background,
        failed: Callable[[BaseException], None],
        note: Callable[..., None] = lambda *_, **__: None,
        warn: Callable[[str], None] = lambda _: None,
    ) -> None:
        self.grid, self.background, self.failed, self.note = grid, background, failed, note
        self.warn = warn  # tells what a person must know of what was found
        self.search: Search | None = None
        self._sort: tuple[str, bool] | None = None
        self._seek = False

    def reset(self) -> None:
        """Another dataset: nothing is searched for."""
        self.background.stop("find")
        self.search = self.grid.hits = None
        self._sort = None

    def _stop(self, opened: Opened) -> None:
        """Stop what is running; a filter that wasn't through says so."""
        self.background.stop("find")
        for layer in opened.sheet.layers:
            if layer.finding:
                layer.finding = False
                layer.label += " (stopped)"
                self.note("stopped", rows=len(layer.rows))

    # -- search ------------------------------------------------------------------------------------------------------
    def look_for(self, opened: Opened, text: str) -> None:
        """Search for TEXT from the cursor on. Raises StudioError for a faulty query."""
        test = parse(text, opened.dataset.names)
        self._stop(opened)
        search = self.search = self.grid.hits = Search(one_line(text, 40))
        rows, dataset, start = opened.sheet.rows, opened.dataset, self.grid.cursor
        self._seek = True

        def run(work: Work) -> None:
            def each(done: int, total: int) -> bool:
                work.progress(done, total)
                return work.stopped

            for place in scan(dataset, rows, test, start, each):
                search.add(place)
                work.tell(now=len(search.places) == 1)
            search.over = True

        self.background.start("find", "searching", run, lambda _: self.tick(), self.failed)

    def hit(self, by: int) -> None:
        """Go to the next (BY 1) or the previous (-1) hit."""
        if self.search is None:
            return
        place = self.search.after(self.grid.cursor) if by > 0 else self.search.before(self.grid.cursor)
        if place is not None:
            self.grid.go(place)

    # -- filter and sort ---------------------------------------------------------------------------------------------
    def narrow(self, opened: Opened, text: str, *, expression: bool = False) -> None:
        """Show only the rows in view that match the query or the EXPRESSION. Raises StudioError for a faulty one."""
        names = opened.dataset.names
        self._narrow(opened, one_line(text, 40), Where(text, names) if expression else parse(text, names))
        self.note("where" if expression else "filter", text=text)

    def having(self, opened: Opened, column: str, value: str) -> None:
        """Show only the rows in view with VALUE in COLUMN."""
        self._narrow(opened, one_line(f"{column} = {masked(value) or '(empty)'}", 40), has_value(column, value))
        self.note("value", column=column, value=value)

    def _narrow(self, opened: Opened, label: str, test: Predicate) -> None:
        self._stop(opened)
        rows, dataset = opened.sheet.rows, opened.dataset
        found: list[int] = []
        layer = Layer(label, found, finding=True)
        self._lay(opened, layer)

        def run(work: Work) -> None:
            def each(done: int, total: int) -> bool:
                work.progress(done, total)
                return work.stopped

            found.extend(rows[place] for place in scan(dataset, rows, test, 0, each))

        def done(_: object) -> None:
            layer.finding = False
            self.tick()
            if isinstance(test, Where) and test.told:
                self.warn(test.told)

        self.background.start("find", "filtering", run, done, self.failed)

    def sort(self, opened: Opened) -> None:
        """Sort the rows in view by the column at hand: upwards, then downwards, then as they were."""
        column = self.grid.column_name
        if column is None:
            return
        top = opened.sheet.layers[-1] if opened.sheet.layers else None
        sorted_now = top is not None and top.label.startswith("sorted by ")
        down = sorted_now and self._sort == (column, False)
        if sorted_now:
            opened.sheet.layers.pop()
            self.note("sort", column=column, order="none")
        if sorted_now and self._sort == (column, True):
            self._sort = None
            self._show(opened)
            return
        self._sort = (column, down)
        rows, dataset = list(opened.sheet.rows), opened.dataset
        label = f"sorted by {one_line(column, 30)} {'▼' if down else '▲'}"

        def done(found: list[int]) -> None:
            self._lay(opened, Layer(label, found))
            self.note("sort", column=column, order="down" if down else "up")

        self.background.start(
            "find", "sorting", lambda work: sort_rows(dataset, column, descending=down, rows=rows, cancel=work.cancel),
            done, self.failed,
        )  # fmt: skip

    def only(self, opened: Opened, label: str, rows: list[int], *, note: bool = True) -> None:
        """Show only ROWS; NOTE it as a step, unless the caller does."""
        self._stop(opened)
        self._lay(opened, Layer(label, rows))
        if note:
            self.note("rows", label=label, rows=packed(rows))

    def pop(self, opened: Opened) -> bool:
        """Take back what was done last: a search, a filter, a sort. False where there is nothing."""
        running = self.background.stop("find")
        if self.search is not None:
            self.search = self.grid.hits = None
            self.grid.paint()
            return True
        if opened.sheet.layers:
            number = self.grid.row_number
            layer = opened.sheet.layers.pop()
            self.note("back")
            if layer.label.startswith("sorted by "):
                self._sort = None
            self._show(opened, number)
            return True
        return running

    def _lay(self, opened: Opened, layer: Layer) -> None:
        self.search = self.grid.hits = None
        opened.sheet.layers.append(layer)
        self._show(opened)

    def _show(self, opened: Opened, number: int | None = None) -> None:
        self.grid.top = 0
        self.grid.refill(opened.sheet.place_of(number) if number is not None else 0)

    # -- what is told ------------------------------------------------------------------------------------------------
    def tick(self) -> None:
        """More was found: show it, and go to the first hit of a new search."""
        if self._seek and self.search is not None and self.search.places:
            self._seek = False
            first = self.search.places
            after = [place for place in first if place >= self.grid.cursor]
            self.grid.go(after[0] if after else first[0])
        self.grid.grow()

    def said(self, opened: Opened, most: int = 40) -> Line:
        """Layers (in at most MOST characters) and search in words."""
        work = self.background.running.get("find")
        doing = f"  {work.text}" if work is not None else ""
        parts: list[tuple[str, str]] = []
        if opened.sheet.layers:
            label = opened.sheet.label
            label = label if len(label) <= most else "…" + label[1 - most :]  # the last filter is what counts
            parts += [("filter " if not self._sort else "", "dim"), (label, "warn")]
        if self.search is not None:
            count = len(self.search.places)
            rank = self.search.rank(self.grid.cursor)
            place = f"{rank:,} of {count:,}" if rank else f"{count:,} hits" if count else "no hit"
            if not count and work is not None:
                place = ""
            parts += [("  / " if parts else "/ ", "dim"), (self.search.text, "mark"), (f"  {place}", "")]
        parts.append((doing, "dim"))
        return tuple(parts)
