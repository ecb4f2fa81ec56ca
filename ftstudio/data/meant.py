"""What rows are taken for: mapped as a person says, for the task that a person names, or for the one they suit best.

One answer for all that looks at rows, so that what a check finds is what its repair mends.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ftstudio.core.errors import UsageError
from ftstudio.data.dataset import Dataset
from ftstudio.data.shape import Shape, Suggestion, recognise, suggest

# shape → the task that a person who mapped it so has in mind; those that aren't named are for sft
_FOR = {
    "text": "causal-lm", "text-label": "text-classification", "tokens-tags": "token-classification",
    "sentence-pair": "embedding", "source-target": "seq2seq", "image-text": "image-text-to-text",
}  # fmt: skip


@dataclass(frozen=True)
class Meant:
    """Rows mapped by `shape` for `task`, which a person `named` or not; the other tasks they suit are `suggestions`.
    Where no columns are recognised `shape` is None and `why_not` says why."""

    shape: Shape | None
    task: str | None
    named: bool = False
    why_not: str = ""
    suggestions: tuple[Suggestion, ...] = ()


def meant(dataset: Dataset, columns: Mapping[str, str | None] | None = None, task: str | None = None) -> Meant:
    """What DATASET's rows are taken for: mapped by COLUMNS (role → column) where some are given, else as TASK wants
    them, else as the task that they suit best. Raises UsageError for COLUMNS that aren't there or don't go together.
    """
    found, given = tuple(suggest(dataset)), any((columns or {}).values())
    named = task is not None
    if found and not given and not named:
        return Meant(found[0].shape, found[0].task, suggestions=found)
    try:
        shape = recognise(dataset, columns, task)
    except UsageError as error:
        if given:
            raise
        return Meant(None, task, named, str(error), found)
    return Meant(shape, task or _FOR.get(shape.name, "sft"), named, suggestions=found)
