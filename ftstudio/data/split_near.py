"""Texts that are nearly the same, among hundreds of thousands: MinHash signatures, banded (Broder 1997; Leskovec,
Rajaraman, Ullman, Mining of Massive Datasets, chapter 3).

Texts are compared by their runs of five characters, white space and letter case set aside. Runs that stand in more than
half of the texts (an instruction that all share) say nothing about likeness and are left out.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

import numpy as np

from ftstudio.core.errors import Stopped
from ftstudio.data.dataset import Cancel, Progress
from ftstudio.data.normal import normal

RUN = 5  # characters
BANDS, ROWS = 20, 4  # a pair of likeness 0.7 shares a band with 0.996 probability: 1 - (1 - 0.7⁴)²⁰
_SAMPLE = 2000
_CHUNK = 1 << 19  # characters worked on at once: stays in a CPU's cache
_DOUBT = 0.15  # a likeness told by 80 hashes is off by 0.05 (one standard deviation); nearer than this is counted

Hashes = np.ndarray


def near_groups(
    texts: Sequence[str], threshold: float = 0.7, *, progress: Progress | None = None, cancel: Cancel | None = None
) -> list[int]:
    """For each of TEXTS the number of the first one in its group: equal, or joined by pairs whose likeness (Jaccard of
    their runs of characters) is at least THRESHOLD. Raises Stopped."""
    first: dict[str, int] = {}
    leader = [first.setdefault(normal(text), number) for number, text in enumerate(texts)]
    different = list(first)
    if len(different) > 1:
        groups = _near(different, threshold, progress, cancel)
        numbers = list(first.values())
        joined = {numbers[place]: numbers[group] for place, group in enumerate(groups)}
        leader = [joined[number] for number in leader]
    return leader


def likeness(one: str, other: str) -> float:
    """The Jaccard likeness of two texts' runs of characters, 0 to 1."""
    return _jaccard(_runs(normal(one)), _runs(normal(other)))


def _near(texts: list[str], threshold: float, progress: Progress | None, cancel: Cancel | None) -> list[int]:
    common = _common(texts)
    marks = _signatures(texts, common, progress, cancel)
    sets = Sets(len(texts))
    pairs = _candidates(marks)
    for start in range(0, len(pairs), 1 << 16):
        if cancel is not None and cancel():
            raise Stopped("Stopped while looking for near duplicates.")
        some = pairs[start : start + (1 << 16)]
        told = (marks[some[:, 0]] == marks[some[:, 1]]).mean(axis=1)
        for (one, other), about in zip(some[told >= threshold - _DOUBT].tolist(), told[told >= threshold - _DOUBT],
                                       strict=True):  # fmt: skip
            if sets.find(one) != sets.find(other):
                sure = about >= threshold + _DOUBT
                if sure or _jaccard(_kept(texts[one], common), _kept(texts[other], common)) >= threshold:
                    sets.join(one, other)
    return [sets.find(number) for number in range(len(texts))]


class Sets:
    """Numbers joined into groups; a group is called by its smallest number."""

    def __init__(self, count: int) -> None:
        self._up = list(range(count))

    def find(self, number: int) -> int:
        """The group of NUMBER."""
        up = self._up
        while up[number] != number:
            up[number] = up[up[number]]
            number = up[number]
        return number

    def join(self, one: int, other: int) -> None:
        """Make one group of two."""
        a, b = sorted((self.find(one), self.find(other)))
        self._up[b] = a


def _codes(text: str) -> np.ndarray:
    return np.frombuffer(text.ljust(RUN, "\0").encode("utf-32-le", "surrogatepass"), np.uint32)


def _hashed(codes: np.ndarray) -> Hashes:
    """A hash of 32 bits for each run of characters in CODES: mixed so that each bit depends on all of it."""
    count = len(codes) - RUN + 1
    found = np.zeros(count, np.uint64)
    for place in range(RUN):
        found *= np.uint64(0x9E3779B97F4A7C15)
        found += codes[place : place + count]
    found ^= found >> np.uint64(32)
    found *= np.uint64(0xD6E8FEB86659FD93)
    found ^= found >> np.uint64(32)
    return found.astype(np.uint32)


def _runs(text: str) -> Hashes:
    return np.unique(_hashed(_codes(text)))


