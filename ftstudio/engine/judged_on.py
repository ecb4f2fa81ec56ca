"""What the losses of a run are losses of: only runs that agree on it are better or worse by them. No torch."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ftstudio.core.errors import StudioError
from ftstudio.core.recipe import Recipe
from ftstudio.core.run import RunFolder
from ftstudio.engine import marks
from ftstudio.engine.recipes import load_recipe

BY_TOKENS = ("causal-lm", "masked-lm", "sft", "seq2seq", "image-text-to-text")
"""Tasks whose loss is that of a token: other tokens of the same text, or fewer, are another loss."""
DRAWN = "a file as data.eval holds the same rows out for all"


def differing(runs: Sequence[RunFolder], held_out: bool) -> str:
    """In what the losses of RUNS (on HELD_OUT rows, else in training) are of different things, in words; empty where
    they can be set against each other."""
    recipes = [recipe for run in runs if (recipe := _recipe(run)) is not None]
    grounds = [_ground(recipe, held_out) for recipe in recipes]
    if recipes and any(recipe.task in BY_TOKENS for recipe in recipes):
        models = {recipe.model for recipe in recipes}
        marked = {model: _tokens(model) if len(models) > 1 else "" for model in models}
        grounds = [one | {"tokenizers": marked[recipe.model]} for one, recipe in zip(grounds, recipes, strict=True)]
    names = dict.fromkeys(name for ground in grounds for name in ground)
    found = [name for name in names if len({_plain(ground.get(name)) for ground in grounds}) > 1]
    if not found:
        return ""
    way = f" ({DRAWN})" if found == ["held-out rows"] and any(_drawn(recipe) for recipe in recipes) else ""
    return f"{', '.join(found)}{way}"


def _recipe(run: RunFolder) -> Recipe | None:
    try:
        return load_recipe(run.recipe_path)
    except StudioError:  # harmed since
        return None


def _ground(recipe: Recipe, held_out: bool) -> dict[str, Any]:
    resolved = recipe.resolved or {}
    data, noted = recipe.data, resolved.get("data") or {}
    found: dict[str, Any] = {"tasks": recipe.task, "options": recipe.options, "labels": resolved.get("task")}
    found |= {"templates": resolved.get("template"), "columns": data.columns and data.columns.model_dump()}
    if recipe.task in BY_TOKENS:
        found["lengths (data.max_length)"] = data.max_length
        found["added tokens"] = recipe.architecture.new_tokens
    train = [_of(noted.get("train")), _of(noted.get("sources")), None if noted else str(data.train)]
    if not held_out:
        return found | {"training rows": [train, data.limit]}
    rows = noted.get("eval") or {}
    if _drawn(recipe):
        parting = [data.eval, data.test, data.split_by and data.split_by.model_dump(), data.parted_as]
        which = [*parting, recipe.training.seed, *train]
    else:
        which = [rows.get("sha256")]
    count = rows.get("rows")
    return found | {"held-out rows": [which, None if count is None else min(count, recipe.evaluation.rows)]}


def _drawn(recipe: Recipe) -> bool:
    """Whether the held-out rows of RECIPE are drawn from those of its training."""
    return "sha256" not in (((recipe.resolved or {}).get("data") or {}).get("eval") or {})


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
