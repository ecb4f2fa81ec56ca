"""The saved model read back from disk: it has to say what the trained one said."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ftstudio.core.errors import StudioError, chain
from ftstudio.engine.trouble import out_of_memory

if TYPE_CHECKING:
    from ftstudio.core.recipe import Recipe
    from ftstudio.core.run import RunFolder
    from ftstudio.engine.models import ModelStore

log = logging.getLogger(__name__)

NOT_READ = "The model is trained and saved, but was not read back to check it: there is not enough memory for that now."


def check(
    models: ModelStore, run: RunFolder, recipe: Recipe, asked: Callable[[Any], Any], expected: Any
) -> float | None:
    """Load what RUN saved and compare what it says when ASKED with what the trained model said (EXPECTED); the greatest
    difference. None where memory doesn't do for that, and RUN's person is told so: the training is done, its model
    saved, and others may hold the memory now.

    Raises StudioError where it is another model than the one that was trained.
    """
    try:
        loaded = models.tuned(run, recipe)
        with loaded.as_tuned() as model:
            found = asked(model)
    except Exception as error:
        if not any(map(out_of_memory, chain(error))):
            raise
        log.warning("the saved model was not read back", exc_info=error)
        lacking = True
    else:
        lacking = False
    if lacking:  # beyond the handler: the error's frames hold what was loaded so far
        models.unload()
        run.emit(
            "alert", level="warning", text=NOT_READ, hint=f"Read it once memory is free: ftstudio compare {run.name}"
        )
        return None
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
