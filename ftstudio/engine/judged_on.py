"""What the losses of a run are losses of: only runs that agree on it are better or worse by them. No torch."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ftstudio import tasks
from ftstudio.core.errors import StudioError
from ftstudio.core.recipe import Recipe
from ftstudio.core.run import RunFolder
from ftstudio.engine import marks
from ftstudio.engine.recipes import load_recipe

BY_TOKENS = ("causal-lm", "masked-lm", "sft", "seq2seq", "image-text-to-text")
"""Tasks whose loss is that of a token: other tokens of the same text, or fewer, are another loss."""
DRAWN = "a file as data.eval, with evaluation.rows of as many rows, holds the same out for all"
SEEDED = "the same data.seed holds the same out for all"
BATCHES = "batch sizes (training.batch_size)"


def differing(runs: Sequence[RunFolder], held_out: bool) -> str:
    """In what the losses of RUNS (on HELD_OUT rows, else in training) are of different things, in words; empty where
    they can be set against each other."""
    recipes = [recipe for run in runs if (recipe := _recipe(run)) is not None]
    grounds = [_ground(recipe, held_out) for recipe in recipes]
    if recipes and any(recipe.task in BY_TOKENS for recipe in recipes):
        models = {recipe.model for recipe in recipes}
        marked = {model: _tokens(model) if len(models) > 1 else "" for model in models}
        grounds = [one | {"tokenizers": marked[recipe.model]} for one, recipe in zip(grounds, recipes, strict=True)]
    found = _unequal(grounds)
    way = _way(recipes) if found == ["held-out rows"] else ""
    return f"{', '.join(found)}{f' ({way})' if way else ''}"


def score(runs: Sequence[RunFolder], judged: Sequence[Mapping[str, Any]]) -> str:
    """The score that ranks RUNS, higher being better, where their losses depend on what shares a batch: one that each
    of JUDGED, the evaluations of their models, has. Empty where there is none, or not of the same rows."""
    recipes = [recipe for run in runs if (recipe := _recipe(run)) is not None]
    if len(recipes) < len(runs) or any(tasks.of(recipe).divisible for recipe in recipes):
        return ""
    if _unequal([_asked(recipe) | {"held-out rows": _held_out(recipe)} for recipe in recipes]):
        return ""
    names = tasks.of(recipes[0]).ranked_by if recipes else ()
    return next((name for name in names if all(isinstance(one.get(name), (int, float)) for one in judged)), "")


def _unequal(grounds: Sequence[Mapping[str, Any]]) -> list[str]:
    names = dict.fromkeys(name for ground in grounds for name in ground)
    return [name for name in names if len({_plain(ground.get(name)) for ground in grounds}) > 1]


def _way(recipes: Sequence[Recipe]) -> str:
    """How runs of RECIPES, which differ in their held-out rows alone, come to be judged on the same."""
    seeded = [recipe.with_changes({"data.seed": 0}) for recipe in recipes]
    if len({_plain(_held_out(recipe)) for recipe in seeded}) == 1:
        return SEEDED
    return DRAWN if any(_drawn(recipe) for recipe in recipes) else ""


def _recipe(run: RunFolder) -> Recipe | None:
    try:
        return load_recipe(run.recipe_path)
    except StudioError:  # harmed since
        return None


def _asked(recipe: Recipe) -> dict[str, Any]:
    """What is asked of the rows of RECIPE."""
    resolved, columns = recipe.resolved or {}, recipe.data.columns
    return {"tasks": recipe.task, "labels": resolved.get("task"), "columns": columns and columns.model_dump()}


def _ground(recipe: Recipe, held_out: bool) -> dict[str, Any]:
    resolved = recipe.resolved or {}
    data, noted = recipe.data, resolved.get("data") or {}
    options = {name: value for name, value in recipe.options.items() if name != "chunk"}  # it changes no loss
    found = _asked(recipe) | {"options": options, "templates": resolved.get("template")}
    if not tasks.of(recipe).divisible:  # a row is held against the others of its batch: of fewer it is easier
        found[BATCHES] = recipe.training.batch_size
    if recipe.task in BY_TOKENS:
        found["lengths (data.max_length)"] = data.max_length
        found["added tokens"] = recipe.architecture.new_tokens
    if held_out:
        return found | {"held-out rows": _held_out(recipe)}
    return found | {"training rows": [_train(recipe), None if noted else str(data.train), data.limit]}


def _train(recipe: Recipe) -> list[Any]:
    noted = (recipe.resolved or {}).get("data") or {}
    return [_of(noted.get("train")), _of(noted.get("sources"))]


def _held_out(recipe: Recipe) -> list[Any]:
    """[which rows RECIPE holds out, how many of them are judged]"""
    data, rows = recipe.data, _noted(recipe)
    count, most = rows.get("rows"), recipe.evaluation.rows
    if _drawn(recipe):
        parting = [data.eval, data.test, data.split_by and data.split_by.model_dump(), data.parted_as]
        which = [*parting, recipe.rows_seed, *_train(recipe)]
        which += [] if (recipe.resolved or {}).get("data") else [str(data.train)]
    else:
        which = [rows.get("sha256")]
        if count is not None and count > most:  # those that are judged are drawn (`Materials.examples`)
            which.append(recipe.rows_seed)
    return [which, None if count is None else min(count, most)]


def _noted(recipe: Recipe) -> Mapping[str, Any]:
    """What the resolved RECIPE tells of its held-out rows."""
    found: Mapping[str, Any] = ((recipe.resolved or {}).get("data") or {}).get("eval") or {}
    return found


def _drawn(recipe: Recipe) -> bool:
    """Whether the held-out rows of RECIPE are drawn from those of its training."""
    return "sha256" not in _noted(recipe)


def _of(facts: Mapping[str, Any] | None) -> Any:
    """What of the FACTS of a file, or of files by their names, says which rows are in it."""
    if not facts:
        return None
    return facts["sha256"] if "sha256" in facts else {name: _of(part) for name, part in facts.items()}


def _tokens(model: str) -> str:
    """A mark of the tokenizer of MODEL; its name where it isn't on this machine."""
    folder = marks.folder_of(model)
    if folder is None:
        return model
    found = hashlib.blake2b(digest_size=10)
    patterns = ("tokenizer.json", "*.model", "vocab.*", "merges.txt", "added_tokens.json", "chat_template.*")
    for path in sorted({path for pattern in patterns for path in folder.glob(pattern)}):
        found.update(f"{path.name}\0{_read(path)}\0".encode())
    return found.hexdigest()


def _read(path: Path) -> str:
    try:
        return hashlib.blake2b(path.read_bytes()).hexdigest()
    except OSError:
        return ""


def _plain(value: Any) -> str:
    return json.dumps(value, sort_keys=True, default=str)
