"""What a recipe would do, without doing it: does it fit together, how much is trained, what does it weigh.

Parameters are counted on a model without weights (torch's meta device), so an 8B model costs a second and no memory.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from ftstudio import methods, tasks
from ftstudio.core.errors import StudioError
from ftstudio.core.recipe import Recipe
from ftstudio.core.text import number, one_line, size
from ftstudio.core.workspace import Workspace
from ftstudio.data.checks.tokens import unread_parts
from ftstudio.data.dataset import Cancel, Progress
from ftstudio.data.encoded_set import EncodedSet
from ftstudio.engine import accepting, reshaping, soft_prompts, suits, worth
from ftstudio.engine.budget import batches_in
from ftstudio.engine.compatibility import (
    BLOCK,
    Problem,
    config_problems,
    machine_problems,
    model_config,
)
from ftstudio.engine.fit import gpus, lighter
from ftstudio.engine.locate import locate, state
from ftstudio.engine.materials import Materials
from ftstudio.engine.plan_rows import LOOKED_AT, held_out, labels_of, rare_labels
from ftstudio.engine.prepare import resolve
from ftstudio.engine.skeleton import skeleton, weight_problems
from ftstudio.engine.tokenised import tokenised

REMEMBERED = 16  # models, as changed by a method, that are counted once
_weighed: dict[Any, Weight] = {}
_looked_into: dict[Any, list[suits.Sentence]] = {}

_NESTED = 256  # scales that share one scale of scales in bitsandbytes' double quantisation
_STATES_8BIT_FROM = 4096  # elements from which bitsandbytes keeps a tensor's optimiser states in 8 bits
_BLOCK_8BIT = 256


def plan(
    recipe: Recipe,
    *,
    progress: Progress | None = None,
    cancel: Cancel | None = None,
    measure: bool | None = False,
    workspace: Workspace | None = None,
    held: int | None = 0,
) -> dict[str, Any]:
    """DESIGN's `plan`: {compatible, problems:[{severity,text,key,hint}], parameters:{total,trainable},
    memory:{estimated_bytes,measured_bytes,parts,…}, tokens:{total,trained,lost}, rows, steps, seconds_estimated,
    seconds:{loading,training,evaluating,saving}, gpus, labels:{text,…}, model:[{about,text,sign}],
    worth:[{about,text,sign}]}: see `suits` and `worth`; scores known in WORKSPACE count.

    MEASURE: a few real steps in a process of its own; None: where that is cheap. HELD: bytes of models that this
    process holds and a training takes over or lets go of; None: all that it holds on a GPU. Never raises for what is
    wrong with the recipe: that is a problem in the list.
    """
    problems: list[Problem] = []
    config = _config(recipe, problems)
    problems += machine_problems(recipe)
    if config is not None:
        problems += config_problems(recipe, config)
    resolved, materials = _resolved(recipe, problems, progress, cancel)
    rows: dict[str, Any] = {"train": None, "eval": None, "test": None, "excluded": None}
    tokens: dict[str, Any] = {"total": None, "trained": None, "lost": None}
    steps = None
    encoded, labels = None, None
    if resolved is not None and materials is not None:
        rows, tokens, encoded = _tokens(resolved, materials, config or {}, problems, progress, cancel)
        steps = steps_of(resolved, [int(size) for size in encoded.batch_lengths])
        problems += held_out(materials)
        problems += rare_labels(materials.task)
        labels = labels_of(materials.task)
    final = resolved or recipe
    parameters: dict[str, Any] = {"total": None, "trainable": None}
    parts: dict[str, int] = {}
    if config is not None and not any(p.severity == "error" and p.key == "model" for p in problems):
        problems += weight_problems(recipe)
        parameters, parts = weights_of(final, problems)
        problems += _changes(final, parameters["total"])
        _machine_memory(final, parts, problems)
    memory: dict[str, Any] = {"estimated_bytes": None, "measured_bytes": None, "parts": parts}
    seconds = None
    if parts and encoded is not None and materials is not None and len(encoded):
        from ftstudio.engine.measure_saving import place_of
        from ftstudio.engine.plan_memory import look

        memory, seconds = look(
            final, materials, encoded, parts, parameters["total"], steps or 0, problems, measure, cancel, held,
            place_of(workspace.path) if workspace is not None else None,
        )  # fmt: skip
    return {
        "compatible": not any(problem.severity == "error" for problem in problems),
        "problems": [problem.to_dict() for problem in problems],
        "parameters": parameters,
        "memory": memory,
        "tokens": tokens,
        "rows": rows,
        "labels": labels,
        "steps": steps,
        "seconds_estimated": sum(seconds.values()) if seconds else None,
        "seconds": seconds,
        "gpus": 0 if final.training.device == "cpu" else gpus(),
        "model": [sentence.to_dict() for sentence in _suits(final, encoded) if config is not None],
        "worth": [sentence.to_dict() for sentence in _worth(final, workspace, encoded, parameters["total"])],
    }


def _suits(recipe: Recipe, encoded: EncodedSet | None) -> list[suits.Sentence]:
    """How RECIPE's model goes with task and rows; what the plan says elsewhere isn't said again."""
    lengths = list(encoded.uncut[:LOOKED_AT]) if encoded is not None else None
    try:
        head = tasks.of(recipe).head()
        found = suits.told(recipe.model, recipe.task, lengths, recipe.training.precision, head)
        found = [one for one in found if one.about != "labels" or not recipe.architecture.new_head]
        key = (*_model_state(recipe), recipe.task)
        if key not in _looked_into:
            _remember(_looked_into, key, suits.looked_into(skeleton(recipe), recipe.task))
        return found + _looked_into[key]
    except Exception:  # the problems tell of it
        return []


def _worth(
    recipe: Recipe, workspace: Workspace | None, encoded: EncodedSet | None, parameters: int | None
) -> list[suits.Sentence]:
    answer = encoded.stats.trained / len(encoded) if encoded is not None and len(encoded) else None
    return worth.told(recipe, workspace, answer, parameters)


def _config(recipe: Recipe, problems: list[Problem]) -> dict[str, Any] | None:
    try:
        return model_config(recipe.model)
    except StudioError as error:
        problems.append(Problem("error", error.message, "model", error.hint))
        return None


def _resolved(
    recipe: Recipe, problems: list[Problem], progress: Progress | None, cancel: Cancel | None
) -> tuple[Recipe | None, Materials | None]:
    if any(problem.key == "model" and problem.severity == "error" for problem in problems):
        return None, None
    try:
        return resolve(recipe, check=False, progress=progress, cancel=cancel)
    except StudioError as error:
        problems.append(Problem.of(error, _data_key(recipe, error)))
        return None, None


def _data_key(recipe: Recipe, error: StudioError) -> str:
    """Which key of RECIPE an error about its materials is about."""
    from ftstudio.data.tokenizer import load_tokenizer

    try:
        load_tokenizer(recipe.model)
    except StudioError:
        return "model"
    named = [key for key in ("data.columns", "data.eval", "data.max_length") if key in error.message]
    if "template" in error.message.lower()[:24]:
        named.insert(0, "data.template")
    return named[0] if named else "data.train"


def steps_of(recipe: Recipe, lengths: Sequence[int]) -> int:
    """Optimiser steps of a training on rows of LENGTHS tokens, as transformers' Trainer counts them."""
    training = recipe.training
    if training.steps is not None:
        return training.steps
    batches = batches_in(lengths, training.batch_size, training.batch_tokens)
    a_pass = max(1, math.ceil(batches / training.gradient_accumulation))
    return math.ceil((training.epochs or 0) * a_pass)


