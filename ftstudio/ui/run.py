"""Opens the studio on this terminal, and sees to what happens to a running job when the screen goes."""

from __future__ import annotations

import os
import sys
import traceback
from pathlib import Path
from typing import TYPE_CHECKING

from ftstudio.core import files
from ftstudio.core.errors import StudioError, UsageError
from ftstudio.core.text import one_line
from ftstudio.core.workspace import Workspace
from ftstudio.ui.shell.signals import Signals, Unbroken

if TYPE_CHECKING:
    from ftstudio.core.jobs import Job
    from ftstudio.core.recipe import Recipe
    from ftstudio.ui.shell.session import Session


def usable_terminal() -> bool:
    """Whether there is a terminal that can show screens."""
    # Textual draws on stderr
    terminal = sys.stdin.isatty() and sys.stdout.isatty() and sys.stderr.isatty()
    return terminal and os.environ.get("TERM", "dumb") not in ("", "dumb")


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
    # Read when textual is imported: no animations. A key that comes just after a frame waits for the next, so they are
    # close; those that a slow link has no time for are left out (see `shell/thrift.py`).
    os.environ.setdefault("TEXTUAL_ANIMATIONS", "none")
    os.environ.setdefault("TEXTUAL_FPS", "120")
    os.environ.setdefault("TEXTUAL_SMOOTH_SCROLL", "0")
    sys.setswitchinterval(0.001)  # the worker's pure-Python stretches must not hold the keys up

    from ftstudio.engine.quiet import unwatched

    with unwatched():
        from ftstudio.engine.capture import Capture
        from ftstudio.ui.shell.app import StudioApp
        from ftstudio.ui.shell.session import Session

    session = Session(workspace, recipe, source)
    if run is not None:
        session.view_run(workspace.run(run))
    else:
        session.adopt()
    capture = Capture.install()
    signals = Signals(capture.release_terminal)
    signals.install()
    try:
        if job is not None:
            session.submit(job)
        if start is None:
            start = "train" if run is not None or session.live else "runs" if session.feed is not None else "data"
        app = StudioApp(session, start, signals)
        screen, sys.__stderr__ = sys.__stderr__, Unbroken(sys.__stderr__)  # type: ignore
        try:
            outcome = app.run(mouse=mouse)
        finally:
            sys.__stderr__ = screen  # type: ignore
            signals.listen(None)
            signals.without_screen()
            if signals.hung_up:
                capture.release_terminal()
            else:
                capture.restore()
        if not signals.hung_up:
            _tell_fault(app._exception, workspace)
        return _finish(session, signals, outcome, int(app.return_code or 0))
    finally:
        session.close()
        signals.restore()


def _tell_fault(error: BaseException | None, workspace: Workspace) -> None:
    """Say what ended the screen, now that the terminal is the shell's again; its traceback is kept in a file."""
    if error is None:
        return
    path: Path | None = workspace.path / "fault.txt"
    try:
        files.write(workspace.path / "fault.txt", "".join(traceback.format_exception(error)))
    except StudioError:
        path = None
    kept = f" What happened stands in {path}." if path is not None else ""
    said = one_line(f"{type(error).__name__}: {error}", 300)
    print(
        f"The screen has failed ({said}).{kept} Your files are as they were; `ftstudio` opens it again.",
        file=sys.stderr,
    )


def _finish(session: Session, signals: Signals, outcome: str | None, code: int) -> int:
    """See what runs here to its end, or stop it, as was chosen. Gives back the exit status."""
    if not session.busy:
        return 130 if signals.stop else code
    asked = outcome == "stop" or signals.stop > 0
    if not asked:
        name = getattr(session.current_folder(), "name", "it")
        if outcome is None and not signals.hung_up:
            print("The screen has failed, training has not.", flush=True)
        print(f"Going on with {name} headless. ctrl+c saves a checkpoint and stops;", flush=True)
        print("`ftstudio` in another terminal shows it live.", flush=True)
        while not session.worker.join(0.5):
            if signals.stop:
                asked = True
                break
    if asked:
        came, waits = signals.stop, False
        print("Saving a checkpoint and stopping …", flush=True)
        while not session.worker.stop(0.5):
            if signals.stop > came:
                came = signals.stop
                session.worker.ask_stop()
                print("Asked once more; it ends as soon as what it saves is saved.", flush=True)
            elif not waits and (folder := session.current_folder()) is not None and folder.state() == "paused":
                waits = True
                print("The disk has no room for its checkpoint: it waits for some. ctrl+c: without one.", flush=True)
    return 130 if signals.stop else code
