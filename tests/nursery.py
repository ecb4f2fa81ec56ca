"""Processes that have torch loaded already: one process imports the libraries once and forks what tests ask for.

Each is a process of its own, with its own session, terminal, environment and signals, that runs the real command line;
only the seconds in which libraries are imported are spared.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import selectors
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


class Nursery:
    """`start` forks a process that runs a Python program; `status` says how it ended. PLACE: a folder that all who are
    to share one mother name; the first of them starts it, and it ends with the last."""

    def __init__(self, place: Path) -> None:
        address = place / "nursery"
        with contextlib.suppress(FileExistsError):
            (place / "nursery.begun").mkdir()
            around = {key: value for key, value in os.environ.items() if key not in ("COLUMNS", "LINES")}
            environment = {**around, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1"}
            command = [sys.executable, __file__, str(address)]
            subprocess.Popen(command, stdin=subprocess.DEVNULL, env=environment, start_new_session=True)
        self._line = socket.socket(socket.AF_UNIX)
        end = time.monotonic() + 150
        while True:
            try:
                self._line.connect(str(address))
                break
            except (FileNotFoundError, ConnectionRefusedError):
                assert time.monotonic() < end, "the libraries aren't imported after 150 s"
                time.sleep(0.05)
        self._answers = self._line.makefile()
        self._ended: dict[int, int] = {}

    def _ask(self, **question: object) -> int | None:
        self._line.sendall((json.dumps(question) + "\n").encode())
        answer: int | None = json.loads(self._answers.readline())
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

    def wait(self, process: int, seconds: float = 170.0) -> int:
        """The same, once it has ended. Raises AssertionError after so many SECONDS."""
        end = time.monotonic() + seconds
        while (status := self.status(process)) is None:
            assert time.monotonic() < end, f"process {process} goes on after {seconds} s"
            time.sleep(0.05)
        return status

    def close(self) -> None:
        """Let go of the mother; what was forked goes on."""
        self._answers.close()
        self._line.close()


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


def _mother(address: str) -> None:
    """Import what training needs, then fork on demand until everyone has let go."""
    from ftstudio.engine import quiet

    quiet.libraries()
    import accelerate
    import transformers.trainer

    from ftstudio.engine import compare, ranked, training  # noqa: F401

    del accelerate, transformers
    gc.collect()
    gc.freeze()  # what all have in common is not looked through (and so copied) by each
    door = socket.socket(socket.AF_UNIX)
    door.bind(address)
    door.listen()
    chosen = selectors.DefaultSelector()
    chosen.register(door, selectors.EVENT_READ)
    while len(chosen.get_map()) > 1 or chosen.select(5):
        for key, _ in chosen.select():
            if key.fileobj is door:
                line = door.accept()[0]
                chosen.register(line, selectors.EVENT_READ, line.makefile())
                continue
            asked = key.data.readline()
            if asked:
                key.fileobj.sendall((json.dumps(_answer(json.loads(asked))) + "\n").encode())  # type: ignore[union-attr]
            else:
                chosen.unregister(key.fileobj)
    os._exit(0)


def _answer(question: dict[str, object]) -> int | None:
    """How a process ended, or the id of a new one."""
    if "wait" in question:
        try:
            process, status = os.waitpid(int(str(question["wait"])), os.WNOHANG)
        except ChildProcessError:
            return 0
        return os.waitstatus_to_exitcode(status) if process else None
    process = os.fork()
    if not process:
        _run(question)
    return process


if __name__ == "__main__":
    _mother(sys.argv[1])
