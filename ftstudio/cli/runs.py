"""`runs`, and the control of a run from any terminal."""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from ftstudio.cli.output import Out, table
from ftstudio.cli.train import workspace
from ftstudio.core.errors import StudioError, UsageError
from ftstudio.core.run import RunFolder, Story, state_word
from ftstudio.core.text import clean, duration, number
from ftstudio.core.turn import holder


def runs(arguments: argparse.Namespace, out: Out) -> int:
    """The runs of the workspace, the newest first."""
    place = workspace(arguments)
    found = [run.summary() for run in place.runs()]
    if not found:
        out.result([], f"No runs in {place.runs_path} yet.\n  next: ftstudio demo, or ftstudio train RECIPE")
        return 0
    rows = [
        [
            clean(run["run"]),
            state_word(run["state"], run["collapsed"]),
            clean(run["task"] or "–"),
            clean(run["method"] or "–"),
            clean(_short(str(run["model"] or "–")), 28),
            f"{run['steps']}/{run['total_steps'] or '?'}",
            number(run["loss"]),
            number(run["eval_loss"]),
            duration(run["seconds"]),
            time.strftime("%d %b %H:%M", time.localtime(run["started"])) if run["started"] else "–",
        ]
        for run in found
    ]
    header = ["run", "state", "task", "method", "model", "steps", "loss", "held-out", "took", "started"]
    out.result(found, table(rows, header, right=(5, 6, 7, 8)))
    return 0


def _short(model: str) -> str:
    """A folder by its own name; a hub id as it is."""
    return Path(model).name or model if model.startswith(("/", "~", ".")) else model


def control(arguments: argparse.Namespace, out: Out) -> int:
    """Append a request for the process that trains the run."""
    what = arguments.request
    run, state = _running(arguments, waiting=what == "stop")
    run.request(what)
    said = f"Asked {run.name} to {what}." if run.owner() is not None else f"{run.name} leaves the queue in a moment."
    out.result({"run": run.name, "request": what, "state": state}, said)
    return 0


def _running(arguments: argparse.Namespace, *, waiting: bool = False) -> tuple[RunFolder, str]:
    """The run and its state. Raises StudioError where nobody trains it; with WAITING it may wait for its turn, too."""
    run = workspace(arguments).run(arguments.run)
    state = run.state()
    if run.owner() is None:
        if (waits := holder(run.path)) is not None:
            if waiting:
                return run, state
            hint = f"`ftstudio stop {run.name}` takes it out of the queue."
            raise StudioError(f"{run.name} isn't running; it waits for its turn in {waits.named}.", hint)
        hint = f"`ftstudio train --resume {run.name}` goes on." if state in ("interrupted", "stopped", "failed") else ""
        if state == "done":
            hint = f"`ftstudio train --resume {run.name} training.steps=N` trains it on to N steps."
        raise StudioError(f"{run.name} isn't running; it is {state}.", hint or "`ftstudio runs` lists what is.")
    return run, state


def rate(arguments: argparse.Namespace, out: Out) -> int:
    """Ask for another peak learning rate."""
    run, state = _running(arguments)
    if not 0 < arguments.value <= 1:
        raise UsageError(f"A learning rate lies between 0 and 1, not at {arguments.value:g}.", "Such as 1e-4.")
    run.request("learning_rate", value=arguments.value)
    value = {"run": run.name, "request": "learning_rate", "value": arguments.value, "state": state}
    out.result(value, f"Asked {run.name} to learn at {arguments.value:g} (peak).")
    return 0


def extend(arguments: argparse.Namespace, out: Out) -> int:
    """Ask for more or fewer steps."""
    run, state = _running(arguments)
    story = Story()
    story.feed(run.events())
    if not arguments.to and story.total_steps is None:
        raise StudioError(f"{run.name} hasn't begun to train yet.", "Ask again in a moment, or name the length: --to.")
    total = arguments.value if arguments.to else (story.total_steps or 0) + arguments.value
    if total < max(1, story.step):
        raise UsageError(
            f"{run.name} has taken {story.step} steps already.", f"`ftstudio stop {run.name}` ends it now."
        )
    run.request("steps", value=total)
    value = {"run": run.name, "request": "steps", "value": total, "state": state}
    out.result(value, f"Asked {run.name} to take {number(total)} steps in all.")
    return 0
