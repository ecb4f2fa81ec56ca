"""Cutting text into words, for every script, and counting them."""

from __future__ import annotations

import re

# Scripts written without spaces: each character counts as a word (kana, CJK ideographs, Thai, Lao, Khmer, Myanmar).
_UNSPACED = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
_UNSPACED_CHARACTER = re.compile(f"[{_UNSPACED}]")
_WORD = re.compile(rf"[{_UNSPACED}]|[^\W{_UNSPACED}]+")
_PIECE = re.compile(rf"[{_UNSPACED}]|[^\s{_UNSPACED}]+")
_SPACED = re.compile(r"\S+")
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


def pieces(text: str) -> list[str]:
    """What stands between white space in TEXT, in small letters; each character of a script written without spaces.

    For finding repeats: in `<<48/2=24>>24` or `} }` the parts repeat, the text doesn't.
    """
    if text.isascii() or not _UNSPACED_CHARACTER.search(text):
        return [piece.lower() for piece in text.split()]
    return [piece.lower() for piece in _PIECE.findall(text)]


def piece_places(text: str) -> list[tuple[int, int]]:
    """Where the pieces of TEXT stand: (start, end) in characters."""
    return [match.span() for match in (_PIECE if _UNSPACED_CHARACTER.search(text) else _SPACED).finditer(text)]
