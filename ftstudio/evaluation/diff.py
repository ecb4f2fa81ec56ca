"""What changed between two texts, word by word."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

Part = tuple[str, str]  # operation ('=' same, '-' only in the first, '+' only in the second) and text

_TOKEN = re.compile(r"\w+|\s+|[^\w\s]")
_CELLS = 100_000_000  # cells of the table of common subsequences that are worth their time and memory (12 MB)
_WINDOW = 4_000  # tokens of either text that are aligned at once beyond that


def diff(before: str, after: str) -> list[Part]:
    """BEFORE against AFTER as parts: joining all but `+` gives BEFORE, joining all but `-` gives AFTER.

    By the longest common subsequence of words, marks and white space (rapidfuzz); texts of more than about 5,000 words
    are aligned window by window, which finds the same unless thousands of words were moved.
    """
    a, b = _TOKEN.findall(before), _TOKEN.findall(after)
    start = 0
    while start < len(a) and start < len(b) and a[start] == b[start]:
        start += 1
    end = 0
    while end < len(a) - start and end < len(b) - start and a[-1 - end] == b[-1 - end]:
        end += 1
    middle = _align(a[start : len(a) - end], b[start : len(b) - end])
    return _merge([("=", "".join(a[:start])), *middle, ("=", "".join(a[len(a) - end :]))])


def _align(a: Sequence[str], b: Sequence[str]) -> list[Part]:
    parts: list[Part] = []
    while len(a) * len(b) > _CELLS:
        done_a = done_b = 0
        window: list[Part] = []
        for old, new, same in _operations(a[:_WINDOW], b[:_WINDOW]):
            if max(done_a, done_b) > _WINDOW * 3 // 4:
                break  # what follows may be better aligned with what lies beyond the window
            window += [("=" if same else "-", "".join(old)), ("=" if same else "+", "" if same else "".join(new))]
            done_a, done_b = done_a + len(old), done_b + len(new)
        parts += window
        a, b = a[done_a:], b[done_b:]
    for old, new, same in _operations(a, b):
        parts += [("=" if same else "-", "".join(old)), ("=" if same else "+", "" if same else "".join(new))]
    return parts


def _operations(a: Sequence[str], b: Sequence[str]) -> Iterator[tuple[Sequence[str], Sequence[str], bool]]:
    from rapidfuzz.distance import Indel

    numbers: dict[str, int] = {}  # small numbers are much faster to look up there than words
    codes = [[numbers.setdefault(token, len(numbers)) for token in tokens] for tokens in (a, b)]
    for step in Indel.opcodes(*codes):
        yield a[step.src_start : step.src_end], b[step.dest_start : step.dest_end], step.tag == "equal"


def _merge(parts: Sequence[Part]) -> list[Part]:
    """PARTS with removals before additions, neighbours joined, and no change interrupted by mere white space."""
    found: list[Part] = []
    old: list[str] = []
    new: list[str] = []
    blank: list[str] = []  # white space after a change: whether it stays common is known at the next part
    for operation, text in [*(part for part in parts if part[1]), ("=", "")]:
        if operation != "=":
            old += blank
            new += blank
            blank = []
            (old if operation == "-" else new).append(text)
            continue
        if (old or new) and text.isspace() and "\n" not in text:
            blank.append(text)
            continue
        found += [("-", "".join(old))] if old else []
        found += [("+", "".join(new))] if new else []
        same = "".join(blank) + text
        if found and found[-1][0] == "=":
            found[-1] = ("=", found[-1][1] + same)
        elif same:
            found.append(("=", same))
        old, new, blank = [], [], []
    return found
