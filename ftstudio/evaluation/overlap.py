"""ROUGE: the words and the pairs of words that an output and its reference share.

Defined as in rouge-score with its stemmer (C.-Y. Lin, "ROUGE: A Package for Automatic Evaluation of Summaries", 2004),
with its very numbers, many times as fast: all rows at once, in numpy.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from operator import add
from typing import TYPE_CHECKING, NamedTuple

from ftstudio.evaluation.ngrams import shared_at
from ftstudio.evaluation.porter import stem

if TYPE_CHECKING:
    import numpy as np

LONGEST = 100_000  # characters of a text that are scored
_AT_ONCE = 2_000_000  # characters of texts whose words are counted at once
_BITS = 21  # of a character
_FEW = 4  # pairs below which numpy costs more than it saves

# all bytes but a-z and 0-9 are blanks; those of A-Z their small letters
_WORDS = bytes(
    code if 97 <= code <= 122 or 48 <= code <= 57 else code + 32 if 65 <= code <= 90 else 32 for code in range(256)
)
_MOST_WORDS = 500_000  # that are remembered at once: with those of a block fewer than there are characters


class Score(NamedTuple):
    """Precision, recall and their harmonic mean, from 0 to 1."""

    precision: float
    recall: float
    fmeasure: float


@dataclass(frozen=True, slots=True)
class Rouge:
    """ROUGE of one output: F-measures from 0 to 1."""

    rouge1: float
    rouge2: float
    rougeL: float


class _Codes(dict[str, str]):
    """A character for the stem of every word, so that texts are strings, which C compares. Equal stems share one."""

    def __init__(self) -> None:
        self._stems: dict[str, str] = {}
        self._lock = threading.Lock()  # screens and the worker score at once

    def __missing__(self, word: str) -> str:
        root = stem(word) if len(word) > 3 and not word.isdigit() else word  # a number has no suffix
        with self._lock:
            place = len(self._stems) + 1
            new = chr(place if place < 0xD800 else place + 0x800)  # without surrogates
            code = self[word] = self._stems.setdefault(root, new)
        return code


_known = _Codes()


def _codes() -> _Codes:
    global _known
    if len(_known) > _MOST_WORDS:
        _known = _Codes()
    return _known


def _line(text: str, codes: _Codes) -> str:
    """The stems of TEXT, a character each, as rouge-score cuts it: runs of a-z and 0-9 in small letters, those over
    three characters stemmed."""
    words = text[:LONGEST].lower().encode("ascii", "replace").translate(_WORDS).decode("ascii").split()
    return "".join(map(codes.__getitem__, words))


def _keys(lines: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """All words and all pairs of neighbours in LINES, each under the number of its line, sorted."""
    import numpy as np

    letters = np.frombuffer("".join(lines).encode("utf-32-le"), np.uint32).astype(np.int64)
    owners = np.repeat(np.arange(len(lines)), [len(line) for line in lines])
    single = (owners << _BITS) | letters
    pairs = ((single[:-1] << _BITS) | letters[1:])[owners[:-1] == owners[1:]]
    return np.sort(single), np.sort(pairs)


def _blocks(pairs: Sequence[tuple[str, str]]) -> Iterator[Sequence[tuple[str, str]]]:
    start = size = 0
    for end, pair in enumerate(pairs):
        size += len(pair[0]) + len(pair[1]) + 1
        if size > _AT_ONCE:
            yield pairs[start : end + 1]
            start, size = end + 1, 0
    if start < len(pairs):
        yield pairs[start:]


def _alone(output: str, reference: str) -> list[Score]:
    """ROUGE-1, -2 and -L of one pair."""
    from rapidfuzz.distance import LCSseq

    codes = _codes()
    given, wanted = _line(output, codes), _line(reference, codes)
    have, want = (Counter(map(add, line, line[1:])) for line in (given, wanted))
    common = (
        LCSseq.similarity("".join(sorted(given)), "".join(sorted(wanted))),  # of sorted texts: what both have
        sum(min(times, want[pair]) for pair, times in have.items() if pair in want),
        LCSseq.similarity(given, wanted),
    )
    return [_score(count, len(given) - less, len(wanted) - less) for count, less in zip(common, (0, 1, 0), strict=True)]


def _score(common: int, given: int, wanted: int) -> Score:
    precision, recall = common / max(given, 1), common / max(wanted, 1)
    total = precision + recall
    return Score(precision, recall, 2 * precision * recall / total if total > 0 else 0.0)


def _measured(pairs: Sequence[tuple[str, str]]) -> list[list[float]]:
    """The F-measures of ROUGE-1, -2 and -L of PAIRS of output and reference, counted together."""
    import numpy as np
    from rapidfuzz.distance import LCSseq

    codes = _codes()
    lines = {text: _line(text, codes) for text in dict.fromkeys(chain.from_iterable(pairs))}
    given, wanted = ([lines[pair[side]] for pair in pairs] for side in (0, 1))
    count = len(pairs)
    common = np.empty((count, 3))
    for order, (a, b) in enumerate(zip(_keys(given), _keys(wanted), strict=True)):
        owners = a[shared_at(a, b)] >> (_BITS * (order + 1))
        common[:, order] = np.bincount(owners, minlength=count)
    common[:, 2] = [LCSseq.similarity(a, b) for a, b in zip(given, wanted, strict=True)]
    fewer = np.array([0, 1, 0])
    sizes = (np.array([len(line) for line in side])[:, None] - fewer for side in (given, wanted))
    precision, recall = (common / np.maximum(size, 1) for size in sizes)
    total = precision + recall
    found: list[list[float]] = (2 * precision * recall / np.where(total > 0, total, 1.0)).tolist()
    return found


def rouge_scores(output: str, reference: str) -> dict[str, Score]:
    """ROUGE-1, ROUGE-2 and ROUGE-L of OUTPUT against REFERENCE as `rouge1`, `rouge2`, `rougeL`."""
    return dict(zip(("rouge1", "rouge2", "rougeL"), _alone(output, reference), strict=True))


def rouges(pairs: Sequence[tuple[str, str]]) -> list[Rouge]:
    """The ROUGE F-measures of PAIRS of output and reference, in their order: of many, several times as fast as each."""
    if len(pairs) < _FEW:
        return [rouge(*pair) for pair in pairs]
    return [Rouge(*row) for block in _blocks(pairs) for row in _measured(block)]


def rouge(output: str, reference: str) -> Rouge:
    """The ROUGE F-measures of OUTPUT against REFERENCE."""
    return Rouge(*(score.fmeasure for score in _alone(output, reference)))
