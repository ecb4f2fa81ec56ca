"""What to do about forgetting: changes to the run's recipe that make it forget less."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ftstudio import methods
from ftstudio.core.recipe import Recipe, put
from ftstudio.engine.recipes import check_recipe
from ftstudio.evaluation.forgotten import REPLAY


@dataclass(frozen=True)
class Remedy:
    """A change: what it does in words, the dotted keys it sets, and whether it needs a path first (`asks`)."""

    name: str
    title: str
    why: str
    changes: Mapping[str, Any]
    asks: str = ""


def remedies(recipe: Recipe) -> dict[str, Remedy]:
    """The remedies that RECIPE leaves, by name: adapter, rate, replay, shorter."""
    found: list[Remedy] = []
    if not methods.get(recipe.method.name).adapter:
        found.append(
            Remedy(
                "adapter",
                f"an adapter instead of {recipe.method.name}",
                "LoRA learns beside the weights, which stay as they are; it forgets less and learns a little less",
                {"method": {"name": "lora"}, "training.learning_rate": None},
            )
        )
    rate = recipe.training.learning_rate
    if rate is not None:
        found.append(
            Remedy(
                "rate",
                f"a smaller learning rate: {rate:g} → {rate / 2:g}",
                "smaller steps stay nearer to the base",
                {"training.learning_rate": rate / 2},
            )
        )
    found.append(
        Remedy(
            "replay",
            f"general text trained along: {100 * REPLAY:.0f} % of the rows",
            "rows of what it must not forget keep it there",
            {"data.replay.share": REPLAY},
            "data.replay.path",
        )
    )
    training = recipe.training
    if training.steps is not None and training.steps > 1:
        steps = training.steps // 2
        found.append(
            Remedy(
                "shorter",
                f"half as long: {training.steps:,} → {steps:,} steps",
                "what is learnt early costs least",
                {"training.steps": steps},
            )
        )
    elif training.epochs is not None:
        epochs = training.epochs / 2
        found.append(
            Remedy(
                "shorter",
                f"half as long: {training.epochs:g} → {epochs:g} epochs",
                "what is learnt early costs least",
                {"training.epochs": epochs},
            )
        )
    return {remedy.name: remedy for remedy in found}


def changed(recipe: Recipe, remedy: Remedy, path: str = "") -> Recipe:
    """RECIPE with REMEDY, to be edited and run anew; PATH for what it asks. Raises UsageError."""
    values: dict[str, Any] = recipe.plain()
    values.pop("resolved", None)
    for key, value in {**remedy.changes, **({remedy.asks: path} if remedy.asks else {})}.items():
        put(values, key, value)
    return check_recipe(values)
