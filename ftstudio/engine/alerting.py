"""Tells the world of an alert, and of a run that failed: a command of the person's, an address of theirs. Never waited
for, never fatal."""

from __future__ import annotations

import atexit
import contextlib
import http.client
import json
import os
import signal
import subprocess
import tempfile
import threading
import time
import urllib.request
from collections import deque
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

from ftstudio.core import ending
from ftstudio.core.errors import StudioError
from ftstudio.core.folder import JobFolder
from ftstudio.core.run import RunFolder
from ftstudio.core.text import clean, one_line
from ftstudio.core.watch import Watch
from ftstudio.engine import quiet
from ftstudio.engine.watchdog import Fault

UNWRITTEN: deque[str] = deque(maxlen=20)
"""Alerts that no event could be written of, for the command line to say."""

TIMEOUT = 30.0  # seconds a program may take, and an address to answer
SAID = 300  # bytes of what a command that failed wrote to its standard error that are told
LAST = 5.0  # seconds that the process waits at its end for what is being told: often that the run has failed
_telling: deque[threading.Thread] = deque(maxlen=20)
_told: dict[Path, str] = {}  # what was told of each run last, where that may be why it fails
_failing: set[tuple[Path, str]] = set()  # by which settings nobody hears of which run, which was said
_lock = threading.Lock()

DEEDS = {
    "pause": "The run is paused",
    "stop": "The run is stopped",
    "rollback": "It goes back to the last good checkpoint, with a lower learning rate",
}


def emit(folder: JobFolder, watch: Watch, fault: Fault, deed: str, step: int | None) -> None:
    """Write the alert of FAULT at STEP, and of the DEED that WATCH answers it with, into FOLDER's events; and `tell`.
    From any thread."""
    text = fault.text + ("" if deed == "alert" else f" {DEEDS[deed]}.")
    early = deed == "stop" and fault.kind == "eval_rising"  # it is done already, what the hint says
    event = {
        "level": "error" if fault.kind == "not_finite" or deed != "alert" else "warning",
        "text": text,
        "hint": "" if early else fault.hint,
        "watch": fault.kind,
        "action": deed,
        "step": step,
    }
    tell(watch, folder, event)
    _told[folder.path] = text if deed == "stop" else ""
    with contextlib.suppress(StudioError):
        folder.emit("alert", **event)
    if folder.unwritten is not None:  # a full disk takes no event: whoever runs this process says it
        UNWRITTEN.append(text)


def waits(folder: JobFolder, watch: Watch, text: str) -> None:
    """Say that FOLDER's run, which has no room to write how it ended, waits for some: TEXT. That is no event, which
    would have none either."""
    tell(watch, folder, {"level": "error", "watch": "disk", "step": None, "text": text, "action": "pause"})
    UNWRITTEN.append(text)


def begins(folder: JobFolder) -> None:
    """FOLDER's run begins, or goes on: what it fails by now is news, though it may have failed by the same before."""
    _told.pop(folder.path, None)
    with _lock:
        _failing.difference_update([known for known in _failing if known[0] == folder.path])


def say(
    folder: JobFolder, watch: Watch, level: str, text: str, hint: str = "", *, step: int | None = None, **more: int
) -> None:
    """Write an alert that is none of WATCH's faults into FOLDER's events, with MORE; and `tell` of it, where it is a
    warning, or an error that isn't what was told last. Raises StudioError where it can't be written."""
    event = {"level": level, "text": text, **({"hint": hint} if hint else {}), **more}
    if level == "warning" or (level == "error" and _told.get(folder.path) != text):
        tell(watch, folder, {**event, "step": step})
    if level == "error":
        _told[folder.path] = text
    folder.emit("alert", **event)


def failed(run: RunFolder, error: StudioError, step: int | None) -> None:
    """Tell of RUN, which failed by ERROR after STEP, as its recipe says: once, and not where the alert of what ended it
    told so already. From any thread."""
    from ftstudio.engine.recipes import load_recipe

    if _told.get(run.path, "").startswith(error.message):
        return
    with contextlib.suppress(StudioError, OSError):  # without its recipe there is nobody to tell
        watch = load_recipe(run.recipe_path).training.watch
        _told[run.path] = error.message
        event = {"level": "error", "text": f"The run has failed: {error.message}", "action": "failed", "step": step}
        tell(watch, run, event)


