"""Opens the studio on this terminal, and sees to what happens to a running job when the screen goes."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from ftstudio.core.errors import UsageError
from ftstudio.core.workspace import Workspace

if TYPE_CHECKING:
    from ftstudio.core.jobs import Job
    from ftstudio.core.recipe import Recipe


def usable_terminal() -> bool:
    """Whether there is a terminal that can show screens."""
    return sys.stdin.isatty() and sys.stdout.isatty() and os.environ.get("TERM", "dumb") not in ("", "dumb")


def require_terminal() -> None:
    """Raises UsageError where there is no terminal that can show screens."""
    if not usable_terminal():
        raise UsageError(
            "There is no terminal here that can show the studio.",
            "Headless: `ftstudio demo --headless`, `ftstudio train RECIPE`, `ftstudio --help`.",
        )


def open_studio(
    workspace: Workspace, *, recipe: Recipe | None = None, source: str = "", start: str | None = None,
    run: str | None = None, mouse: bool = True, job: Job | None = None,
) -> int:  # fmt: skip
    """Run the studio until the person leaves; JOB is begun at once. Gives back the exit status.

    Raises UsageError without a terminal.
    """
    require_terminal()
    # Read when textual is imported: no animations, and frames no faster than a slow link can take.
    os.environ.setdefault("TEXTUAL_ANIMATIONS", "none")
    os.environ.setdefault("TEXTUAL_FPS", "30")
    os.environ.setdefault("TEXTUAL_SMOOTH_SCROLL", "0")
    sys.setswitchinterval(0.001)  # the worker's pure-Python stretches must not hold the keys up

    from ftstudio.engine.capture import Capture

    capture = Capture.install()
    from ftstudio.ui.shell.app import StudioApp
    from ftstudio.ui.shell.session import Session

    session = Session(workspace, recipe, source)
    if run is not None:
        session.view_run(workspace.run(run))
    else:
        session.adopt()
    if job is not None:
        session.submit(job)
    if start is None:
        start = "train" if session.feed is not None else "runs" if workspace.runs() else "data"
    app = StudioApp(session, start)
    outcome = app.run(mouse=mouse)
    if outcome == "hangup":
        capture.release_terminal()
    else:
        capture.restore()
    if session.busy:
        if outcome == "stop" or outcome is None:
            if outcome == "stop":
                print("Saving a checkpoint and stopping …", flush=True)
            session.worker.stop()
        else:
            if outcome == "headless":
                print(
                    "Going on headless; ctrl+c checkpoints and stops. `ftstudio` in another terminal shows it.",
                    flush=True,
                )
            try:
                session.worker.join()
            except KeyboardInterrupt:
                session.worker.stop()
    if app.return_code and outcome is None:
        return int(app.return_code)
    return 0
