"""What the chart can show of a run: each chart's title and curves."""

from __future__ import annotations

from ftstudio.core.run import Story
from ftstudio.ui.plot.chart import Series

Points = list[tuple[int, float]]

CHARTS = ("loss", "learning rate", "gradient norm", "tokens per second", "memory")
TITLES = {"tokens per second": "tokens/s", "memory": "memory, GiB"}
SMOOTHING = (0.9, 0.98, 0.0, 0.6)  # what the key for smoothing goes through; 0 shows the raw curve alone

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


def series_of(chart: str, story: Story, smoothing: float, memory: Memory) -> list[Series]:
    """The curves of CHART (one of `CHARTS`), those in front last."""
    if chart == "loss":
        return [
            *_raw_and_smoothed("train", story.curves.get("loss", []), smoothing),
            Series("eval", story.curves.get("eval_loss", []), "○", "mark", line=False),
        ]
    if chart == "gradient norm":
        return _raw_and_smoothed("gradient", story.curves.get("grad_norm", []), smoothing)
    if chart == "tokens per second":
        return _raw_and_smoothed("speed", story.curves.get("tokens_per_second", []), smoothing)
    if chart == "memory":
        return [Series("", memory.of(story.curves.get("memory", [])), ink="other")]
    return [Series("", story.curves.get("lr", []))]


def _raw_and_smoothed(name: str, points: Points, smoothing: float) -> list[Series]:
    if not smoothing:
        return [Series(name, points)]
    return [
        Series(name, points, ink="dim", line=False),
        Series(f"smooth {smoothing:g}", points, beta=smoothing),
    ]
