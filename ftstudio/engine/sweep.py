"""Trainings that belong together: a sweep over listed values, how each came out, and which is the best. No torch."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ftstudio.core import files
from ftstudio.core.errors import StudioError, UsageError
from ftstudio.core.run import RunFolder, Story
from ftstudio.core.turn import QUEUE, holder
from ftstudio.core.workspace import slug
from ftstudio.engine import judged_on, resume
from ftstudio.engine.chosen import names, values

if TYPE_CHECKING:
    from ftstudio.core.recipe import Recipe


@dataclass
class Waiting:
    """A training of the queue: its run (RESUME: to go on from its last checkpoint), or why there is none; CHOSEN: the
    overrides that a sweep has for it."""

    name: str
    run: RunFolder | None = None
    error: StudioError | None = None
    resume: bool = False
    chosen: Sequence[str] = ()


def grid(sweep: Sequence[str]) -> list[list[str]]:
    """The overrides of each training of a SWEEP such as `training.learning_rate=1e-4,2e-4`: all combinations of all
    listed values. Commas inside brackets or quotes part nothing. Raises UsageError."""
    lists = []
    for word in sweep:
        key, equals, values = word.partition("=")
        parts = [part for part in _parted(values) if part]
        if not equals or not key.strip() or len(parts) < 2:
            raise UsageError(
                f"{word!r} lists no values.", "Write training.learning_rate=1e-4,2e-4 (two values or more)."
            )
        lists.append([f"{key.strip()}={part}" for part in parts])
    return [list(chosen) for chosen in itertools.product(*lists)]


def _parted(values: str, at: str = ",") -> Iterator[str]:
    """VALUES parted AT a sign, but not inside brackets or quotes."""
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
        elif sign == at and not depth:
            yield values[start:place].strip()
            start = place + 1
    yield values[start:].strip()


def named(recipe: Recipe, chosen: Sequence[str], sweep: Sequence[Sequence[str]] = ()) -> Recipe:
    """RECIPE called by its stem and what was CHOSEN for it, such as `gsm8k-lora-learning-rate-1e-4`; SWEEP is what is
    chosen for all, of paths the name then says what differs."""
    from ftstudio.engine.prepare import run_stem

    if not chosen:
        return recipe
    every = list(sweep) or [chosen]
    what = names(every)[every.index(chosen)]  # names are cut at their end, where what tells these runs apart stands
    return recipe.model_copy(update={"name": slug(f"{run_stem(recipe)[: max(47 - len(what), 0)]}-{what}")})


SEED, ROWS_SEED = "training.seed", "data.seed"


def on_same_rows(chosen: Sequence[str], recipe: Callable[[list[str]], Recipe]) -> Recipe:
    """The recipe of a sweep's CHOSEN overrides; RECIPE makes one of overrides. Where seeds are swept, and nothing
    chooses the rows, all hold out and answer the rows of the unswept recipe: on others a run is better by luck."""
    made = recipe([*chosen])
    keys = [word.partition("=")[0] for word in chosen]
    if SEED not in keys or ROWS_SEED in keys or made.data.seed is not None:
        return made
    before = recipe([word for word, key in zip(chosen, keys, strict=True) if key != SEED])
    return recipe([*chosen, f"{ROWS_SEED}={before.training.seed}"])


def words_of(text: str) -> list[str]:
    """The keys and values of a sweep as typed in one line: `training.learning_rate=1e-4,2e-4 method.r=8,16`; spaces
    inside brackets or quotes, and after a comma, part nothing."""
    found = [""]
    for part in _parted(text, " "):
        if found[-1].endswith(",") or part.startswith(",") or not found[-1]:
            found[-1] += part
        else:
            found.append(part)
    return [word for word in found if word]


SWEEP = "sweep.json"  # in the folder of each of its runs: the names of all, what was chosen for it, how many began not


def join(waiting: Sequence[Waiting]) -> None:
    """Write down that the runs of WAITING are of one sweep, into the folder of each: what was chosen for it, too, and
    how many of the sweep could not be begun. Raises StudioError."""
    runs = [(one.run, one.chosen) for one in waiting if one.run is not None]
    for run, chosen in runs:
        more: dict[str, Any] = {"chosen": values(chosen)} if chosen else {}
        if len(runs) < len(waiting):
            more["unbegun"] = len(waiting) - len(runs)
        files.write_json(run.path / SWEEP, {"runs": [one.name for one, _ in runs], **more})


def chosen_for(run: RunFolder) -> dict[str, str]:
    """The values that a sweep chose for RUN, by key; empty where it is of none, or of one that didn't write it down."""
    value = files.read_json(run.path / SWEEP)
    found = value.get("chosen") if isinstance(value, dict) else None
    return {str(key): str(one) for key, one in found.items()} if isinstance(found, dict) else {}


def unbegun(run: RunFolder) -> int:
    """How many trainings of the sweep that RUN is of could not be begun, and so have no folder."""
    value = files.read_json(run.path / SWEEP)
    found = value.get("unbegun") if isinstance(value, dict) else None
    return found if isinstance(found, int) and found > 0 else 0


def siblings(run: RunFolder) -> list[RunFolder]:
    """The runs of the sweep that RUN is of, itself among them; none where it is of none. Deleted ones are left out."""
    value = files.read_json(run.path / SWEEP)
    names = value.get("runs") if isinstance(value, dict) else None
    plain = [name for name in names if isinstance(name, str) and name == Path(name).name] if names else []
    found = [RunFolder(run.path.parent / name) for name in plain]
    return [one for one in found if one.recipe_path.is_file()]


