"""The base as it is, where a recipe changes the model itself: its answers and what general text costs it, for later.

Without layers or with new tokens the model before its first step isn't the base any more. So the base is loaded once
before it, answers the samples in the tokens it has, reads the general text, and is let go; `samples.json` and
`forgetting.json` keep what it said.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ftstudio.core.errors import Stopped
from ftstudio.engine import drift
from ftstudio.engine.materials import open_materials
from ftstudio.engine.reshaping import untouched
from ftstudio.engine.rows import TrainingRows, fixed, samples

if TYPE_CHECKING:
    from ftstudio.core.recipe import Recipe
    from ftstudio.engine.context import JobContext


def measure(recipe: Recipe, rows: TrainingRows, context: JobContext) -> None:
    """Ask the base of RECIPE, as it is without the recipe's changes, what ROWS' samples and gauge set against it.

    Nothing is done where the recipe changes nothing, or where all is known from before. Raises Stopped when asked.
    """
    if not recipe.architecture.changes or not rows.held_out:
        return
    plain, folder = untouched(recipe), context.folder
    mine = samples(folder, recipe, rows.materials, rows.examples, context.should_stop)
    gauge = drift.gauge(folder, recipe, rows.materials, context.should_stop)
    asks = mine is not None and not mine.known
    reads = gauge is not None and not gauge.known
    if not asks and not reads:
        return
    context.phase("loading model", f"{recipe.model} as it is, to set the changed one against")
    model = context.models.base(recipe).model
    materials = open_materials(plain, cancel=context.should_stop)
    if mine is not None and asks:
        context.phase("generating samples", "of the base as it is")
        mine.ask_base(model, materials.tokenizer, fixed(materials, rows.examples, recipe))
    own = drift.gauge(folder, recipe, materials, context.should_stop)
    if own is not None and reads and own.asks is not None:
        context.phase("measuring forgetting", "the base as it is")
        own.measure_base(model, keep=True)
    if context.should_stop():
        raise Stopped("Stopped before training.")
