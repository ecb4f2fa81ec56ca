"""The recipe while it is being made: values that may still be incomplete or wrong, kept safe on disk. No widgets."""

from __future__ import annotations

import copy
import io
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from ftstudio.core import files
from ftstudio.core.architecture import Architecture
from ftstudio.core.errors import UsageError
from ftstudio.core.recipe import Data, Evaluation, Recipe, Training, put
from ftstudio.engine.recipes import check_recipe

_SOURCE = "\x00draft"  # names the draft in the checker's messages, so that they can be told apart
_FAULT = re.compile(rf"{_SOURCE}: (?P<key>[\w.]+)(?P<colon>:| )\s*(?P<text>.*)", re.DOTALL)
_ORDER = {
    "": tuple(Recipe.model_fields), "data": tuple(Data.model_fields), "training": tuple(Training.model_fields),
    "evaluation": tuple(Evaluation.model_fields), "architecture": tuple(Architecture.model_fields),
}  # fmt: skip


class Draft:
    """Nested values as they would stand in the YAML. `recipe` is the valid recipe they make, or None; `faults` says
    for each key what is wrong."""

    def __init__(self, values: Mapping[str, Any] | None = None) -> None:
        self.values: dict[str, Any] = copy.deepcopy(dict(values)) if values else {"task": "sft"}
        self.recipe: Recipe | None = None
        self.faults: dict[str, str] = {}
        self.changed = False  # since it was last written to disk
        self.changed_ever = False  # by a person
        self.check()

    def get(self, key: str) -> Any:
        """The value of the dotted KEY; None where it is left out."""
        value: Any = self.values
        for part in key.split("."):
            if not isinstance(value, dict):
                return None
            value = value.get(part)
        return value

    def set(self, key: str, value: Any) -> bool:
        """Set the dotted KEY; None leaves it out (but for `data.eval`, where null means something: see `clear`)."""
        if value is None:
            return self.clear(key)
        if self.get(key) == value and type(self.get(key)) is type(value):
            return False
        if key == "method.name" and not isinstance(self.get("method"), dict):
            self.values["method"] = {}
        put(self.values, key, value)
        self._touched()
        return True

    def set_null(self, key: str) -> bool:
        """Set KEY to null."""
        put(self.values, key, None)
        self._touched()
        return True

    def clear(self, key: str) -> bool:
        """Leave the dotted KEY out; sections that became empty go too."""
        *path, last = key.split(".")
        trail = [self.values]
        for part in path:
            below = trail[-1].get(part)
            if not isinstance(below, dict):
                return False
            trail.append(below)
        if last not in trail[-1]:
            return False
        del trail[-1][last]
        for above, part in zip(reversed(trail[:-1]), reversed(path), strict=True):
            if not above[part]:
                del above[part]
        self._touched()
        return True

    def has(self, key: str) -> bool:
        """Whether KEY is written out, null included."""
        value: Any = self.values
        for part in key.split("."):
            if not isinstance(value, dict) or part not in value:
                return False
            value = value[part]
        return True

    def _touched(self) -> None:
        self.changed = self.changed_ever = True
        self.check()

    def check(self) -> None:
        """Find out whether the values make a recipe, and if not, why."""
        self.recipe, self.faults = None, {}
        try:
            self.recipe = check_recipe(self.plain(), _SOURCE)
        except UsageError as error:
            self.faults = faults_of(error)

    def plain(self) -> dict[str, Any]:
        """The values in the recipe's own order, `method: lora` written out as a section."""
        values = copy.deepcopy(self.values)
        if isinstance(values.get("method"), str):
            values["method"] = {"name": values["method"]}
        result = _ordered(values, "")
        for key, section in list(result.items()):
            if isinstance(section, dict) and key in _ORDER:
                result[key] = _ordered(section, key)
        return result

    @property
    def yaml(self) -> str:
        """The values as YAML."""
        return to_yaml(self.plain())

    # -- on disk -----------------------------------------------------------------------------------------------------
    def save(self, path: Path) -> None:
        """Write to PATH at once. Raises StudioError."""
        files.write(path, f"# The recipe being made in the studio; saved as you type.\n{self.yaml}")
        self.changed = False


def faults_of(error: UsageError) -> dict[str, str]:
    """What the checker says, by key; what names no key is under ``."""
    lines = [line for line in str(error).split("\n") if line.strip()] if "\n" in str(error) else [str(error)]
    found: dict[str, str] = {}
    for line in lines:
        match = _FAULT.match(line)
        if match is None:
            found.setdefault("", line.replace(f"{_SOURCE}: ", ""))
            continue
        text = match["text"].strip()
        if match["colon"] == " ":  # `data.train is missing. Add …`
            text = "needed"
        found.setdefault(match["key"], text)
    return found


def to_yaml(values: Mapping[str, Any]) -> str:
    """VALUES as YAML, lists on one line."""
    from ruamel.yaml.comments import CommentedMap, CommentedSeq

    def mapped(value: Any) -> Any:
        if isinstance(value, Mapping):
            return CommentedMap((key, mapped(item)) for key, item in value.items())
        if isinstance(value, (list, tuple)):
            sequence = CommentedSeq(mapped(item) for item in value)
            sequence.fa.set_flow_style()
            return sequence
        return value

    yaml = YAML()
    yaml.width = 4096
    yaml.indent(mapping=2)
    yaml.representer.add_representer(
        type(None), lambda representer, _: representer.represent_scalar("tag:yaml.org,2002:null", "null")
    )
    out = io.StringIO()
    yaml.dump(mapped(values), out)
    return out.getvalue()


def load_draft(path: Path) -> Draft | None:
    """The draft kept in PATH; None where there is none that can be read."""
    try:
        value = YAML(typ="safe").load(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError, YAMLError):
        return None
    if not isinstance(value, dict) or not all(isinstance(key, str) for key in value):
        return None
    return Draft(value)


def _ordered(values: dict[str, Any], section: str) -> dict[str, Any]:
    order = _ORDER[section]
    known = sorted(values, key=lambda key: order.index(key) if key in order else len(order))
    return {key: values[key] for key in known}
