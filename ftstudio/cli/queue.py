"""Several trainings one after another: recipes, a sweep over listed values, or the runs that wait in the workspace."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from ftstudio.cli.follow import Headless
from ftstudio.cli.output import Out, table
from ftstudio.core.errors import StudioError, UsageError
from ftstudio.core.jobs import Train
from ftstudio.core.run import state_word
from ftstudio.core.text import clean, duration, number
from ftstudio.core.turn import QUEUE, holder
from ftstudio.engine.chosen import short
from ftstudio.engine.sweep import Waiting, by_text, grid, join, left, named, on_same_rows, outcome, with_siblings

if TYPE_CHECKING:
    from ftstudio.core.recipe import Recipe

MOST_NAMED = 3  # interrupted runs


def train_all(arguments: argparse.Namespace, recipes: Sequence[str], overrides: list[str], out: Out) -> int:
    """Prepare a run for each of RECIPES and each combination of the sweep, then train them one after another."""
    from ftstudio.cli.train import workspace
    from ftstudio.engine.prepare import prepare_run

    place = workspace(arguments)
    waiting: list[Waiting] = []
    swept = grid(arguments.sweep) if arguments.sweep else [[]]
    for name in recipes:
        for chosen in swept:
            one = Waiting(" ".join([name, *chosen]), chosen=chosen)
            try:
                recipe = on_same_rows(chosen, partial(_made, name, overrides))
                one.run = prepare_run(named(recipe, chosen, swept), place)
            except StudioError as error:  # the others can still be trained
                one.error = error
                out.say(f"  {clean(one.name)}: {clean(error.message)}")
            waiting.append(one)
    used = [one.error for one in waiting if isinstance(one.error, UsageError)]
    if len(used) == len(waiting):  # nothing was begun: the words are wrong, not one of the trainings
        raise used[0]
    if arguments.sweep:
        join(waiting)
    return work_through(waiting, out)


def _made(name: str, overrides: list[str], more: list[str]) -> Recipe:
    from ftstudio.cli.train import load

    return load(name, [*overrides, *more])


def queue(arguments: argparse.Namespace, out: Out) -> int:
    """Train the runs of the workspace that wait: prepared, but never begun, or interrupted within their sweep."""
    from ftstudio.cli.train import workspace

    runs = list(reversed(workspace(arguments).runs()))
    waiting, broken = left(runs)
    if waiting:
        return work_through(waiting, out)
    elsewhere = [(run.name, held.named) for run in runs if (held := holder(run.path)) is not None]
    lines = ["No run waits."]
    if elsewhere:
        waits = "1 waits for its turn" if len(elsewhere) == 1 else f"{len(elsewhere)} wait for their turn"
        lines = [f"No run is left to be begun here; {waits} in another process:"]
        lines += [f"  {clean(name)} in {named}: ftstudio stop {clean(name)} takes it out" for name, named in elsewhere]
    was = [f"  interrupted: ftstudio train --resume {run.name}" for run in broken[-MOST_NAMED:]]
    lines += was or ([] if elsewhere else ["  next: ftstudio train A.yaml B.yaml"])
    value = {
        "runs": [], "best": None, "interrupted": [run.name for run in broken],
        "elsewhere": [{"run": name, "in": named} for name, named in elsewhere],
    }  # fmt: skip
    out.result(value, "\n".join(lines))
    return 0


def work_through(waiting: Sequence[Waiting], out: Out) -> int:
    """Train WAITING in order, past failures; a stop asked for ends the queue. Names the best run at the end."""
    from ftstudio.core.watch import OF_THE_RUN

    ready = [(one, one.run) for one in waiting if one.run is not None]
    stopped = False
    if ready:
        with Headless(out) as headless:
            for one, run in ready:
                try:
                    headless.expect(run)
                except StudioError as error:  # another process has queued it meanwhile
                    one.error = error
            for place, (one, run) in enumerate(ready, 1):
                if not headless.expects(run):
                    continue
                how = "Going on with" if one.resume else "Training"
                out.say(f"{how} {run.name} ({place} of {len(ready)})")
                try:
                    last = headless.run(Train(run.path, resume=one.resume), run.path)
                except StudioError as error:
                    one.error = error
                    continue
                if last["kind"] == "failed":
                    one.error = StudioError(str(last.get("text") or "It failed."), str(last.get("hint") or ""))
                of_the_run = last.get("by") in (*OF_THE_RUN, QUEUE)  # early stopping, and taking out, end one run
                stopped = headless.interrupted or (last["kind"] == "stopped" and not of_the_run)
                if stopped:
                    break
    value = outcome(with_siblings(waiting))
    out.result(value, outcome_text(value))
    if stopped:
        return 130
    own = {one.run.name if one.run is not None else None for one in waiting}
    rows = [row for row in value["runs"] if row["run"] in own]
    return 0 if all(row["state"] == "done" or row["early"] or row["left"] for row in rows) else 1


def _state(row: dict[str, Any]) -> str:
    word = state_word(str(row["state"]), row["collapsed"])
    return "stopped early" if row["early"] else "taken out" if row["left"] else word


def outcome_text(value: dict[str, Any]) -> str:
    """The same for people."""
    said = short([row["chosen"] for row in value["runs"]])
    scored = any(row["score"] is not None for row in value["runs"])
    rows = [
        [
            clean(row["run"] or row["name"]), clean(" ".join(f"{key}={value}" for key, value in chosen.items()), 60),
            _state(row), number(row["loss"]), number(row["eval_loss"]), number(row["score"]),
            duration(row.get("seconds")), clean(row["error"] or "", 60),
        ]
        for row, chosen in zip(value["runs"], said, strict=True)
    ]  # fmt: skip
    header = ["run", "chosen", "state", "loss", "held-out", str(value["by"] or "score"), "took", ""]
    shown = [place for place in range(len(header)) if (place != 1 or any(said)) and (place != 5 or scored)]
    right = tuple(place for place, column in enumerate(shown) if column in (3, 4, 5))
    lines = [table([[row[place] for place in shown] for row in rows], [header[place] for place in shown], right=right)]
    for row in value["runs"]:
        if (low := row["lowest"]) is not None:
            how = f": ftstudio compare {row['run']} --arms base,tuned@{low['step']}" if low["kept"] else ", not kept"
            lines.append(f"  {row['run']} was at {number(low['loss'])} at step {low['step']}{how}")
    if value["best"]:
        lines.append(f"  best by {by_text(value['by'])}: {value['best']}\n  next: ftstudio compare {value['best']}")
    if value["why"]:
        lines.append(f"  {value['why']}")
    if any(row["state"] == "queued" for row in value["runs"]):
        lines.append("  those that wait: ftstudio queue")
    return "\n".join(lines)
