"""The command line. Starts in a blink: each command imports what it needs when it is run.

parser.py     what can be typed          output.py    plain text or one JSON document
follow.py     a job run headless, told   studio.py    the screens, the demo
train.py      train, launch, plan                inspect.py   data, errors, compare
versions.py   data: versions of a dataset        votes.py     compare: the tally of blind votes
runs.py       runs and their control     checkup.py   doctor
export.py     a run's model for others
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command. Exit status: 0 done, 1 found problems or failed, 2 used wrongly, 130 stopped."""
    from ftstudio.cli.parser import parse

    words = list(sys.argv[1:] if argv is None else argv)
    arguments = parse(words)
    from ftstudio.cli.output import Out
    from ftstudio.core.ending import end

    out = Out(json=getattr(arguments, "json", False))
    try:
        return end(_run(arguments, out))
    except KeyboardInterrupt:
        out.error("Stopped.", "", 130)
        return end(130)
    except BrokenPipeError:
        out.discard()
        return end(1)


def _run(arguments: object, out: object) -> int:
    import importlib

    from ftstudio.cli.output import Out
    from ftstudio.core.errors import StudioError
    from ftstudio.core.launch import place

    assert isinstance(out, Out)
    if getattr(arguments, "workspace", None):  # datasets named by version are looked for there, wherever that happens
        os.environ["FTSTUDIO_WORKSPACE"] = os.path.abspath(os.path.expanduser(getattr(arguments, "workspace")))  # noqa: B009
    command = str(getattr(arguments, "command"))  # noqa: B009
    if command != "train:train" and not place().first:
        return 0  # of several processes that were launched together one does it
    module, function = command.split(":")
    try:
        result: int = getattr(importlib.import_module(f"ftstudio.cli.{module}"), function)(arguments, out)
        return result
    except StudioError as error:
        out.error(error.message, error.hint, error.code)
        return error.code
    except BrokenPipeError:
        raise  # `ftstudio … | head`: nobody reads any more
    except OSError as error:
        from ftstudio.core.files import explain

        problem = explain(error, error.filename or "the workspace")
        out.error(problem.message, problem.hint, 1)
        return 1
