"""Which weights become the model of a run: the last ones, or those of the best checkpoint that is kept."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ftstudio.core.run import RunFolder
from ftstudio.engine import alerting, going_on, resume, same_rows
from ftstudio.engine.callback import RunDirector
from ftstudio.engine.deeds import GETS_WORSE

if TYPE_CHECKING:
    from ftstudio.core.recipe import Recipe
    from ftstudio.engine.trainer import StudioTrainer


def chosen(folder: RunFolder, recipe: Recipe, trainer: StudioTrainer, director: RunDirector) -> Path | None:
    """The checkpoint whose weights become the model of FOLDER's run: with early stopping, and where a run ends since it
    got worse or collapsed, the kept one with the lowest held-out loss, as transformers' `load_best_model_at_end` has
    it. None: the last weights, as where a person stopped."""
    if not _wanted(recipe, director):
        return None
    step, last = director.evaluated_at or (0, math.inf)
    judged = step == trainer.state.global_step  # else these weights are worse than any that were
    on = director.judged_on
    found = resume.best(folder.checkpoints, on=on)
    if found is not None and (not judged or resume.facts(found)["eval_loss"] < last):
        director.tell("saving", "reading the best checkpoint")
        found = resume.best(folder.checkpoints, hashes=True, on=on)
    if found is None or (judged and resume.facts(found)["eval_loss"] >= last):
        return None
    loss = resume.facts(found)["eval_loss"]
    text = f"The model is that of step {resume.step_of(found)}, the best checkpoint kept: its held-out "
    text += f"loss is {loss:.4g}" + (f", at step {step} it was {last:.4g}." if judged else ".")
    alerting.say(folder, recipe.training.watch, "info", text)
    return found


def _wanted(recipe: Recipe, director: RunDirector) -> bool:
    """Whether the run, as it ended, is to have the best checkpoint's weights: it got worse, or stops early then."""
    early = recipe.training.watch.eval_rising == "stop"
    return director.deeds.ended_by in GETS_WORSE or (early and not director.stopped)


def told(folder: RunFolder, best: Path | None, director: RunDirector, step: int) -> dict[str, Any]:
    """What the end of FOLDER's run at STEP tells of its model: the evaluation of its weights, where there is one, and
    of which step they are, where they are those of the checkpoint BEST."""
    if best is None:
        return {"eval": director.evaluation} if director.judged(step) else {}
    step = resume.step_of(best)
    events = same_rows.alike_alone(folder.rare_events(step), director.judged_on)
    return {"model_step": step, "eval": going_on.told(events, step)[0]}
