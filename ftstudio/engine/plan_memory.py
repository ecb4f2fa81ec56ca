"""The part of a plan about memory and time: estimated from the configuration, measured where it was asked for."""

from __future__ import annotations

import logging
import math
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from ftstudio import methods
from ftstudio.core.errors import Stopped, StudioError
from ftstudio.core.recipe import Recipe
from ftstudio.core.text import duration, one_line, size
from ftstudio.data.dataset import Cancel
from ftstudio.data.encoded_set import EncodedSet
from ftstudio.engine import fit, hardware, pace, reshaping, room
from ftstudio.engine.ahead import Ahead
from ftstudio.engine.budget import tokens_in
from ftstudio.engine.compatibility import Problem
from ftstudio.engine.loads import Batches, batches
from ftstudio.engine.materials import Materials
from ftstudio.engine.meter import Meter

if TYPE_CHECKING:
    from ftstudio.engine.collate import Row
    from ftstudio.tasks.base import Task

log = logging.getLogger(__name__)

# parameters up to which a few real steps are cheap: some seconds beside reading the rows
CHEAP = {"cpu": 100e6, "cuda": 10e9}


def look(
    recipe: Recipe,
    materials: Materials,
    encoded: EncodedSet,
    counted: dict[str, int],
    total: int,
    steps: int,
    problems: list[Problem],
    measured: bool | None,
    cancel: Cancel | None,
    held: int | None = 0,
    place: Path | None = None,
) -> tuple[dict[str, Any], dict[str, float] | None]:
    """(memory: `{estimated_bytes, measured_bytes, parts, moments, cache_bytes, fits, divisible, beyond, smaller}`,
    `seconds_of` the run). `beyond`: what doesn't depend on the batch is more than the device has; `smaller`: what takes
    less by the estimate, in words, where it doesn't fit as it is.

    COUNTED are the bytes of weights, adapter, gradients and optimizer, TOTAL the model's weights. MEASURED, HELD: see
    `plan`; PLACE: see `measure`. What can't be told is None, and why is a problem in the list. `checkpointing` tells
    whether activations are computed again, and why; where the recipe leaves it open, the figures are those of what was
    decided.
    """
    memory: dict[str, Any] = {"estimated_bytes": None, "measured_bytes": None, "parts": dict(counted)}
    memory["divisible"] = materials.task.divisible
    try:
        machine = hardware.resolve(recipe)
        config = _config(recipe)
        some = batches(recipe, materials, encoded, config, machine, total)
    except Stopped:
        raise
    except Exception as error:  # an architecture that transformers can't configure
        return _untold(memory, error, problems), None
    there = fit.there(machine.device, held)
    told: dict[bool, dict[str, Any]] = {}

    def ask(asked: Recipe) -> int:
        on = bool(asked.training.gradient_checkpointing)
        told[on] = _estimated(asked, config, machine, counted, some, materials.task)
        return int(told[on]["estimated_bytes"])

    try:
        on, why = room.decide(recipe, sys.maxsize, machine.device, ask, int(there[0]["free"]))
        recipe = recipe.with_changes({"training.gradient_checkpointing": on})
        if on not in told:
            ask(recipe)
        memory |= {**told[on], "checkpointing": {"on": on, "why": why}}
    except Stopped:
        raise
    except Exception as error:  # an architecture that can't be built without its weights, or with fewer layers
        _untold(memory, error, problems)
    else:
        if on and why != room.SAID:
            text = f"activations are computed again, {why}."
            problems.append(Problem("note", text, "training.gradient_checkpointing"))
    seconds, found, no_room = None, None, False
    fine = not any(problem.severity == "error" for problem in problems)
    if fine and (measured or (measured is None and total <= CHEAP[machine.device])):
        from ftstudio.engine.measure import NoRoom, measure

        try:
            found = measure(recipe, some, cancel, place)
        except Stopped:
            raise
        except NoRoom as error:
            # others may hold the memory now: it is an error only where the device were too small if it were empty
            no_room, least = True, memory["estimated_bytes"] or 0
            severity: Literal["error", "warning"] = "error" if least > there[0]["total"] else "warning"
            problems.append(Problem(severity, f"While measuring: {error.message}", "", error.hint))
        except StudioError as error:
            problems.append(Problem("warning", error.message, "", error.hint))
        else:
            memory |= {"measured_bytes": found["bytes"], "measured": found}
            seconds = seconds_of(recipe, some, found, steps)
            problems += _much(seconds)
    if recipe.training.shard:
        text = "these figures are of one process; of several each holds its share of gradients and optimiser states."
        problems.append(Problem("note", text, "training.shard"))
    memory |= {"beyond": False, "smaller": ""}
    needed = memory["measured_bytes"] or memory["estimated_bytes"]
    if needed is None:
        return memory, seconds
    memory["fits"] = fit.verdicts(needed, there, machine.device)
    best = memory["fits"][0]["fits"]  # the first device is the one that is trained on
    if found is not None or (no_room and best in ("yes", "tight")):
        memory["fits"][0] = fit.refused(memory["fits"][0], found)
        best = memory["fits"][0]["fits"]
    if best in ("no", "busy"):
        beyond = memory["beyond"] = sum(counted.values()) > there[0]["total"]  # whatever goes through at once
        if not beyond:
            memory["smaller"] = _smaller(recipe, materials, encoded, counted, memory["estimated_bytes"])
        hint = fit.lighter(recipe, rows=not beyond)
        if memory["smaller"]:
            hint = f"Try {memory['smaller']}."
        about = "method" if beyond else "training.batch_size" if materials.task.divisible else "options.chunk"
        problems.append(Problem("warning", memory["fits"][0]["text"] + ".", about, hint))
    return memory, seconds


