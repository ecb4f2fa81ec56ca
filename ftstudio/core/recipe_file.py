"""Reading and writing recipes: YAML in, YAML out; every fault named with key path, line and the nearest known key."""

from __future__ import annotations

import difflib
import io
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from ftstudio.core import files
from ftstudio.core.errors import UsageError
from ftstudio.core.recipe import Columns, Data, Evaluation, Format, MethodModels, Recipe, TaskNames, Training, put


def load(path: Path, overrides: Sequence[str], methods: MethodModels, tasks: TaskNames) -> Recipe:
    """The recipe in PATH with `k=v` OVERRIDES; METHODS gives the settings model of each method, TASKS the names."""
    try:
        raw = path.read_bytes()
    except OSError as error:
        problem = files.explain(error, path)
        raise UsageError(problem.message, problem.hint or "Name a recipe file, such as one of presets/.") from error
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UsageError(f"{path} is not UTF-8 text (byte {error.start}).", "A recipe is a YAML file.") from error
    return parse(text, str(path), overrides, methods, tasks)


def parse(text: str, source: str, overrides: Sequence[str], methods: MethodModels, tasks: TaskNames) -> Recipe:
    """The recipe in TEXT; SOURCE names it in errors."""
    try:
        tree = YAML(typ="rt").load(text)
    except YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f", line {mark.line + 1}" if mark else ""
        what = getattr(error, "problem", None) or "not YAML"
        raise UsageError(f"{source}{where}: {what}.", "Check indentation, quotes and colons there.") from error
    if not isinstance(tree, dict):
        raise UsageError(f"{source} holds no recipe.", "A recipe begins with `task:` and `model:`; see presets/.")
    values = _plain(tree)
    for override in overrides:
        key, equals, value = override.partition("=")
        if not equals or not key.strip():
            raise UsageError(f"{override!r} is no override.", "Write key=value, such as training.epochs=2.")
        put(values, key.strip(), _plain(YAML(typ="safe").load(value)) if value.strip() else None)
    return check(values, source, methods, tasks, tree)


def check(values: dict[str, Any], source: str, methods: MethodModels, tasks: TaskNames, tree: Any = None) -> Recipe:
    """A recipe from nested VALUES. TREE is the YAML they came from, for line numbers. Raises UsageError."""
    problems = []
    try:
        recipe = Recipe.model_validate(values)
    except ValidationError as error:
        problems = [_problem(item, Recipe, (), source, tree) for item in error.errors()]
        raise UsageError(*_join(problems)) from None
    if recipe.task not in tasks:
        problems.append(_unknown("task", recipe.task, tasks, source, tree))
    if recipe.method.name not in methods:
        problems.append(_unknown("method.name", recipe.method.name, methods, source, tree))
    if problems:
        raise UsageError(*_join(problems))
    model = methods[recipe.method.name]
    try:
        settings = model.model_validate(recipe.method.settings).model_dump(mode="json", exclude_unset=True)
    except ValidationError as error:
        problems = [_problem(item, model, ("method",), source, tree) for item in error.errors()]
        raise UsageError(*_join(problems)) from None
    tree_now = recipe.model_dump(mode="json", exclude_unset=True)
    tree_now["method"] = {"name": recipe.method.name, **settings}
    return Recipe.model_validate(tree_now)


def to_yaml(recipe: Recipe, *, defaults: bool = False, comments: bool = False) -> str:
    """The recipe as YAML. DEFAULTS writes out every key; COMMENTS puts what a key is for beside it."""
    from ruamel.yaml.comments import CommentedMap, CommentedSeq

    def mapped(value: Any, model: type[BaseModel] | None) -> Any:
        if isinstance(value, dict):
            result = CommentedMap()
            for key, item in value.items():
                field = model.model_fields.get(key) if model else None
                result[key] = mapped(item, _SECTIONS.get(key) if model is Recipe or key == "format" else None)
                if comments and field is not None and field.description and not isinstance(item, dict):
                    result.yaml_add_eol_comment(field.description, key, column=40)
            return result
        if isinstance(value, (list, tuple)):
            sequence = CommentedSeq(mapped(item, None) for item in value)
            sequence.fa.set_flow_style()
            return sequence
        return value

    yaml = YAML()
    yaml.width = 4096
    yaml.indent(mapping=2)
    out = io.StringIO()
    yaml.dump(mapped(recipe.plain(defaults=defaults), Recipe), out)
    return out.getvalue()


_SECTIONS: dict[str, type[BaseModel]] = {
    "data": Data, "training": Training, "evaluation": Evaluation, "columns": Columns, "format": Format,
}  # fmt: skip


def _plain(value: Any) -> Any:
    """ruamel's containers and scalars as Python's own."""
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    for kind in (bool, int, float, str):
        if isinstance(value, kind):
            return kind(value)
    return value


def _line(tree: Any, path: Sequence[Any]) -> int | None:
    line: int | None = None
    for part in path:
        try:
            places = tree.lc
            line = (places.key(part) if isinstance(tree, dict) else places.item(part))[0] + 1
            tree = tree[part]
        except (AttributeError, KeyError, IndexError, TypeError):
            break
    return line


def _where(path: Sequence[Any], source: str, tree: Any) -> str:
    line = _line(tree, path)
    key = ".".join(str(part) for part in path)
    return f"{source}{f', line {line}' if line else ''}: {key}"


def _unknown(key: str, value: str, known: Iterable[str], source: str, tree: Any) -> tuple[str, str]:
    names = sorted(known)
    near = difflib.get_close_matches(str(value), names, 1, 0.4)
    hint = f"Did you mean {near[0]!r}? " if near else ""
    return f"{_where(key.split('.'), source, tree)}: there is no {value!r}.", f"{hint}There are: {', '.join(names)}."


def _problem(item: Any, model: type[BaseModel], prefix: tuple[str, ...], source: str, tree: Any) -> tuple[str, str]:
    """One of pydantic's errors as (what and where, way out)."""
    path = (*prefix, *(part for part in item["loc"] if part not in ("float", "str", "function-after")))
    where = _where(path, source, tree)
    if item["type"] == "extra_forbidden":
        owner = model
        for part in item["loc"][:-1]:
            owner = _SECTIONS.get(str(part), owner)
        known = sorted(owner.model_fields)
        near = difflib.get_close_matches(str(path[-1]), known, 1, 0.5)
        hint = f"Did you mean {near[0]!r}?" if near else f"Known here: {', '.join(known)}."
        return f"{where}: there is no such key.", hint
    if item["type"] == "missing":
        return f"{where} is missing.", f"Add `{path[-1]}:` to the recipe."
    value = item.get("input")
    shown = "" if isinstance(value, (dict, list, BaseModel)) else f" (it is {value!r})"
    message = item["msg"].removeprefix("Value error, ")
    return f"{where}: {message[0].lower() + message[1:]}{shown}.", ""


def _join(problems: list[tuple[str, str]]) -> tuple[str, str]:
    if len(problems) == 1:
        return problems[0]
    seen = list(dict.fromkeys(f"{what} {hint}".strip() for what, hint in problems))
    return "\n".join(seen), ""
