"""Fewer bytes for the same picture: what the terminal shows already isn't sent again.

Textual draws a whole frame at each of several layouts that one key leads to, and a widget anew where one of its
characters has changed. Here all that goes to the terminal is read: what is written to which cell, in which look. It is
kept until the screen's thread has nothing more to say; then the cells that differ from those that the terminal shows
are sent. So frames that a slow link has no time for are left out, too.

Nothing is assumed of the terminal but what was sent to it. Whatever isn't text, colours or a move to a cell goes
through as it is, and unless it is known to leave the cells alone, nothing is known of them afterwards. What may have
changed them from outside (another size, another program) is told by `FORGET` in the stream; a whole frame must follow.
"""

from __future__ import annotations

import re
from functools import lru_cache

from ftstudio.ui.shell.cells import Line, width
from ftstudio.ui.shell.looks import PLAIN, Look, after, blank, change

FORGET = "\x1b_forget\x1b\\"  # never sent

_TOKEN = re.compile(
    "(?P<text>[^\x00-\x1f\x7f-\x9f]+)|\x1b\\[(?P<look>[0-9;]*)m|\x1b\\[(?P<y>[0-9]+);(?P<x>[0-9]+)H"
    "|(?P<ends>\n+(?=\x1b\\[[0-9]+;[0-9]+H))"  # line ends that a move follows matter to nobody
    "|(?P<other>\x1b(?:\\[[0-?]*[ -/]*[@-~]|[]PX^_][^\x07\x1b]*(?:\x07|\x1b\\\\)|[ -/]*[0-~])|.)",
    re.DOTALL,
)
_MOVE = re.compile("\x1b\\[([0-9]+);([0-9]+)H")
_BEGIN, _END = "\x1b[?2026h", "\x1b[?2026l"  # of an update that the terminal shows at once
_ENTERS, _LEAVES = "\x1b[?1049h", "\x1b[?1049l"  # the alternate screen
# modes and questions that leave cells, cursor and colours alone: of mouse, keys, pasting, focus, wrapping; the bell
_HARMLESS = re.compile(
    "\x1b\\[\\?(?:7|25|100[0-6]|101[56]|2004|2026|2048)(?:[hl]|\\$p)|\x1b\\[[<>=][0-9;]*u|\x07"
    "|\x1b\\](?!8;)[^\x07\x1b]*(?:\x07|\x1b\\\\)"
)


@lru_cache(1024)
def _read(row: str) -> tuple[tuple[tuple[str, int, Look], ...], Look] | None:
    """Texts, their widths and looks in ROW, which begins in the usual look, and the look after it; None where there is
    anything else in it."""
    found, look = [], PLAIN
    for token in _TOKEN.finditer(row):
        if (text := token["text"]) is not None:
            found.append((text, width(text), look))
        elif token["look"] is not None:
            look = after(look, token["look"])
        else:
            return None
    return (tuple(found), look) if found and all(cells for _, cells, _ in found) else None


def _cell(y: str, x: str) -> tuple[int, int]:
    """Line and column, from 0, of a move to Y and X."""
    return max(0, int(y) - 1), max(0, int(x) - 1)


