"""Processes that have torch loaded already: one process imports the libraries once and forks what tests ask for.

Each is a process of its own, with its own session, terminal, environment and signals, that runs the real command line;
only the seconds in which libraries are imported are spared.
"""

from __future__ import annotations

import contextlib
import json
import os
import pty
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


class Nursery:
    """`start` forks a process that runs a Python program; `status` says how it ended. One a test session."""

    def __init__(self) -> None:
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1"}
        self._mother = subprocess.Popen(
            [sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment,
            start_new_session=True,
        )  # fmt: skip
        self._ended: dict[int, int] = {}

    def _ask(self, **question: object) -> int | None:
        assert self._mother.stdin is not None
        assert self._mother.stdout is not None
        self._mother.stdin.write(json.dumps(question) + "\n")
        self._mother.stdin.flush()
        answer: int | None = json.loads(self._mother.stdout.readline())
        return answer

    def start(
        self, program: Path | None, words: Sequence[str], *, cwd: Path, env: Mapping[str, str] | None = None,
        terminal: str | None = None, out: Path | None = None, errors: Path | None = None,
    ) -> int:  # fmt: skip
        """The id of a new process that runs PROGRAM (None: `python -m ftstudio`) with WORDS, on the TERMINAL (a pty's
        path) or with its output in the files OUT and ERRORS."""
        process = self._ask(
            program=str(program) if program is not None else None, words=list(words), cwd=str(cwd),
            env=dict(env or {}), terminal=terminal, out=str(out or os.devnull), errors=str(errors or out or os.devnull),
        )  # fmt: skip
        assert process is not None
        return process

    def status(self, process: int) -> int | None:
        """The exit status of PROCESS (negative: the signal that ended it); None while it runs."""
        if process not in self._ended:
            status = self._ask(wait=process)
            if status is None:
                return None
            self._ended[process] = status
        return self._ended[process]

    def wait(self, process: int, seconds: float = 120.0) -> int:
        """The same, once it has ended. Raises AssertionError after so many SECONDS."""
        end = time.monotonic() + seconds
        while (status := self.status(process)) is None:
            assert time.monotonic() < end, f"process {process} goes on after {seconds} s"
            time.sleep(0.05)
        return status

    def close(self) -> None:
        """End it; what it forked goes on."""
        assert self._mother.stdin is not None
        self._mother.stdin.close()
        self._mother.wait(10)


def _run(question: dict[str, object]) -> None:
    """In the child: become what was asked for."""
    os.setsid()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    terminal = question["terminal"]
    if terminal:
        handle = os.open(str(terminal), os.O_RDWR)  # the first one that a session's leader opens is its own
        handles = (handle, handle, handle)
    else:
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
        handles = (
            os.open(os.devnull, os.O_RDONLY),
            os.open(str(question["out"]), flags, 0o644),
            os.open(str(question["errors"]), flags, 0o644),
        )
    for number, handle in enumerate(handles):
        os.dup2(handle, number)
    os.closerange(3, 256)
    os.environ.update(question["env"])  # type: ignore[call-overload]
    os.chdir(str(question["cwd"]))
    for stream, (mode, number) in {"stdin": ("r", 0), "stdout": ("w", 1), "stderr": ("w", 2)}.items():
        made = os.fdopen(number, mode, buffering=1, closefd=False, encoding="utf-8")
        setattr(sys, stream, made)
        setattr(sys, f"__{stream}__", made)
    program = question["program"]
    sys.argv = [str(program or "ftstudio"), *question["words"]]  # type: ignore[misc]
    import runpy

    status = 1
    try:
        if program:
            runpy.run_path(str(program), run_name="__main__")
        else:
            runpy.run_module("ftstudio", run_name="__main__")
        status = 0
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else 0 if end.code is None else 1
    except BaseException:
        import traceback

        traceback.print_exc()
    # as an interpreter ends: other threads are waited for
    import threading

    threading._shutdown()  # type: ignore[attr-defined]
    with contextlib.suppress(OSError, ValueError):
        sys.stdout.flush()
    os._exit(status)


def _mother() -> None:
    """Import what training needs, then fork on demand until the tests close the pipe."""
    import resource

    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    from ftstudio.engine import quiet

    quiet.libraries()
    import accelerate
    import transformers.trainer

    from ftstudio.engine import compare, ranked, training  # noqa: F401

    del accelerate, transformers
    for line in sys.stdin:
        question = json.loads(line)
        answer: int | None
        if "wait" in question:
            try:
                process, status = os.waitpid(question["wait"], os.WNOHANG)
                answer = os.waitstatus_to_exitcode(status) if process else None
            except ChildProcessError:
                answer = 0
        else:
            answer = os.fork()
            if not answer:
                _run(question)
        print(json.dumps(answer), flush=True)
    os._exit(0)


def open_terminal() -> tuple[int, str]:
    """(our end of a new pty, the path of the other)."""
    ours, theirs = pty.openpty()
    name = os.ttyname(theirs)
    os.close(theirs)
    return ours, name


if __name__ == "__main__":
    _mother()
