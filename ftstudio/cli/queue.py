"""Several trainings one after another: recipes, a sweep over listed values, or the runs that wait in the workspace."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

from ftstudio.cli.follow import Headless
from ftstudio.cli.output import Out, table
from ftstudio.core.errors import StudioError
from ftstudio.core.jobs import Train
from ftstudio.core.text import clean, duration, number
from ftstudio.engine.sweep import Waiting, grid, named, outcome


def train_all(arguments: argparse.Namespace, recipes: Sequence[str], overrides: list[str], out: Out) -> int:
    """Prepare a run for each of RECIPES and each combination of the sweep, then train them one after another."""
    from ftstudio.cli.train import load, workspace
    from ftstudio.engine.prepare import prepare_run

    place = workspace(arguments)
    waiting: list[Waiting] = []
    for name in recipes:
        for chosen in grid(arguments.sweep) if arguments.sweep else [[]]:
            one = Waiting(" ".join([name, *chosen]))
            try:
                one.run = prepare_run(named(load(name, [*overrides, *chosen]), chosen), place)
            except StudioError as error:  # the others can still be trained
                one.error = error
                out.say(f"  {clean(one.name)}: {clean(error.message)}")
            waiting.append(one)
    return work_through(waiting, out)


def queue(arguments: argparse.Namespace, out: Out) -> int:
    """Train the runs of the workspace that wait: prepared, but never begun."""
    from ftstudio.cli.train import workspace

    found = [
        run for run in reversed(workspace(arguments).runs()) if run.state() == "queued" and run.recipe_path.is_file()
    ]
    if not found:
        out.result({"runs": [], "best": None}, "No run waits.\n  next: ftstudio train A.yaml B.yaml")
        return 0
    return work_through([Waiting(run.name, run) for run in found], out)


def work_through(waiting: Sequence[Waiting], out: Out) -> int:
    """Train WAITING in order, past failures; a stop asked for ends the queue. Names the best run at the end."""
    from ftstudio.core.watch import OF_THE_RUN

    ready = [one for one in waiting if one.run is not None]
    stopped = False
    if ready:
        with Headless(out) as headless:
            for place, one in enumerate(ready, 1):
                assert one.run is not None
                out.say(f"Training {one.run.name} ({place} of {len(ready)})")
                try:
                    last = headless.run(Train(one.run.path), one.run.path)
                except StudioError as error:
                    one.error = error
                    continue
                if last["kind"] == "failed":
                    one.error = StudioError(str(last.get("text") or "It failed."), str(last.get("hint") or ""))
                stopped = last["kind"] == "stopped" and last.get("by") not in OF_THE_RUN  # early stopping ends one run
                if stopped:
                    break
    value = outcome(waiting)
    out.result(value, outcome_text(value))
    if stopped:
        return 130
    return 0 if all(row["state"] == "done" or row["early"] for row in value["runs"]) else 1


def outcome_text(value: dict[str, Any]) -> str:
    """The same for people."""
    rows = [
        [
            clean(row["run"] or row["name"]), "stopped early" if row["early"] else row["state"], number(row["loss"]),
            number(row["eval_loss"]), duration(row.get("seconds")), clean(row["error"] or "", 60),
        ]
        for row in value["runs"]
    ]  # fmt: skip
    lines = [table(rows, ["run", "state", "loss", "held-out", "took", ""], right=(2, 3, 4))]
    if value["best"]:
        what = "held-out loss" if value["by"] == "eval_loss" else "training loss"
        lines.append(f"  best by {what}: {value['best']}\n  next: ftstudio compare {value['best']}")
    if value["why"]:
        lines.append(f"  {value['why']}")
    if any(row["state"] == "queued" for row in value["runs"]):
        lines.append("  those that wait: ftstudio queue")
    return "\n".join(lines)