def tell(watch: Watch, folder: JobFolder, event: Mapping[str, Any]) -> threading.Thread | None:
    """Start WATCH's command and post to its webhook, both about EVENT of FOLDER's run; None where there is neither.

    The command is a line for `sh`, the person's own. What it is told stands in its environment alone, FTSTUDIO_RUN,
    _LEVEL, _WATCH, _STEP, _TEXT and _ACTION: texts may come from data and models. Where it fails, or nobody answers at
    the address, that is an alert itself, once a session, which is told nowhere but in FOLDER's events.
    """
    if watch.command is None and watch.webhook is None:
        return None
    told = {"run": folder.name, **{key: event.get(key) for key in ("level", "watch", "step", "text", "action")}}
    thread = threading.Thread(target=_tell, args=(watch, folder, told), name="ftstudio-alert", daemon=True)
    thread.start()
    if not _telling:
        atexit.register(let_out)
        ending.before.append(let_out)
    _telling.append(thread)
    return thread


def let_out() -> None:
    """Wait for what is being told, but for no more than `LAST` seconds."""
    end = time.monotonic() + LAST
    for thread in _telling:
        thread.join(max(0.0, end - time.monotonic()))


def _tell(watch: Watch, folder: JobFolder, told: Mapping[str, Any]) -> None:
    for way, where, send in (("command", watch.command, _command), ("webhook", watch.webhook, _post)):
        if where is None:
            continue
        key, trouble = f"training.watch.{way}", send(where, told)
        with contextlib.suppress(OSError):
            quiet.note(f"{key}: {trouble or 'told'}")
        if trouble:
            _unheard(folder, key, trouble)


def _unheard(folder: JobFolder, key: str, trouble: str) -> None:
    """Say once a session of FOLDER's run that nobody hears of its alerts by the setting KEY, for TROUBLE."""
    with _lock:
        if (folder.path, key) in _failing:
            return
        _failing.add((folder.path, key))
    text = f"Nobody was told of an alert by {key}: {trouble}."
    hint = "Alerts still stand here. Mend the line in the run's recipe.yaml: it counts once the run goes on anew."
    with contextlib.suppress(StudioError, OSError):
        folder.emit("alert", level="warning", text=text, hint=hint)


def _command(command: str, told: Mapping[str, Any]) -> str:
    """Run COMMAND about what is TOLD; gives back in words what went wrong."""
    named = {f"FTSTUDIO_{key.upper()}": clean(value) for key, value in told.items()}  # no zero bytes, above all
    try:
        with tempfile.TemporaryFile() as errors:  # no pipe: what the line leaves running may hold on to it
            process = subprocess.Popen(
                ["sh", "-c", command], env={**os.environ, **named}, stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL, stderr=errors, start_new_session=True,
            )  # fmt: skip
            try:
                status = process.wait(TIMEOUT)
            except subprocess.TimeoutExpired:
                with contextlib.suppress(OSError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait()
                return f"it took longer than {TIMEOUT:.0f} s and was ended"
            return "" if not status else _ended(status, errors)
    except (OSError, ValueError) as error:
        return one_line(error, 300)


def _ended(status: int, errors: IO[bytes]) -> str:
    """How a command ended that failed: its exit STATUS, and the end of what it wrote to ERRORS."""
    errors.seek(max(0, errors.seek(0, os.SEEK_END) - SAID))
    said = one_line(errors.read().decode("utf-8", "replace"), SAID)
    by = f"it was ended by signal {-status}" if status < 0 else f"it ended with exit status {status}"
    return by + (f" ({said})" if said else ", without a word")


def _post(address: str, told: Mapping[str, Any]) -> str:
    """Post what is TOLD to ADDRESS; gives back in words what went wrong."""
    body = json.dumps(told).encode()
    request = urllib.request.Request(address, body, {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT):  # http or https: checked in the recipe
            return ""
    except (OSError, ValueError, http.client.HTTPException) as error:
        return one_line(error, SAID)