def _smaller(
    recipe: Recipe, materials: Materials, encoded: EncodedSet, counted: dict[str, int], now: int | None
) -> str:
    """The first of `fit.ways` that takes less than RECIPE does NOW (bytes, by its estimate), in words; empty: none."""
    if now is None:
        return fit.smaller(recipe, materials.task.divisible)
    for less in fit.ways(recipe, materials.task.divisible):
        bytes_ = estimated(less, materials, encoded, counted)["estimated_bytes"]
        if bytes_ < now:
            return f"{fit.said(recipe, less)}, {size(bytes_)} instead of {size(now)}"
    return ""


def _untold(memory: dict[str, Any], error: Exception, problems: list[Problem]) -> dict[str, Any]:
    """MEMORY as it is, and a note that the rest can't be estimated because of ERROR."""
    log.info("memory can't be estimated", exc_info=error)
    if isinstance(error, StudioError) and any(problem.text == error.message for problem in problems):
        return memory  # it is told already
    why = one_line(error, 120).rstrip(".")
    if type(error).__name__ in ("DynamicOutputShapeException", "DataDependentOutputException"):  # of torch's fake pass
        why = "the model looks at what stands in the rows (where a picture goes, which expert reads a token)"
    text = f"Memory for activations can't be estimated: {why}. A measured step tells it."
    problems.append(Problem("note", text))
    return memory


def estimated(recipe: Recipe, materials: Materials, encoded: EncodedSet, counted: dict[str, int]) -> dict[str, Any]:
    """What `memory.estimate` says of RECIPE on its rows; COUNTED as in `look`."""
    machine, config = hardware.resolve(recipe), _config(recipe)
    weights = counted["weights"] // (4 if machine.precision == "fp32" else 2)
    some = batches(recipe, materials, encoded, config, machine, weights)
    return _estimated(recipe, config, machine, counted, some, materials.task)


def _config(recipe: Recipe) -> Any:
    """The model's configuration as transformers reads it."""
    from transformers import AutoConfig

    from ftstudio.engine.locate import locate

    folder = locate(recipe.model, weights=False).folder
    config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    return reshaping.config_of(config, recipe)


def _estimated(
    recipe: Recipe, config: Any, machine: hardware.Hardware, counted: dict[str, int], some: Batches, task: Task
) -> dict[str, Any]:
    from ftstudio.engine import memory_tasks
    from ftstudio.engine.memory import estimate
    from ftstudio.engine.memory_fake import Method
    from ftstudio.engine.plan import quantised_layers

    method = methods.get(recipe.method.name)
    settings = method.settings(recipe.method.settings)
    packed = method.quantisation(settings) is not None
    changes = Method(
        put=lambda model: method.apply(model, settings),
        quantised=lambda model: quantised_layers(model) if packed else (),
        narrow=method.adapter,
        key=f"{method.name} {settings.model_dump_json()}",
        kind=task.kind,
        apart=method.tells_layers_apart(settings),
    )
    training = recipe.training
    if task.kind != "causal-lm":
        held = some.held(min(training.batch_size, task.chunk or training.batch_size), training.batch_tokens)
        asked: list[Row] = [{"input_ids": ids, "labels": [0] * some.new} for ids in some.prompts]
        if task.kind == "image-text-to-text":
            asked = some.asked
        loads = memory_tasks.TaskLoads(some.piece, held, asked, some.new, some.pieces)
        return memory_tasks.estimate(config, recipe, task, changes, machine, counted, loads)
    load = some.loads(training.batch_size, training.batch_tokens)
    return estimate(config, recipe, changes, machine, counted, load)


