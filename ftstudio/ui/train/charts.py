"""What the chart can show of a run: each chart's title and curves, alone or with those of other runs laid over."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from ftstudio.core.run import Story
from ftstudio.core.text import one_line
from ftstudio.evaluation import titles as metrics
from ftstudio.ui.plot.chart import Series
from ftstudio.ui.plot.figure import BRAILLE

Points = list[tuple[int, float]]

# the curve that a chart is about, as the story names it; those without points of their own are left out
CURVES = {
    "loss": "loss",
    "eval loss": "eval_loss",
    "forgetting": "forgetting",
    "KL to the base": "kl",
    "learning rate": "lr",
    "gradient norm": "grad_norm",
    "tokens per second": "tokens_per_second",
    "MFU": "mfu",
    "memory": "memory",
    "GPU use": "gpu_use",
}
ALWAYS = ("loss", "learning rate", "gradient norm", "tokens per second", "memory")
TITLES = {
    "tokens per second": "tokens/s",
    "MFU": "MFU, share of the card's peak",
    "memory": "memory, GiB",
    "GPU use": "GPU use, %",
    "forgetting": "forgetting, bits a byte",
    "KL to the base": "KL to the base, nats a token",
    "eval loss": "eval loss, held-out rows",
    "sources": "loss by source",
}
SMOOTHING = (0.9, 0.98, 0.0, 0.6)  # what the key for smoothing goes through; 0 shows the raw curve alone
SMOOTHED = ("loss", "gradient norm", "tokens per second")
SPARSE = ("eval loss", "forgetting", "KL to the base")  # a point an evaluation
METRIC = "eval_"
OWN_CHART = (f"{METRIC}loss", f"{METRIC}perplexity", f"{METRIC}rows", f"{METRIC}tokens")  # not metrics of the task
SOURCE, HELD_OUT = "source ", "held-out source "  # a curve for each source of a mix
BY_SOURCE, OF_SOURCE = " by source", " of source "  # a chart for each metric, with a curve for each source
# lines of several curves must differ without colours, too
OVER_MARK = "●"  # a measured point on the line of a run laid over
ALONE = " · this run alone"  # of a chart that no other run is laid over
LAID_OVER = (("·", "other"), ("×", "third"), ("+", "fourth"), ("-", "dim"))
MARKS = (("○", "mark"), ("×", "other"), ("+", "third"), ("◇", "fourth"))

GIB = float(1 << 30)


class Memory:
    """The run's memory curve in GiB; grows with the story's, which is in bytes."""

    def __init__(self) -> None:
        self.points: Points = []
        self._source: Points | None = None

    def of(self, points: Points) -> Points:
        """POINTS in GiB: the same list as before, longer."""
        if points is not self._source or len(points) < len(self.points):
            self._source, self.points = points, []
        self.points += [(step, value / GIB) for step, value in points[len(self.points) :]]
        return self.points


def available(story: Story) -> list[str]:
    """The charts that STORY has something for, and those every run has, in the order the key goes through."""
    curves = story.curves
    found = ["loss"] + ["eval loss"] * bool(curves.get("eval_loss"))
    if len(_sources(story)) > 1:
        found.append("sources")
    found += [name for name in curves if name.startswith(METRIC) and name not in OWN_CHART]
    found += dict.fromkeys(f"{name.partition(OF_SOURCE)[0]}{BY_SOURCE}" for name in curves if OF_SOURCE in name)
    return found + [
        name for name, curve in CURVES.items() if name not in found and (name in ALWAYS or curves.get(curve))
    ]


def title_of(chart: str) -> str:
    """What stands over CHART."""
    if chart in TITLES:
        return TITLES[chart]
    metric, by, _ = chart.removeprefix(METRIC).partition(BY_SOURCE)
    return f"{metrics.title(metric)}{by}"


def series_of(chart: str, story: Story, smoothing: float, memory: Memory) -> list[Series]:
    """The curves of CHART (one of `available`), those in front last."""
    curves = story.curves
    if chart == "loss":
        return [
            *_raw_and_smoothed("train", curves.get("loss", []), smoothing),
            Series("eval", curves.get("eval_loss", []), "○", "mark", line=False),
        ]
    if chart == "sources":
        found = []
        for place, name in enumerate(_sources(story)):
            mark, ink = MARKS[place % len(MARKS)]
            learnt, held = curves.get(SOURCE + name, []), curves.get(HELD_OUT + name, [])
            shown = one_line(name, 16)  # a replay has no held-out rows: then its own curve carries the name
            found += [Series("" if held else shown, learnt, BRAILLE, ink, beta=smoothing)] if learnt else []
            found += [Series(shown, held, mark, ink, line=not learnt)] if held else []
        return found
    if chart.endswith(BY_SOURCE):
        start, found = chart.removesuffix(BY_SOURCE) + OF_SOURCE, []
        for place, name in enumerate(name for name in curves if name.startswith(start)):
            mark, ink = MARKS[place % len(MARKS)]
            found.append(Series(one_line(name.removeprefix(start), 16), curves[name], mark, ink))
        return found
    if chart == "gradient norm":
        return _raw_and_smoothed("gradient", curves.get("grad_norm", []), smoothing)
    if chart == "tokens per second":
        return _raw_and_smoothed("speed", curves.get("tokens_per_second", []), smoothing)
    if chart == "memory":
        return [Series("", memory.of(curves.get("memory", [])))]
    if _sparse(chart):
        points = curves.get(CURVES.get(chart, chart), [])
        return [Series("", points), Series("", points, "○", "mark", line=False)]
    return [Series("", curves.get(CURVES.get(chart, chart), []))]


def _sources(story: Story) -> list[str]:
    """The names of the sources of a mix that STORY tells of."""
    names = [name.removeprefix(HELD_OUT) for name in story.curves if name.startswith(HELD_OUT)]
    return list(dict.fromkeys(names + [name.removeprefix(SOURCE) for name in story.curves if name.startswith(SOURCE)]))


def beside(title: str, series: list[Series], over: list[Series], name: str) -> tuple[str, list[Series]]:
    """(title, curves) of a chart of the run NAME where others are laid OVER: each curve says whose it is, and where no
    other one is there, that is said."""
    points = any(one.points for one in series)
    alone = points and not over
    if not points or series[-1].shown or not series[-1].points:
        return title + ALONE * alone, [*over, *series]
    own = replace(series[-1], shown=one_line(name, 40) + " alone" * alone)
    return title, [*over, *series[:-1], own]


def laid_over(
    chart: str, others: Sequence[tuple[str, Story]], smoothing: float, memories: dict[str, Memory] | None = None
) -> list[Series]:
    """The curve of CHART of OTHERS (name, story), each with a mark of its own; behind those of the run in view. None
    where CHART has a curve for each source: those of several runs couldn't be told apart. MEMORIES keeps what
    was reckoned for the chart of memory, by name."""
    found = []
    for place, (name, story) in enumerate(others):
        marker, ink = LAID_OVER[place % len(LAID_OVER)]
        points = story.curves.get(CURVES.get(chart, chart), [])
        if chart == "memory":
            points = ({} if memories is None else memories).setdefault(name, Memory()).of(points)
        beta = smoothing if chart in SMOOTHED else 0.0
        if points:
            found.append(Series(one_line(name, 40), points, marker, ink, beta=beta, last=True))
        if points and _sparse(chart):
            found.append(Series("", points, OVER_MARK, ink, line=False))
    return found


def _sparse(chart: str) -> bool:
    """Whether CHART has a point for each evaluation."""
    return chart in SPARSE or (chart.startswith(METRIC) and not chart.endswith(BY_SOURCE))


def _raw_and_smoothed(name: str, points: Points, smoothing: float) -> list[Series]:
    if not smoothing:
        return [Series(name, points)]
    return [
        Series(name, points, BRAILLE, "dim", line=False),
        Series(f"smooth {smoothing:g}", points, beta=smoothing),
    ]
