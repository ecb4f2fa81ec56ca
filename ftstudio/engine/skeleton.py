"""A model without its weights: built from its config.json on torch's meta device, and held against its weight files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ftstudio import tasks
from ftstudio.core.errors import StudioError
from ftstudio.core.recipe import Recipe
from ftstudio.engine import heads, reshaping, weights
from ftstudio.engine.building import BUILDING
from ftstudio.engine.compatibility import MASKED, Problem
from ftstudio.engine.locate import locate


def skeleton(recipe: Recipe) -> Any:
    """The model of RECIPE with shapes and no weights."""
    from ftstudio.engine import quiet

    quiet.libraries()
    import torch
    from transformers import AutoConfig

    folder = locate(recipe.model, weights=False).folder
    head = tasks.of(recipe).head()
    try:
        config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        # in the process's own dtype: a training in another thread would see any other as its default meanwhile
        with BUILDING, torch.device("meta"):
            chosen = heads.auto_class(head.kind)
            model = chosen.from_config(heads.configured(config, head), dtype=torch.get_default_dtype())
            if recipe.architecture.changes:
                reshaping.change(model, folder, recipe.architecture, head)
        if head.kind == "masked-lm":
            made = [name for name in config.architectures or () if isinstance(name, str)]
            body = f"{model.base_model_prefix}."
            bare = bool(made) and not any(name.endswith(MASKED) for name in made)
            model.ftstudio_missing = [n for n, _ in model.named_parameters() if bare and not n.startswith(body)]
            model.ftstudio_head = heads.new_modules(model)
        if head.kind in heads.NEW:
            model.ftstudio_missing = _unfilled(model, folder)
        return model
    except (ValueError, KeyError, OSError, AssertionError) as error:
        from ftstudio.engine.loading import explain

        raise explain(error, recipe.model, head.kind) from error


def _unfilled(model: Any, folder: Path) -> list[str]:
    """Weights of MODEL's pooler that are in no file of FOLDER: they begin at random, so they learn whatever the method,
    as the head does. Of a model that isn't fetched yet none are known."""
    pooled = [name for name, _ in model.named_parameters() if ".pooler." in f".{name}"]
    if not pooled:
        return []
    try:
        there = weights.shapes(folder, folder.name).keys()
    except StudioError:
        return []
    body = f"{model.base_model_prefix}."
    return [name for name in pooled if name not in there and name.removeprefix(body) not in there]


def weight_problems(recipe: Recipe) -> list[Problem]:
    """Weight files that are missing, damaged or of another shape than the model's config.json says. A hub model that
    isn't here yet has none."""
    if recipe.model != "demo" and not Path(recipe.model).expanduser().is_dir():
        return []
    try:
        there = weights.shapes(locate(recipe.model).folder, recipe.model)
        model = skeleton(reshaping.untouched(recipe))
        own = {name: tuple(part.shape) for name, part in model.named_parameters()}
    except StudioError as error:
        return [Problem.of(error, "model")]
    except Exception:  # told by the count of its parameters
        return []
    other = [name for name, shape in own.items() if there.get(name, shape) != shape]
    if tasks.of(recipe).kind in heads.NEW:
        other = heads.of_body(other, model)  # a head for other labels is replaced
    if other:
        name = other[0]
        text = f"{name} has shape {list(there[name])}, but by its config.json it should have {list(own[name])}."
        return [Problem("error", text, "model", "Fetch the model again: its files don't belong together.")]
    missing = sorted(own.keys() - there.keys())
    if tasks.of(recipe).kind in heads.NEW or tasks.of(recipe).kind == "encoder":
        return []  # a new head is in no file, and the file's own head in no model
    if missing and there.keys() <= own.keys():  # else transformers may know these weights by other names
        text = f"{len(missing)} of its {len(own)} weights are in no file (such as {missing[0]}): they would be random."
        return [Problem("error", text, "model", "Fetch the model again: its files don't belong together.")]
    return []
