"""Fewer bytes for the same picture: only what changes between two pieces of text is said about colours.

Textual names all of a piece's colours before it and resets them after it, forty bytes for a piece of often five. Here
the terminal's present colours are remembered and only differences are sent: about half of all bytes over SSH.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import NamedTuple

_COLOURS = re.compile("\x1b\\[([0-9;]*)m")
# what neither prints nor erases, so that it doesn't matter which colours are set: moves of the cursor
_MOVES = re.compile("(?:\x1b\\[[0-9]*;?[0-9]*[HABCDG]|\n|\r)*")
_ENTERS = "\x1b[?1049h"  # the alternate screen; who knows what came before


class Look(NamedTuple):
    """Foreground, background and attributes as parameters of the terminal's colour sequence; empty: the usual."""

    front: str = ""
    back: str = ""
    attributes: frozenset[str] = frozenset()


PLAIN = Look()
_SHOWN = frozenset(("4", "7", "9", "21", "53"))  # attributes that blanks show: lines and reversed colours
_OFF = {"22": {"1", "2"}, "23": {"3"}, "24": {"4", "21"}, "25": {"5", "6"}, "27": {"7"}, "28": {"8"}, "29": {"9"}}


@lru_cache(4096)
def after(look: Look, parameters: str) -> Look:
    """What LOOK becomes by a colour sequence with PARAMETERS."""
    parts = parameters.split(";")
    at = 0
    while at < len(parts):
        part = parts[at] or "0"
        at += 1
        if part == "0":
            look = PLAIN
        elif part in ("38", "48"):
            count = 4 if parts[at : at + 1] == ["2"] else 2
            colour = ";".join([part, *parts[at : at + count]])
            at += count
            look = look._replace(front=colour) if part == "38" else look._replace(back=colour)
        elif part == "39":
            look = look._replace(front="")
        elif part == "49":
            look = look._replace(back="")
        elif part in _OFF:
            look = look._replace(attributes=look.attributes - _OFF[part])
        elif len(part) == 1 or part in ("21", "53"):
            look = look._replace(attributes=look.attributes | {part})
        elif part[:-1] in ("3", "9"):
            look = look._replace(front=part)
        elif part[:-1] in ("4", "10"):
            look = look._replace(back=part)
    return look


@lru_cache(4096)
def change(now: Look | None, wanted: Look) -> str:
    """The shortest sequence from NOW (None: unknown) to WANTED; empty where they are the same."""
    if now == wanted:
        return ""
    whole = ["0", *sorted(wanted.attributes), *filter(None, (wanted.front, wanted.back))]
    if wanted == PLAIN:
        return "\x1b[0m"
    if now is None or now.attributes - wanted.attributes:
        return f"\x1b[{';'.join(whole)}m"
    parts = sorted(wanted.attributes - now.attributes)
    if wanted.front != now.front:
        parts.append(wanted.front or "39")
    if wanted.back != now.back:
        parts.append(wanted.back or "49")
    return f"\x1b[{';'.join(parts)}m"


class Thrift:
    """Rewrites what goes to one terminal. Every sequence must come whole within one call, as Textual sends it."""

    def __init__(self) -> None:
        self._now: Look | None = None
        self._wanted = PLAIN

    def rewrite(self, text: str) -> str:
        """TEXT with the same effect in fewer bytes."""
        result: list[str] = []
        at = 0
        for match in _COLOURS.finditer(text):
            self._say(result, text[at : match.start()])
            self._wanted = after(self._wanted, match.group(1))
            at = match.end()
        self._say(result, text[at:])
        return "".join(result)

    def _say(self, result: list[str], piece: str) -> None:
        if not piece:
            return
        if not _MOVES.fullmatch(piece):
            if _ENTERS in piece:
                self._now = None
            wanted = self._wanted
            if (
                self._now is not None
                and not piece.strip(" ")
                and not _SHOWN & (wanted.attributes | self._now.attributes)
            ):
                wanted = self._now._replace(back=wanted.back)  # blanks show their background alone
            result.append(change(self._now, wanted))
            self._now = wanted
        result.append(piece)
