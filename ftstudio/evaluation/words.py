"""Cutting text into words, for every script, and counting them."""

from __future__ import annotations

import re

# Scripts written without spaces: each character counts as a word (kana, CJK ideographs, Thai, Lao, Khmer, Myanmar).
_UNSPACED = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
_UNSPACED_CHARACTER = re.compile(f"[{_UNSPACED}]")
_WORD = re.compile(rf"[{_UNSPACED}]|[^\W{_UNSPACED}]+")
_ASCII_WORD = re.compile(r"\w+", re.ASCII)


def length(text: str) -> int:
    """How many words TEXT has: between white space, and each character of a script written without spaces."""
    if text.isascii():
        return len(text.split())
    single = len(_UNSPACED_CHARACTER.findall(text))
    return len((_UNSPACED_CHARACTER.sub(" ", text) if single else text).split()) + single


def pattern(text: str) -> re.Pattern[str]:
    """The pattern that finds the words of TEXT: runs of letters, digits and underscores, without punctuation."""
    return _ASCII_WORD if text.isascii() else _WORD


def split(text: str) -> list[str]:
    """The words of TEXT in lower case, without punctuation."""
    if text.isascii():
        return _ASCII_WORD.findall(text.lower())
    # lowered after cutting: lower() may lengthen a word, and the words must stay those that spans() counts
    return [word.lower() for word in _WORD.findall(text)]


def spans(text: str, first: int, last: int) -> tuple[int, int]:
    """Where in TEXT the words number FIRST up to, not with, LAST stand: (start, end) in characters."""
    start = end = 0
    for index, match in enumerate(pattern(text).finditer(text)):
        if index == first:
            start = match.start()
        if index == last - 1:
            end = match.end()
            break
    return start, end
