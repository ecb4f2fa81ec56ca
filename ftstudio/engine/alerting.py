"""Tells the world of an alert, and of a run that failed: a program of the person's, an address of theirs. Never waited
for, never fatal."""

from __future__ import annotations

import atexit
import contextlib
import http.client
import json
import os
import shlex
import subprocess
import threading
import time
import urllib.request
from collections import deque
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ftstudio.core import ending
from ftstudio.core.errors import StudioError
from ftstudio.core.folder import JobFolder
from ftstudio.core.run import RunFolder
from ftstudio.core.watch import Watch
from ftstudio.engine import quiet
from ftstudio.engine.watchdog import Fault

UNWRITTEN: deque[str] = deque(maxlen=20)
"""Alerts that no event could be written of, for the command line to say."""

TIMEOUT = 30.0  # seconds a program may take, and an address to answer
LAST = 5.0  # seconds that the process waits at its end for what is being told: often that the run has failed
_telling: deque[threading.Thread] = deque(maxlen=20)
_told: dict[Path, str] = {}  # what was told of each run last, where that may be why it fails

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
    tell(watch, folder.name, event)
    _told[folder.path] = text if deed == "stop" else ""
    with contextlib.suppress(StudioError):
        folder.emit("alert", **event)
    if folder.unwritten is not None:  # a full disk takes no event: whoever runs this process says it
        UNWRITTEN.append(text)


def begins(folder: JobFolder) -> None:
    """FOLDER's run begins, or goes on: what it fails by now is news, though it may have failed by the same before."""
    _told.pop(folder.path, None)


def say(folder: JobFolder, watch: Watch, level: str, text: str, hint: str = "", *, step: int | None = None) -> None:
    """Write an alert that is none of WATCH's faults into FOLDER's events; and `tell` of it, where it is a warning, or
    an error that isn't what was told last. Raises StudioError where it can't be written."""
    event = {"level": level, "text": text, **({"hint": hint} if hint else {})}
    if level == "warning" or (level == "error" and _told.get(folder.path) != text):
        tell(watch, folder.name, {**event, "step": step})
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
        tell(watch, run.name, event)


def tell(watch: Watch, run: str, event: Mapping[str, Any]) -> threading.Thread | None:
    """Start WATCH's command and post to its webhook, both about EVENT of RUN; None where there is neither.

    The command gets no shell: its words are split as a shell would, and FTSTUDIO_RUN, _LEVEL, _WATCH, _STEP and _TEXT
    stand in its environment.
    """
    if watch.command is None and watch.webhook is None:
        return None
    told = {"run": run, **{key: event.get(key) for key in ("level", "watch", "step", "text", "action")}}
    thread = threading.Thread(target=_tell, args=(watch, told), name="ftstudio-alert", daemon=True)
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


def _tell(watch: Watch, told: Mapping[str, Any]) -> None:
    if watch.command is not None:
        with contextlib.suppress(OSError):
            quiet.note(_command(watch.command, told))
    if watch.webhook is not None:
        with contextlib.suppress(OSError):
            quiet.note(_post(watch.webhook, told))


def _command(command: str, told: Mapping[str, Any]) -> str:
    named = {f"FTSTUDIO_{key.upper()}": "" if value is None else str(value) for key, value in told.items()}
    try:
        done = subprocess.run(
            shlex.split(command), env={**os.environ, **named}, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL, timeout=TIMEOUT, check=False, start_new_session=True,
        )  # fmt: skip
    except (OSError, ValueError, subprocess.TimeoutExpired) as error:
        return f"training.watch.command: {error}"
    return f"training.watch.command ended with {done.returncode}"


def _post(address: str, told: Mapping[str, Any]) -> str:
    body = json.dumps(told).encode()
    request = urllib.request.Request(address, body, {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT) as answer:  # http or https: checked in the recipe
            return f"training.watch.webhook answered {answer.status}"
    except (OSError, ValueError, http.client.HTTPException) as error:
        return f"training.watch.webhook: {error}"
