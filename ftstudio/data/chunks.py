"""Long text in pieces of at most so many characters, cut where it reads best."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator

from ftstudio.data.encoding import Text

Span = tuple[int, int]
# where to cut, the best first: after a paragraph, a line, a sentence, a word
_CUTS = (re.compile(r"\n\s*\n"), re.compile(r"\n"), re.compile(r"[.!?。！？]['\")\]]*\s+"), re.compile(r"\s+"))


def chunks(text: Text, spans: Iterable[Span], size: int, overlap: int) -> Iterator[Span]:
    """SPANS of TEXT cut into pieces of at most SIZE characters; each repeats about OVERLAP characters of the last.

    Without overlap the pieces of a span, one after the other, are the span: nothing is lost.
    """
    for start, end in spans:
        yield from _cut(text, start, end, size, overlap)


def _cut(text: Text, start: int, end: int, size: int, overlap: int) -> Iterator[Span]:
    while start < end:
        window = _characters(text, start, end, size)
        if start + _bytes(window) >= end:
            yield start, end
            return
        piece = window[: _best(window)]
        stop = start + _bytes(piece)
        yield start, stop
        back = piece[len(piece) - overlap :] if overlap else ""
        if back and (word := re.search(r"\s+", back)) and word.end() < len(back):
            back = back[word.end() :]  # begin with a whole word
        start = stop - _bytes(back)


def _characters(text: Text, start: int, end: int, size: int) -> str:
    """At most SIZE characters from the byte START on."""
    data = os.pread(text.handle, min(4 * size, end - start), start)
    return data.decode("utf-8", "ignore")[:size]  # a character cut in two at the end is left out


def _bytes(piece: str) -> int:
    return len(piece.encode("utf-8"))


def _best(window: str) -> int:
    """After how many characters WINDOW is cut: the last good place in its second half, else its end."""
    for cut in _CUTS:
        places = [match.end() for match in cut.finditer(window, len(window) // 2)]
        if places:
            return places[-1]
    return len(window)
