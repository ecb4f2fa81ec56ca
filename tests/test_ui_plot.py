"""The chart: thinning keeps every peak, axes seldom move, only rows that changed are drawn again."""

from __future__ import annotations

import math
import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from screens import shown
from textual.app import App, ComposeResult

from ftstudio.core.run import smoothed
from ftstudio.ui.plot import figure, scale
from ftstudio.ui.plot.chart import MOST_POINTS, LinePlot, Series
from ftstudio.ui.plot.curve import Curve

values = st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=300)


@given(values, st.integers(1, 50), st.lists(st.integers(0, 300), max_size=4))
def test_a_thinned_curve_keeps_the_extremes_of_every_stretch_however_it_came(
    numbers: list[float], bins: int, cuts: list[int]
) -> None:
    points = [(float(x), y) for x, y in enumerate(numbers, 1)]
    right = float(len(points))
    curve, grown = Curve(), []
    for end in [*sorted(cuts), len(points)]:  # in pieces, as a run writes them
        grown += points[len(grown) : end]
        curve.update(grown, right, bins)
    kept = curve.points()
    assert len(kept) <= 2 * bins
    assert kept == sorted(kept)
    for place in range(bins):
        inside = [y for x, y in points if min(bins - 1, int(x * bins / right)) == place]
        shown_there = [y for x, y in kept if min(bins - 1, int(x * bins / right)) == place]
        assert (min(inside), max(inside)) == (min(shown_there), max(shown_there)) if inside else not shown_there


@given(values, st.sampled_from([0.6, 0.9, 0.98]))
def test_smoothing_is_the_one_that_reports_use(numbers: list[float], beta: float) -> None:
    points = [(x, y) for x, y in enumerate(numbers)]
    curve = Curve(beta)
    curve.update(points, len(points), 10_000)  # a stretch for each point: nothing is thinned
    for (x, y), (step, wanted) in zip(curve.points(), smoothed(points, beta), strict=True):
        assert x == step
        assert math.isclose(y, wanted, rel_tol=1e-9, abs_tol=1e-6)


@given(st.integers(0, 5000), st.sampled_from([0.0, 0.9, 0.98]), st.integers(1, 5000))
@settings(max_examples=8, deadline=None)
def test_the_cursor_reads_what_the_curve_is_there_however_thinned(x: int, beta: float, taken: int) -> None:
    points = [(float(step), 3.0 if step % 97 == 0 else loss(step)) for step in range(5, 5005)]
    curve, grown = Curve(beta), points[:taken]
    curve.update(grown, 5000, 40, left=2000)
    grown += points[taken:]
    curve.update(grown, 5000, 40, left=2000)
    wanted = dict(smoothed([(int(step), y) for step, y in points], beta) if beta else points)
    assert curve.at(x) == (max(5, x), pytest.approx(wanted[max(5, x)]))


def test_a_resumed_run_draws_its_curve_anew() -> None:
    curve, first = Curve(), [(float(x), 5.0) for x in range(10)]
    curve.update(first, 10, 10)
    again = [(0.0, 1.0), (1.0, 2.0)]
    assert curve.update(again, 10, 10)
    assert curve.points() == again
    assert not curve.update(again, 10, 10)


@given(st.floats(1e-9, 1e6), st.floats(1.0, 1e4), st.booleans())
def test_ends_hold_the_values_are_round_and_stay(low: float, factor: float, log: bool) -> None:
    high, sticky = low * factor, scale.Sticky()
    bottom, top = sticky.fit(low, high, log)
    assert bottom <= low * 1.000001
    assert top >= high * 0.999999
    assert bottom < top
    inner = low + (high - low) * 0.9
    if factor > 4 and low <= inner:
        assert sticky.fit(low, inner, log) == (bottom, top)
    axis = scale.vertical(bottom, top, 12, log)
    assert 2 <= len(axis.ticks) <= 7
    assert len({text for _, text in axis.ticks}) == len(axis.ticks)  # no two say the same
    assert all(scale.LABEL <= len(text) <= scale.LABEL + 1 for _, text in axis.ticks)
    assert all(bottom * 0.99 <= value <= top * 1.01 for value, _ in axis.ticks)


@given(st.floats(1e-9, 1e12))
def test_a_label_tells_its_value_to_a_twentieth_in_six_characters(value: float) -> None:
    text = scale.label(value)
    told = float(text.replace("k", "e3").replace("M", "e6"))
    assert math.isclose(told, value, rel_tol=0.051)
    assert len(text) <= scale.LABEL + 1


@pytest.mark.parametrize(
    ("part", "width", "told"),
    [
        ((0, 250), 112, "0 50 100 150 200 250"),
        ((0, 250), 33, "0 100 200"),  # no room for the end
        ((0, 7473), 80, "0 2000 4000 6000 7473"),  # the end of a whole run
        ((16, 116), 60, "20 40 60 80 100"),
        ((62, 66), 50, "62 63 64 65 66"),
        ((0, 1), 50, "0 1"),
    ],
)
def test_steps_are_told_at_round_places(part: tuple[int, int], width: int, told: str) -> None:
    axis = scale.horizontal(part[1], width, part[0])
    assert " ".join(text for _, text in axis.ticks) == told
    assert all(part[0] <= value <= part[1] for value, _ in axis.ticks)


