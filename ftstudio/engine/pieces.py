"""A padded batch as pieces of rows of like length: hardly any padding, and what is learnt is that of the whole batch.

Rows are drawn at random (see `order`), so a batch holds long and short ones. Cut up where that costs less than the
padding it saves, its pieces go through the model one after another; their gradients add up to the batch's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np

from ftstudio.engine.collate import Collate
from ftstudio.engine.order import Shuffled, flat

T = TypeVar("T")

# Tokens that could be computed while one more pass gets under way. On a CPU: what matrices lose by being narrow.
# On a GPU the host starts some thousand kernels in the time in which a model of 100 million weights does 4,000 tokens.
ON_CPU, ON_GPU = 32.0, 4e11
SOME = 100  # batches that tell how many are cut, and what padding is left
LOOKED_AT = 2_000  # batches that are cut to find the heaviest piece: a second


def dear(device: str, weights: int) -> float:
    """What one more pass through a model of so many WEIGHTS costs on DEVICE, in tokens."""
    return ON_CPU if device == "cpu" else ON_GPU / max(1, weights)


def cuts(lengths: Sequence[int], cost: float) -> list[int]:
    """How many rows each piece has, of rows of LENGTHS tokens that are sorted: the least padded tokens, where each
    piece costs so many more. By dynamic programming over where the last piece begins."""
    sizes = np.asarray(lengths, dtype=float)
    best = np.zeros(len(sizes) + 1)
    began = np.zeros(len(sizes) + 1, dtype=int)
    for end in range(1, len(sizes) + 1):
        starts = np.arange(end)
        # sorted either way, the longest of a piece is one of its ends
        longest = np.maximum(sizes[:end], sizes[end - 1])
        found = best[:end] + (end - starts) * longest + cost
        began[end] = int(found.argmin())
        best[end] = found[began[end]]
    pieces = []
    end = len(sizes)
    while end:
        pieces.append(end - int(began[end]))
        end = int(began[end])
    return pieces[::-1]


def length_of(row: Mapping[str, Any]) -> int:
    """What ROW is cut by: its ids. A decoder's targets stand beside them, and lie as the rows do."""
    return len(row["input_ids"])


def parted(rows: Sequence[T], length: Callable[[T], int], cost: float) -> list[list[T]]:
    """ROWS, the longest first, as pieces of like LENGTH."""
    ordered = sorted(rows, key=lambda row: -length(row))
    found, start = [], 0
    for size in cuts([length(row) for row in ordered], cost):
        found.append(ordered[start : start + size])
        start += size
    return found


def heaviest(
    batches: Sequence[list[int]],
    lengths: Sequence[int],
    cost: float,
    asked: Sequence[int] | None = None,
    worth: float = 0.0,
    beside: Sequence[int] | None = None,
) -> tuple[list[int], list[int]]:
    """(the batch of BATCHES that has it, the piece with the most padded tokens), of rows of LENGTHS.

    Where places are ASKED of each row, a place weighs as much as WORTH tokens. So many tokens of each row stand BESIDE
    those that it is cut by (a decoder's), padded in a piece as well; each is asked. Of very many batches, those that
    may have the heaviest piece are looked at first, and no more than `LOOKED_AT`.
    """
    others = np.zeros(len(lengths)) if beside is None else np.asarray(beside, dtype=float) * (1 + worth)
    places = np.zeros(len(lengths)) if asked is None else np.asarray(asked, dtype=float) * worth

    def weight(rows: list[int]) -> float:
        width = max(lengths[row] for row in rows) + float(others[rows].max())
        return len(rows) * width + float(places[rows].sum())

    rows, starts = flat(batches)
    sizes, counts = np.asarray(lengths)[rows], np.diff(starts, append=len(rows))
    # No piece is more than its whole batch. And none is worth cutting: of k rows, the last m of which would save less
    # than COST by themselves, so that padding is at most COST * (1 + 1/2 + … + 1/k).
    most = np.add.reduceat(sizes, starts) + cost * (1 + np.log(counts))
    most = np.minimum(most, np.maximum.reduceat(sizes, starts) * counts) + np.add.reduceat(places[rows], starts)
    most += np.maximum.reduceat(others[rows], starts) * counts
    found: tuple[list[int], list[int]] = (batches[0], [])
    for place in np.argsort(-most, kind="stable")[:LOOKED_AT]:
        if found[1] and most[place] <= weight(found[1]):  # so is each piece of this one, and of those after it
            break
        batch = batches[place]
        piece = max(parted(batch, lengths.__getitem__, cost), key=weight)
        if not found[1] or weight(piece) > weight(found[1]):
            found = batch, piece
    return found


def shares(lengths: Sequence[int], batch: int, seed: int, cost: float | None) -> tuple[float, float]:
    """(share of the batches that are cut, share of the tokens that is padding all the same), of some batches of BATCH
    rows of LENGTHS tokens as SEED draws them; COST None: none is cut."""
    drawn = Shuffled(lengths, batch, seed).batches(0)
    some = drawn[:: max(1, -(-len(drawn) // SOME))]
    cut = real = whole = 0
    for rows in some:
        made = [rows] if cost is None else parted(rows, lengths.__getitem__, cost)
        cut += len(made) > 1
        real += sum(lengths[row] for row in rows)
        whole += sum(len(piece) * max(lengths[row] for row in piece) for piece in made)
    return cut / max(1, len(some)), 1 - real / max(1, whole)


def pieced(collate: Collate, cost: float) -> Collate:
    """COLLATE, whose batches may come in `pieces`, each a batch of its own; a piece more costs so many tokens.

    The whole keeps `targets` [k] of all pieces, `lengths`, `tokens`, and `rows` where the pieces have them.
    """

    def together(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        import torch

        some = parted(rows, length_of, cost)
        if len(some) == 1:
            return collate(rows)
        pieces = [collate(part) for part in some]
        found: dict[str, Any] = {
            "pieces": pieces,
            "targets": torch.cat([piece["targets"].flatten() for piece in pieces]),
            "lengths": tuple(length for piece in pieces for length in piece["lengths"]),
            "tokens": sum(piece["tokens"] for piece in pieces),
        }
        if "rows" in pieces[0]:
            found["rows"] = tuple(row for piece in pieces for row in piece["rows"])
        return found

    return together
