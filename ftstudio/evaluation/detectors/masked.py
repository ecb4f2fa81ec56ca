"""What goes wrong where hidden words are filled in: the answer holds a word for each hidden place, in order."""

from __future__ import annotations

import re

from ftstudio.core.text import one_line
from ftstudio.evaluation.categories import UNJUDGED, Category, Detector, Finding, Verdict
from ftstudio.evaluation.context import Context
from ftstudio.evaluation.rows import Row

_WORD = re.compile(r"\S+")
_SHOWN = 4


def _wrong(row: Row) -> tuple[list[tuple[int, int]], list[str], int] | None:
    """(spans of the wrong words, each against the right one, how many were asked); None without a reference."""
    if row.prediction.reference is None:
        return None
    wanted = row.prediction.reference.split()
    spans, told = [], []
    for match, right in zip(_WORD.finditer(row.text), wanted, strict=False):
        if match.group() != right:
            spans.append(match.span())
            told.append(f"{one_line(match.group(), 20)} for {one_line(right, 20)}")
    return spans, told, len(wanted)


def _wrong_word(row: Row, context: Context) -> Verdict:
    found = _wrong(row)
    if found is None:
        return UNJUDGED
    spans, told, count = found
    more = f" and {len(told) - _SHOWN} more" if len(told) > _SHOWN else ""
    why = f"{len(told)} of {count}: " + ", ".join(told[:_SHOWN]) + more
    return Finding("wrong_word", why, tuple(spans)) if told else None


def _none_right(row: Row, context: Context) -> Verdict:
    found = _wrong(row)
    if found is None:
        return UNJUDGED
    spans, told, count = found
    return Finding("none_right", f"all {count} are wrong", tuple(spans)) if count and len(told) == count else None


ALL: tuple[Detector, ...] = (
    Detector(
        Category("wrong_word", "w", "×", "red", "Wrong word", "Something else was filled in than what was hidden."),
        _wrong_word,
    ),
    Detector(
        Category("none_right", "n", "0", "bright_red", "None right", "Not one of the hidden words was found."),
        _none_right,
    ),
)
