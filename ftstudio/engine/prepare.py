"""From a recipe to a run: everything it leaves open is decided, written out, and given a folder. No torch.

`auto` stays where only the machine that trains can say (device, precision); its `start` event tells what it became.
"""

from __future__ import annotations

import contextlib
import os
import platform
import shutil
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

from ftstudio import __version__, methods, tasks
from ftstudio.core import files, recipe_file
from ftstudio.core.errors import StudioError, UsageError
from ftstudio.core.recipe import Columns, Data, Recipe
from ftstudio.core.run import RunFolder
from ftstudio.core.text import one_line
from ftstudio.core.workspace import Workspace, slug
from ftstudio.data import sentence_files
from ftstudio.data.dataset import Cancel, Dataset, Progress
from ftstudio.data.example import BadRow
from ftstudio.data.mix import ANEW
from ftstudio.data.shape import recognise
from ftstudio.data.tokenizer import model_folder
from ftstudio.engine import accepting, fitting
from ftstudio.engine.compatibility import check_config, check_machine, model_config, model_limit
from ftstudio.engine.locate import locate
from ftstudio.engine.materials import (
    Materials,
    effective_eval,
    heldout,
    longest_reference,
    open_materials,
)

__all__ = ["heldout", "open_materials", "prepare_run", "resolve", "run_stem", "withdraw"]

MAX_LENGTH = 1024
NEW_TOKENS = 256
LIBRARIES = (
    "torch", "transformers", "peft", "accelerate", "bitsandbytes", "tokenizers", "datasets", "safetensors",
    "sentence-transformers",
)  # fmt: skip
_COMMON = {"train", "training", "data", "dataset", "index", "all"}  # file names that say nothing: the folder does


def prepare_run(
    recipe: Recipe, workspace: Workspace, *, progress: Progress | None = None, cancel: Cancel | None = None
) -> RunFolder:
    """A new run of RECIPE in WORKSPACE: its folder with the resolved recipe in it, nothing trained yet.

    Raises StudioError for everything that can be known to fail without loading the model; then no folder is made.
    """
    resolved, materials = resolve(recipe, progress=progress, cancel=cancel)
    check_machine(resolved)
    accepting.refuse(resolved, accepting.errors_of_rows(materials, progress=progress, cancel=cancel))
    _check_trainable(materials)
    run = workspace.new_run(run_stem(resolved))
    try:
        files.write(run.recipe_path, recipe_file.to_yaml(resolved, defaults=True, comments=True))
    except BaseException:
        withdraw(run)
        raise
    return run


def withdraw(run: RunFolder, hint: str = "") -> bool:
    """Take back RUN, which `prepare_run` made and which failed before it began to train: True where it is gone.

    HINT is what the person is told to do. The run stays where it is worked on, where it learnt anything, and where its
    log is all that tells what happened.
    """
    events = run.events()
    if any(event.get("kind") in ("start", "step", "checkpoint", "done") for event in events):
        return False
    owner = run.owner()
    if "log" in hint or (owner is not None and not owner.through) or run.checkpoints.exists() or run.model.exists():
        return False
    shutil.rmtree(run.path, ignore_errors=True)
    for folder in (run.path.parent, run.path.parent.parent):  # the workspace too, if the run was all that it held
        with contextlib.suppress(OSError):
            folder.rmdir()
    return not run.path.exists()


def _check_trainable(materials: Materials, step: int = 64) -> None:
    """Raise StudioError where no row leaves a single token to train; reads no further than the first that does."""
    reason = "there are none"
    for start in range(0, len(materials.train), step):
        part = materials.train.select(range(start, min(start + step, len(materials.train))))
        encoded = materials.task.encode_dataset(
            part, materials.shape, materials.template, materials.tokenizer, materials.recipe.data.max_length
        )
        if len(encoded):
            return
        reason = encoded.excluded[0][1]
    raise StudioError(
        f"No row of {one_line(materials.recipe.data.source)} can be trained: {reason}.",
        "Raise data.max_length, or look at the rows: ftstudio data.",
    )


