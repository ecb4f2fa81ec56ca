"""Signals to the studio: the terminal hung up, somebody wants the process to end.

Plain handlers and not the event loop's own: those are taken down with the loop, and the shell's second SIGHUP, which
follows the kernel's, would then kill the training that has just been saved from the first.
"""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any, TextIO

from ftstudio.ui.shell.thrift import Thrift

HANGUP, STOP = "hangup", "stop"
LONGEST_KEPT = 12  # writes, of which a frame takes up to three


class Signals:
    """Remembers what came. LET_GO is called at once when the terminal is gone, before anything is written to it."""

    def __init__(self, let_go: Callable[[], None] = lambda: None) -> None:
        self.hung_up = False
        self.stop = 0  # how often an end was asked for
        self._let_go = let_go
        self._listener: Callable[[str], None] | None = None
        self._before: dict[int, Any] = {}
        self._of_screen: dict[int, Any] = {}

    def install(self) -> None:
        """From now on. Does nothing outside the main thread, where signals can't be handled (under test)."""
        if threading.current_thread() is not threading.main_thread():
            return
        for number in (signal.SIGHUP, signal.SIGTERM, signal.SIGINT):
            self._before[number] = signal.signal(number, self._came)
        self._of_screen = {number: signal.getsignal(number) for number in (signal.SIGTSTP, signal.SIGCONT)}

    def without_screen(self) -> None:
        """The screen is gone, which Textual's handlers for halting and going on would draw again: as they were before.

        A terminal that hangs up sends both SIGHUP and SIGCONT; what Textual raises then would end the training.
        """
        while self._of_screen:
            signal.signal(*self._of_screen.popitem())

    def going_on(self, driver: Any, later: Callable[[Callable[[], None]], object]) -> None:
        """Mend what Textual's DRIVER does where the process goes on (SIGCONT) that wasn't halted by SIGTSTP but by
        SIGSTOP, which can't be seen coming, or not at all. It would start its threads a second time and never end.
        LATER calls a function when the screen's loop has time."""
        if signal.SIGCONT not in self._of_screen or not hasattr(driver, "_must_signal_resume"):
            return

        def again() -> None:
            if driver._auto_restart and not self.hung_up:
                driver.suspend_application_mode()
                driver.resume_application_mode()

        def came(_number: int, _frame: FrameType | None) -> None:
            if driver._must_signal_resume:
                driver._sigcont_application()
            elif not self.hung_up:
                with contextlib.suppress(RuntimeError):  # the loop has just been closed
                    later(again)

        signal.signal(signal.SIGCONT, came)

    def restore(self) -> None:
        """As it was before, but a hang-up that was survived stays so."""
        for number, handler in self._before.items():
            if number != signal.SIGHUP or not self.hung_up:
                signal.signal(number, handler if handler is not None else signal.SIG_DFL)
        self._before.clear()

    def listen(self, listener: Callable[[str], None] | None) -> None:
        """Tell LISTENER of `hangup` or `stop` as it comes, and of one that came already."""
        self._listener = listener
        if listener is not None and (self.hung_up or self.stop):
            listener(HANGUP if self.hung_up else STOP)

    def _came(self, number: int, _frame: FrameType | None) -> None:
        if number == signal.SIGHUP:
            self.hung_up = True
            with contextlib.suppress(Exception):  # a stream caught in the middle of a write says so
                self._let_go()
        else:
            self.stop += 1
        if self._listener is not None:
            with contextlib.suppress(RuntimeError):  # the loop has just been closed
                self._listener(HANGUP if number == signal.SIGHUP else STOP)


class Unbroken:
    """The screen's file, which never fails, and makes what goes through it shorter.

    A terminal that is gone must not end the thread that writes to it: Textual waits for that thread when its queue is
    full, and were it dead, the whole studio would hang.
    """

    def __init__(self, file: TextIO) -> None:
        self._file = file
        self._thrift = Thrift()
        self._kept = 0  # how often something was written since the last flush

    def write(self, text: str) -> int:
        """See TextIO. Cells that change are kept until the next `flush`, which Textual's thread does as soon as it has
        nothing more to write; under a steady stream of frames they must be seen, too."""
        self._kept += 1
        with contextlib.suppress(OSError, ValueError):
            self._file.write(self._thrift.feed(text))
            if self._kept >= LONGEST_KEPT:
                self._send()
        return len(text)

    def flush(self) -> None:
        """See TextIO."""
        with contextlib.suppress(OSError, ValueError):
            self._send()
            self._file.flush()

    def _send(self) -> None:
        self._kept = 0
        self._file.write(self._thrift.drain())

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)
