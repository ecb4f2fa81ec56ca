"""The guard over standard output, on a real pseudo-terminal: nothing but the screen's own writing reaches it."""

from __future__ import annotations

import os
import pty
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

from ftstudio.engine.capture import Capture

START = """
import ctypes, os, subprocess, sys, threading, time
from pathlib import Path
from ftstudio.engine.capture import Capture
log = Path(sys.argv[1])
def noise(where):
    print(f"python {where}")
    print(f"python error {where}", file=sys.stderr)
    os.write(1, f"raw {where}\\n".encode())
    os.write(2, f"raw error {where}\\n".encode())
    ctypes.CDLL(None).puts(f"stdio {where}".encode())
    subprocess.run(["sh", "-c", f"echo child {where}; echo child error {where} >&2"])
"""


def on_a_terminal(code: str, *arguments: str, seconds: float = 30, until: bytes | None = None) -> tuple[str, int, int]:
    """Run START + CODE on a pseudo-terminal: (what the terminal got, its master, process). Ends at exit or UNTIL."""
    process, master = pty.fork()
    if not process:
        os.execv(sys.executable, [sys.executable, "-c", START + code, *arguments])
    got = b""
    end = time.monotonic() + seconds
    while time.monotonic() < end and (until is None or until not in got):
        if select.select([master], [], [], 0.1)[0]:
            try:
                part = os.read(master, 65536)
            except OSError:  # Linux's way to say that the other side is closed
                break
            if not part:
                break
            got += part
    return got.decode(), master, process


KINDS = ("python", "python error", "raw", "raw error", "stdio", "child", "child error")


def test_all_ways_to_print_end_in_the_jobs_log(tmp_path: Path):
    log = tmp_path / "run" / "log.txt"
    got, master, process = on_a_terminal(
        """
noise("before")
guard = Capture.install()
assert Capture.install() is guard
noise("between")
with Capture.job(log):
    noise("job")
    sys.__stdout__.write(f"SCREEN {os.get_terminal_size(sys.__stdout__.fileno()).columns}\\n")
    sys.__stderr__.write("SCREEN2\\n")
    ctypes.CDLL(None).printf(b"stdio kept back")  # no newline: it sits in C's buffer
noise("after")
sys.__stdout__.flush(), sys.__stderr__.flush()
guard.restore()
noise("restored")
""",
        str(log),
    )
    os.waitpid(process, 0)
    os.close(master)
    lines = [line for line in got.replace("\r", "").split("\n") if line]
    assert "SCREEN 80" in lines or "SCREEN 0" in lines
    assert "SCREEN2" in lines
    rest = [line for line in lines if not line.startswith("SCREEN")]
    assert sorted(rest) == sorted(f"{kind} {where}" for kind in KINDS for where in ("before", "restored"))
    written = log.read_text()
    for kind in KINDS:
        assert f"{kind} job\n" in written
    assert "stdio kept back" in written
    assert "between" not in written
    assert "after" not in written


def test_a_job_goes_on_when_the_screen_is_given_back(tmp_path: Path):
    log = tmp_path / "log.txt"
    got, master, process = on_a_terminal(
        """
guard = Capture.install()
begun, left, over = threading.Event(), threading.Event(), threading.Event()
def job():
    with Capture.job(log):
        noise("one")
        begun.set(); left.wait()
        noise("two")
    over.set()
thread = threading.Thread(target=job); thread.start(); begun.wait()
guard.restore()
print("Going on headless")
left.set(); over.wait(); thread.join()
print("Ended")
os.write(1, b"raw end\\n")
""",
        str(log),
    )
    os.waitpid(process, 0)
    os.close(master)
    assert got.replace("\r", "").split() == ["Going", "on", "headless", "Ended", "raw", "end"]
    written = log.read_text()
    assert all(f"{kind} {where}" in written for kind in KINDS for where in ("one", "two"))


def test_a_screen_that_swallowed_prints_and_left_does_not_let_the_job_through(tmp_path: Path):
    """As under Textual: a stream is put over standard output before the job begins, and taken away in the middle."""
    log = tmp_path / "log.txt"
    got, master, process = on_a_terminal(
        """
import contextlib, io
guard = Capture.install()
begun, left = threading.Event(), threading.Event()
def job():
    with Capture.job(log):
        noise("one")
        begun.set(); left.wait()
        noise("two")
thread = threading.Thread(target=job)
with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
    thread.start(); begun.wait()
guard.restore()
print("Going on")
left.set(); thread.join()
print("Ended")
""",
        str(log),
    )
    os.waitpid(process, 0)
    os.close(master)
    assert got.replace("\r", "").split() == ["Going", "on", "Ended"]
    written = log.read_text()
    assert all(f"{kind} {where}" in written for kind in KINDS for where in ("one", "two"))


def test_a_hang_up_lets_go_of_the_terminal(tmp_path: Path):
    """After the terminal is gone, the job writes on and the process ends by itself."""
    log = tmp_path / "log.txt"
    _, master, process = on_a_terminal(
        """
import signal
guard = Capture.install()
gone = threading.Event()
signal.signal(signal.SIGHUP, lambda *_: gone.set())
sys.__stdout__.write("READY\\n"); sys.__stdout__.flush()
with Capture.job(log):
    gone.wait(20)
    guard.release_terminal()
    assert os.read(0, 1) == b""
    sys.__stdout__.write("to nobody\\n"); sys.__stdout__.flush()
    print("python error still", file=sys.stderr)
    noise("after the hang-up")
print("ended"); sys.stdout.flush()
(log.parent / "end").write_text("well")
""",
        str(log),
        until=b"READY",
    )
    os.close(master)  # the kernel sends SIGHUP
    for _ in range(200):
        found, status = os.waitpid(process, os.WNOHANG)
        if found:
            break
        time.sleep(0.1)
    else:
        os.kill(process, signal.SIGKILL)
        raise AssertionError("it did not end")
    assert os.waitstatus_to_exitcode(status) == 0
    assert (tmp_path / "end").read_text() == "well"
    assert all(f"{kind} after the hang-up" in log.read_text() for kind in KINDS)


def test_without_a_guard_the_jobs_own_prints_still_go_to_its_log(tmp_path: Path, capfd):
    log = tmp_path / "log.txt"
    with Capture.job(log):
        print("from the job")
    print("from outside")
    assert "from the job" in log.read_text()
    assert capfd.readouterr().out == "from outside\n"


def test_spawned_children_work_under_a_guard(tmp_path: Path):
    code = """
import sys
from pathlib import Path
from ftstudio.engine.capture import Capture
if __name__ == "__main__":
    guard = Capture.install()
    import multiprocessing
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        found = pool.map(abs, [-3])
    guard.restore()
    print(found)
"""
    script = tmp_path / "script.py"
    script.write_text(code)
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, timeout=60)
    assert done.stdout == "[3]\n", done.stderr
