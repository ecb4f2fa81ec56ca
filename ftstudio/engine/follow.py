"""A process that trains along: told by the first one which run, it does all of the training and writes none of it."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

from ftstudio.core import files
from ftstudio.core.errors import StudioError
from ftstudio.core.run import RunFolder


class MuteRun(RunFolder):
    """A run that another process tells of."""

    def emit(self, kind: str, **fields: Any) -> dict[str, Any]:
        """Nothing is written."""
        return {"kind": kind, **fields}


def follow() -> int:
    """Train along with the first process of this launch; the exit status.

    Until it knows the run a signal ends it; from then on it ends when the first process does.
    """
    from ftstudio.engine import alerting, hardware, quiet, ranks, trouble
    from ftstudio.engine.capture import Capture

    Capture.install()  # what libraries print is no news: the first process's says the same
    quiet.libraries()
    hardware.apply_threads(hardware.threads())
    together = ranks.joined()
    told = together.tell()
    run = MuteRun(Path(told["folder"]))
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    status = 0
    with Capture.job(run.path / f"log.rank{together.rank}.txt"):
        try:
            _train(run, told, together)
        except BaseException as error:
            status = 1
            quiet.traceback(run.path / f"log.rank{together.rank}.txt", error)
            if not ranks.of_peers(error):
                together.fail(run, trouble.explain(error))
            elif together.heir(run):  # the first one was killed, and can't tell the world
                alerting.failed(run, together.gone(0, run), trouble.last_step(run))
                alerting.let_out()
    if status:
        os._exit(status)  # a group that broke may hang in its library's goodbye
    together.leave()
    return status


def _train(run: MuteRun, told: dict[str, Any], together: Any) -> None:
    from ftstudio.engine.context import JobContext
    from ftstudio.engine.control import Control
    from ftstudio.engine.models import ModelStore
    from ftstudio.engine.pulse import Pulse
    from ftstudio.engine.training import Training

    there = run.recipe_path.is_file()
    together.all_of(there)
    if not there:
        raise StudioError(f"{run.recipe_path} isn't on this machine.", "The workspace must be shared by all machines.")
    context = JobContext(
        folder=run,
        models=ModelStore(),
        should_stop=lambda: False,
        phase=lambda name, text: None,
        heartbeat=lambda: None,
    )
    control = Control(files.LineReader(Path(os.devnull)))
    Training(run, context, control, Pulse(run, telemetry=False), together).run(resuming=told["resume"])