def _tokens(
    recipe: Recipe,
    materials: Materials,
    config: dict[str, Any],
    problems: list[Problem],
    progress: Progress | None,
    cancel: Cancel | None,
) -> tuple[dict[str, Any], dict[str, Any], EncodedSet]:
    encoded = tokenised(materials, progress=progress, cancel=cancel)
    stats = encoded.stats
    limit = recipe.data.max_length
    if not len(encoded):
        reason = encoded.excluded[0][1] if encoded.excluded else "there are none"
        problems.append(
            Problem("error", f"no row can be trained: {reason}.", "data.max_length", "Raise it, or look at the rows.")
        )
    found = accepting.errors_of_rows(materials, progress=progress, cancel=cancel)
    found += accepting.errors_of_encoded(encoded, materials.train) if len(encoded) else []
    try:
        problems += accepting.problems(recipe, found)
    except StudioError as error:
        problems.append(Problem.of(error, accepting.KEY))
    if stats.truncated:
        many = "row is" if stats.truncated == 1 else "rows are"
        text = f"{number(stats.truncated)} {many} longer than {limit} tokens: {number(stats.lost)} tokens are cut off, "
        text += f"{number(stats.lost_completion)} of them would have been trained."
        problems.append(Problem("warning", text, "data.max_length", "Raise data.max_length, or shorten the rows."))
    tokenizer = materials.tokenizer
    if not materials.end_tokens and materials.task.generates:
        text = "the tokenizer has no end token: the model can't learn to stop."
        problems.append(Problem("warning", text, "model", "Use a model whose tokenizer names an eos_token."))
    elif len(encoded) and stats.not_ended > stats.truncated:
        text = f"in {number(stats.not_ended)} rows no end token is trained: the model won't learn to stop there."
        problems.append(Problem("warning", text, "data.template"))
    problems += [Problem("warning", doubt.text, doubt.key, doubt.hint) for doubt in materials.task.doubts(tokenizer)]
    problems += [Problem("warning", doubt.text, doubt.key, doubt.hint) for doubt in materials.task.unlearnt(encoded)]
    metrics = (materials.recipe.resolved or {}).get("metrics")
    problems += [Problem("warning", str(metrics), "evaluation.metrics")] if metrics else []
    unread = unread_parts(encoded)
    if unread.count:
        hint = "Use a model whose chat template has them, or a Jinja string that writes {{ tools }} and {{ messages }}."
        problems.append(Problem("warning", unread.text, "data.template", hint))
    text_config = config.get("text_config") if isinstance(config.get("text_config"), dict) else config
    vocabulary = (text_config or {}).get("vocab_size")
    if isinstance(vocabulary, int) and recipe.architecture.new_tokens:  # the embeddings grow
        vocabulary = max(vocabulary, tokenizer.vocab_size)
    highest = max(encoded.ids, default=0)
    if isinstance(vocabulary, int) and highest >= vocabulary:
        text = f"the rows hold token {highest}, but the model has only {vocabulary} tokens."
        problems.append(Problem("error", text, "model", "Use the tokenizer that belongs to the model."))
    elif isinstance(vocabulary, int) and tokenizer.vocab_size > vocabulary:
        text = f"the tokenizer has {tokenizer.vocab_size} tokens, the model {vocabulary}; these rows use none beyond."
        problems.append(Problem("note", text, "model"))
    problems += [Problem("note", note, "data") for note in materials.notes]
    if materials.shape.name == "text":
        problems.append(Problem("note", f"{materials.shape.why}.", "data.columns"))
    rows = {
        "train": len(encoded),
        "eval": len(materials.held_out) if materials.held_out is not None else 0,
        "test": len(materials.test) if materials.test is not None else 0,
        "excluded": len(encoded.excluded),
    }
    tokens = {
        "total": stats.tokens,
        "trained": stats.trained,
        "lost": stats.lost,
        "lost_trained": stats.lost_completion,
        "longest": max((int(length) for length in encoded.lengths), default=0),
    }
    return rows, tokens, encoded


