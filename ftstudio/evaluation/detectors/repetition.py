"""Loops within an output, and one output for many prompts."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from ftstudio.core.text import one_line
from ftstudio.data import words
from ftstudio.evaluation.categories import Category, Detector, Finding, Verdict
from ftstudio.evaluation.context import Context
from ftstudio.evaluation.rows import Row

# A few characters over and over without a space: hahahaha…, !!!!!!…. Rules such as ---- and ==== are typography.
_CHARACTERS = re.compile(r"([^\W_]{1,6}?)\1{11,}|([^\s\w\-=*#.~─━│|+])\2{19,}")
_LONG_PIECE = re.compile(r"\S{12,}")  # only there


def _repetitive(row: Row, context: Context) -> Verdict:
    found = row.pieces
    grams = list(zip(found, found[1:], found[2:], found[3:], strict=False))
    repeated = len(grams) - len(set(grams))
    limits = context.limits
    # A phrase of two words or more, three times in a row, repeats a 4-gram; a single word may not.
    longest = limits.phrase_words if repeated or limits.phrase_times < 3 else 1
    loop = _loop(found, longest, limits.phrase_times) if len(found) >= limits.phrase_times else None
    if loop is not None:
        start, period, times = loop
        phrase = one_line(" ".join(found[start : start + period]), 60)
        places = words.piece_places(row.text)
        span = (places[start][0], places[start + period * times - 1][1])
        return Finding("repetitive", f"“{phrase}” {times} times in a row", (span,))
    if grams and repeated > limits.repeated_share * len(grams):
        return Finding(
            "repetitive", f"{repeated / len(grams):.0%} of its 4-grams are repeats", _repeats(row.text, grams)
        )
    return _stutter(row)


def _stutter(row: Row) -> Verdict:
    """A few characters over and over without a space between them."""
    for piece in _LONG_PIECE.finditer(row.text):
        match = _CHARACTERS.search(row.text, piece.start(), piece.end())
        if match:
            unit = match.group(1) or match.group(2)
            times = (match.end() - match.start()) // len(unit)
            return Finding("repetitive", f"“{one_line(unit, 20)}” {times} times in a row", (match.span(),))
    return None


def _loop(found: Sequence[str], longest: int, least: int) -> tuple[int, int, int] | None:
    """The first phrase of up to LONGEST pieces that stands LEAST times in a row: (its first piece, its pieces,
    how often).

    A phrase of p pieces stands n times in a row where piece i equals piece i + p for (n - 1) p pieces on end. A
    phrase without a letter or digit (closing brackets, dots) is no loop.
    """
    numbers: dict[str, int] = {}
    codes = [numbers.setdefault(piece, len(numbers)) for piece in found]
    if len(numbers) > len(codes) - (least - 1):
        return None  # too few repeats for any loop
    import numpy as np

    ids = np.asarray(codes, dtype=np.int32)
    for period in range(1, min(longest, len(codes) // least) + 1):
        same = (ids[period:] == ids[:-period]).tobytes()
        wanted = b"\x01" * (period * (least - 1))
        start = same.find(wanted)
        while start >= 0:
            end = same.find(b"\x00", start)
            end = len(same) if end < 0 else end
            if any(character.isalnum() for piece in found[start : start + period] for character in piece):
                return start, period, (end - start) // period + 1
            start = same.find(wanted, end)
    return None


def _repeats(text: str, grams: Sequence[tuple[str, ...]]) -> tuple[tuple[int, int], ...]:
    """Where 4-grams stand that stood before, joined, the first 20."""
    seen: set[tuple[str, ...]] = set()
    places = words.piece_places(text)
    merged: list[list[int]] = []
    for index, gram in enumerate(grams):
        if gram in seen:
            start, end = places[index][0], places[index + 3][1]
            if merged and start <= merged[-1][1]:
                merged[-1][1] = end
            elif len(merged) == 20:
                break
            else:
                merged.append([start, end])
        seen.add(gram)
    return tuple((start, end) for start, end in merged)


def _mode_collapse(rows: Sequence[Row], context: Context, embedder: Any) -> Mapping[int, Finding | None]:
    """Rows whose normalised output also answers other prompts, `same_answer` in all."""
    prompts: dict[str, set[str]] = {}
    keys: dict[int, str] = {}
    for row in rows:
        text = " ".join(row.prediction.output.lower().split())
        if text:  # nothing at all is the category "empty"
            keys[row.row] = text
            prompts.setdefault(text, set()).add(row.prediction.prompt)
    found: dict[int, Finding | None] = {}
    for row in rows:
        count = len(prompts[keys[row.row]]) if row.row in keys else 0
        collapsed = count >= context.limits.same_answer
        why = f"{count} different prompts got this very answer"
        found[row.row] = Finding("mode_collapse", why) if collapsed else None
    return found


def _not_labels(context: Context) -> str:
    return "the answers are labels, which many prompts share" if context.classification else ""


REPETITIVE = Detector(
    Category(
        "repetitive",
        "r",
        "↻",
        "magenta",
        "Repetitive",
        "Loops: a phrase of up to 20 words three times in a row, or a fifth of the 4-grams are repeats.",
    ),
    _repetitive,
)
MODE_COLLAPSE = Detector(
    Category(
        "mode_collapse", "o", "≡", "bright_magenta", "Mode collapse", "Three or more prompts got the same answer."
    ),
    ready=_not_labels,
    collect=_mode_collapse,
)
