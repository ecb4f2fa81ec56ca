"""Seeded splits in which equal prompts never stand on both sides."""

from __future__ import annotations

import hashlib

from ftstudio.core.errors import StudioError, UsageError
from ftstudio.data.dataset import Cancel, Dataset
from ftstudio.data.normal import row_key
from ftstudio.data.shape import Shape

WITHOUT_PROMPT = ("text", "text-label", "tokens-tags", "sentence-pair", "triplet", "source-target")


def alike(shape: Shape | None) -> str:
    """What it is that stays on one side where it is equal: `prompt`, `text` or the whole `row`."""
    return "row" if shape is None else "text" if shape.name in WITHOUT_PROMPT else "prompt"


def split_rows(
    dataset: Dataset, fraction: float, seed: int = 0, *, shape: Shape | None = None, cancel: Cancel | None = None
) -> tuple[list[int], list[int]]:
    """(training rows, held-out rows), both in the dataset's order; about FRACTION of the rows is held out.

    Rows with the same normalised prompt stay together. Which rows are held out depends on their content and SEED
    alone (a keyed hash), so it is the same on every machine, and rows added later move few others.
    Raises StudioError where a side would be empty.
    """
    if not 0 < fraction < 1:
        raise UsageError(f"A split of {fraction} is no fraction between 0 and 1.", "Set data.eval to 0.1, or a file.")
    count = len(dataset)
    if count < 2:
        hint = "Add rows, give data.eval a file of its own, or set it to null."
        raise StudioError(f"{dataset.source} has {count} row: it can't be split.", hint)
    groups: dict[bytes, list[int]] = {}
    for index, row in enumerate(dataset.iter(cancel=cancel)):
        groups.setdefault(row_key(row, shape), []).append(index)
    if len(groups) < 2:
        hint = "Give data.eval a file of its own, or set it to null."
        what = f"All {count} rows of {dataset.source} have the same {alike(shape)}"
        raise StudioError(f"{what}: they can't be split.", hint)
    salt = f"ftstudio split {seed}".encode()
    order = sorted(groups, key=lambda key: hashlib.blake2b(key, key=salt[:64], digest_size=16).digest())
    wanted = max(1, min(count - 1, round(count * fraction)))
    held: list[int] = []
    taken = 0
    for key in order:
        rows = groups[key]
        if taken < len(groups) - 1 and len(held) + len(rows) <= wanted:
            held += rows
            taken += 1
        if len(held) >= wanted:
            break
    if not held:  # every group is larger than what was wanted
        held = list(groups[min(order, key=lambda key: len(groups[key]))])
    side = set(held)
    return [index for index in range(count) if index not in side], sorted(side)


def split_dataset(
    dataset: Dataset, fraction: float, seed: int = 0, *, shape: Shape | None = None, cancel: Cancel | None = None
) -> tuple[Dataset, Dataset]:
    """`split_rows` as two datasets."""
    train, held = split_rows(dataset, fraction, seed, shape=shape, cancel=cancel)
    return dataset.select(train), dataset.select(held)
