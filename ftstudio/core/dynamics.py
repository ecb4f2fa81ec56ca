"""Training dynamics: the loss of every row in every epoch, as a run's folder keeps it, and what it says of the rows.

    <run>/dynamics/about.json      {"version": 1, "rows": N, "sources": [{"name", "start", "stop"}, …]}
    <run>/dynamics/rows.i4         N little-endian int32: the number of each training row in the data it comes from
    <run>/dynamics/epoch-000.bin   records of 16 bytes, little-endian: step (uint32, the optimiser step, from 1), place
                                   (uint32, 0 … N-1: the training row), tokens (uint32, its trained tokens), loss
                                   (float32, nats a trained token, before the step, dropout on)

A target of a task with labels of its own (a class, a tag, one of several labels) counts as a token. A task whose rows
have no probability of what is right keeps none: about.json then says `without`, the sentence why, and no rows.

Every step has records, but where they found no room on the disk for long.

Appended while the run trains. A torn last record is left out, and the last record of a row in an epoch counts. A run
that goes on from a checkpoint first puts the records of later steps into `aside-epoch-000.bin`, which isn't read. Ranks
beside the first write `epoch-000.rank1.bin` and so on. `sources` is empty unless several sources are mixed: a row
number from `start` up to `stop` is row number - start of that source.

The map of rows is Dataset Cartography (Swayamdipta et al. 2020): confidence is the mean over the epochs of the
probability of the row's answer (of one token, the geometric mean over its tokens), variability its standard deviation.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ftstudio.core import files

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, Any]

FOLDER, ABOUT, ROWS = "dynamics", "about.json", "rows.i4"
RECORD = [("step", "<u4"), ("place", "<u4"), ("tokens", "<u4"), ("loss", "<f4")]
VERSION = 1
KINDS = ("unseen", "hard", "ambiguous", "easy")
AMBIGUOUS = 1 / 3  # share of the rows, the most variable ones: the paper's choice
_NAME = re.compile(r"epoch-(\d+)(?:\.rank(\d+))?\.bin$")


def epoch_name(epoch: int, rank: int = 0) -> str:
    """The file of an EPOCH (from 0) that RANK writes."""
    return f"epoch-{epoch:03}" + (f".rank{rank}" if rank else "") + ".bin"


@dataclass(frozen=True)
class Source:
    """One of several mixed sources: its rows are the numbers from `start` up to `stop`."""

    name: str
    start: int
    stop: int


@dataclass(frozen=True)
class Dynamics:
    """What a run learnt of each of its N training rows.

    `rows` [N] int32: their numbers in the data. `losses` [epochs, N] float32: nats a trained token, NaN where a row
    wasn't seen in that epoch. `tokens` [N] uint32: trained tokens (0 where never seen).
    """

    rows: Array
    losses: Array
    tokens: Array
    sources: tuple[Source, ...] = ()
    without: str = ""
    """Why there are no rows, where the task has none to show."""
    until: int = 0
    """The last step that any record is of; 0 where there is none."""
    missing: tuple[tuple[int, int], ...] = ()
    """First and last steps, before that one, of which there are no records."""

    @property
    def epochs(self) -> int:
        """How many epochs have begun."""
        return len(self.losses)

    @cached_property
    def seen(self) -> Array:
        """[N] int: in how many epochs each row was seen so far."""
        import numpy as np

        return np.isfinite(self.losses).sum(0)

    @cached_property
    def confidence(self) -> Array:
        """[N] between 0 and 1: mean probability of a token of the row's answer; NaN where it was never seen."""
        return self._over_epochs(lambda shares, count: shares.sum(0) / count)

    @cached_property
    def variability(self) -> Array:
        """[N] from 0 to 0.5: standard deviation of that probability over the epochs; NaN where never seen."""
        import numpy as np

        mean = np.nan_to_num(self.confidence)
        there = np.isfinite(self.losses)
        return self._over_epochs(lambda shares, count: np.sqrt((((shares - mean) * there) ** 2).sum(0) / count))

    def _over_epochs(self, of: Any) -> Array:
        import numpy as np

        if not len(self.losses):
            return np.full(len(self.rows), np.nan)
        shares = np.where(np.isfinite(self.losses), np.exp(-np.nan_to_num(self.losses).astype(np.float64)), 0.0)
        found = of(shares, np.maximum(self.seen, 1))
        return np.where(self.seen > 0, found, np.nan)

    @cached_property
    def kinds(self) -> list[str]:
        """[N] `hard`, `ambiguous`, `easy` or `unseen`, one for each row.

        Ambiguous is the third whose probability varies most (of rows seen at least twice); of the others the half with
        the higher confidence is easy, the half with the lower one hard.
        """
        return [KINDS[code] for code in self.codes.tolist()]

    @cached_property
    def codes(self) -> Array:
        """[N] int: the places of `kinds` in `KINDS`."""
        import numpy as np

        codes = np.zeros(len(self.rows), dtype=np.int64)
        seen = np.flatnonzero(self.seen)
        twice = seen[self.seen[seen] > 1]
        most = twice[np.argsort(-self.variability[twice], kind="stable")][: int(len(twice) * AMBIGUOUS)]
        most = most[self.variability[most] > 0]
        codes[most] = KINDS.index("ambiguous")
        rest = np.setdiff1d(seen, most, assume_unique=True)
        rest = rest[np.argsort(self.confidence[rest], kind="stable")]
        codes[rest[: len(rest) // 2]] = KINDS.index("hard")
        codes[rest[len(rest) // 2 :]] = KINDS.index("easy")
        return codes

    @cached_property
    def counts(self) -> dict[str, int]:
        """How many rows are of each kind."""
        import numpy as np

        return dict(zip(KINDS, np.bincount(self.codes, minlength=len(KINDS)).tolist(), strict=True))

    @cached_property
    def listed(self) -> dict[str, Array]:
        """The places of the rows of the kinds `hard` and `ambiguous`, the hardest and the most variable ones first."""
        orders = {"hard": self._order(self.confidence), "ambiguous": self._order(-self.variability)}
        return {kind: order[self.codes[order] == KINDS.index(kind)] for kind, order in orders.items()}

    @cached_property
    def windows(self) -> tuple[Array, Array] | None:
        """([N], [N]) int: which of the windows of its row in the data each training row is (from 1 on), of how many;
        None where every row is a single one. Running text is trained in windows, in their order."""
        import numpy as np

        _, of, count = np.unique(self.rows, return_inverse=True, return_counts=True)
        if not len(count) or count.max() == 1:
            return None
        order = np.argsort(of, kind="stable")
        which = np.empty(len(self.rows), dtype=np.int64)
        which[order] = np.arange(len(order)) - np.repeat(np.cumsum(count) - count, count) + 1
        return which, count[of]

    def hardest(self, count: int | None = None) -> list[int]:
        """Places (0 … N-1) of the COUNT rows with the least confidence, the hardest first: look for wrong labels."""
        return self._sorted(self.confidence, count)

    def most_ambiguous(self, count: int | None = None) -> list[int]:
        """Places of the COUNT rows with the most variability, the greatest first: what training can still decide."""
        return self._sorted(-self.variability, count)

    def _sorted(self, by: Array, count: int | None) -> list[int]:
        return [int(place) for place in self._order(by)[:count]]

    @staticmethod
    def _order(by: Array) -> Array:
        """Places by BY, the lowest first, without those that have none (rows never seen)."""
        import numpy as np

        order = np.argsort(by, kind="stable")
        return order[np.isfinite(by[order])]

    def source_of(self, place: int) -> str | None:
        """The source that the row at PLACE comes from; None where there is only one."""
        row = int(self.rows[place])
        return next((source.name for source in self.sources if source.start <= row < source.stop), None)


def read(run: Path) -> Dynamics | None:
    """The dynamics of the run in the folder RUN, as far as written; None where it keeps none (or can't be read)."""
    import numpy as np

    folder = Path(run) / FOLDER
    about = files.read_json(folder / ABOUT)
    if not isinstance(about, dict) or about.get("version") != VERSION:
        return None
    try:
        rows = np.fromfile(folder / ROWS, dtype="<i4")
        sources = tuple(Source(str(s["name"]), int(s["start"]), int(s["stop"])) for s in about.get("sources") or ())
        parts = sorted((int(match[1]), int(match[2] or 0), path) for match, path in _parts(folder))
    except (OSError, KeyError, TypeError, ValueError):
        return None
    losses = np.full((1 + max((part[0] for part in parts), default=-1), len(rows)), np.nan, dtype=np.float32)
    tokens = np.zeros(len(rows), dtype=np.uint32)
    steps = []
    for epoch, _, path in parts:
        try:
            records = np.fromfile(path, dtype=RECORD)  # whole records only
        except OSError:
            continue
        records = records[records["place"] < len(rows)]
        steps.append(records["step"][np.flatnonzero(np.diff(records["step"], prepend=0))])
        losses[epoch, records["place"]] = records["loss"]  # of several the last: numpy assigns in order
        tokens[records["place"]] = records["tokens"]
    return Dynamics(rows, losses, tokens, sources, str(about.get("without") or ""), *_kept(steps))


def _kept(steps: list[Array]) -> tuple[int, tuple[tuple[int, int], ...]]:
    """(the last of STEPS, the first and last steps of each gap before it)."""
    import numpy as np

    known = np.unique(np.concatenate([np.zeros(1, dtype="<u4"), *steps])).astype(np.int64)
    gaps = np.flatnonzero(np.diff(known) > 1)
    return int(known[-1]), tuple((int(known[gap]) + 1, int(known[gap + 1]) - 1) for gap in gaps)


def _parts(folder: Path) -> list[tuple[re.Match[str], Path]]:
    found = [(_NAME.match(path.name), path) for path in folder.iterdir()]
    return [(match, path) for match, path in found if match]
