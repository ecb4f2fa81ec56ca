"""Faults of a recipe in words: which key, on which line or typed where, what is wrong and what would be right."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel

from ftstudio.core.architecture import Architecture
from ftstudio.core.limits import Limits
from ftstudio.core.reading import Reading
from ftstudio.core.recipe import Columns, Data, Evaluation, Format, Mix, Recipe, Replay, Source, SplitBy, Training
from ftstudio.core.watch import Watch

Fault = tuple[str, str]  # (what and where, way out)

SECTIONS: dict[str, type[BaseModel]] = {
    "data": Data, "training": Training, "evaluation": Evaluation, "columns": Columns, "format": Format,
    "reading": Reading, "categories": Limits, "train": Source,
    "mix": Mix, "replay": Replay, "split_by": SplitBy, "watch": Watch, "architecture": Architecture,
}  # fmt: skip

# what trl, transformers, axolotl, LLaMA-Factory and unsloth call the same things
_ELSEWHERE = {
    "rank": "r", "lora_r": "r", "lora_rank": "r", "lora_alpha": "alpha", "lora_dropout": "dropout",
    "target_modules": "targets", "lora_target": "targets", "lora_target_modules": "targets", "use_rslora": "rslora",
    "use_dora": "dora", "bnb_4bit_quant_type": "quantisation", "bnb_4bit_use_double_quant": "double_quantisation",
    "lr": "learning_rate", "num_train_epochs": "epochs", "num_epochs": "epochs", "max_steps": "steps",
    "per_device_train_batch_size": "batch_size", "micro_batch_size": "batch_size", "train_batch_size": "batch_size",
    "gradient_accumulation_steps": "gradient_accumulation", "lr_scheduler_type": "scheduler", "lr_scheduler":
    "scheduler", "warmup_ratio": "warmup", "warmup_steps": "warmup", "optim": "optimizer", "bf16": "precision",
    "fp16": "precision", "save_total_limit": "keep_checkpoints", "max_seq_length": "max_length", "max_seq_len":
    "max_length", "cutoff_len": "max_length", "sequence_len": "max_length", "max_samples": "limit", "eval_steps":
    "every", "val_size": "eval", "val_set_size": "eval", "model_name": "model", "model_name_or_path": "model",
    "base_model": "model", "dataset": "train", "datasets": "train", "train_file": "train", "finetuning_type": "method",
}  # fmt: skip

_WORDS = {  # pydantic's kinds of errors
    "model_type": "must be a section with keys of its own",
    "model_attributes_type": "must be a section with keys of its own",
    "dict_type": "must be a section with keys of its own",
    "int_parsing": "must be a whole number",
    "int_type": "must be a whole number",
    "int_from_float": "must be a whole number",
    "float_parsing": "must be a number",
    "float_type": "must be a number",
    "finite_number": "must be a number",
    "string_type": "must be a text",
    "bool_parsing": "must be true or false",
    "bool_type": "must be true or false",
    "list_type": "must be a list such as [a, b]",
    "tuple_type": "must be a list such as [a, b]",
    "greater_than": "must be above {gt:g}",
    "greater_than_equal": "must be at least {ge:g}",
    "less_than": "must be below {lt:g}",
    "less_than_equal": "must be at most {le:g}",
    "literal_error": "must be {expected}",
    "too_short": "must not be empty",
}
_KIND = re.compile(r"(float|int|str|bool|function-\w+|(literal|tuple|list|dict|function|constrained)\b.*)$")


@dataclass(frozen=True)
class Origin:
    """Where the values of a recipe come from: SOURCE and its YAML TREE, and the dotted keys that were typed as k=v."""

    source: str
    tree: Any = None
    typed: tuple[str, ...] = ()

    def where(self, path: Sequence[Any]) -> str:
        """`recipe.yaml, line 4: data.eval`, or the key alone where it was typed on the command line."""
        key = ".".join(str(part) for part in path)
        if any(f"{key}.".startswith(f"{typed}.") or typed.startswith(f"{key}.") for typed in self.typed):
            return f"{key}, as you typed it"
        line = self._line(path)
        return f"{self.source}{f', line {line}' if line else ''}: {key}"

    def _line(self, path: Sequence[Any]) -> int | None:
        line: int | None = None
        tree = self.tree
        for part in path:
            try:
                places = tree.lc
                line = (places.key(part) if isinstance(tree, dict) else places.item(part))[0] + 1
                tree = tree[part]
            except (AttributeError, KeyError, IndexError, TypeError):
                break
        return line


def unknown(key: str, value: str, known: Iterable[str], origin: Origin) -> Fault:
    """VALUE of KEY names nothing that there is."""
    names = sorted(known)
    near = difflib.get_close_matches(str(value), names, 1, 0.4)
    hint = f"Did you mean {near[0]!r}? " if near else ""
    return f"{origin.where(key.split('.'))}: there is no {value!r}.", f"{hint}There are: {', '.join(names)}."


def faults(items: Sequence[Any], model: type[BaseModel], prefix: tuple[str, ...], origin: Origin) -> list[Fault]:
    """pydantic's errors ITEMS about MODEL, which stands under PREFIX in the recipe, one fault a key."""
    found: dict[tuple[Any, ...], list[Any]] = {}
    for item in items:
        loc = item["loc"]
        named = len(loc) - 1 if item["type"] == "extra_forbidden" else -1  # a person's own word
        inner = [part for at, part in enumerate(loc) if at == named or not _KIND.match(str(part))]
        found.setdefault((*prefix, *inner), []).append(item)
    return [_fault(path, same, model, origin, len(prefix)) for path, same in found.items()]


