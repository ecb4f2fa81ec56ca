"""Libraries keep quiet: no progress bars, no prints; what they have to say goes to the job's log."""

from __future__ import annotations

import contextlib
import gc
import logging
import os
import threading
import time
import traceback as traces
import warnings
from collections.abc import Iterator
from pathlib import Path

from ftstudio.core.errors import StudioError
from ftstudio.core.text import clean
from ftstudio.engine.trouble import LOG

NAMES = ("transformers", "peft", "accelerate", "datasets", "huggingface_hub", "bitsandbytes", "torch", "py.warnings")
_done = threading.Event()
_importing = threading.Lock()


def environment() -> None:
    """What libraries read when they are imported. Call before importing any of them."""
    for key, value in {
        "TRANSFORMERS_VERBOSITY": "warning",
        "TRANSFORMERS_NO_ADVISORY_WARNINGS": "1",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "HF_DATASETS_DISABLE_PROGRESS_BARS": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "BITSANDBYTES_NOWELCOME": "1",
    }.items():
        os.environ.setdefault(key, value)


def libraries() -> None:
    """Import torch, transformers and peft, once, and send what they log to the job's log file.

    Threads wait for one another: transformers' lazy modules can't be imported by two at a time.
    """
    with _importing:
        if not _done.is_set():
            with unwatched():
                _import()
            _done.set()


@contextlib.contextmanager
def unwatched() -> Iterator[None]:
    """What is made meanwhile stays for good: Python's collector looks through none of it, now or later.

    The libraries are half a million objects, half a second each time that memory is given back (see `loading.free`).
    """
    on = gc.isenabled()
    gc.disable()
    try:
        yield
        gc.freeze()
    finally:
        if on:
            gc.enable()


def _import() -> None:
    environment()
    logging.captureWarnings(True)
    warnings.filterwarnings("ignore", category=FutureWarning, module=r"transformers|torch|peft|bitsandbytes")
    for name in NAMES:  # some speak while they are imported; those that bring handlers of their own come again below
        _to_log(logging.getLogger(name))
    import torch  # noqa: F401
    import transformers
    import transformers.utils.logging as told

    told.disable_progress_bar()
    told.disable_default_handler()
    told.set_verbosity_warning()
    import peft  # noqa: F401
    from transformers import AutoModelForCausalLM, Trainer  # noqa: F401  imported lazily by transformers, so now

    del transformers
    for name in NAMES:
        _to_log(logging.getLogger(name))


class JobLog(logging.Handler):
    """Writes records to the log file of the job that runs now; drops them where none does."""

    path: Path | None = None

    def emit(self, record: logging.LogRecord) -> None:
        """See logging.Handler."""
        if self.path is not None:
            append(self.path, self.format(record) + "\n")


_handler = JobLog()
_handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s", "%H:%M:%S"))


def _to_log(logger: logging.Logger) -> None:
    for handler in list(logger.handlers):
        if isinstance(handler, logging.StreamHandler) and not isinstance(handler, logging.FileHandler):
            logger.removeHandler(handler)
    if _handler not in logger.handlers:
        logger.addHandler(_handler)
    logger.propagate = False


def log_to(path: Path | None) -> Path | None:
    """Send the libraries' log records to PATH from now on; what it was before is returned."""
    before, _handler.path = _handler.path, path
    return before


def append(path: Path, text: str) -> None:
    """Append TEXT to the log at PATH; a log that can't be written is no reason to fail."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(path, "a", encoding="utf-8", errors="replace") as file:
            file.write(text)
    except OSError:
        pass


def traceback(path: Path, error: BaseException) -> None:
    """Append the traceback of ERROR to the log at PATH."""
    append(path, time.strftime("%H:%M:%S ") + "".join(traces.format_exception(error)))


def failure(path: Path, error: BaseException, told: StudioError, step: int | None) -> None:
    """Append to the log at PATH how a job failed by ERROR after STEP: the traceback where somebody else's code raised
    it, and then, where the log is opened, what the screens say of it (TOLD) and the way out."""
    if not isinstance(error, StudioError) or error.__cause__ is not None:
        traceback(path, error)
    at = f" at step {step}" if step else ""
    hint = f"\n  {clean(told.hint, 1000)}" if told.hint not in ("", LOG) else ""
    append(path, f"{time.strftime('%H:%M:%S')} failed{at}: {clean(told.message, 1000)}{hint}\n")


def note(text: str) -> None:
    """A line for the log of the job that runs now, if any."""
    if _handler.path is not None:
        append(_handler.path, time.strftime("%H:%M:%S ") + text + "\n")
