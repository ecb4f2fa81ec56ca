"""Several trainings one after another: recipes, a sweep over listed values, or the runs that wait in the workspace."""

from __future__ import annotations

import argparse
import itertools
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ftstudio.cli.follow import Headless
from ftstudio.cli.output import Out, table
from ftstudio.core.errors import StudioError, UsageError
from ftstudio.core.jobs import Train
from ftstudio.core.run import RunFolder, Story
from ftstudio.core.text import clean, duration, number
from ftstudio.core.workspace import slug

if TYPE_CHECKING:
    from ftstudio.core.recipe import Recipe


@dataclass
class Waiting:
    """A training of the queue: its run, or why there is none."""

    name: str
    run: RunFolder | None = None
    error: StudioError | None = None


def grid(sweep: Sequence[str]) -> list[list[str]]:
    """The overrides of each training of a SWEEP such as `training.learning_rate=1e-4,2e-4`: all combinations of all
    listed values. Commas inside brackets or quotes part nothing. Raises UsageError."""
    lists = []
    for word in sweep:
        key, equals, values = word.partition("=")
        parts = [part for part in _parted(values) if part]
        if not equals or not key.strip() or len(parts) < 2:
            raise UsageError(
                f"--sweep {word!r} lists no values.", "Write --sweep training.learning_rate=1e-4,2e-4 (two or more)."
            )
        lists.append([f"{key.strip()}={part}" for part in parts])
    return [list(chosen) for chosen in itertools.product(*lists)]


def _parted(values: str) -> Iterator[str]:
    depth, quote, start = 0, "", 0
    for place, sign in enumerate(values):
        if quote:
            quote = "" if sign == quote else quote
        elif sign in "\"'":
            quote = sign
        elif sign in "[{":
            depth += 1
        elif sign in "]}":
            depth -= 1
        elif sign == "," and not depth:
            yield values[start:place].strip()
            start = place + 1
    yield values[start:].strip()


def named(recipe: Recipe, chosen: Sequence[str]) -> Recipe:
    """RECIPE called by its stem and what was CHOSEN for it, such as `gsm8k-lora-learning-rate-1e-4`."""
    from ftstudio.engine.prepare import run_stem

    if not chosen:
        return recipe
    parts = [f"{key.rpartition('.')[2]}-{value}" for key, _, value in (word.partition("=") for word in chosen)]
    what = slug("-".join(parts))  # names are cut at their end, where what tells these runs apart stands
    return recipe.model_copy(update={"name": slug(f"{run_stem(recipe)[: max(47 - len(what), 0)]}-{what}")})


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


def outcome(waiting: Sequence[Waiting]) -> dict[str, Any]:
    """`{runs: [{name, run, state, early, loss, eval_loss, seconds, error}], best, by, why}`; `best` is the finished run
    with the lowest held-out loss, where none was held out the lowest last loss. `early` are those that early stopping
    ended: they have a model, too. Losses on other rows, or of another task, say nothing of each other: there is no best
    run then, and `why` tells it."""
    rows: list[dict[str, Any]] = []
    for one in waiting:
        row: dict[str, Any] = {"name": one.name, "run": None, "state": "failed", "loss": None, "eval_loss": None}
        row["early"] = False
        if one.run is not None:
            story = Story()
            story.feed(one.run.events())
            row |= {
                "run": one.run.name, "state": one.run.state(story.last_state), "loss": story.loss,
                "eval_loss": story.eval_loss, "seconds": story.seconds,
            }  # fmt: skip
            row["early"] = row["state"] == "stopped" and (story.last_state or {}).get("by") == "eval_rising"
        row["error"] = one.error.message if one.error is not None else None
        rows.append(row)
    done = [(one, row) for one, row in zip(waiting, rows, strict=True) if row["state"] == "done" or row["early"]]
    by = "eval_loss" if all(row["eval_loss"] is not None for _, row in done) else "loss"
    judged = [(one, row) for one, row in done if row[by] is not None]
    alike = len({_judged_on(one.run) for one, _ in judged if one.run is not None}) == 1
    best = min((row for _, row in judged), key=lambda row: row[by])["run"] if judged and alike else None
    why = "no best run: they are judged on different rows or tasks" if judged and not alike else ""
    return {"runs": rows, "best": best, "by": by if best else None, "why": why}


def _judged_on(run: RunFolder) -> str:
    """What the losses of RUN are losses of: its task, template and held-out rows."""
    from ftstudio.engine.recipes import load_recipe

    try:
        recipe = load_recipe(run.recipe_path)
    except StudioError:  # harmed since
        return ""
    resolved = recipe.resolved or {}
    data = resolved.get("data") or {}
    rows = data if data.get("eval") is None else {"eval": data["eval"]}
    return json.dumps([recipe.task, resolved.get("template"), rows], sort_keys=True, default=str)


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
