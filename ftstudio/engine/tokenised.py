"""The training rows as tokens, kept from one look at a recipe to the next: most of its settings change nothing here."""

from __future__ import annotations

import json
import threading
from typing import Any

from ftstudio.data.dataset import Cancel, Progress
from ftstudio.data.encoded_set import EncodedSet
from ftstudio.data.tokenizer import model_folder
from ftstudio.engine.locate import state
from ftstudio.engine.materials import Materials

MOST = 50_000_000  # tokens that are kept, about 5 bytes each
# What of `data` says only which rows are trained: the selection itself is looked at.
_CHOOSING = {"accepted", "eval", "test", "split_by", "parted_as", "limit", "seed"}

_kept: dict[Any, EncodedSet] = {}  # the last one alone
_lock = threading.Lock()


def tokenised(
    materials: Materials, *, progress: Progress | None = None, cancel: Cancel | None = None, keep: bool = True
) -> EncodedSet:
    """The training rows of MATERIALS as `Task.encode_dataset` gives them; those of the last time where they are the
    same. KEEP for the next time; a training doesn't, since it has its rows for itself.

    Raises Stopped when CANCEL says so.
    """
    key = _key(materials)
    with _lock:
        found = _kept.get(key) if keep else _kept.pop(key, None)
        if found is None:
            _kept.clear()  # before the new ones are made: never two at once
    if found is None:
        found = materials.task.encode_dataset(
            materials.train, materials.shape, materials.template, materials.tokenizer,
            materials.recipe.data.max_length, progress=progress, cancel=cancel,
        )  # fmt: skip
        if keep and key is not None and len(found.ids) <= MOST:
            with _lock:
                _kept.clear()
                _kept[key] = found
    return found


def _key(materials: Materials) -> Any:
    """What the tokens depend on; None where that can't be told: pictures are files that the rows only name."""
    recipe, task = materials.recipe, materials.task
    if task.kind == "image-text-to-text":
        return None
    folder = model_folder(recipe.model)[0]
    return (
        recipe.task,
        json.dumps([recipe.options, task.facts], sort_keys=True, default=str),
        recipe.data.model_dump_json(exclude=_CHOOSING),
        recipe.architecture.model_dump_json(),
        (recipe.training.seed, recipe.rows_seed),
        str(folder),
        state(folder),
        materials.whole.hash,
        materials.train.origin,
    )