def test_the_grid_puts_curves_over_axes_later_ones_in_front() -> None:
    x, y = scale.horizontal(10, 40), scale.vertical(0, 4, 8)
    low = figure.Drawn([(0, 0), (10, 0)], figure.BRAILLE, True)
    marks = figure.Drawn([(0, 4), (10, 0)], "○", False)
    rows = figure.grid(40, 10, x, y, [low, marks])
    assert [len(row) for row in rows] == [40] * 10
    places = [(r, c, n) for r, row in enumerate(rows) for c, (mark, n) in enumerate(row) if mark == "○"]
    assert [place[2] for place in places] == [1, 1]
    assert places[0][0] == 0
    assert places[1][1] == 39
    assert any(n == 0 and 0x2800 <= ord(mark) < 0x2900 for mark, n in rows[7])
    assert "".join(mark for mark, _ in rows[-1]).split() == ["0", "5", "10"]


class Chart(App[None]):
    """A chart of 56 by 14 and nothing else; counts how often and what is drawn."""

    CSS = "LinePlot { width: 56; height: 14; }"

    def compose(self) -> ComposeResult:
        yield LinePlot()


def loss(step: int) -> float:
    return 2.5 * math.exp(-step / 200) + 1 + 0.1 * (random.Random(step).random() - 0.5)


def three(points: list[tuple[float, float]], evals: list[tuple[float, float]]) -> list[Series]:
    return [
        Series("train", points, ink="dim", line=False),
        Series("smooth", points, beta=0.9),
        Series("eval", evals, "○", "mark", line=False),
    ]


async def test_only_rows_that_changed_are_drawn_again(monkeypatch: pytest.MonkeyPatch) -> None:
    app = Chart()
    async with app.run_test(size=(80, 24)) as pilot:
        plot = app.query_one(LinePlot)
        points: list[tuple[float, float]] = [(float(x), loss(x)) for x in range(1, 300)]
        evals: list[tuple[float, float]] = [(float(x), loss(x)) for x in range(50, 300, 50)]
        plot.show("loss", three(points, evals), right=1200)
        await pilot.pause()
        regions: list[Any] = []
        refresh = plot.refresh
        monkeypatch.setattr(plot, "refresh", lambda *r, **k: (regions.append(r), refresh(*r, **k))[1])
        plot.show("loss", three(points, evals), right=1200)
        assert regions == []  # no news: nothing
        drawn = []
        for step in range(300, 400):
            before = plot.text().split("\n")
            points.append((float(step), loss(step)))
            plot.show("loss", three(points, evals), right=1200)
            after = plot.text().split("\n")
            changed = {y for y, (old, new) in enumerate(zip(before, after, strict=True)) if old != new}
            # a change of colour alone counts, too: what is drawn holds what changed, and seldom more
            asked = {region.y for call in regions for region in call}
            assert changed <= asked
            drawn.append(len(asked))
            regions.clear()
        assert sum(drawn) / len(drawn) < 2.5
        assert sum(count > 5 for count in drawn) <= 1  # the axis may have moved once


async def test_legend_axis_and_message() -> None:
    app = Chart()
    async with app.run_test(size=(80, 24)) as pilot:
        plot = app.query_one(LinePlot)
        plot.show("loss", three([], []), message="loading libraries [/b")
        await pilot.pause()
        assert "loading libraries [/b" in shown(app)
        points = [(float(x), loss(x)) for x in range(1, 40)]
        plot.show("loss", three(points, [(10.0, 2.0)]), right=40)
        await pilot.pause()
        screen = shown(app)
        assert "loss ── ⠔ train ── ━ smooth ── ○ eval" in screen
        assert "40" in screen.splitlines()[12]
        plot.show("loss", three(points, [(10.0, 2.0)]), right=40, log=True)
        await pilot.pause()
        assert "loss · log" in shown(app)
        short = Series("short", [(10.0, 2.5), (20.0, 2.0)], beta=0.5, last=True)
        plot.show("loss", [short, Series("train", points)], right=100, cursor=39.0)
        await pilot.pause()
        assert plot.readout == f"step 39 · train {loss(39):.3f} · short 2.167 at 20"  # it ended there


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.floats(-1e30, 1e30) | st.sampled_from([0.0, 1e-30, 5e-324, 1.0]), max_size=60),
    st.integers(12, 120),
    st.integers(4, 40),
    st.booleans(),
    st.sampled_from([None, 1, 60, 10_000]),
)
def test_any_values_at_any_size_make_a_chart(
    numbers: list[float], width: int, height: int, log: bool, right: int | None
) -> None:
    plot = LinePlot()
    series = three([(float(x), y) for x, y in enumerate(numbers, 1)], [])
    curves = [Curve(one.beta) for one in series]
    plot._series, plot._log, plot._right = tuple(series), log, right
    end = plot._end()
    for one, curve in zip(series, curves, strict=True):
        curve.update(one.points, end, MOST_POINTS // 2)
    rows = plot._compose_rows(width, height, end, curves)
    assert len(rows) == height
    assert {sum(len(text) for text, _ in row) for row in rows} == {width}


def test_a_million_steps_cost_no_more_than_a_screenful() -> None:
    curve, points = Curve(), [(float(x), loss(x)) for x in range(1, 50_000)]
    curve.update(points, 1_000_000, 200)
    assert len(curve.points()) <= MOST_POINTS
