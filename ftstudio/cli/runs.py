"""`runs`, and the control of a run from any terminal."""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from ftstudio.cli.output import Out, table
from ftstudio.cli.train import workspace
from ftstudio.core.errors import StudioError
from ftstudio.core.text import clean, duration, number


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
            run["state"],
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
    run = workspace(arguments).run(arguments.run)
    state, what = run.state(), arguments.request
    if run.owner() is None:
        hint = f"`ftstudio train --resume {run.name}` goes on." if state in ("interrupted", "stopped", "failed") else ""
        raise StudioError(f"{run.name} isn't running; it is {state}.", hint or "`ftstudio runs` lists what is.")
    run.request(what)
    out.result({"run": run.name, "request": what, "state": state}, f"Asked {run.name} to {what}.")
    return 0
