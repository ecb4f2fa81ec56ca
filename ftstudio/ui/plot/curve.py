"""A curve that grows: smoothed and thinned as points come, so that a million steps cost no more than ten."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence

Point = tuple[float, float]
EVERY = 2048  # points from one noted running average to the next
SMALLEST = 1e-300  # on a logarithmic axis; what is smaller counts as zero there


class Curve:
    """Takes in points (x rising) and keeps of each of BINS equal stretches of LEFT…RIGHT the lowest and the highest.

    What the eye would see stays: every peak is kept. The stretches are fixed, so what lies behind never changes its
    shape while the curve grows. With BETA the values are an exponential moving average without the start's bias
    (Kingma & Ba 2015, section 3) before they are thinned, the same as `core.run.smoothed`.
    """

    def __init__(self, beta: float = 0.0) -> None:
        self.beta = beta
        self.last: Point | None = None
        self.version = 0
        self._source: Sequence[Point] | None = None
        self._grid = (0.0, 0.0, 0)
        self._restart()

    def _restart(self) -> None:
        self._taken = 0
        self._bins: dict[int, tuple[Point, Point]] = {}
        self._average = self._weight = 0.0
        self._noted: list[tuple[float, float]] = []  # average and weight before every so many points
        self.last = None
        self.version += 1

    def update(self, points: Sequence[Point], right: float, bins: int, left: float = 0.0) -> bool:
        """Take in what is new in POINTS. True where anything may look different. Outside LEFT…RIGHT nothing is kept.

        Another thread may append to POINTS meanwhile: that is taken in the next time.
        """
        bins, end = max(1, bins), len(points)
        # a resumed run replaces its list by a shorter one; another size of the chart means other stretches
        if points is not self._source or end < self._taken or (left, right, bins) != self._grid:
            self._source, self._grid = points, (left, right, bins)
            self._restart()
        elif end == self._taken:
            return False
        before = self.version
        scale = bins / (right - left) if right > left else 0.0
        beta, average, weight, store = self.beta, self._average, self._weight, self._bins
        for index in range(self._taken, end):
            x, y = points[index]
            if beta:
                if not index % EVERY:
                    self._noted.append((average, weight))
                average = beta * average + (1 - beta) * y
                weight = beta * weight + (1 - beta)
                y = average / weight
            if not left <= x <= right:
                continue
            place = min(bins - 1, int((x - left) * scale))
            held = store.get(place)
            if held is None:
                store[place] = ((x, y), (x, y))
            elif y < held[0][1]:
                store[place] = ((x, y), held[1])
            elif y > held[1][1]:
                store[place] = (held[0], (x, y))
            else:
                continue
            self.version += 1
        if end:
            self.last = (points[end - 1][0], y)
        self._average, self._weight, self._taken = average, weight, end
        return self.version != before

    def points(self) -> list[Point]:
        """At most twice `bins` points, x rising."""
        result: list[Point] = []
        for place in sorted(self._bins):
            low, high = self._bins[place]
            result += [low] if low == high else sorted((low, high))
        return result

    def at(self, x: float) -> Point | None:
        """What the curve is at X: the last point taken at or before it, else the first; smoothed, not thinned. None
        where there is none."""
        if self._source is None or not self._taken:
            return None
        place = max(0, bisect_right(self._source, x, 0, self._taken, key=lambda point: point[0]) - 1)
        step, value = self._source[place]
        if not self.beta:
            return step, value
        begin = place // EVERY
        average, weight = self._noted[begin]
        for _, value in self._source[begin * EVERY : place + 1]:
            average = self.beta * average + (1 - self.beta) * value
            weight = self.beta * weight + (1 - self.beta)
        return step, average / weight

    def limits(self, positive: bool = False) -> tuple[float, float] | None:
        """The lowest and the highest value; with POSITIVE of those a logarithm takes. None where there is none."""
        values = [value for pair in self._bins.values() for _, value in pair if value > SMALLEST or not positive]
        return (min(values), max(values)) if values else None
