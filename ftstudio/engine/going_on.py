"""A run that goes on from a checkpoint: what was told of that step, and what isn't as it was when it was written.

Optimiser and schedule come back from the checkpoint with the rate and decay they were saved with, and an adapter goes
over whatever lies in the base's folder by now: a recipe edited since, or another base, would show nowhere.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ftstudio import methods
from ftstudio.core.errors import StudioError
from ftstudio.core.folder import JobFolder
from ftstudio.core.recipe import Recipe
from ftstudio.core.run import RunFolder, Story
from ftstudio.core.text import one_line
from ftstudio.engine import resume, weights
from ftstudio.engine.locate import locate
from ftstudio.engine.steering import steer

if TYPE_CHECKING:
    from ftstudio.engine.trainer import StudioTrainer
    from ftstudio.engine.watchdog import Watchdog

AS_BEFORE = "to go on as before, put back what there was"
HINTS = {  # by what is done about it
    "alert": f"It counts from here on; {AS_BEFORE}.",
    "pause": f"Nothing has changed yet. Resume it and that counts from here on; {AS_BEFORE}: stop it first.",
    "stop": f"Nothing has changed; {AS_BEFORE} and resume. With training.watch.resume_fault: alert it goes on.",
}
EDITED = "recipe.yaml was edited"  # why a rate is steered
RATE = "training.learning_rate"
# what changes nothing that is learnt, or is looked at elsewhere: the rows have hashes, the base a mark
_IDLE = frozenset(
    ("model", "data.train", "data.test", "data.replay", "training.save_steps", "training.save_best",
     "training.keep_checkpoints", "training.gradient_checkpointing", "training.compile", "training.shard",
     "training.device", "training.steps", "training.epochs")
)  # fmt: skip
_PARTS = ("task", "method", "architecture", "data", "training")


def made_by(recipe: Recipe) -> dict[str, Any]:
    """`{recipe, base}`: what a checkpoint that is sealed now depends on. Settings by key, and a mark of the base's
    weights where the tuned model is one over them. Raises StudioError where the base isn't there."""
    whole = recipe.model_dump(mode="json")
    settings = {
        key: value
        for part in _PARTS
        for key, value in _flat(part, whole.get(part))
        if key not in _IDLE and not key.startswith("training.watch.")
    }
    settings["evaluation.rows"] = recipe.evaluation.rows  # losses of other rows can't be set against those before
    if isinstance(recipe.data.eval, str):
        settings["data.eval"] = "a file"  # which may lie elsewhere by now; its rows have a digest
    adapter = methods.get(recipe.method.name).adapter
    return {"recipe": settings, "base": weights.mark(locate(recipe.model).folder, recipe.model) if adapter else None}


def _flat(key: str, value: Any) -> Iterable[tuple[str, Any]]:
    if not isinstance(value, Mapping):
        yield key, value
        return
    for name, inner in value.items():
        yield from _flat(f"{key}.{name}", inner)


def look(folder: JobFolder, recipe: Recipe, checkpoint: Path | None, now: Mapping[str, Any]) -> list[str]:
    """What isn't as it was when CHECKPOINT was sealed, a sentence each; NOW: `made_by` of RECIPE. None: there is none.

    An edited learning rate is steered to at that step. A checkpoint of an earlier version tells nothing.
    """
    known = resume.facts(checkpoint).get("made_by") if checkpoint is not None else None
    if checkpoint is None or not isinstance(known, dict):
        return []
    step, found = resume.step_of(checkpoint), list[str]()
    then = known.get("recipe")
    then = then if isinstance(then, dict) else {}
    other = [key for key, value in now["recipe"].items() if key in then and then[key] != value]
    if other:
        each = [f"{key} is {_shown(now['recipe'][key])} (it was {_shown(then[key])})" for key in other[:6]]
        more = f", and {len(other) - 6} more" if len(other) > 6 else ""
        found.append(f"recipe.yaml was edited since the checkpoint of step {step}: {', '.join(each)}{more}.")
    if known.get("base") is not None and now["base"] is not None and known["base"] != now["base"]:
        text = f"The weights of {one_line(recipe.model, 60)} aren't those that this run was trained on so far."
        found.append(f"{text}{_moved(recipe)}")
    if not found or recipe.training.watch.resume_fault != "stop":  # else it isn't gone on like this
        _steer(folder, step, recipe.training.learning_rate, RATE in other)
    return found


def other_base(run: RunFolder, recipe: Recipe, checkpoint: Path | None = None) -> str:
    """What to tell where RUN's adapter (or that in CHECKPOINT) was trained over other weights than RECIPE's model holds
    now; "" where nothing is known of it. Reads no weights whole."""
    if not methods.get(recipe.method.name).adapter:
        return ""
    place = checkpoint or next(iter(resume.checkpoints(run.checkpoints)), None)
    known = resume.facts(place).get("made_by") if place is not None else None
    base = known.get("base") if isinstance(known, dict) else None
    try:
        if base is None or weights.mark(locate(recipe.model).folder, recipe.model) == base:
            return ""
        moved = _moved(recipe)
    except StudioError:
        return ""  # loading it says what is wrong
    return f"{run.name} was trained over other weights than those {one_line(recipe.model, 60)} holds now.{moved}"


