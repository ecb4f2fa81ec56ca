"""How the run in view is looked at: which chart, which part of it, beside which other runs, live or as a replay."""

from __future__ import annotations

import threading
import time
from bisect import bisect_left
from collections.abc import Sequence
from typing import Any

from ftstudio.core import steered
from ftstudio.core.errors import StudioError
from ftstudio.ui.plot.chart import LinePlot, Series
from ftstudio.ui.plot.window import Window
from ftstudio.ui.shell.screen import StudioScreen
from ftstudio.ui.shell.session import RowsAsked, RunFeed
from ftstudio.ui.train import beside, charts, rowmap
from ftstudio.ui.train.alerts import AlertPage
from ftstudio.ui.train.charts import SMOOTHING
from ftstudio.ui.train.choosing import ChooseRuns
from ftstudio.ui.train.overlays import Overlays
from ftstudio.ui.train.recipe_diff import RecipeDiff
from ftstudio.ui.train.replay import Replay
from ftstudio.ui.train.rowmap import RowMapPage
from ftstudio.ui.train.steer import LIVE

ROWS_SECONDS = 5.0  # between two looks at the rows of a run that trains
ALL_SECONDS = 1.0  # between two looks at many small charts: every one of them changes with every step


class Viewing(StudioScreen):
    """What the screen Train does with its charts. The screen itself gives the run and what stands around them."""

    def __init__(self) -> None:
        super().__init__()
        self.chart = "loss"
        self.log_axis = False
        self.smoothing = 0
        self.window = Window()
        self.replay: Replay | None = None
        self._memory = charts.Memory()
        self._memories: dict[str, charts.Memory] = {}  # of the runs laid over
        self._overlays: Overlays | None = None
        self._reading = threading.Event()  # set while the runs laid over are read
        self._beside: tuple[object, str | None] = (None, None)  # for which two runs, and what `differing` found
        self._all_next = self._rows_next = 0.0
        self._rows_stamp: object = None  # of what the map shows
        self._at_once = 1  # how many charts there is room for
        self.alerts_read = 0  # of those of the run in view
        self.all_told = ""  # which of the charts stand there, where not all do

    @property
    def feed(self) -> RunFeed | Replay | None:
        """What is looked at: the run in view, or its replay."""
        return self.replay or self.session.feed

    @property
    def overlays(self) -> Overlays:
        """The runs laid over."""
        if self._overlays is None:
            self._overlays = Overlays(self.session.workspace)
        return self._overlays

    def begin_viewing(self) -> None:
        """Another run is in view."""
        self.replay, self._memory = None, charts.Memory()
        self.window.reset()
        self._rows_next, self._rows_stamp, self.alerts_read = 0.0, None, 0
        self.row_map.text.forget()
        self.row_map.take(None, looked=False)

    # -- drawing -----------------------------------------------------------------------------------------------------
    def show_charts(self, feed: RunFeed | Replay, message: str) -> None:
        """Bring the chart, or all of them, up to date; MESSAGE stands where there are no points yet."""
        self._read_others(feed.run.name)
        found = charts.available(feed.story)
        if self.chart not in found:
            self.chart = found[0]
        if not self.has_class("-all"):
            self._draw(self.query_one("#plot", LinePlot), self.chart, feed, message)
            return
        now = time.monotonic()
        if now < self._all_next:
            return
        self._all_next = now + ALL_SECONDS
        plots = [plot for plot in self.query("#all LinePlot").results(LinePlot) if plot.size.width]
        first, self._at_once = found.index(self.chart), max(1, len(plots))
        self.all_told = ""
        if len(plots) < len(found):
            self.all_told = f"charts {_numbers(first, len(plots), len(found))} of {len(found)} · g next"
        for place, plot in enumerate(plots):
            self._draw(plot, (found * 2)[first + place] if place < len(found) else "", feed, message)

    def _read_others(self, here: str) -> None:
        """Have the runs laid over the run HERE read on beside the screen; what is read is drawn at the next look."""
        if self._reading.is_set() or not self.overlays.names(here):
            return
        self._reading.set()

        def work() -> None:
            try:
                self.overlays.poll(here)
            finally:
                self._reading.clear()

        self.run_worker(work, thread=True, group="others", exit_on_error=False)

    def _draw(self, plot: LinePlot, chart: str, feed: RunFeed | Replay, message: str) -> None:
        if not chart:
            plot.show("", [], message=" ")
            return
        others, title = self.overlays.stories(feed.run.name), charts.title_of(chart)
        smoothing = SMOOTHING[self.smoothing]
        series = charts.series_of(chart, feed.story, smoothing, self._memory)
        if others:
            room = (plot.size.width - 2) // len(others) - 6  # cells beside mark and rule, in the legend below the chart
            names = self.overlays.labels(feed.run.name, max(8, min(40, room)))
            told = [(names.get(name, name), story) for name, story in others]
            over = charts.laid_over(chart, told, smoothing, self._memories)
            title, series = charts.beside(title, series, over, names[feed.run.name])
        plot.show(
            title,
            series,
            right=self._end(feed),
            window=self.window.shown,
            cursor=self.window.cursor,
            log=self.log_axis,
            below=self.has_class("-all"),
            message=self._instead(chart, feed, message, series),
            marks=[(event["step"], steered.what(event)) for event in steered.standing(feed.story.steers)],
            marked="changed",
        )

    def _instead(self, chart: str, feed: RunFeed | Replay, message: str, series: list[Series]) -> str:
        """What stands where CHART shows no points: MESSAGE before the first step, else why none of SERIES is there."""
        if self.log_axis and any(_within(one.points, self.window.shown) for one in series):
            return "no value above zero: y for the linear axis"
        if self.window.shown is not None and feed.story.step:
            low, high = self.window.shown
            return f"nothing between step {low:.0f} and {high:.0f}: 0 shows the whole run, < and > move"
        return message if chart == "loss" or not feed.story.step else "nothing measured yet"

    def _end(self, feed: RunFeed | Replay) -> int | None:
        """The last step that the chart has room for; None where nobody knows how many there will be."""
        total = feed.story.total_steps
        return None if total is None else max(total, self.overlays.end(feed.run.name))

    def look_again(self) -> None:
        """After a key: draw at once."""
        self._all_next = 0.0
        self.pull()
        self.refresh_shell()

    # -- which chart -------------------------------------------------------------------------------------------------
    def action_chart(self, way: int = 1) -> None:
        """The next chart, or with a WAY of -1 the one before; of many at once the next ones."""
        feed = self.feed
        if feed is None:
            return
        found = charts.available(feed.story)
        by = self._at_once if self.has_class("-all") and len(found) > self._at_once else 1
        self.chart = found[(found.index(self.chart) + way * by) % len(found)] if self.chart in found else found[0]
        self.look_again()

    def action_all(self) -> None:
        """Many small charts, or one large."""
        self.toggle_class("-all")
        self.call_after_refresh(self.look_again)

    def action_axis(self) -> None:
        """Linear or logarithmic."""
        self.log_axis = not self.log_axis
        self.look_again()

    def action_smoothing(self) -> None:
        """The next level of smoothing."""
        self.smoothing = (self.smoothing + 1) % len(SMOOTHING)
        self.look_again()

    # -- which part --------------------------------------------------------------------------------------------------
    def _reach(self) -> tuple[float, float]:
        """(the last step a chart has room for, the last step taken)."""
        feed = self.feed
        if feed is None:
            return 1.0, 0.0
        end = self._end(feed)
        return float(end or max(50, feed.story.step)), float(feed.story.step)

    def action_cursor(self, by: int) -> None:
        """Move the cursor."""
        self.window.move(by, *self._reach())
        self.look_again()

    def action_zoom(self, factor: float) -> None:
        """Closer, or further away."""
        self.window.zoom(factor, *self._reach())
        self.look_again()

    def action_pan(self, share: float) -> None:
        """Move the part that is shown."""
        self.window.pan(share, self._reach()[0])
        self.look_again()

    def action_whole(self) -> None:
        """All steps, no cursor."""
        self.window.reset()
        self.look_again()

    # -- beside which runs -------------------------------------------------------------------------------------------
    def action_overlay(self) -> None:
        """Choose the runs laid over."""
        feed = self.session.feed
        if feed is None:
            return

        def chosen(name: str | None) -> None:
            self.look_again()
            if name is not None:
                self._differ(name)

        self.studio.push_screen(ChooseRuns(feed.run, self.overlays, self.attempt), chosen)

    def _differ(self, name: str) -> None:
        feed = self.session.feed
        if feed is not None:
            here, workspace = feed.run, self.session.workspace
            self.attempt(lambda: self.studio.push_screen(RecipeDiff(here, workspace.run(name))))

    def recipe_difference(self) -> None:
        """This run's recipe beside that of the run laid over; without one, ask which."""
        feed = self.session.feed
        if feed is None:
            return
        names = self.overlays.names(feed.run.name)
        if names:
            self._differ(names[0])
        else:
            self.action_overlay()

    def differing(self, feed: RunFeed | Replay) -> str | None:
        """In what the held-out losses of the baseline are of other things than those of FEED's run: asked once, in a
        thread, where tokenizers may have to be read. None until that is known."""
        run, pinned = feed.run, self.overlays.pinned
        key = beside.key(run, pinned)
        if key != self._beside[0]:
            self._beside = (key, None)

            def work() -> None:
                found = beside.differing(run, pinned)
                if self.is_mounted:
                    self.app.call_from_thread(take, found)

            def take(found: str) -> None:
                if self._beside[0] == key:
                    self._beside = (key, found)

            self.run_worker(work, thread=True, exclusive=True, group="beside", exit_on_error=False)
        return self._beside[1]

    # -- alerts and replay -------------------------------------------------------------------------------------------
    def action_alerts(self) -> None:
        """All alerts."""
        feed = self.feed
        if feed is not None:
            if feed is self.session.feed:  # a replay may not have come to the later ones
                self.alerts_read = len(feed.story.alerts)
            self.studio.push_screen(AlertPage(feed.run.name, feed.story))

    def action_replay(self) -> None:
        """The run from its beginning at a chosen speed, or back to how it stands."""
        feed = self.session.feed
        if feed is None:
            return
        self._memory = charts.Memory()
        self.replay = Replay(feed.run, feed.story.seconds) if self.replay is None else None
        self.look_again()

    def action_replay_speed(self, factor: float) -> None:
        """Faster or slower."""
        if self.replay is not None:
            self.replay.faster(factor)
            self.look_again()

    def action_replay_rest(self) -> None:
        """Stand still or go on."""
        if self.replay is not None:
            self.replay.rest()
            self.look_again()

    # -- the map of rows ---------------------------------------------------------------------------------------------
    @property
    def row_map(self) -> RowMapPage:
        """The page."""
        return self.query_one(RowMapPage)

    def action_rows(self) -> None:
        """The map of training rows, or back."""
        if self.session.feed is None:
            return
        self.toggle_class("-rows")
        self._rows_next = 0.0
        if self.has_class("-rows"):
            self.row_map.text.of(self.session.feed.run)
        self.set_focus(self.row_map.table if self.has_class("-rows") else None)
        self.look_again()

    def show_rows(self, feed: RunFeed | Replay) -> None:
        """Bring the map up to date: the files are read in a thread, now and then while the run trains."""
        now = time.monotonic()
        if now < self._rows_next:
            return
        self._rows_next = now + (ROWS_SECONDS if feed.state in LIVE else float("inf"))
        page, path, known = self.row_map, feed.run.path, self._rows_stamp

        def work() -> None:
            stamp = rowmap.stamp(path)
            if stamp is not None and stamp == known:
                return
            found = rowmap.read(path)
            if self.is_mounted:
                self.app.call_from_thread(take, found, stamp)

        def take(found: Any, stamp: object) -> None:
            now = self.session.feed  # another run may have come into view while this one's was read
            if now is not None and now.run.path == path:
                self._rows_stamp = stamp
                page.take(found, step=now.story.step, live=now.state in LIVE)

        self.run_worker(work, thread=True, exclusive=True, group="rows", exit_on_error=False)

    def action_turn_rows(self) -> None:
        """The other order."""
        self.row_map.turn()

    def action_rows_to_data(self) -> None:
        """The listed rows on the Data screen."""
        feed, page = self.session.feed, self.row_map
        if feed is None:
            return
        if not page.rows or page.row is None:
            self.studio.tell(page.nothing)
            return
        row = page.row

        def go() -> None:
            from ftstudio.engine.materials import recorded
            from ftstudio.engine.recipes import load_recipe

            label, name = f"{page.order} rows of {feed.run.name}", feed.run.name
            recipe = load_recipe(feed.run.recipe_path)
            if isinstance(recipe.data.train, str) and not page.mixed:
                known = recorded(recipe, "train")
                asked = RowsAsked(label, page.rows, name, known.get("sha256"), known.get("rows"), row)
                self.session.data_source, self.session.data_rows = recipe.data.train, asked
            elif page.text.rows is None:
                fault = page.text.fault
                raise StudioError(
                    fault or "The rows are still being read.", "" if fault else "Wait a moment, or open the file: 1."
                )
            else:  # of those listed the ones that the source holds which this row is from
                place = page.text.rows.place(row)
                places = [page.text.rows.place(one) for one in page.rows]
                rows = [one.number for one in places if one.name == place.name]
                asked = RowsAsked(label, rows, name, place.sha256, place.rows, place.number)
                self.session.data_source, self.session.data_rows = place.address, asked
            self.studio.action_go("data")

        self.attempt(go)


def _within(points: Sequence[tuple[float, float]], window: tuple[float, float] | None) -> bool:
    """Whether any of POINTS lies in WINDOW; None is all steps."""
    if window is None:
        return bool(points)
    first = bisect_left(points, window[0], key=lambda point: point[0])
    return first < len(points) and points[first][0] <= window[1]


def _numbers(first: int, count: int, all_: int) -> str:
    """The places (from 1 on) of COUNT charts of ALL_, the one at FIRST (from 0 on) before all; they go on at the first.

    `1–6`; `7, 1–5`."""
    parts = [(first + 1, min(all_, first + count)), (1, first + count - all_)]
    return ", ".join(f"{low}–{high}" if high > low else f"{low}" for low, high in parts if high >= low)
