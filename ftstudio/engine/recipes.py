"""Reading recipes with everything this installation knows: its tasks, its methods, and where files lie.

A relative path in a recipe (`data.train` and its like, `model`, `evaluation.similarity`) is looked for from the
recipe's own folder first, then from where the person is; what is found becomes absolute at once, so that a recipe
means the same later and elsewhere; so does `name@version` of a dataset. Paths in `k=v` overrides are typed by someone
standing somewhere: they are looked for from there. What isn't found stays as written: it may be a hub id, and whoever
opens it says so if it isn't.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ftstudio import methods, tasks
from ftstudio.core import recipe_file
from ftstudio.core.errors import StudioError
from ftstudio.core.recipe import Recipe, Replay, Source
from ftstudio.core.workspace import RUN, Workspace

PATH_KEYS = ("data.train", "data.eval", "data.test", "data.parted_as", "model", "evaluation.similarity")
# words that name something of ours even where a file of that name lies around
RESERVED = frozenset({"demo", "auto", "minilm", "static"})


def load_recipe(path: Path | str, overrides: Sequence[str] = ()) -> Recipe:
    """The recipe in the file PATH with `k=v` OVERRIDES (dotted keys). Raises UsageError with key and line."""
    path = Path(path).expanduser()
    here = Path.cwd()
    typed = [_from_here(override, here) for override in overrides]
    recipe = recipe_file.load(path, typed, methods.models(), tasks.models())
    return locate(recipe, path.absolute().parent)


def parse_recipe(text: str, source: str = "the recipe", folder: Path | None = None) -> Recipe:
    """The recipe in the YAML TEXT; SOURCE names it in errors. Relative paths are seen from FOLDER, then from here."""
    return locate(recipe_file.parse(text, source, (), methods.models(), tasks.models()), folder)


def check_recipe(values: Mapping[str, Any], source: str = "the recipe", folder: Path | None = None) -> Recipe:
    """A recipe from nested VALUES, as the wizard collects them. Raises UsageError."""
    return locate(recipe_file.check(dict(values), source, methods.models(), tasks.models()), folder)


def with_overrides(recipe: Recipe, overrides: Sequence[str]) -> Recipe:
    """RECIPE with `k=v` OVERRIDES (dotted keys), as on the command line. Raises UsageError naming the key."""
    return overriding(recipe)(overrides)


def overriding(recipe: Recipe) -> Callable[[Sequence[str]], Recipe]:
    """The same as a function of the overrides, for many of them: nine tenths of the time go into writing RECIPE."""
    text, models, forms = recipe_file.to_yaml(recipe), methods.models(), tasks.models()

    def made(overrides: Sequence[str]) -> Recipe:
        typed = [_from_here(override, Path.cwd()) for override in overrides]
        return locate(recipe_file.parse(text, "the recipe", typed, models, forms))

    return made


def locate(recipe: Recipe, folder: Path | None = None) -> Recipe:
    """RECIPE with absolute paths for all files and folders it names that exist, seen from FOLDER, then from here."""
    places = [place for place in (folder, Path.cwd()) if place is not None]
    changes: dict[str, Any] = {}
    for key in PATH_KEYS:
        value = _get(recipe, key)
        if key == "model" and isinstance(value, str) and value.startswith(RUN):
            changes[key] = str(model_of_run(value.removeprefix(RUN)))
            continue
        found = _located(value, places) if isinstance(value, str) else None
        if found is not None and found != value:
            changes[key] = found
    data = recipe.data
    if not isinstance(data.train, str):
        changes["data.train"] = tuple(_source(source, places) for source in data.train)
    if data.replay is not None:
        changes["data.replay"] = _source(data.replay, places)
    return _changed(recipe, changes)


def model_of_run(name: str) -> Path:
    """The folder of the whole model that the run NAME of this workspace saved: `model: run:NAME`. Raises StudioError
    where there is none, or only an adapter."""
    run = Workspace().run(name)
    if (run.model / "config.json").is_file():
        return run.model.absolute()
    if (run.model / "adapter_config.json").is_file():
        raise StudioError(
            f"model: {run.name} saved an adapter, not a whole model to build on.",
            f"Merge it into its base (`ftstudio export {run.name}`) and name that folder, or train with method full.",
        )
    raise StudioError(f"model: {run.name} has no tuned model yet; it is {run.state()}.", "Train it to its end first.")


def _source(source: Source | Replay, places: Sequence[Path]) -> Source | Replay:
    found = _located(source.path, places)
    return source if found is None else source.model_copy(update={"path": found})


def _located(name: str, places: Sequence[Path]) -> str | None:
    """The file, folder or version of a dataset that NAME stands for, seen from PLACES; None where there is none."""
    found = _find(name, places)
    if found is not None or "@" not in name:
        return None if found is None else str(found)
    from ftstudio.data.versions import address

    return address.locate(name, places)


def _changed(recipe: Recipe, changes: Mapping[str, Any]) -> Recipe:
    """RECIPE with CHANGES, and with what was left unset still unset (`with_changes` would set every default)."""
    if not changes:
        return recipe
    parts: dict[str, dict[str, Any]] = {}
    top: dict[str, Any] = {}
    for key, value in changes.items():
        section, dot, name = key.partition(".")
        if dot:
            parts.setdefault(section, {})[name] = value
        else:
            top[section] = value
    for section, update in parts.items():
        top[section] = getattr(recipe, section).model_copy(update=update)
    return recipe.model_copy(update=top)


def _from_here(override: str, here: Path) -> str:
    key, equals, value = override.partition("=")
    if not equals or key.strip() not in PATH_KEYS or not value.strip():
        return override
    found = _find(value.strip(), [here])
    return override if found is None else f"{key}={json.dumps(str(found))}"  # a JSON string is a YAML string


def _find(name: str, places: Sequence[Path]) -> Path | None:
    if not name.strip() or name in RESERVED:
        return None
    try:
        path = Path(name).expanduser()
        for place in places:
            candidate = path if path.is_absolute() else place / path
            if candidate.exists():
                return Path(_plain(candidate))
    except (OSError, ValueError, RuntimeError):  # too long, a NUL in it, no such home
        pass
    return None


def _plain(path: Path) -> str:
    """Absolute and without `..` (unless a symbolic link makes that another file); links stay as they are."""
    short = os.path.abspath(path)
    return short if os.path.exists(short) and os.path.samefile(short, path) else str(path.absolute())


def _get(recipe: Recipe, key: str) -> Any:
    value: Any = recipe
    for part in key.split("."):
        value = getattr(value, part)
    return value
