"""How a cell of the terminal looks: its colours and attributes, and the shortest sequence from one look to another.

Textual names all of a piece's colours before it and resets them after it, forty bytes for a piece of often five. Only
differences need be sent: about half of all bytes over SSH.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple


class Look(NamedTuple):
    """Foreground, background and attributes as parameters of the terminal's colour sequence; empty: the usual."""

    front: str = ""
    back: str = ""
    attributes: frozenset[str] = frozenset()


PLAIN = Look()
_SHOWN = frozenset(("4", "5", "6", "7", "9", "21", "53"))  # attributes that blanks show: lines and reversed colours
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
    whole = f"\x1b[{';'.join(['0', *sorted(wanted.attributes), *filter(None, (wanted.front, wanted.back))])}m"
    if wanted == PLAIN:
        return "\x1b[0m"
    if now is None:
        return whole
    gone, parts = now.attributes - wanted.attributes, []
    for off, attributes in _OFF.items():
        if gone & attributes:
            parts.append(off)
            now = now._replace(attributes=now.attributes - attributes)
    if now.attributes - wanted.attributes:  # one that nothing but a reset takes back
        return whole
    parts += sorted(wanted.attributes - now.attributes)
    if wanted.front != now.front:
        parts.append(wanted.front or "39")
    if wanted.back != now.back:
        parts.append(wanted.back or "49")
    return min(f"\x1b[{';'.join(parts)}m", whole, key=len)


@lru_cache(4096)
def blank(now: Look | None, wanted: Look) -> Look:
    """The look next to NOW in which blanks look as in WANTED: they show their background alone."""
    if now is None or _SHOWN & (wanted.attributes | now.attributes):
        return wanted
    return now._replace(back=wanted.back)