def began_elsewhere(run: RunFolder, recipe: Recipe) -> str:
    """What to tell where RUN, whose model is whole, began from other weights than RECIPE's model holds now: these are
    not what it was before. Known of models of the hub alone; "" where it isn't so."""
    try:
        moved = _moved(recipe)
        if not moved:  # nor is there a commit, of a model in a folder
            return ""
        folder = locate(recipe.model, weights=False).folder
        old = folder.with_name(commit(recipe))
        if old.is_dir() and weights.mark(old, recipe.model) == weights.mark(folder, recipe.model):
            return ""
    except StudioError:
        return ""
    return f"{run.name} began from other weights than those {one_line(recipe.model, 60)} holds now.{moved}"


def commit(recipe: Recipe) -> str:
    """The commit of the hub that RECIPE's run began from, where it did from such."""
    model = (recipe.resolved or {}).get("model")
    return str(model.get("revision") or "") if isinstance(model, Mapping) else ""


def _moved(recipe: Recipe) -> str:
    """How RECIPE's model comes to be another, and the way back: the hub's cache holds another commit by now."""
    then, folder = commit(recipe), locate(recipe.model, weights=False).folder
    if not then or folder.parent.name != "snapshots" or folder.name == then:
        return ""
    old = folder.with_name(then)
    way = "that one isn't on this machine any more"
    if (old / "config.json").is_file():
        way = f"to use that one, set `model` in the run's recipe.yaml to {old}"
    return f" The hub's cache went from commit {then[:12]} to {folder.name[:12]}; {way}."


def otherwise(known: Mapping[str, Any], trainer: StudioTrainer, *, steered: bool) -> Iterator[tuple[str, str]]:
    """What isn't as the checkpoint that TRAINER goes on from says (KNOWN): texts and hints. STEERED: its length was
    changed at that very step, so that another rate may be right."""
    rate, then = trainer.rate(), known.get("rate")
    begun = trainer.state.global_step and not steered
    if begun and then is not None and not math.isclose(rate, then, rel_tol=1e-6, abs_tol=1e-15):
        yield f"The learning rate is {rate:.4g} where the checkpoint was written with {then:.4g}.", ""
    if known.get("order") is not None and known["order"] != trainer.order_digest():
        text = "The rows come in another order than before: the data, the size of the batches or ftstudio's version "
        yield f"{text}have changed.", "Start a new run, or put them back."
    before, now = known.get("ranks", 1), max(1, trainer.args.world_size)
    if known and before != now:
        text = f"So far {before} process{'es' if before > 1 else ''} trained this run, now {now}: "
        text += f"a step learns from {now / before:.3g} times as many rows, and others."
        yield text, f"Launch {before} again for the run that was begun."


def _shown(value: Any) -> str:
    return one_line(str(value), 40)


def _steer(folder: JobFolder, step: int, rate: float | None, edited: bool) -> None:
    """Note that RATE counts from STEP on, where the recipe was EDITED, or was and no longer is."""
    last: dict[str, Any] = {}
    for event in folder.rare_events():
        at = event.get("step")
        if event.get("kind") == "steer" and event.get("what") == "learning_rate" and isinstance(at, int) and at <= step:
            last = event
    before = last.get("why") == EDITED
    if rate is not None and (edited or before) and not (before and last.get("value") == rate):
        steer(folder, step, "learning_rate", rate, EDITED)


def told(events: Iterable[Mapping[str, Any]], step: int) -> tuple[dict[str, Any], float | None]:
    """(figures of the held-out rows, loss) that EVENTS tell of STEP; empty and None where they don't."""
    figures: dict[str, Any] = {}
    loss = None
    for event in events:
        if event.get("step") == step and event.get("kind") == "eval":
            figures = {name: value for name, value in event.items() if name not in ("kind", "time", "step")}
        elif event.get("step") == step and event.get("kind") == "step":
            loss = event.get("loss")
    return figures, loss


def replay(events: Iterable[dict[str, Any]], step: int, watchdog: Watchdog, due: Callable[[int], bool]) -> None:
    """Let WATCHDOG be as patient as it was at STEP, by EVENTS; DUE says which evaluations count. Where the run stopped
    early or was through and was gone on with, patience counts anew: it would stop at once again, or after fewer than it
    says."""
    events, story = list(events), Story()
    story.feed(events)
    ends = [int(event.get("step") or 0) for event in events if _early(event) or event.get("kind") == "done"]
    for at, loss in story.curves.get("eval_loss", ()):
        if at <= step:
            watchdog.evaluated(at, loss, counts=due(at))
            if at in ends:
                watchdog.excuse()


def stopped_early(events: Iterable[Mapping[str, Any]], step: int, watchdog: Watchdog) -> str:
    """What to tell where EVENTS end with an early stop and the run goes on from STEP; empty where they don't."""
    ends = [event for event in events if event.get("kind") in ("start", "done", "stopped", "failed")]
    if not ends or not _early(ends[-1]):
        return ""
    best, loss = watchdog.least
    text = f"This run had stopped early at step {ends[-1].get('step')}"
    text += f", its held-out loss best at step {best} ({loss:.4g})" if math.isfinite(loss) else ""
    text += f". It goes on from step {step}, with the weights of that step"
    if watchdog.watch.eval_rising == "stop":
        count = watchdog.watch.patience
        text += f", and stops again after {count} more evaluation{'s' if count > 1 else ''} without a better one"
    return f"{text}."


def _early(event: Mapping[str, Any]) -> bool:
    return event.get("kind") == "stopped" and event.get("by") == "eval_rising"


def decay_as(optimizer: Any, decay: Sequence[float | None]) -> None:
    """Let OPTIMIZER's groups decay by DECAY, which the recipe says, not as the checkpoint that was read remembers."""
    for group, value in zip(optimizer.param_groups, decay, strict=True):
        if value is not None:
            group["weight_decay"] = value