def left(runs: Sequence[RunFolder]) -> tuple[list[Waiting], list[RunFolder]]:
    """(what of RUNS is still to be trained, in their order; other runs that were interrupted). To be trained are those
    that wait, but in the queue of no other process, and of sweeps the interrupted ones: they go on."""
    states = {run.name: run.state() for run in runs}
    free = [run for run in runs if holder(run.path) is None]
    found = [run for run in free if states[run.name] == "queued"]
    broken = [run for run in free if states[run.name] == "interrupted"]
    swept = {run.name for run in broken if len(siblings(run)) > 1}  # though it was the last one that was cut short
    todo = [run for run in free if run in found or run.name in swept]
    return (
        [Waiting(run.name, run, resume=run in broken) for run in todo],
        [run for run in broken if run.name not in swept],
    )


def with_siblings(waiting: Sequence[Waiting]) -> list[Waiting]:
    """WAITING, and beside each the other runs of its sweep, which were trained before or elsewhere: in their order."""
    mine = {one.run.name: one for one in waiting if one.run is not None}
    found: dict[str, Waiting] = {}
    for one in waiting:
        for run in siblings(one.run) if one.run is not None else ():
            found.setdefault(run.name, mine.get(run.name) or Waiting(run.name, run))
        found.setdefault(one.run.name if one.run is not None else one.name, one)
    return list(found.values())


def outcome(waiting: Sequence[Waiting]) -> dict[str, Any]:
    """`{runs: [{name, run, chosen, state, early, left, collapsed, loss, eval_loss, score, lowest, seconds, error}],
    best, by, why}`; `best` is the finished run whose saved model has the lowest held-out loss (`eval_loss`), without
    such a loss the lowest last one. The model is the last weights, with early stopping those of the best checkpoint; a
    lower loss on the way is `lowest`: `{step, loss, kept}`, `kept` where a checkpoint has those weights. `early` are
    those that early stopping ended: they have a model, too; `left` those that were taken out before they began.
    `chosen` are the values that a sweep chose, by key.

    Losses of other rows, tokens, tasks or batches say nothing of each other: `why` tells it. There is no best run then,
    but where a score of the same held-out rows says which (`judged_on.score`): it is in `by`, and as `score`."""
    rows: list[dict[str, Any]] = []
    stories: list[Story] = []
    for one in waiting:
        row: dict[str, Any] = {"name": one.name, "run": None, "state": "failed", "loss": None, "eval_loss": None}
        row |= {"early": False, "left": False, "lowest": None, "collapsed": False, "score": None, "chosen": {}}
        story = Story()
        if one.run is not None:
            story.feed(one.run.events())
            row |= {
                "run": one.run.name, "state": one.run.state(story.last_state), "loss": story.loss,
                "eval_loss": story.judged_loss, "seconds": story.seconds, "lowest": lowest(one.run, story),
                "chosen": chosen_for(one.run),
            }  # fmt: skip
            by = (story.last_state or {}).get("by") if row["state"] == "stopped" else None
            row["collapsed"] = story.collapsed
            row["early"], row["left"] = by in ("eval_rising", "collapsed"), by == QUEUE
        row["error"] = one.error.message if one.error is not None else None
        rows.append(row)
        stories.append(story)
    done = [place for place, row in enumerate(rows) if row["state"] == "done" or row["early"]]
    by = "eval_loss" if all(rows[place]["eval_loss"] is not None for place in done) else "loss"
    judged = [place for place in done if rows[place][by] is not None]
    runs = [run for place in judged if (run := waiting[place].run) is not None]
    differ = judged_on.differing(runs, by == "eval_loss")
    if not differ:
        best = min((rows[place] for place in judged), key=lambda row: row[by])["run"] if judged else None
        return {"runs": rows, "best": best, "by": by if best else None, "why": ""}
    why = f"their losses are of different {differ}"
    score = judged_on.score(runs, [stories[place].judged for place in judged]) if by == "eval_loss" else ""
    if not score:
        return {"runs": rows, "best": None, "by": None, "why": f"no best run: {why}"}
    for place in judged:
        rows[place]["score"] = float(stories[place].judged[score])
    most = max(rows[place]["score"] for place in judged)
    first, *others = [rows[place]["run"] for place in judged if rows[place]["score"] == most]
    if others:
        why = f"no best run: {why}, and by {score} {' and '.join([first, *others])} are equal"
        return {"runs": rows, "best": None, "by": None, "why": why}
    return {"runs": rows, "best": first, "by": score, "why": f"not by loss: {why}"}


def lowest(run: RunFolder, story: Story) -> dict[str, Any] | None:
    """The best evaluation of RUN, as STORY tells it, where its saved model isn't as good; else None."""
    saved = story.judged_loss
    if story.best is None or saved is None or not story.best[1] < saved:
        return None
    step, loss = story.best
    kept = any(resume.step_of(path) == step for path in resume.checkpoints(run.checkpoints))
    return {"step": step, "loss": loss, "kept": kept}


def by_text(by: str) -> str:
    """What an `outcome` goes BY, in words."""
    return {"eval_loss": "the model's held-out loss", "loss": "training loss"}.get(by, f"the model's {by}")
