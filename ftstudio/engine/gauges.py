"""What looks at the model while it trains and isn't needed for that: samples, the gauge of forgetting."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from ftstudio.core.errors import DiskFull, Stopped
from ftstudio.engine import loading, quiet, trouble


def trouble_of(gauge: Callable[[Any, int], None], trainer: Any, step: int, log: Path) -> str | None:
    """Let GAUGE look at TRAINER's model; in words what went wrong, None where nothing did. The traceback goes to LOG.

    Raises what training can't go on after or decides elsewhere: a full disk, a stop, a GPU that failed. That another
    process has taken over is seen as soon as it is told.
    """
    try:
        gauge(trainer, step)
    except (DiskFull, Stopped):
        raise
    except Exception as error:
        if trouble.of_gpu(error):
            raise
        told = trouble.explain(error).message
        quiet.traceback(log, error)
        trouble.drop_frames(error)
    else:
        return None
    loading.free()  # out here, where nothing holds the frames any more
    return told