def resolve(
    recipe: Recipe, *, check: bool = True, progress: Progress | None = None, cancel: Cancel | None = None
) -> tuple[Recipe, Materials]:
    """RECIPE with every default written out, and the materials it works on. Raises StudioError.

    A recipe that was resolved before keeps its choices; its data must still be the same. CHECK False leaves out what
    `compatibility` tells of the model's configuration, and whether its weight files are whole.
    """
    config = model_config(recipe.model)
    if check:
        check_config(recipe, config)
        locate(recipe.model, weights=recipe.model == "demo" or Path(recipe.model).expanduser().is_dir())
    method = methods.get(recipe.method.name)
    chosen = method.settings(recipe.method.settings)
    settings = chosen.model_dump(mode="json")
    limit = model_limit(config)
    task = tasks.get(recipe.task)
    room = limit - method.soft_tokens(chosen) if limit else task.usual_length
    max_length = recipe.data.max_length or max(8, min(task.usual_length, room, _own_length(recipe) or room))
    first = recipe.model_copy(update={"data": recipe.data.model_copy(update={"max_length": max_length})})
    materials = open_materials(first, progress=progress, cancel=cancel)
    if recipe.training.batch_tokens is not None and not materials.task.divisible:
        raise UsageError(
            "training.batch_tokens: this loss holds the rows of a batch against each other, so their number is part of "
            "what is learnt.",
            "Give training.batch_size.",
        )
    training = recipe.training.model_copy(
        update={
            "epochs": recipe.training.epochs
            if recipe.training.epochs is not None or recipe.training.steps is not None
            else materials.task.epochs,
            "learning_rate": recipe.training.learning_rate or method.rate(chosen),
        }
    )
    data = first.data.model_copy(
        update={
            **_sources(first.data, materials),
            "test": _named(recipe.data.test),
            "parted_as": _named(recipe.data.parted_as),
            "eval": _eval(recipe, materials),
            "columns": _columns(materials),
            "template": recipe.data.template or (materials.template.name if materials.task.templates else None),
        }
    )
    evaluation = recipe.evaluation.model_copy(update=_judged(recipe, materials, limit))
    facts = recipe.resolved or _facts(recipe, materials)
    told = fitting.told(recipe.evaluation.metrics, evaluation.metrics) if _names_metrics(recipe) else ""
    if told:
        facts = facts | {"metrics": told}
    tree = recipe.model_dump(mode="json") | {
        "method": {"name": recipe.method.name, **settings},
        "data": data.model_dump(mode="json"),
        "training": training.model_dump(mode="json"),
        "evaluation": evaluation.model_dump(mode="json"),
        "model": _model(recipe.model),
        "resolved": facts,
    }
    resolved = Recipe.model_validate(tree)
    return resolved, Materials(**{**materials.__dict__, "recipe": resolved})


def _own_length(recipe: Recipe) -> int | None:
    """How many tokens of a text an embedding model reads by its own settings; None for other models."""
    if tasks.get(recipe.task).kind != "encoder":
        return None
    return sentence_files.longest(model_folder(recipe.model)[0])


def _judged(recipe: Recipe, materials: Materials, limit: int | None) -> dict[str, Any]:
    """What the evaluation leaves open, for the task at hand: metrics, length of answers, forgetting."""
    task = materials.task
    found: dict[str, Any] = {}
    if not _names_metrics(recipe):
        found["metrics"] = task.metrics()
    elif fitting.unfit(recipe.evaluation.metrics, task):
        found["metrics"] = fitting.fitting(recipe.evaluation.metrics, task)
    if task.generates:
        found["max_new_tokens"] = recipe.evaluation.max_new_tokens or _new_tokens(materials, limit)
    if task.kind == "image-text-to-text" and "forgetting" not in recipe.evaluation.model_fields_set:
        found["forgetting"] = False  # the general texts come without pictures
    return found


def _names_metrics(recipe: Recipe) -> bool:
    return "metrics" in recipe.evaluation.model_fields_set


def run_stem(recipe: Recipe) -> str:
    """How runs of RECIPE are called when it has no name of its own: data and method, such as `gsm8k-lora`."""
    if recipe.name:
        return recipe.name
    path = Path(recipe.data.first)
    stem = path.name.split(".")[0] or path.name
    if stem.lower() in _COMMON and path.parent.name:
        stem = path.parent.name
    return f"{slug(stem)[:32]}-{recipe.method.name}"


def _absolute(name: str, dataset: Dataset) -> str:
    """NAME as it means the same from anywhere."""
    if dataset.details.get("version"):
        return dataset.source
    if name == "demo" or dataset.path is None:
        return name
    path = Path(name).expanduser()
    return os.path.abspath(path) if path.exists() else str(dataset.path)


def _eval(recipe: Recipe, materials: Materials) -> float | str | None:
    wanted = effective_eval(recipe)
    if isinstance(wanted, str) and wanted == recipe.data.train:
        return _absolute(wanted, materials.whole)
    return _named(wanted, materials.held_out)


def _named(wanted: float | str | None, dataset: Dataset | None = None) -> float | str | None:
    """What data.eval or data.test WANTED, as it means the same from anywhere; DATASET is what it named."""
    if not isinstance(wanted, str):
        return wanted
    if dataset is not None and dataset.details.get("version"):
        return dataset.source
    path = Path(wanted).expanduser()
    return os.path.abspath(path) if wanted != "demo" and path.exists() else wanted


