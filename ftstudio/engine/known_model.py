"""A model as the wizard shows it: sentences from its files at once, then its parts, built from its config.json alone.

`first` imports no torch. `parts` builds the model on torch's meta device: no weight is read, so that a model of 70
billion weights is shown as soon as one of a million.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ftstudio import methods
from ftstudio.core.errors import StudioError, UsageError
from ftstudio.core.recipe import Recipe
from ftstudio.core.text import one_line
from ftstudio.data.tokenizer import load_tokenizer
from ftstudio.engine import suits
from ftstudio.engine.recipes import check_recipe
from ftstudio.engine.structure import Row
from ftstudio.engine.suits import Sentence

OF_MODEL: tuple[str, ...] = ("task", "options", "model", "method", "architecture")
"""Keys of a recipe that say what model is built."""


@dataclass(frozen=True)
class Parts:
    """The `tree` of a model with what learns marked, weights in `total`, those that learn (None where they aren't
    counted yet), and more `sentences`."""

    tree: tuple[Row, ...] = ()
    total: int = 0
    trainable: int | None = None
    sentences: tuple[Sentence, ...] = ()
    problem: str = ""


def first(model: str, task: str, texts: Sequence[str] = ()) -> tuple[Sentence, ...]:
    """What MODEL's files tell of it for TASK and rows such as TEXTS. Raises StudioError."""
    lengths: list[int] = []
    if texts:
        with contextlib.suppress(StudioError):  # one of the sentences tells
            lengths = [len(ids) for ids in load_tokenizer(model).encode_batch(texts)]
    return tuple(suits.told(model, task, lengths))


def sketch(values: Mapping[str, Any]) -> Recipe | None:
    """The recipe that VALUES (a draft's) make as far as its model goes; None where not even that is one."""
    for names in (OF_MODEL, ("task", "model", "architecture"), ("model",)):
        some: dict[str, Any] = {name: values[name] for name in names if name in values}
        some["data"] = {"train": "demo"}
        try:
            return check_recipe(some)
        except UsageError:
            continue
    return None


def method_name(values: Mapping[str, Any]) -> str:
    """The method that VALUES (a draft's) name, or the usual one."""
    method = values.get("method")
    name = method.get("name") if isinstance(method, Mapping) else method
    return str(name) if name in methods.names() else "lora"


def bare(recipe: Recipe) -> Parts:
    """The parts of RECIPE's model alone, and what its class tells: a fraction of a second for 70 billion weights."""
    from ftstudio.engine.skeleton import skeleton
    from ftstudio.engine.structure import rows_of

    try:
        model = skeleton(recipe)
        for weight in model.parameters():
            weight.requires_grad_(False)
        total = sum(weight.numel() for weight in model.parameters())
        return Parts(tuple(rows_of(model)), total, None, tuple(suits.looked_into(model, recipe.task)))
    except StudioError as error:
        return Parts(problem=error.message)
    except Exception as error:  # an architecture that can't be built without its weights
        return Parts(problem=f"Its parts can't be shown: {one_line(error, 120)}.")


def parts(recipe: Recipe) -> Parts:
    """The parts of RECIPE's model with its method on it, and what its class tells. Never raises for what is wrong with
    the recipe: that is a `problem`."""
    from ftstudio.engine import hardware
    from ftstudio.engine.plan import weigh
    from ftstudio.engine.skeleton import skeleton
    from ftstudio.engine.structure import rows_of

    sentences: tuple[Sentence, ...] = ()
    try:
        model = skeleton(recipe)
        sentences = tuple(suits.looked_into(model, recipe.task))
        method = methods.get(recipe.method.name)
        try:
            precision = hardware.resolve(recipe).precision
        except StudioError:
            precision = "fp32"
        settings = method.settings(recipe.method.settings)
        weight = weigh(model, method, settings, precision, recipe.training.optimizer)
    except StudioError as error:
        return Parts(sentences=sentences, problem=error.message)
    except Exception as error:  # an architecture that can't be built without its weights
        return Parts(sentences=sentences, problem=f"Its parts can't be shown: {one_line(error, 120)}.")
    return Parts(tuple(rows_of(weight.model)), weight.total, weight.trainable, sentences)
