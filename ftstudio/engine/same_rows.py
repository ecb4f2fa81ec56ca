"""Which rows a held-out loss is of: a loss of other rows, or of other tokens of the same, can't be set against it.

A recipe may be edited between two sessions of a run. So each evaluation is told with a digest of what it was made on
(`KEY`), and so is each checkpoint that was evaluated: patience and the best checkpoint go by those of one digest.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ftstudio.core import dynamics, files
from ftstudio.core.run import JUDGED_ON

if TYPE_CHECKING:
    from ftstudio.core.recipe import Recipe
    from ftstudio.core.run import RunFolder
    from ftstudio.data.example import Example
    from ftstudio.engine.rows import TrainingRows
    from ftstudio.tasks.base import Row, Task

KEY = JUDGED_ON  # in `eval` events and in a checkpoint's seal, beside the loss
NAMED = 8  # rows that a sentence names
OTHERS = (
    "The held-out rows, or what is asked of them, aren't those of the evaluations so far: patience, and which "
    "checkpoint is the best, go by those from here on."
)


def digest(recipe: Recipe, task: Task, rows: Iterable[Row]) -> str:
    """Stands for the held-out ROWS, as ids and labels, and for what TASK asks of them by RECIPE."""
    found = hashlib.blake2b(digest_size=12)
    about: list[Any] = [recipe.task, {name: value for name, value in recipe.options.items() if name != "chunk"}]
    if not task.divisible:  # a row is held against the others of its batch
        about.append(recipe.training.batch_size)
    found.update(_plain(about))
    for row in rows:
        found.update(_plain({name: value for name, value in row.items() if not callable(value)}))
    return found.hexdigest()


def _plain(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True, default=_short).encode()


def _short(value: Any) -> str:
    """What stands for a picture's bytes, an array, or what else JSON doesn't know."""
    data = value.tobytes() if hasattr(value, "tobytes") else value
    return hashlib.blake2b(data).hexdigest() if isinstance(data, bytes) else repr(value)


def alike(told: Mapping[str, Any], now: str) -> bool:
    """Whether the held-out loss in TOLD, an `eval` event or a checkpoint's facts, is of the rows that NOW stands for.
    An earlier version tells nothing: then it is."""
    then = told.get(KEY)
    return not now or not then or then == now


def alike_alone(events: Iterable[dict[str, Any]], now: str) -> list[dict[str, Any]]:
    """EVENTS without the evaluations of other rows than NOW stands for."""
    return [event for event in events if event.get("kind") != "eval" or alike(event, now)]


def look(run: RunFolder, recipe: Recipe, rows: TrainingRows, step: int | None) -> tuple[str, list[str]]:
    """(the digest of what is held out, empty for nothing; what is to be told where RUN goes on from STEP, and was
    judged on others by then)"""
    if not rows.held_out:
        return "", []
    now = digest(recipe, rows.materials.task, rows.held_out)
    if step is None or alike(_last(run.rare_events(), step), now):
        return now, []
    trained = learnt(run.path, step, recipe, rows.examples)
    return now, [OTHERS, *([_told(trained, len(rows.examples))] if trained else [])]


def _last(events: Iterable[Mapping[str, Any]], step: int) -> Mapping[str, Any]:
    """The last evaluation up to STEP that EVENTS tell; empty where there is none."""
    found: Mapping[str, Any] = {}
    for event in events:
        at = event.get("step")
        if event.get("kind") == "eval" and isinstance(at, int) and at <= step:
            found = event
    return found


def learnt(run: Path, after: int, recipe: Recipe, examples: Sequence[tuple[int, Example]]) -> list[int]:
    """The row numbers of the held-out EXAMPLES that RUN has trained up to the step AFTER, as far as its folder tells.
    To be asked before a new session writes there. Rows of a file of their own have other numbers: none of them."""
    import numpy as np

    if not isinstance(recipe.data.eval, (int, float)):
        return []
    folder = run / dynamics.FOLDER
    about = files.read_json(folder / dynamics.ABOUT)
    try:
        rows = np.fromfile(folder / dynamics.ROWS, dtype="<i4")
        parts = [np.fromfile(path, dtype=dynamics.RECORD) for path in sorted(folder.glob("epoch-*.bin"))]
    except OSError:
        return []
    if not isinstance(about, dict) or about.get("rows") != len(rows):
        return []
    places = [part["place"][part["step"] <= after] for part in parts]
    trained = {int(rows[place]) for some in places for place in np.unique(some) if place < len(rows)}
    return sorted(row for row, _ in examples if row in trained)


def _told(rows: Sequence[int], count: int) -> str:
    """That of COUNT held-out rows these ROWS were trained before."""
    some = ", ".join(str(row + 1) for row in rows[:NAMED])
    more = f" and {len(rows) - NAMED} more" if len(rows) > NAMED else ""
    was = "was" if len(rows) == 1 else "were"
    return (
        f"{len(rows)} of the {count} held-out rows {was} trained by this run before ({some}{more} of the data): their "
        "loss is lower than that of rows it never saw."
    )