def _sources(data: Data, materials: Materials) -> dict[str, Any]:
    """`train` and `replay` with what was left open: names as they mean the same from anywhere, mappings, names."""
    if not materials.sources:
        assert isinstance(data.train, str)
        return {"train": _absolute(data.train, materials.whole)}
    opened = [
        {"path": _absolute(path, part.dataset), "columns": Columns(**part.shape.columns)}
        for path, part in zip(_paths(data), materials.sources, strict=True)
    ]
    found: dict[str, Any] = {}
    if data.replay is not None:
        found["replay"] = data.replay.model_copy(update=_kept(opened.pop(), data.replay.columns))
    if isinstance(data.train, str):
        return {**found, "train": opened[0]["path"]}
    names = [part.name for part in materials.sources]
    found["train"] = tuple(
        source.model_copy(update={**_kept(more, source.columns), "name": name})
        for source, more, name in zip(data.train, opened, names, strict=False)
    )
    return found


def _paths(data: Data) -> list[str]:
    train = [data.train] if isinstance(data.train, str) else [source.path for source in data.train]
    return train + ([data.replay.path] if data.replay is not None else [])


def _kept(more: dict[str, Any], columns: Columns | None) -> dict[str, Any]:
    return more if columns is None else {**more, "columns": columns}


def _model(name: str) -> str:
    path = Path(name).expanduser()
    return os.path.abspath(path) if name != "demo" and path.is_dir() else name


def _columns(materials: Materials) -> Columns | None:
    """The mapping written out, where reading it back gives the same examples (nested answers can't be written so)."""
    if materials.recipe.data.columns is not None or materials.sources:
        return materials.recipe.data.columns
    mapping = dict(materials.shape.columns)
    again = recognise(materials.whole, mapping)
    for index in range(min(5, len(materials.whole))):
        try:
            if again.example(materials.whole[index]) != materials.shape.example(materials.whole[index]):
                return None
        except BadRow:
            continue
    return Columns(**mapping)


def _new_tokens(materials: Materials, limit: int | None) -> int:
    """Twice the longest reference, at most 256 and at most half of what the model can read, at least 16."""
    most = min(NEW_TOKENS, limit // 2) if limit else NEW_TOKENS
    if materials.held_out is None:
        return most
    longest = longest_reference(materials, materials.examples(materials.recipe.evaluation.rows))
    return max(1, min(most, max(16, 2 * (longest + 1))))


def versions() -> dict[str, str]:
    """Versions of everything a run depends on."""
    found = {"ftstudio": __version__, "python": platform.python_version()}
    for name in LIBRARIES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def _facts(recipe: Recipe, materials: Materials) -> dict[str, Any]:
    """What `resolved:` tells: where every choice came from, and what must be the same for the run to be repeated."""
    data: dict[str, Any] = {
        "train": _data_facts(materials.whole) | {"used": len(materials.train)},
        "shape": materials.shape.name,
        "why": materials.shape.why,
        "split": materials.split_note,
    }
    if materials.held_out is not None:
        named = isinstance(effective_eval(recipe), str)
        data["eval"] = _data_facts(materials.held_out) if named else {"rows": len(materials.held_out)}
    if materials.test is not None:
        named = isinstance(recipe.data.test, str)
        data["test"] = _data_facts(materials.test) if named else {"rows": len(materials.test)}
    if materials.sources:
        data["sources"] = {part.name: _data_facts(part.dataset) for part in materials.sources}
    if materials.spare:
        data["drawn"] = ANEW
    if materials.report:
        data["parts"] = dict(materials.report)
    if materials.notes:
        data["notes"] = list(materials.notes)
    return {
        "versions": versions(),
        "seed": recipe.training.seed,
        "data": data,
        "template": materials.template.name,
        "similarity": similarity_name(recipe.evaluation.similarity),
        "model": _model_facts(recipe.model),
        "task": dict(materials.task.facts),
    }


def _data_facts(dataset: Dataset) -> dict[str, Any]:
    facts: dict[str, Any] = {
        "path": str(dataset.path) if dataset.path is not None else dataset.source,
        "sha256": dataset.hash,
        "rows": len(dataset),
        "format": dataset.format,
        "encoding": dataset.encoding,
    }
    if dataset.details.get("version"):
        facts["version"] = dataset.details["version"]
    if dataset.unread:
        facts["unread"] = dataset.unread
    return facts


def _model_facts(model: str) -> dict[str, Any]:
    folder, name = model_folder(model)
    facts: dict[str, Any] = {"name": name}
    if folder.parent.name == "snapshots":  # the hub's cache: the folder is called by the commit
        facts["revision"] = folder.name
    return facts


def similarity_name(wanted: str) -> str:
    """What `evaluation.similarity` stands for on this machine: `auto` is minilm where its package is, else static."""
    from ftstudio.evaluation.similarity import minilm_folder

    if wanted != "auto":
        return wanted
    return "minilm" if minilm_folder() is not None else "static"


def facts_differ(recipe: Recipe) -> Mapping[str, tuple[str, str]]:
    """Libraries whose version now differs from the one RECIPE was resolved with: name → (then, now)."""
    then = (recipe.resolved or {}).get("versions") or {}
    now = versions()
    return {name: (str(old), now.get(name, "absent")) for name, old in then.items() if now.get(name) != old}