def _fault(path: tuple[Any, ...], items: list[Any], model: type[BaseModel], origin: Origin, skip: int) -> Fault:
    where, first = origin.where(path), items[0]
    if first["type"] == "extra_forbidden":
        return f"{where}: there is no such key.", _near(path, model, skip)
    if first["type"] == "missing":
        return f"{where} is missing.", f"Add `{path[-1]}:` to the recipe."
    words = list(dict.fromkeys(_words(item) for item in items))
    said = words[0] + "".join(f" or {word.removeprefix('must be ')}" for word in words[1:])
    value = first.get("input")
    shown = "" if isinstance(value, (dict, list, tuple, BaseModel)) else f" (it is {_shown(value)})"
    meaning = _meaning(path[skip:], model)
    return f"{where}: {said}{shown}.", f"It means: {meaning}." if meaning else ""


def _words(item: Any) -> str:
    words = _WORDS.get(item["type"])
    if words is not None:
        return words.format(**(item.get("ctx") or {}))
    message = str(item["msg"]).removeprefix("Value error, ")
    return message[0].lower() + message[1:]


def _shown(value: Any) -> str:
    return "empty" if value is None else str(value).lower() if isinstance(value, bool) else repr(value)


def _owner(path: Sequence[Any], model: type[BaseModel]) -> type[BaseModel]:
    for part in path:
        model = SECTIONS.get(str(part), model)
    return model


def _meaning(path: Sequence[Any], model: type[BaseModel]) -> str:
    field = _owner(path[:-1], model).model_fields.get(str(path[-1])) if path else None
    return (field.description or "") if field is not None else ""


def _near(path: tuple[Any, ...], model: type[BaseModel], skip: int) -> str:
    """The way out of an unknown key: the same key elsewhere, by another tool's name, or spelt nearly so."""
    name = str(path[-1])
    known = sorted(_owner(path[skip:-1], model).model_fields)
    meant = _ELSEWHERE.get(name.lower(), name)
    if meant in known and meant != name:
        return f"Here it is called {meant!r}."
    near = difflib.get_close_matches(name, known, 1, 0.6)
    if near:
        return f"Did you mean {near[0]!r}?"
    places = dict.fromkeys(Recipe.model_fields, "")
    places |= {field: f"{section}." for section in ("evaluation", "training", "data") for field in
               SECTIONS[section].model_fields}  # fmt: skip
    if meant in places:
        return f"Did you mean `{places[meant]}{meant}`?"
    return f"Known here: {', '.join(known)}." if known else "It has no settings of its own."
