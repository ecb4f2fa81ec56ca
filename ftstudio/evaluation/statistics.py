"""Is a difference real? Paired bootstrap, sign-flip and McNemar tests, Wilson intervals, Holm's correction."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

FEWEST = 20  # rows below which no verdict is given
ALPHA = 0.05
UNCLEAR = "no clear difference"
RESAMPLES = 10_000
_Z = 1.959963984540054  # of 95 %
_CELLS = 250_000  # resampled values held at once: 2 MB, which a processor keeps near
_DRAWS = 100_000_000  # values drawn at most: a second


@dataclass(frozen=True)
class Difference:
    """How arm `b` differs from arm `a` in a metric, over the `n` rows that both have: b minus a.

    `low` and `high` bound its 95 % interval (paired bootstrap), `p` is the chance of so large a difference if the
    arms were alike (sign-flip test; exact McNemar for right and wrong). All in the metric's unit.
    """

    a: str
    b: str
    metric: str
    difference: float
    low: float
    high: float
    p: float
    n: int
    verdict: str

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def verdict(low: float, high: float, n: int, higher_is_better: bool | None = True) -> str:
    """What an interval says: better, worse, no clear difference, or how many rows are missing for a verdict.

    HIGHER_IS_BETTER None is for metrics without a good end (length): greater or smaller.
    """
    if n < FEWEST:
        return f"too few rows ({FEWEST - n} more needed)"
    if low > 0:
        return "greater" if higher_is_better is None else "better" if higher_is_better else "worse"
    if high < 0:
        return "smaller" if higher_is_better is None else "worse" if higher_is_better else "better"
    return UNCLEAR


def wilson(count: int, n: int, z: float = _Z) -> tuple[float, float]:
    """The Wilson score interval of the share COUNT / N (Wilson 1927); (0, 1) for n = 0."""
    if n == 0:
        return 0.0, 1.0
    share = count / n
    centre = share + z * z / (2 * n)
    spread = z * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    scale = 1 + z * z / n
    low = 0.0 if count == 0 else max(0.0, (centre - spread) / scale)
    high = 1.0 if count == n else min(1.0, (centre + spread) / scale)
    return low, high


def mcnemar(only_a: int, only_b: int) -> float:
    """Exact two-sided McNemar test: ONLY_A rows are right in a alone, ONLY_B in b alone."""
    n, few = only_a + only_b, min(only_a, only_b)
    if n == 0:
        return 1.0
    base = math.lgamma(n + 1) - n * math.log(2)
    terms = [math.exp(base - math.lgamma(i + 1) - math.lgamma(n - i + 1)) for i in range(few + 1)]
    return min(1.0, max(sys.float_info.min, 2 * math.fsum(terms)))  # no p is 0, however small


def holm(values: Sequence[float]) -> list[float]:
    """The p VALUES corrected for being so many (Holm 1979), in their order."""
    order = sorted(range(len(values)), key=lambda index: values[index])
    corrected = [1.0] * len(values)
    greatest = 0.0
    for rank, index in enumerate(order):
        greatest = max(greatest, min(1.0, (len(values) - rank) * values[index]))
        corrected[index] = greatest
    return corrected


def affordable(n: int, resamples: int) -> int:
    """How many of RESAMPLES are drawn over N rows: all up to 10,000 rows, fewer beyond, never under 1,000."""
    return min(resamples, max(1000, _DRAWS // max(n, 1)))


def _drawn(n: int, resamples: int, seed: int) -> Iterator[np.ndarray]:
    """The numbers of the rows, of N, that each of RESAMPLES bootstrap samples draws, in chunks of shape (some, n)."""
    import numpy as np

    generator = np.random.default_rng(seed)
    chunk = max(1, _CELLS // max(n, 1))
    count = affordable(n, resamples)
    for start in range(0, count, chunk):
        yield generator.integers(0, n, (min(chunk, count - start), n))


def resampled_sums(values: np.ndarray, resamples: int = RESAMPLES, seed: int = 0) -> np.ndarray:
    """The sums of VALUES (rows, columns) over each bootstrap sample: (resamples, columns).

    All columns see the same samples, so that any statistic of them is paired.
    """
    import numpy as np

    n, columns = values.shape
    found = []
    for drawn in _drawn(n, resamples, seed):
        if columns == 1:
            found.append(values[:, 0].take(drawn).sum(axis=1, keepdims=True))
            continue
        # how often each row is drawn, times the values: the sums of all columns at once
        drawn += (np.arange(len(drawn)) * n)[:, None]
        often = np.bincount(drawn.ravel(), minlength=drawn.size).reshape(drawn.shape)
        found.append(often.astype(np.float64) @ values)
    return np.concatenate(found)


def interval(samples: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The 2.5th and 97.5th percentiles of SAMPLES (resamples, columns), by column."""
    import numpy as np

    low, high = np.percentile(samples, [2.5, 97.5], axis=0)
    return low, high


def bootstrap(differences: np.ndarray, resamples: int = RESAMPLES, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """95 % percentile interval of the mean of DIFFERENCES (rows, columns) by column (Efron 1979): low and high.

    All columns see the same samples.
    """
    return interval(resampled_sums(differences, resamples, seed) / len(differences))


def sign_flip(differences: np.ndarray, resamples: int = RESAMPLES, seed: int = 0) -> np.ndarray:
    """Two-sided p of the mean of DIFFERENCES (rows, columns) by column, where every row's sign may be flipped.

    Exact up to 13 rows (all flips), else from RESAMPLES random flips with the observed one counted in (Phipson and
    Smyth 2010).
    """
    import numpy as np

    rows, columns = differences.shape
    total = differences.sum(axis=0)
    edge = np.abs(total) - 1e-9 * np.abs(differences).sum(axis=0)  # equal sums differ in their last digits
    exact = rows <= 13
    reached = np.zeros(columns)
    generator = np.random.default_rng(seed)
    flips = 2**rows if exact else affordable(rows, resamples)
    chunk = max(1, _CELLS // rows)
    signs: np.ndarray
    for start in range(0, flips, chunk):
        size = min(chunk, flips - start)
        if exact:
            signs = (np.arange(start, start + size)[:, None] >> np.arange(rows)) & 1
        else:
            bits = generator.integers(0, 256, (size, (rows + 7) // 8), dtype=np.uint8)
            signs = np.unpackbits(bits, axis=1, count=rows)
        sums = 2 * (signs.astype(np.float64) @ differences) - total
        reached += (np.abs(sums) >= edge).sum(axis=0)
    return reached / flips if exact else (reached + 1) / (flips + 1)


def paired(
    a: Sequence[float] | np.ndarray, b: Sequence[float] | np.ndarray, *, resamples: int = RESAMPLES, seed: int = 0
) -> tuple[float, float, float, float]:
    """Mean difference b minus a of paired values, its 95 % interval and sign-flip p: (difference, low, high, p)."""
    import numpy as np

    if len(a) != len(b):
        raise ValueError(f"{len(a)} and {len(b)} values are no pairs")
    values = (np.asarray(b, dtype=np.float64) - np.asarray(a, dtype=np.float64))[:, None]
    if not len(values):
        return 0.0, 0.0, 0.0, 1.0
    low, high = bootstrap(values, resamples, seed)
    return float(values.mean()), float(low[0]), float(high[0]), float(sign_flip(values, resamples, seed)[0])