def seconds_of(recipe: Recipe, some: Batches, found: dict[str, Any], steps: int) -> dict[str, float]:
    """Seconds from the start to the end, from what was measured: `loading`, `training` (a micro-batch costs a constant
    and so much a token; the last step of an epoch takes what is left) and `evaluating` (held-out loss, samples and the
    gauge of forgetting), and `saving` where a checkpoint was measured: those that are due, about as many of the best as
    the run itself expects (see `ahead`), and the tuned model."""
    import numpy as np

    accumulation = recipe.training.gradient_accumulation
    pairs = [(found["tokens"], found["step_seconds"]), *found["usual"]]
    tokens = np.array([pair[0] for pair in pairs], dtype=float)
    seconds = np.array([pair[1] for pair in pairs]) / accumulation
    slope = constant = 0.0
    if np.ptp(tokens) > 0.2 * tokens.max():
        slope, constant = (float(value) for value in np.polyfit(tokens, seconds, 1))
    if slope <= 0 or constant < 0:  # sizes too alike to tell the two apart
        slope, constant = float(seconds.sum() / tokens.sum()), 0.0
    batches = len(some.tokens)
    passes = tokens_in(steps, batches, batches, accumulation)  # of an epoch whose batches count one each
    training = constant * passes + slope * tokens_in(steps, sum(some.tokens), batches, accumulation)
    evaluations = 0
    if some.held_out:
        evaluations = 1 + math.ceil(steps / recipe.evaluation.every)  # before the first step, and at the last
    each = float(found["evaluation_seconds"] + found["answering_seconds"] + found["gauge_seconds"])
    told = {"loading": float(found["load_seconds"]), "training": float(training), "evaluating": evaluations * each}
    took = found.get("saving_seconds")
    if took is not None:
        every = recipe.evaluation.every if some.held_out else None
        early = recipe.training.watch.eval_rising == "stop"
        ahead = Ahead(every, recipe.training.save_steps, recipe.training.save_best or early, early)
        expected = _Expected(took={"evaluating": [each], "saving": [took]})
        expected.seconds_a_step = training / max(1, steps)
        told["saving"] = float(took * ahead.counts(1, steps, 0.0, expected)["saving"])
    return told


class _Expected(Meter):
    """The clock of a run that isn't begun: its steps take what measured ones say."""

    seconds_a_step = 0.0

    def eta(self, steps: int, tokens: float, ahead: Mapping[str, float]) -> float:
        """See Meter."""
        return steps * self.seconds_a_step


def _much(seconds: dict[str, float]) -> Iterator[Problem]:
    """A word where evaluations, or checkpoints, take much of the SECONDS of a run."""
    each = {
        "evaluating": ("evaluations and their samples", "evaluation.every", "A larger one, or fewer evaluation.samples,"
                       " leave more to training."),
        "saving": ("checkpoints", "training.save_steps", "A larger one leaves more to training."),
    }  # fmt: skip
    for kind, (what, key, hint) in each.items():
        took = seconds.get(kind, 0.0)
        share = took / max(1e-9, sum(seconds.values()))
        if share > pace.MUCH and took >= pace.SHORT:
            yield Problem("note", f"{what} take {share:.0%} of the time, {duration(took)} in all.", key, hint)


def text_of(memory: dict[str, Any]) -> list[str]:
    """MEMORY for people, a line each: the parts, estimate beside measured, and whether it fits."""
    parts = memory.get("parts") or {}
    lines = (
        [", ".join(f"{size(count)} {name.replace('_', ' ')}" for name, count in parts.items() if count)]
        if parts
        else []
    )
    if memory.get("estimated_bytes"):
        told = f"{size(memory['estimated_bytes'])} estimated"
        if memory.get("measured_bytes"):
            told += f", {size(memory['measured_bytes'])} measured"
        lines += [told, *fit.moments_of(memory)]
    elif memory.get("measured_bytes"):
        lines.append(f"{size(memory['measured_bytes'])} measured")
    if (memory.get("checkpointing") or {}).get("on"):
        lines.append(f"checkpointing {memory['checkpointing']['why']}")
    lines += [found["text"] for found in memory.get("fits") or ()]
    return lines