def weights_of(recipe: Recipe, problems: list[Problem]) -> tuple[dict[str, Any], dict[str, int]]:
    """({total, trainable}, bytes of weights, adapter, gradients and optimiser), counted on a model without weights."""
    from ftstudio.engine import hardware

    try:
        machine = hardware.resolve(recipe)
    except StudioError as error:
        if not any(problem.key in error.message for problem in problems if problem.key):
            problems.append(Problem("error", error.message, "training", error.hint))
        machine = hardware.Hardware("cpu", "fp32", 1, "")
    method = methods.get(recipe.method.name)
    settings = method.settings(recipe.method.settings)
    key = "model"
    try:
        known = (*_model_state(recipe), method.name, settings.model_dump_json(), machine.precision)
        known = (*known, recipe.training.optimizer)
        weight = _weighed.get(known)
        if weight is None:
            model = skeleton(recipe)
            key = "method"
            weight = weigh(model, method, settings, machine.precision, recipe.training.optimizer)
            _remember(_weighed, known, replace(weight, model=None))
    except StudioError as error:
        if not any(problem.text in error.message for problem in problems):
            problems.append(Problem.of(error, key))
        return {"total": None, "trainable": None}, {}
    except Exception as error:  # an architecture that can't be built without its weights: rare, and no reason to stop
        problems.append(Problem("note", f"The parameters can't be counted: {one_line(error, 120)}.", "model"))
        return {"total": None, "trainable": None}, {}
    if weight.odd:
        text = f"{len(weight.odd)} layers' inputs aren't a multiple of {BLOCK} (such as {weight.odd[0]}): 4 bits work "
        problems.append(Problem("note", f"{text}there, slower.", "method"))
    return {"total": weight.total, "trainable": weight.trainable}, weight.parts


def _model_state(recipe: Recipe) -> tuple[Any, ...]:
    """What RECIPE's model depends on as long as its method changes nothing. Raises StudioError for no such model."""
    folder = locate(recipe.model, weights=False).folder
    return str(folder), state(folder), tasks.of(recipe).head(), recipe.architecture.model_dump_json()


def _remember(found: dict[Any, Any], key: Any, value: Any) -> None:
    if len(found) >= REMEMBERED:
        found.pop(next(iter(found)), None)
    found[key] = value


def _changes(recipe: Recipe, after: int | None) -> list[Problem]:
    """What RECIPE changes in the model itself; AFTER counts the weights that it then has."""
    if not recipe.architecture.changes or after is None:
        return []
    before = None
    if recipe.architecture.drop_layers or recipe.architecture.drop_encoder_layers:
        before = sum(part.numel() for part in skeleton(reshaping.untouched(recipe)).parameters())
        after = sum(part.numel() for part in skeleton(recipe).parameters())
    return [Problem("note", text, "architecture") for text in reshaping.told(recipe, before, after)]


