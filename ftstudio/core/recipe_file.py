"""Reading and writing recipes: YAML in, YAML out; every fault named with key path, line and the nearest known key."""

from __future__ import annotations

import io
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from ftstudio.core import files
from ftstudio.core.errors import UsageError
from ftstudio.core.recipe import MethodModels, Recipe, TaskModels, put
from ftstudio.core.recipe_faults import SECTIONS, Fault, Origin, faults, unknown


def load(path: Path, overrides: Sequence[str], methods: MethodModels, tasks: TaskModels) -> Recipe:
    """The recipe in PATH with `k=v` OVERRIDES; METHODS gives the settings model of each method,
    TASKS that of each task's options."""
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


def parse(text: str, source: str, overrides: Sequence[str], methods: MethodModels, tasks: TaskModels) -> Recipe:
    """The recipe in TEXT; SOURCE names it in errors."""
    try:
        tree = _tree(text)
    except RecursionError:
        raise UsageError(f"{source} is nested too deeply.", "A recipe has two levels; see presets/.") from None
    except YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f", line {mark.line + 1}" if mark else ""
        what = getattr(error, "problem", None) or "not YAML"
        raise UsageError(f"{source}{where}: {what}.", "Check indentation, quotes and colons there.") from error
    if not isinstance(tree, dict):
        raise UsageError(f"{source} holds no recipe.", "A recipe begins with `task:` and `model:`; see presets/.")
    values = _plain(tree)
    typed: list[str] = []
    for override in overrides:
        key, equals, value = override.partition("=")
        if not equals or not key.strip(" ."):
            raise UsageError(f"{override!r} is no override.", "Write key=value, such as training.epochs=2.")
        key = key.strip()
        wanted = _value(key, value)
        if isinstance(values.get("method"), str):  # short for its name
            values["method"] = {"name": values["method"]}
        if key == "method" and isinstance(wanted, str):
            key = "method.name"
        if key == "method.name":
            _leave(values, wanted, methods, typed)
        other = _INSTEAD.get(key)
        if other and other not in typed and wanted is not None:  # two that are typed are refused
            put(values, other, None)
        typed.append(key)
        put(values, key, wanted)
    return check(values, source, methods, tasks, Origin(source, tree, tuple(typed)))


@lru_cache(maxsize=64)
def _tree(text: str) -> Any:
    """The YAML in TEXT, with its lines. Kept, and so not to be changed: a run's recipe takes 50 ms, and screens, jobs
    and lists of runs read the same one again."""
    return YAML(typ="rt").load(text)


def _value(key: str, text: str) -> Any:
    """What TEXT, typed behind KEY=, stands for: YAML, but a template as it is (its braces would be YAML's)."""
    if not text.strip():
        return None
    if text.lstrip().startswith(("{{", "{%")):
        return text
    try:
        return _plain(YAML(typ="safe").load(text))
    except (YAMLError, ValueError, TypeError, RecursionError) as error:
        what = getattr(error, "problem", None) or "not YAML"
        hint = "Quote texts with such signs in them: " + f"'{key}=\"…\"'."
        raise UsageError(f"{key}={text}: {what}.", hint) from error


_INSTEAD = {"training.steps": "training.epochs", "training.epochs": "training.steps"}  # one replaces the file's other


def _leave(values: dict[str, Any], wanted: Any, methods: MethodModels, typed: Sequence[str]) -> None:
    """Take out of VALUES the settings that the method WANTED doesn't know: the file chose them for the one that it
    replaces. What was TYPED stays, and is refused."""
    now = values.get("method")
    if isinstance(now, dict) and wanted in methods and now.get("name") != wanted:
        known = methods[wanted].model_fields
        values["method"] = {key: value for key, value in now.items() if key in known or f"method.{key}" in typed}


def check(
    values: dict[str, Any], source: str, methods: MethodModels, tasks: TaskModels, origin: Origin | None = None
) -> Recipe:
    """A recipe from nested VALUES; ORIGIN tells lines and what was typed. Raises UsageError."""
    origin = origin or Origin(source)
    try:
        recipe = Recipe.model_validate(values)
    except ValidationError as error:
        raise UsageError(*_join(faults(error.errors(), Recipe, (), origin))) from None
    problems: list[Fault] = []
    if recipe.task not in tasks:
        problems.append(unknown("task", recipe.task, tasks, origin))
    if recipe.method.name not in methods:
        problems.append(unknown("method.name", recipe.method.name, methods, origin))
    if problems:
        raise UsageError(*_join(problems))
    model = methods[recipe.method.name]
    try:
        settings = model.model_validate(recipe.method.settings).model_dump(mode="json", exclude_unset=True)
    except ValidationError as error:
        raise UsageError(*_join(faults(error.errors(), model, ("method",), origin))) from None
    options = tasks[recipe.task]
    try:
        chosen = options.model_validate(recipe.options).model_dump(mode="json", exclude_unset=True)
    except ValidationError as error:
        raise UsageError(*_join(faults(error.errors(), options, ("options",), origin))) from None
    tree_now = recipe.model_dump(mode="json", exclude_unset=True)
    tree_now["method"] = {"name": recipe.method.name, **settings}
    if chosen or "options" in tree_now:
        tree_now["options"] = chosen
    return Recipe.model_validate(tree_now)


def to_yaml(recipe: Recipe, *, defaults: bool = False, comments: bool = False) -> str:
    """The recipe as YAML. DEFAULTS writes out every key; COMMENTS puts what a key is for beside it."""
    from ruamel.yaml.comments import CommentedMap, CommentedSeq

    def mapped(value: Any, model: type[BaseModel] | None) -> Any:
        if isinstance(value, dict):
            result = CommentedMap()
            for key, item in value.items():
                field = model.model_fields.get(key) if model else None
                inner = SECTIONS.get(key) if model is Recipe or key == "format" else _model_of(field)
                result[key] = mapped(item, inner)
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


def _model_of(field: FieldInfo | None) -> type[BaseModel] | None:
    """The model that FIELD always holds, such as `training.watch`; None where it may hold something else."""
    kind = field.annotation if field is not None else None
    return kind if isinstance(kind, type) and issubclass(kind, BaseModel) else None


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


def _join(problems: list[tuple[str, str]]) -> tuple[str, str]:
    if len(problems) == 1:
        return problems[0]
    seen = list(dict.fromkeys(f"{what} {hint}".strip() for what, hint in problems))
    return "\n".join(seen), ""
