"""What a command prints: plain text for people, or one JSON document."""

from __future__ import annotations

import errno
import json
import os
import re
from typing import Any

from ftstudio.core.text import clean

# What a terminal may obey though JSON allows it as it stands: DEL, C1 controls, marks of direction, line separators.
_OBEYED = re.compile(r"[\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")


def _json(value: Any, indent: int | None = None) -> str:
    """VALUE as JSON that is harmless on a terminal: such signs are written as escapes, which read back the same."""
    text = json.dumps(value, ensure_ascii=False, indent=indent, default=str)
    return _OBEYED.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


class Out:
    """Holds on to the real stdout and stderr, so that nothing a library prints can get in between."""

    def __init__(self, *, json: bool) -> None:
        self.json = json
        self._stdout = os.fdopen(os.dup(1), "w", encoding="utf-8", errors="replace", buffering=1)
        self._stderr = os.fdopen(os.dup(2), "w", encoding="utf-8", errors="replace", buffering=1)
        self._finished = False

    def say(self, text: str = "") -> None:
        """A line for people; on stderr where stdout holds JSON."""
        try:
            print(text, file=self._stderr if self.json else self._stdout, flush=True)
        except OSError as error:
            if error.errno != errno.EIO:  # the terminal is gone: a process that wasn't told (a launcher's) goes on
                raise
            self.let_go()

    def result(self, value: dict[str, Any] | list[Any], text: str) -> None:
        """The command's result: VALUE with --json, else TEXT."""
        if self.json:
            print(_json(value, indent=1), file=self._stdout, flush=True)
            self._finished = True
        else:
            print(text, file=self._stdout, flush=True)

    def error(self, message: str, hint: str, code: int) -> None:
        """One sentence on stderr, and the same as JSON where that was asked for and nothing was printed yet."""
        print(clean(f"ftstudio: {message} {hint}".rstrip()), file=self._stderr, flush=True)
        if self.json and not self._finished:
            value = {"error": {"message": message, "hint": hint, "code": code}}
            print(_json(value), file=self._stdout, flush=True)

    def discard(self) -> None:
        """The reader is gone: let nothing more be written, also not at exit."""
        null = os.open(os.devnull, os.O_WRONLY)
        for stream in (self._stdout, self._stderr):
            os.dup2(null, stream.fileno())

    def let_go(self) -> None:
        """The terminal hung up: write to nowhere from now on."""
        self.discard()
        null = os.open(os.devnull, os.O_RDWR)
        for descriptor in (0, 1, 2):
            os.dup2(null, descriptor)


def table(rows: list[list[str]], header: list[str], right: tuple[int, ...] = ()) -> str:
    """ROWS aligned under HEADER; the columns in RIGHT are set flush right."""
    lines = [header, *rows]
    widths = [max(len(line[index]) for line in lines) for index in range(len(header))]

    def render(line: list[str]) -> str:
        cells = (
            cell.rjust(width) if index in right else cell.ljust(width)
            for index, (cell, width) in enumerate(zip(line, widths, strict=True))
        )
        return "  ".join(cells).rstrip()

    return "\n".join(render(line) for line in lines)
