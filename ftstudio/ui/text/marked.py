"""Text with marked places: made safe without losing the places, and cut into lines of a width."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass

from rich.cells import get_character_cell_size

from ftstudio.core.text import clean
from ftstudio.ui.text.lines import Line, Part

LONGEST = 100_000  # characters shown of one text; the rest is counted, not drawn

Span = tuple[int, int, str]  # start, end (in characters), ink


@dataclass(frozen=True)
class Marked:
    """Safe text and its marked places: sorted, not overlapping. `hidden` characters at the end were left out."""

    text: str
    spans: tuple[Span, ...] = ()
    hidden: int = 0


def flatten(spans: Iterable[Span], length: int) -> list[Span]:
    """SPANS within LENGTH characters, sorted, without overlap: where two meet, the one that began first stays."""
    result: list[Span] = []
    end = 0
    for start, stop, ink in sorted(spans, key=lambda span: (span[0], -span[1])):
        start, stop = max(start, end, 0), min(stop, length)
        if start < stop:
            result.append((start, stop, ink))
            end = stop
    return result


def mark(raw: str | None, spans: Iterable[Span] = (), limit: int = LONGEST) -> Marked:
    """RAW made safe (see `core.text.clean`), its SPANS moved to where their characters now are."""
    text = raw or ""
    hidden = max(0, len(text) - limit)
    text = text[:limit]
    flat = flatten(spans, len(text))
    if not flat:
        return Marked(clean(text), (), hidden)
    pieces: list[str] = []
    moved: list[Span] = []
    at = place = 0
    for start, stop, ink in flat:
        before, inside = clean(text[at:start]), clean(text[start:stop])
        place += len(before)
        moved.append((place, place + len(inside), ink))
        place += len(inside)
        pieces += (before, inside)
        at = stop
    pieces.append(clean(text[at:]))
    return Marked("".join(pieces), tuple(moved), hidden)


def assemble(parts: Iterable[tuple[str, str]], limit: int = LONGEST) -> Marked:
    """Raw pieces (text, ink or "") in a row as one marked text, each made safe."""
    pieces: list[str] = []
    spans: list[Span] = []
    place = 0
    hidden = 0
    for raw, ink in parts:
        room = limit - place
        if room <= 0:
            hidden += len(raw)
            continue
        hidden += max(0, len(raw) - room)
        text = clean(raw[:room])
        pieces.append(text)
        if ink and text:
            spans.append((place, place + len(text), ink))
        place += len(text)
    return Marked("".join(pieces), tuple(spans), hidden)


def wrap(text: str, width: int) -> list[tuple[int, int]]:
    """Where the lines of TEXT begin and end at WIDTH cells, broken at spaces where there are any."""
    width = max(1, width)
    lines: list[tuple[int, int]] = []
    start = 0
    while True:
        stop = text.find("\n", start)
        last = stop < 0
        stop = len(text) if last else stop
        _paragraph(text, start, stop, width, lines)
        if last:
            return lines
        start = stop + 1


def _paragraph(text: str, start: int, stop: int, width: int, lines: list[tuple[int, int]]) -> None:
    if stop - start <= width and text[start:stop].isascii():
        lines.append((start, stop))
        return
    plain = text[start:stop].isascii()
    while True:
        end = min(start + width, stop) if plain else _reach(text, start, stop, width)
        if end >= stop:
            lines.append((start, stop))
            return
        cut = text.rfind(" ", start + 1, end + 1)
        if cut > start:
            lines.append((start, cut))
            start = cut + 1
        else:
            lines.append((start, end))
            start = end


def _reach(text: str, start: int, stop: int, width: int) -> int:
    """The end of what fits into WIDTH cells from START; at least one character."""
    used = 0
    for index in range(start, stop):
        used += get_character_cell_size(text[index])
        if used > width:
            return max(index, start + 1)
    return stop


def inked(marked: Marked, start: int, stop: int, ink: str = "") -> Line:
    """Characters START to STOP as the parts of a line; INK is that of unmarked text."""
    spans = marked.spans
    if not spans:
        return ((marked.text[start:stop], ink),)
    parts: list[Part] = []
    at = start
    index = max(0, bisect_right(spans, start, key=lambda span: span[0]) - 1)
    while index < len(spans) and spans[index][0] < stop:
        first, last, colour = max(spans[index][0], start), min(spans[index][1], stop), spans[index][2]
        if first < last:
            if at < first:
                parts.append((marked.text[at:first], ink))
            parts.append((marked.text[first:last], colour))
            at = last
        index += 1
    if at < stop:
        parts.append((marked.text[at:stop], ink))
    return tuple(parts)