def _kept(text: str, common: Hashes) -> Hashes:
    """The runs of TEXT that not all share; all of them where none is left."""
    runs = _runs(text)
    if not len(common):
        return runs
    kept = runs[~np.isin(runs, common)]
    return kept if len(kept) else runs


def _jaccard(one: Hashes, other: Hashes) -> float:
    shared = len(np.intersect1d(one, other, assume_unique=True))
    return shared / max(1, len(one) + len(other) - shared)


def _common(texts: Sequence[str]) -> Hashes:
    """The runs that stand in more than half of (a sample of) TEXTS, where there are at least 20."""
    sample = texts[:: max(1, len(texts) // _SAMPLE)][:_SAMPLE]
    if len(sample) < 20:
        return np.zeros(0, np.uint32)
    counts: Counter[int] = Counter()
    for text in sample:
        counts.update(_runs(text).tolist())
    return np.array(sorted(run for run, count in counts.items() if count > len(sample) / 2), np.uint32)


def _chunks(texts: Sequence[str]) -> Iterator[tuple[int, list[np.ndarray]]]:
    """(number of the first, characters of each) of pieces of TEXTS."""
    start, size = 0, 0
    held: list[np.ndarray] = []
    for number, text in enumerate(texts):
        codes = _codes(text)
        held.append(codes)
        size += len(codes)
        if size >= _CHUNK:
            yield start, held
            start, size, held = number + 1, 0, []
    if held:
        yield start, held


def _signatures(texts: Sequence[str], common: Hashes, progress: Progress | None, cancel: Cancel | None) -> np.ndarray:
    """The least hash of each text under each of the permutations, uint32 [texts, BANDS · ROWS]."""
    random = np.random.default_rng(20240229)
    factors = random.integers(0, 1 << 31, BANDS * ROWS, dtype=np.uint32) * np.uint32(2) + np.uint32(1)
    offsets = random.integers(0, 1 << 32, BANDS * ROWS, dtype=np.uint32)
    marks = np.empty((len(texts), BANDS * ROWS), np.uint32)
    for start, held in _chunks(texts):
        if cancel is not None and cancel():
            raise Stopped("Stopped while looking for near duplicates.")
        lengths = np.array([len(codes) for codes in held])
        begins = np.concatenate([[0], np.cumsum(lengths)[:-1]])
        runs = _hashed(np.concatenate(held))
        inside = np.ones(len(runs), bool)  # runs that reach into the next text are none
        for back in range(1, RUN):
            inside[(begins[1:] - back)] = False
        if len(common):
            useful = inside & ~np.isin(runs, common)
            nothing = np.add.reduceat(useful, begins) == 0
            inside = np.where(np.repeat(nothing, lengths)[: len(runs)], inside, useful)
        per_text = np.add.reduceat(inside, begins)
        runs = runs[inside]
        places = np.concatenate([[0], np.cumsum(per_text)[:-1]])
        for column, (factor, offset) in enumerate(zip(factors, offsets, strict=True)):
            mixed = runs * factor
            mixed += offset
            mixed ^= mixed >> np.uint32(15)
            mixed *= np.uint32(0x2C1B3C6D)
            marks[start : start + len(held), column] = np.minimum.reduceat(mixed, places)
        if progress is not None:
            progress(start + len(held), len(texts))
    return marks


def _candidates(marks: np.ndarray) -> np.ndarray:
    """Pairs of texts that share a band, [pairs, 2]: each with the first and with the one before in its bucket."""
    count = len(marks)
    found = []
    for band in range(BANDS):
        key = np.zeros(count, np.uint64)
        for column in range(band * ROWS, band * ROWS + ROWS):
            key = (key ^ marks[:, column]) * np.uint64(0x9E3779B97F4A7C15)
            key ^= key >> np.uint64(29)
        order = np.argsort(key, kind="stable")
        ordered = key[order]
        begins = np.flatnonzero(np.concatenate([[True], ordered[1:] != ordered[:-1]]))
        first = order[np.repeat(begins, np.diff(np.append(begins, count)))]
        again = np.flatnonzero(ordered[1:] == ordered[:-1]) + 1
        found.append(first[again] * count + order[again])
        found.append(order[again - 1] * count + order[again])
    pairs = np.unique(np.concatenate(found))
    return np.stack([pairs // count, pairs % count], axis=1)
