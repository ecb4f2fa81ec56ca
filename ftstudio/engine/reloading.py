"""The saved model read back from disk: it has to say what the trained one said."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ftstudio.core.errors import StudioError

if TYPE_CHECKING:
    from ftstudio.core.recipe import Recipe
    from ftstudio.core.run import RunFolder
    from ftstudio.engine.models import ModelStore


def check(models: ModelStore, run: RunFolder, recipe: Recipe, asked: Callable[[Any], Any], expected: Any) -> float:
    """Load what RUN saved and compare what it says when ASKED with what the trained model said (EXPECTED); the greatest
    difference.

    Raises StudioError where it is another model than the one that was trained.
    """
    loaded = models.tuned(run, recipe)
    with loaded.as_tuned() as model:
        found = asked(model)
    difference = float((found - expected).abs().max())
    allowed = 1e-3 if loaded.spec.dtype == "float32" else 0.25
    if difference <= allowed * max(1.0, float(expected.abs().max())):
        return difference
    if loaded.shares_base and models.trained_on not in ((), loaded.files):
        raise StudioError(
            f"The files of {recipe.model} changed while it was trained: the adapter belongs to the old ones.",
            f"Put them back and resume {run.name}, or train again.",
        )
    raise StudioError(
        f"The saved model differs from the trained one (logits by {difference:.3g}).",
        "Train again, or resume from the last checkpoint; if it happens again, report it with the log.",
    )
