"""Records the loss of every row as it is trained: see `core.dynamics` for the files and what they are for."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ftstudio.core import dynamics, files
from ftstudio.core.dynamics import Source
from ftstudio.core.errors import StudioError

if TYPE_CHECKING:
    import numpy as np

    from ftstudio.engine.materials import Materials

ASIDE = "aside-"  # before the name of an epoch's file: its records that the run didn't go on from
MOST = 1 << 22  # records of 16 bytes that wait in memory for room on the disk
EVERY = 2.0  # seconds between two writes at least; a checkpoint, an evaluation, a pause and the end write at once


class Recorder:
    """Appends what each step's rows lost. RUN is the run's folder, ROWS their numbers, RANK of several processes which.

    WITHOUT says why no row is recorded (see `Task.unmapped`): only the losses of SOURCES are told then. What is trained
    are SINGLE rows, or pairs that are made of them. What a full disk doesn't take waits in memory, but no more than
    `MOST`: what is older is left out. `trouble` says why something waits, for whatever reason that is.
    """

    def __init__(
        self,
        run: Path,
        rows: Sequence[int],
        sources: Sequence[Source] = (),
        rank: int = 0,
        without: str = "",
        single: bool = True,
    ) -> None:
        import numpy as np

        self.without, self.single = without, single

        self.folder, self.rank = Path(run) / dynamics.FOLDER, rank
        self.rows = np.asarray(rows, dtype="<i4")
        self.sources = tuple(sources)
        starts = np.array([source.start for source in sources], dtype=np.int64)
        self._source = np.searchsorted(starts, self.rows, side="right") - 1 if sources else None
        self.trouble: StudioError | None = None
        self._waiting: dict[int, list[np.ndarray[Any, Any]]] = {}
        self._written = time.monotonic()
        self._after: int | None = None  # the step that is gone on from, as long as what records stand on isn't written

    def begin(self, *, after: int = 0) -> None:
        """Write what the records stand on. AFTER is the step that is gone on from: those of later steps, which a
        rollback gave up or a kill took, are set aside; of an earlier try (0) they go."""
        self._after = after
        with self._guarded():
            self._begin()

    def _begin(self) -> None:
        if self._after is None:
            return
        if not self.rank:
            for path in sorted(self.folder.glob("epoch-*.bin")) if self.folder.is_dir() else ():
                if self._after:
                    _cut(path, self._after)
                else:
                    path.unlink()
            files.write(self.folder / dynamics.ROWS, (self.rows[:0] if self.without else self.rows).tobytes())
            about = {
                "version": dynamics.VERSION,
                "rows": 0 if self.without else len(self.rows),
                "sources": [{"name": s.name, "start": s.start, "stop": s.stop} for s in self.sources],
                **({"without": self.without} if self.without else {}),
            }
            files.write_json(self.folder / dynamics.ABOUT, about)
        self._after = None

    def took(
        self, epoch: int, step: int, places: Sequence[int], tokens: Sequence[float], sums: Sequence[float]
    ) -> dict[str, float]:
        """Record STEP of EPOCH: the training rows at PLACES with their trained TOKENS and summed losses (nats).

        Gives back the loss of each source in this step, nats a token; empty where there is only one.
        """
        import numpy as np

        at = np.asarray(places, dtype=np.int64)  # none, of a task that has no losses by row
        count, total = np.asarray(tokens), np.asarray(sums)
        records = np.empty(len(at), dtype=dynamics.RECORD)
        records["step"], records["place"], records["tokens"] = step, at, count
        records["loss"] = total / np.maximum(count, 1)
        records = records[count > 0]
        if len(records) and not self.without:
            self._waiting.setdefault(epoch, []).append(records)
            if time.monotonic() - self._written >= EVERY:
                self.flush()
        if self._source is None:
            return {}
        found = {}
        for number in np.unique(self._source[at]):
            here = self._source[at] == number
            if count[here].sum():
                found[self.sources[number].name] = float(total[here].sum() / count[here].sum())
        return found

    def numbers(self, places: Sequence[int]) -> list[int]:
        """The numbers in the data of the training rows at PLACES, in order; none where these are pairs of rows."""
        return sorted({int(row) for row in self.rows[list(places)]}) if self.single else []

    def flush(self) -> None:
        """Write what waits. What can't be written goes on waiting."""
        self._written = time.monotonic()
        with self._guarded():
            self._begin()
            for epoch in sorted(self._waiting):
                data = b"".join(part.tobytes() for part in self._waiting[epoch])
                _append(self.folder / dynamics.epoch_name(epoch, self.rank), data)
                del self._waiting[epoch]
            self.trouble = None
        self._thin()

    def _thin(self) -> None:
        """Leave out the oldest of what waits, where it is too much to be held in memory."""
        waits = sum(len(part) for parts in self._waiting.values() for part in parts)
        while waits > MOST:
            epoch = min(self._waiting)
            part = self._waiting[epoch].pop(0)
            waits -= len(part)
            if not self._waiting[epoch]:
                del self._waiting[epoch]

    @contextlib.contextmanager
    def _guarded(self) -> Any:
        try:
            yield
        except StudioError as error:
            self.trouble = error
        except OSError as error:
            self.trouble = files.explain(error, self.folder)


def _append(path: Path, data: bytes) -> None:
    """Append whole records; a torn one that a kill left is cut off first, or all that follow would be shifted."""
    size = 16
    with open(path, "ab") as file:
        over = file.tell() % size
        if over:
            file.truncate(file.tell() - over)
        file.write(data)


def _cut(path: Path, after: int) -> None:
    """Leave in PATH the records up to the step AFTER; the others are kept beside it, where nobody counts them."""
    import numpy as np

    records = np.fromfile(path, dtype=dynamics.RECORD)
    later = records["step"] > after
    if not later.any():
        return
    _append(path.with_name(f"{ASIDE}{path.name}"), records[later].tobytes())
    if later.all():
        path.unlink()
    else:
        files.write(path, records[~later].tobytes())


def recorder(run: Path, materials: Materials, rows: Sequence[int], rank: int = 0) -> Recorder:
    """The recorder of a run on MATERIALS, whose training rows have these numbers in the data: ROWS."""
    ends = list(accumulate((len(part.dataset) for part in materials.sources), initial=0))
    sources = [
        Source(part.name, start, stop) for part, start, stop in zip(materials.sources, ends, ends[1:], strict=False)
    ]
    single = "pairs" not in materials.task.phases()
    return Recorder(run, rows, sources, rank, materials.task.unmapped(), single)