@dataclass(frozen=True)
class Weight:
    """What a model weighs with a method on it: `total` and `trainable` weights, bytes of the `parts` that are known
    exactly, bytes a run saves (`saved`), layers whose inputs don't fill 4-bit blocks (`odd`), and `model` itself."""

    total: int
    trainable: int
    parts: dict[str, int]
    saved: int
    odd: tuple[str, ...]
    model: Any


def weigh(model: Any, method: methods.Method, settings: Any, precision: str, optimizer: str) -> Weight:
    """Put METHOD on MODEL (without weights; it is changed) and count. Raises StudioError for impossible pairs."""
    import torch

    quantisation = method.quantisation(settings)
    quantised = quantised_layers(model) if quantisation is not None else {}
    base = {name: parameter.numel() for name, parameter in model.named_parameters()}
    total = sum(base.values())
    with torch.device(next(model.parameters()).device):  # an adapter needs no weights where the model has none
        trained = method.apply(model, settings)
    learning = [p.numel() for p in trained.parameters() if p.requires_grad]
    everything = sum(p.numel() for p in trained.parameters())
    width = {"fp32": 4, "bf16": 2, "fp16": 2}[precision] if method.adapter else 4
    weights = sum(
        stored_bytes(count, quantisation) if quantisation is not None and name in quantised else count * width
        for name, count in base.items()
    )
    parts = {
        "weights": weights,
        "adapter": (everything - total) * 4,
        "gradients": sum(learning) * 4,
        "optimizer": sum(optimizer_bytes(count, optimizer) for count in learning),
    }
    saved = 4 * everything
    if method.adapter:
        saved = 4 * (sum(learning) - soft_prompts.not_saved(trained)) * (2 if method.alters_base(settings) else 1)
    odd = [name for name, inner in quantised.items() if inner % BLOCK]
    if quantisation is not None and quantisation.kind == "int8":
        odd = []
    return Weight(everything, sum(learning), parts, saved, tuple(odd), trained)


def stored_bytes(count: int, quantisation: methods.Quantisation) -> int:
    """Bytes that COUNT quantised weights take; the scales of int8, one a row, aren't counted."""
    return count if quantisation.kind == "int8" else nf4_bytes(count, quantisation.double)


def quantised_layers(model: Any) -> dict[str, int]:
    """Names of the weights that are stored in 4 bits, with their layer's inputs.

    As transformers' `replace_with_bnb_linear` chooses: plain linear layers and GPT-2's Conv1D, but not the head.
    """
    from torch import nn
    from transformers.pytorch_utils import Conv1D
    from transformers.quantizers.base import get_keys_to_not_convert
    from transformers.quantizers.quantizers_utils import should_convert_module

    kept = get_keys_to_not_convert(model)
    found = {
        f"{name}.weight": module.weight.shape[0] if isinstance(module, Conv1D) else module.in_features
        for name, module in model.named_modules()
        if (type(module) is nn.Linear or isinstance(module, Conv1D)) and should_convert_module(name, kept)
    }
    if not found:
        raise StudioError(f"No layer of {type(model).__name__} can be stored in 4 bits.", "Use method lora instead.")
    return found


def nf4_bytes(count: int, double: bool) -> int:
    """Bytes that COUNT weights take in bitsandbytes' 4-bit types, scales and tables included (QuantState)."""
    blocks = math.ceil(count / BLOCK)
    scales = blocks + math.ceil(blocks / _NESTED) * 4 + 256 * 4 + 4 if double else blocks * 4
    return math.ceil(count / 2) + scales + 16 * 4


def optimizer_bytes(count: int, optimizer: str) -> int:
    """Bytes of the two states that AdamW keeps of a tensor of COUNT weights."""
    if optimizer == "adamw" or count < _STATES_8BIT_FROM:
        return 8 * count
    return 2 * count + 2 * 4 * math.ceil(count / _BLOCK_8BIT)


def _machine_memory(recipe: Recipe, parts: dict[str, int], problems: list[Problem]) -> None:
    """Refuse what can't fit even without activations."""
    from ftstudio.engine import hardware
    from ftstudio.engine.telemetry import Telemetry

    needed = sum(parts.values())
    try:
        device = hardware.resolve(recipe).device
    except StudioError:
        return
    telemetry = Telemetry()
    reading = telemetry.read()
    telemetry.close()
    if device == "cuda" and reading["gpus"]:
        there, what = reading["gpus"][0]["memory_total"], reading["gpus"][0]["name"]
    else:
        there, what = reading["ram_total"], "this machine"
    if there and needed > there:
        text = f"weights, gradients and optimiser alone take {size(needed)}; {what} has {size(there)}."
        problems.append(Problem("error", text, "method", lighter(recipe)))
