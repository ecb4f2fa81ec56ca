"""The guard over standard output: whatever a library prints lands in a log, never on the screen.

A library may print in three ways: through Python's `sys.stdout`, through C's stdio, or from a child process. All end at
file descriptors 1 and 2, so the log is laid over these, and the screen keeps copies of its own.
"""

from __future__ import annotations

import contextlib
import ctypes
import io
import os
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar, TextIO

from ftstudio.engine import quiet


class Capture:
    """Made by `install()`, one a process. Descriptors 1 and 2 lead to a log; `screen` and `errors` to where they led.

    `sys.__stdout__` and `sys.__stderr__` are rebound to the copies: Textual draws on the one and asks the other for the
    size. `sys.stdout` and `sys.stderr` are left alone and so lead to the log.
    """

    current: ClassVar[Capture | None] = None

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._jobs: list[tuple[Path, int]] = []
        self._leaving = False
        self._own = (sys.__stdout__, sys.__stderr__, sys.stdout, sys.stderr)
        _flush()
        self.screen = _stream(1)
        self.errors = _stream(2)
        self.to(None)
        sys.__stdout__, sys.__stderr__ = self.screen, self.errors  # type: ignore

    @classmethod
    def install(cls) -> Capture:
        """Lay the guard; the one that is there already is given back.

        Also starts multiprocessing's resource tracker: spawning it later, from under a screen, fails.
        """
        if cls.current is None:
            cls.current = cls()
            from multiprocessing import resource_tracker

            with contextlib.suppress(Exception):  # its absence only means that spawned children may fail later
                resource_tracker.ensure_running()
        return cls.current

    def to(self, path: Path | None) -> None:
        """Let descriptors 1 and 2 lead to the end of the file PATH; None: to nowhere."""
        with self._lock:
            _flush()
            target = None
            if path is not None:
                with contextlib.suppress(OSError):
                    path.parent.mkdir(parents=True, exist_ok=True)
                    target = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
            if target is None:
                target = os.open(os.devnull, os.O_WRONLY)
            for descriptor in (1, 2):
                os.dup2(target, descriptor)
            os.close(target)

    @classmethod
    @contextlib.contextmanager
    def job(cls, path: Path) -> Iterator[None]:
        """While a job runs: what its thread and the libraries print goes to the log at PATH.

        Without an installed guard only log records and this thread's own prints do.
        """
        before = quiet.log_to(path)
        guard = cls.current
        job = (path, threading.get_ident())
        _Tee.lay(*job)
        if guard is not None:
            with guard._lock:
                guard._jobs.append(job)
                guard.to(path)
        try:
            yield
        finally:
            _Tee.lift(job[1])
            quiet.log_to(before)
            if guard is not None:
                with guard._lock:
                    guard._jobs.remove(job)
                    if not guard._jobs:
                        guard.to(None)
                        if guard._leaving:
                            guard._remove()

    def restore(self) -> None:
        """Give standard output back. While a job runs, only Python's own streams lead to the terminal again."""
        with self._lock:
            self._leaving = True
            if self._jobs:
                sys.stdout, sys.stderr = self.screen, self.errors
                for path, thread in self._jobs:  # what a job's thread prints still goes to its log
                    _Tee.lay(path, thread)
            else:
                self._remove()

    def _remove(self) -> None:
        if Capture.current is not self:
            return
        _flush()
        for stream, descriptor in ((self.screen, 1), (self.errors, 2)):
            with contextlib.suppress(OSError, ValueError):
                stream.flush()
            os.dup2(stream.fileno(), descriptor)
        out, errors, stdout, stderr = self._own
        sys.__stdout__, sys.__stderr__ = out, errors  # type: ignore
        if sys.stdout is self.screen:
            sys.stdout = stdout
        if sys.stderr is self.errors:
            sys.stderr = stderr
        Capture.current = None

    def release_terminal(self) -> None:
        """Let go of a terminal that hung up: /dev/null over the input and the screen's copies.

        Writing to a dead terminal raises, and reading from it spins. A log that 1 and 2 lead to stays.
        """
        with self._lock:
            null = os.open(os.devnull, os.O_RDWR)
            for descriptor in (0, self.screen.fileno(), self.errors.fileno()):
                with contextlib.suppress(OSError):
                    os.dup2(null, descriptor)
            if not self._jobs:
                for descriptor in (1, 2):
                    os.dup2(null, descriptor)
            os.close(null)
            self.restore()


class _Tee(io.TextIOBase):
    """`sys.stdout` or `sys.stderr` as it is, but what one thread prints goes to a log.

    Needed under a screen, which swallows Python's prints before they reach a descriptor.
    """

    def __init__(self, under: Any, path: Path, thread: int) -> None:
        self.under, self.path, self.thread = under, path, thread

    @classmethod
    def lay(cls, path: Path, thread: int) -> None:
        """Over both streams, for THREAD."""
        for name in ("stdout", "stderr"):
            setattr(sys, name, cls(getattr(sys, name), path, thread))

    @staticmethod
    def lift(thread: int) -> None:
        """Take those of THREAD off; where someone has put another stream there since, it stays."""
        for name in ("stdout", "stderr"):
            now = getattr(sys, name)
            if isinstance(now, _Tee) and now.thread == thread:
                setattr(sys, name, now.under)

    def write(self, text: str) -> int:
        """See io.TextIOBase."""
        if threading.get_ident() == self.thread:
            quiet.append(self.path, text)
            return len(text)
        return int(self.under.write(text) or 0)

    def flush(self) -> None:
        """See io.TextIOBase."""
        if threading.get_ident() != self.thread and self.under is not None:
            self.under.flush()

    def isatty(self) -> bool:
        """Never for that thread: so libraries draw no bars."""
        return threading.get_ident() != self.thread and bool(self.under.isatty())

    def fileno(self) -> int:
        """See io.IOBase."""
        return int(self.under.fileno())

    @property
    def encoding(self) -> str:  # type: ignore[override]
        """See io.TextIOBase."""
        return getattr(self.under, "encoding", None) or "utf-8"


def _stream(descriptor: int) -> TextIO:
    """A stream of our own to where DESCRIPTOR leads; to nowhere where it is closed."""
    try:
        copy = os.dup(descriptor)
    except OSError:
        copy = os.open(os.devnull, os.O_WRONLY)
    os.set_inheritable(copy, False)
    return os.fdopen(copy, "w", encoding="utf-8", errors="replace", buffering=1)


def _flush() -> None:
    """Empty Python's and C's buffers, so that nothing written before comes out in the wrong place."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError, AttributeError):
            stream.flush()
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).fflush(None)
