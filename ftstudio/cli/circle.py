"""`errors --repair`: from what a model gets wrong to the training rows with the same fault, to a run without them."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ftstudio.cli.follow import Headless
from ftstudio.cli.output import Out
from ftstudio.core.errors import StudioError, UsageError
from ftstudio.core.jobs import Answer, Train
from ftstudio.core.run import RunFolder
from ftstudio.core.text import clean, number
from ftstudio.core.workspace import Workspace

if TYPE_CHECKING:
    from ftstudio.core.recipe import Recipe
    from ftstudio.data.versions.store import Version
    from ftstudio.evaluation.context import Context

WAYS = ("drop", "weigh")
LIGHTER = 0.25  # of the weight it had: what `weigh` leaves a faulty row


def asked(words: Sequence[str]) -> list[tuple[str, str]]:
    """(category, way) of what `--repair` names: `misspelling`, `format=weigh`. Raises UsageError."""
    found = []
    for word in ",".join(words).split(","):
        name, _, way = word.strip().partition("=")
        if not name or (way and way not in WAYS):
            raise UsageError(
                f"{word.strip()!r} is no repair.",
                f"Name a category, such as misspelling; behind it = and a way: {', '.join(WAYS)}.",
            )
        found.append((name, way or WAYS[0]))
    return found


def repair(
    recipe: Recipe, context: Context, wanted: Sequence[tuple[str, str]], place: Workspace, why: str
) -> tuple[Version | None, list[dict[str, Any]]]:
    """(the new version of RECIPE's data, what was done) after the training rows whose answers have the faults WANTED
    were dropped or made lighter; None where no row has them. CONTEXT is what the answers were judged by."""
    from ftstudio.engine.behind import Quietly, find_faults, open_training
    from ftstudio.engine.repairing import Repairs

    known = context_categories(context)
    for name, _ in wanted:
        if name not in known:
            raise UsageError(f"There is no category {name!r}.", f"There are: {', '.join(sorted(known))}.")
    quietly = Quietly()
    training = open_training(recipe, place.path, quietly)
    training.faults = find_faults(training, context, quietly)
    repairs = Repairs.open(training, place)
    if repairs.count:
        raise StudioError(
            f"{repairs.count} repairs of this data are pending already.",
            "Save or undo them on the Errors or Data screen first.",
        )
    done: list[dict[str, Any]] = []
    for name, way in wanted:
        rows = [row for row in training.with_fault(name) if repairs.state(row) != "dropped"]
        judged = training.faults.judged.get(name, 0)
        if rows:
            reason = why or f"against {name}: the answers have the fault"
            if way == "drop":
                repairs.drop(rows, reason, [name])
            else:
                repairs.weigh(rows, LIGHTER, reason, [name])
        done.append({"category": name, "way": way, "rows": rows, "judged": judged})
    if not repairs.count:
        return None, done
    return repairs.save(why or "against " + ", ".join(name for name, _ in wanted)), done


def context_categories(context: Context) -> dict[str, Any]:
    """The categories that CONTEXT's detectors look for."""
    from ftstudio.evaluation.categories import Categoriser

    return Categoriser(context, references=False).result().categories


def told(version: Version | None, done: Sequence[dict[str, Any]], recipe: Recipe, trains: bool) -> str:
    """What `repair` did to the data of RECIPE, for people; and what is next, unless a run TRAINS on it already."""
    from ftstudio.engine.parting import parted_as

    lines = ["Repairs of the training rows:"]
    for one in done:
        verb = "dropped" if one["way"] == "drop" else f"trained {LIGHTER:g} times as often"
        share = f" of {number(one['judged'])} answers" if one["judged"] else ""
        rows = f"{number(len(one['rows']))}{share} have it, {verb}" if one["rows"] else f"none{share} has it"
        lines.append(f"  {clean(one['category'])}: {rows}")
    if version is None:
        return "\n".join([*lines, "  no version was made"])
    lines.append(f"  {version.name}: {number(version.about['rows'])} rows, in {version.path}")
    if not trains:
        kept = parted_as(recipe)
        parted = f" data.parted_as={shlex.quote(kept)}" if kept is not None else ""
        lines.append(
            f"  next: ftstudio train RECIPE data.train={version.name}{parted}   (--train here does it at once)"
        )
    return "\n".join(lines)


def train_on(recipe: Recipe, version: Version, rows: int | None, place: Workspace, out: Out) -> RunFolder:
    """A new run of RECIPE on VERSION, trained, with its answers on the held-out rows. Raises StudioError."""
    from ftstudio.engine.prepare import prepare_run
    from ftstudio.engine.recipes import load_recipe
    from ftstudio.engine.repairing import on_version

    run = prepare_run(on_version(recipe, version, place), place)
    with Headless(out) as headless:
        out.say(f"Training {run.name} on {version.name} in {run.path}")
        last = headless.run(Train(run.path), run.path)
        if last["kind"] == "done":
            out.say(f"Answering held-out rows in {run.errors.path}")
            answer = Answer(run.errors.path, load_recipe(run.recipe_path), run=run.path, rows=rows)
            last = headless.run(answer, run.errors.path)
    if last["kind"] != "done":
        raise StudioError(
            last.get("text") or f"{run.name} was stopped.", last.get("hint") or f"ftstudio train --resume {run.name}"
        )
    return run
