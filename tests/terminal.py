"""A terminal for tests: runs a program on a real pty, reads its screen with an emulator, counts its bytes."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import re
import select
import signal
import struct
import sys
import termios
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType

import pyte
from nursery import Nursery

KEYS = {
    "enter": "\r", "escape": "\x1b", "tab": "\t", "up": "\x1b[A", "down": "\x1b[B", "right": "\x1b[C",
    "left": "\x1b[D", "pagedown": "\x1b[6~", "pageup": "\x1b[5~", "home": "\x1b[H", "end": "\x1b[F",
    "space": " ", "backspace": "\x7f",
}  # fmt: skip

# private sequences that Textual sends and pyte draws as text; wrapping and cursor stay
_PRIVATE = re.compile(rb"\x1b\[[<>=?][0-9;]*\$?[a-zA-Z]")
_KEPT = re.compile(rb"\x1b\[\?(25|7)[hl]")
_OTHER = re.compile(rb"\x1b\[\?1049[hl]")  # to the other screen and back, which pyte hasn't: an empty one instead


def _known(sequence: re.Match[bytes]) -> bytes:
    """A private SEQUENCE as pyte understands it."""
    if _OTHER.fullmatch(sequence.group()):
        return b"\x1b[0m\x1b[2J\x1b[H"
    return sequence.group() if _KEPT.fullmatch(sequence.group()) else b""


def ftstudio(*words: str) -> list[str]:
    """The command line of ftstudio with WORDS, by the interpreter that runs the tests."""
    return [sys.executable, "-m", "ftstudio", *words]


class Terminal:
    """`with Terminal(ftstudio(), cwd=place) as t: t.wait("No runs"); t.key("3")`; NURSERY: with torch loaded."""

    def __init__(
        self,
        command: Sequence[str],
        *,
        columns: int = 80,
        lines: int = 24,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        nursery: Nursery | None = None,
    ) -> None:
        self.bytes = 0
        self.raw = b""
        self._torn = b""
        self.screen = pyte.Screen(columns, lines)
        self._stream = pyte.ByteStream(self.screen)
        self.began = time.monotonic()
        self.first_byte: float | None = None
        self.status: int | None = None
        self.nursery, self._other = nursery, -1
        told = {"TERM": "xterm-256color", "COLORTERM": "truecolor", "LANG": "C.UTF-8", **(env or {})}
        size = struct.pack("HHHH", lines, columns, 0, 0)
        if nursery is not None:
            # its other end stays open here too: a terminal that nobody has opened yet reads as one that was closed
            self.descriptor, self._other = pty.openpty()
            name = os.ttyname(self._other)
            fcntl.ioctl(self.descriptor, termios.TIOCSWINSZ, size)
            program, words = (None, command[3:]) if command[1] == "-m" else (Path(command[1]), command[2:])
            self.process = nursery.start(program, words, cwd=cwd or Path.cwd(), env=told, terminal=name)
            return
        self.process, self.descriptor = pty.fork()
        if self.process == 0:
            try:
                signal.signal(signal.SIGHUP, signal.SIG_DFL)  # as a shell starts it, also where the tests run by nohup
                if cwd is not None:
                    os.chdir(cwd)
                # the size first: a program reads it when it starts
                fcntl.ioctl(0, termios.TIOCSWINSZ, size)
                # pytest's workers tell of a size of theirs, which would count for more than the terminal's own
                around = {key: value for key, value in os.environ.items() if key not in ("COLUMNS", "LINES")}
                os.execvpe(command[0], list(command), {**around, **told})
            except OSError as error:
                os.write(2, f"{command[0]}: {error}\n".encode())
            os._exit(127)

    # -- reading -----------------------------------------------------------------------------------------------------
    def pump(self, seconds: float = 0.0, until: Callable[[], object] | None = None) -> bool:
        """Take what comes for SECONDS, or until UNTIL() holds. True where it held."""
        end = time.monotonic() + seconds
        while True:
            if until is not None and until():
                return True
            left = end - time.monotonic()
            if left < 0 or self.descriptor < 0:
                return False
            if select.select([self.descriptor], [], [], min(left, 0.02))[0]:
                try:
                    chunk = os.read(self.descriptor, 1 << 16)
                except OSError:  # the program has ended
                    chunk = b""
                if not chunk:
                    return bool(until is not None and until())
                self._take(chunk)

    def _take(self, chunk: bytes) -> None:
        if self.first_byte is None:
            self.first_byte = time.monotonic() - self.began
        self.bytes += len(chunk)
        self.raw = (self.raw + chunk)[-2_000_000:]
        data = self._torn + chunk
        cut = data.rfind(b"\x1b")
        # a sequence torn by the end of a chunk waits for its rest
        whole = cut < 0 or re.match(rb"\x1b(\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*\x07|[PX^_].*|[^\[\]PX^_])", data[cut:])
        self._torn, data = (b"", data) if whole else (data[cut:], data[:cut])
        with contextlib.suppress(Exception):  # what pyte doesn't know must not end the test
            self._stream.feed(_PRIVATE.sub(_known, data))

    @property
    def text(self) -> str:
        """The screen as text."""
        return "\n".join(line.rstrip() for line in self.screen.display)

    def wait(self, pattern: str, seconds: float = 20.0) -> float:
        """Seconds until PATTERN (a regular expression) is on screen. Raises AssertionError with the screen."""
        began = time.monotonic()
        if not self.pump(seconds, lambda: re.search(pattern, self.text)):
            raise AssertionError(f"{pattern!r} is not on screen after {seconds} s:\n{self.text}")
        return time.monotonic() - began

    # -- typing ------------------------------------------------------------------------------------------------------
    def key(self, *keys: str) -> None:
        """Press KEYS one after the other: names in `KEYS`, `ctrl+x`, or characters."""
        for key in keys:
            os.write(self.descriptor, _bytes(key))
            self.pump(0.25 if key == "escape" else 0.05)  # a key that follows at once would make it alt+key

    def type(self, text: str) -> None:
        """Type TEXT."""
        self.key(*text)

    def answer(self, key: str, seconds: float = 3.0) -> float:
        """Milliseconds from KEY to the first byte that comes after it."""
        before, began = self.bytes, time.monotonic()
        os.write(self.descriptor, _bytes(key))
        self.pump(seconds, lambda: self.bytes > before)
        return (time.monotonic() - began) * 1000

    def rate(self, seconds: float) -> float:
        """Bytes a second that come within SECONDS of nobody typing."""
        before = self.bytes
        self.pump(seconds)
        return (self.bytes - before) / seconds

    # -- changes from outside ----------------------------------------------------------------------------------------
    def resize(self, columns: int, lines: int) -> None:
        """Give the terminal another size; what it shows is lost, as some terminals do."""
        fcntl.ioctl(self.descriptor, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
        self.screen.resize(lines, columns)
        self.garble()

    def garble(self) -> None:
        """Fill the screen with what the program knows nothing of."""
        for y in range(self.screen.lines):
            for x in range(self.screen.columns):
                self.screen.buffer[y][x] = self.screen.default_char._replace(data="▒", fg="red")

    @property
    def cells(self) -> list[list[tuple[str, str, str]]]:
        """Character, colours of each cell; a blank has its background alone."""
        return [
            [(cell.data, cell.bg, cell.fg if cell.data != " " else "") for cell in map(line.__getitem__, columns)]
            for columns in [range(self.screen.columns)]
            for line in map(self.screen.buffer.__getitem__, range(self.screen.lines))
        ]

    # -- the process -------------------------------------------------------------------------------------------------
    def hang_up(self) -> None:
        """Close the terminal, as a dropped connection does."""
        os.close(self.descriptor)
        if self._other >= 0:
            os.close(self._other)
        self.descriptor = self._other = -1

    def signal(self, number: int) -> None:
        """Send the program a signal."""
        os.kill(self.process, number)

    def ended(self, seconds: float = 0.0) -> bool:
        """Whether the program has ended, within SECONDS; then `status` is its exit status (negative: a signal)."""
        end = time.monotonic() + seconds
        while self.status is None:
            self.status = self._ended()
            if self.status is not None:
                break
            if time.monotonic() > end:
                return False
            if self.descriptor >= 0:
                self.pump(0.05)
            else:
                time.sleep(0.05)
        return True

    def _ended(self) -> int | None:
        if self.nursery is not None:
            return self.nursery.status(self.process)
        try:
            process, status = os.waitpid(self.process, os.WNOHANG)
        except ChildProcessError:
            return 0
        return os.waitstatus_to_exitcode(status) if process else None

    def close(self) -> None:
        """End the program, by force where it doesn't by itself."""
        for number in (signal.SIGTERM, signal.SIGKILL):
            if self.ended():
                break
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.process, number)
            self.ended(5)
        if self.descriptor >= 0:
            self.hang_up()

    def __enter__(self) -> Terminal:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _bytes(key: str) -> bytes:
    if key.startswith("ctrl+"):
        return bytes([ord(key[5]) & 31])
    return KEYS.get(key, key).encode()