class Thrift:
    """Rewrites what goes to one terminal. Every sequence must come whole within one call, as Textual sends it."""

    def __init__(self) -> None:
        self._inside = False  # whether this is the alternate screen; the usual one is left alone
        self._shown: dict[int, Line] = {}  # what the terminal shows
        self._wanted: dict[int, Line] = {}  # lines with something written to them since
        self._cell: tuple[int, int] | None = None  # line and column where the next text belongs
        self._look = PLAIN  # and its look
        self._cursor: tuple[int, int] | None = None  # the terminal's own cursor and look
        self._now: Look | None = None
        self._open = self._framed = False  # within an update; whether what is kept came in one

    def feed(self, text: str) -> str:
        """Take TEXT in. Gives what must be sent of it at once."""
        if not self._inside and _ENTERS not in text:
            return text
        sent: list[str] = []
        at = 0
        while at < len(text):
            if self._inside and (end := self._row(text, at, sent)):
                at = end
                continue
            token = _TOKEN.match(text, at)
            assert token is not None  # the last of its alternatives takes anything
            at = token.end()
            if not self._inside:
                sent.append(token.group())
                if token.group() == _ENTERS:
                    self._inside, self._look, self._cell = True, PLAIN, None
                    self._forget()
            elif token["text"] is not None:
                self._put(token["text"], width(token["text"]), sent)
            elif token["look"] is not None:
                self._look = after(self._look, token["look"])
            elif token["y"] is not None:
                self._cell = _cell(token["y"], token["x"])
            elif token["other"] is not None:
                self._pass(token["other"], sent)
        return "".join(sent)

    def drain(self, *, whole: bool = True) -> str:
        """What has to be sent so that the terminal shows all that was taken in; WHOLE: nothing within an update."""
        if self._open and whole:
            return ""
        sent: list[str] = []
        for y, line in sorted(self._wanted.items()):
            for first, end in line.differing(self._shown.get(y)):
                for x, text, look in line.pieces(first, end):
                    self._move(y, x, sent)
                    self._colour(look if text.strip(" ") else blank(self._now, look), sent)
                    sent.append(text)
                    self._cursor = (y, x + len(text)) if width(text) >= 0 else None
            self._shown[y] = line
        self._wanted.clear()
        if self._cell is not None:
            self._move(*self._cell, sent)
        framed, self._framed = self._framed, False
        return "".join([_BEGIN, *sent, _END] if sent and framed else sent)

    # -- what comes --------------------------------------------------------------------------------------------------
    def _row(self, text: str, at: int, sent: list[str]) -> int:
        """Take in a line of a whole frame, if one begins AT: a move, then text and colours to the line's end or to the
        last move. Gives where it ends, 0 where there is none. One that comes again costs a glance."""
        if self._look != PLAIN or (move := _MOVE.match(text, at)) is None:
            return 0
        end = text.find("\n", move.end())
        if end < 0 and _MOVE.match(text, end := text.rfind("\x1b[")) is None:
            return 0
        row = text[move.end() : end]
        y, x = _cell(move[1], move[2])
        line = self._wanted.get(y) or self._shown.get(y)
        if line is None or line.last != (x, row):
            if not row or (read := _read(row)) is None:
                return 0
            self._cell = y, x
            for piece, cells, self._look in read[0]:
                self._put(piece, cells, sent)
            line = self._wanted[y]
            line.last, line.end, self._look = (x, row), self._cell[1], read[1]
        self._cell = y, line.end
        return end

    def _line(self, y: int) -> Line:
        """The line Y, to be written to."""
        if y not in self._wanted:
            self._wanted[y] = self._shown[y].copy() if y in self._shown else Line()
        return self._wanted[y]

    def _put(self, text: str, cells: int, sent: list[str]) -> None:
        if self._cell is None or not cells:  # who knows where, or it changes the character before it
            self._unknown(text, sent)
            return
        y, x = self._cell
        if y in self._wanted and self._wanted[y].tears(x, x + abs(cells)):
            sent.append(self.drain(whole=False))  # while it is still known what will be left
        self._cell = y, self._line(y).put(x, text, cells, self._look)

    def _pass(self, sequence: str, sent: list[str]) -> None:
        """Any other SEQUENCE."""
        if sequence == FORGET:
            self._forget()
        elif sequence == _BEGIN:
            self._open = True
        elif sequence == _END:
            self._open, self._framed = False, True
        elif _HARMLESS.fullmatch(sequence):
            sent += self.drain(whole=False), sequence
        else:
            self._unknown(sequence, sent)
            if sequence == _LEAVES:
                self._inside = self._open = False

    def _unknown(self, text: str, sent: list[str]) -> None:
        """Send TEXT as it is, from where and as it is meant; it may have changed everything."""
        sent.append(self.drain(whole=False))
        self._colour(self._look, sent)
        sent.append(text)
        self._forget()
        self._cell = None
        self._now = self._look if text[0] != "\x1b" else None

    def _forget(self) -> None:
        self._shown.clear()
        self._wanted.clear()
        self._cursor = self._now = None

    # -- what goes ---------------------------------------------------------------------------------------------------
    def _move(self, y: int, x: int, sent: list[str]) -> None:
        if self._cursor == (y, x):
            return
        if self._cursor is not None and self._cursor[0] == y and (ahead := x - self._cursor[1]) > 0:
            sent.append("\x1b[C" if ahead == 1 else f"\x1b[{ahead}C")
        else:
            sent.append(f"\x1b[{y + 1};{x + 1}H" if x else f"\x1b[{y + 1}H" if y else "\x1b[H")
        self._cursor = y, x

    def _colour(self, look: Look, sent: list[str]) -> None:
        if text := change(self._now, look):
            sent.append(text)
        self._now = look
