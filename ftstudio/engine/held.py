"""What memory holds at once, as far as it was found out: a batch that goes beyond is taken in parts, no other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ftstudio.core.errors import StudioError
from ftstudio.engine.collate import split

Load = tuple[int, int, int]
"""What memory goes by: tokens of a batch with its padding, places whose loss is asked, tokens of its longest row."""

REMEMBERED = 64  # loads that fitted and none of which says more than another


class NotHeld(StudioError):
    """Memory didn't do for LOAD of ROWS, in a step that this process can't take again by itself: others wait for what
    it was about to tell them. Whoever goes on from the last checkpoint, on a device of no more MEMORY (bytes), is to
    know it beforehand."""

    def __init__(self, message: str, load: Load, rows: int, memory: int) -> None:
        super().__init__(message)
        self.load, self.rows, self.memory = load, rows, memory


def load_of(batch: Mapping[str, Any]) -> Load:
    """The load of BATCH, as it goes through the model at once."""
    lengths = batch["lengths"]
    longest = max(lengths)
    if "pieces" in batch:
        tokens = batch["tokens"]
    else:
        tokens = batch["input_ids"].numel() if "input_ids" in batch else len(lengths) * longest
    return tokens, max(1, batch["targets"].numel()), longest


def _within(less: Sequence[int], more: Sequence[int]) -> bool:
    return all(a <= b for a, b in zip(less, more, strict=True))


class Held:
    """Loads that fitted and that didn't. KNOWN is what `values` gave; PARTS is what checkpoints said before there were
    loads: every batch is taken in so many.

    What is decided depends on these alone, so a resumed run cuts its batches as the run would have that wasn't ended.
    """

    def __init__(self, known: Mapping[str, Any] | None = None, parts: int = 1) -> None:
        known = known or {}
        self.parts = parts
        self.fitted: list[Load] = [tuple(one) for one in known.get("fitted", ())]
        self.failed: list[Load] = [tuple(one) for one in known.get("failed", ())]

    def values(self) -> dict[str, Any]:
        """All of this, as JSON can hold it."""
        return {"fitted": [list(one) for one in self.fitted], "failed": [list(one) for one in self.failed]}

    def fits(self, load: Load) -> bool:
        """Whether LOAD is to be tried: it is no more than one that fitted, or a quarter less than what didn't, in
        tokens or in places. Between the two nothing is known, and to find out costs a step taken twice. What didn't fit
        is never tried again, whatever fitted since (others share the memory, and it comes apart): else a step might
        never end."""
        if any(_within(one, load) for one in self.failed):
            return False
        if any(_within(load, one) for one in self.fitted):
            return True
        return not any(4 * load[0] > 3 * tokens and 4 * load[1] > 3 * places for tokens, places, _ in self.failed)

    def sure(self, load: Load) -> bool:
        """Whether as much as LOAD went through at once before, and nothing is known against it."""
        return self.parts == 1 and any(_within(load, one) for one in self.fitted) and self.fits(load)

    def took(self, load: Load) -> None:
        """LOAD fitted."""
        if any(_within(load, one) for one in self.fitted):
            return
        self.fitted = [one for one in self.fitted if not _within(one, load)] + [load]
        if len(self.fitted) > REMEMBERED:
            self.fitted.remove(min(self.fitted))

    def ran_out(self, load: Load) -> None:
        """Memory didn't do for LOAD: nor does it for what is more, whatever was seen before."""
        self.fitted = [one for one in self.fitted if not _within(load, one)]
        self.failed = [one for one in self.failed if not _within(load, one)] + [load]

    def forewarned(self, noted: Sequence[tuple[Sequence[int], int]]) -> bool:
        """Loads and their rows are NOTED that a process ran out of memory with and couldn't take again: see NotHeld.
        Whether a single row was one."""
        for (tokens, places, longest), rows in noted:
            if rows > 1:
                self.ran_out((tokens, places, longest))
        return any(rows == 1 for _, rows in noted)

    def forget(self) -> None:
        """A pass takes less memory from now on: what didn't fit may."""
        self.failed = []

    def parts_of(self, batch: Mapping[str, Any], least: int = 1) -> list[dict[str, Any]]:
        """BATCH as the batches that go through the model one after another, LEAST of them at least: their sums are its
        sum."""
        return [some for part in split(batch, max(self.parts, least)) for some in self._cut(part)]

    def _cut(self, part: dict[str, Any]) -> list[dict[str, Any]]:
        if len(part["lengths"]) == 1 or self.fits(load_of(part)):
            return [part]
        return [some for half in split(part, 2) for some in self._cut(half)]


def short(rows: int, tokens: int, recomputes: bool) -> str:
    """That memory didn't do for ROWS of TOKENS in all, for a person, and what is done about it."""
    if recomputes:
        return (
            f"There was not enough memory for a single row (of {tokens:,} tokens): "
            "activations are computed again on the way back from now on (checkpointing), about 30 % slower."
        )
    return (
        f"There was not enough memory for {rows} rows at once ({tokens:,} tokens): batches as large are taken "
        "in parts from now on. Each step still learns from as many rows."
    )
