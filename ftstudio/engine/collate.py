"""Rows to batches, padded or one after another, with the places where the model is asked for a prediction."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from ftstudio.data.encode import IGNORED
from ftstudio.engine.trimming import trimmed
from ftstudio.tasks.padding import asked_places

if TYPE_CHECKING:
    import torch


Row = Mapping[str, Any]
"""`input_ids`, and `labels` of the same length: the token itself where it is learnt, -100 elsewhere. Rows of tasks
with a head of their own hold what those collate."""


class Collate(Protocol):
    """Makes a batch of rows."""

    def __call__(self, rows: Sequence[Row], /) -> dict[str, Any]: ...


class Collator:
    """Makes a padded batch of rows; PAD_ID fills them up on the right, to a MULTIPLE where the device likes that.

    `input_ids` [rows, longest]: padded on the right. No attention mask is needed: attention is causal, so no real token
    ever sees what comes after it, and what padding itself predicts is never asked.
    `keep` [rows, longest], true where the next token is trained: only there the output head runs.
    `targets` [k]: the tokens to be predicted there, row after row; -100 in a batch that has none.
    `lengths` of the rows; `tokens`: how many ids are not padding; `multiple`: the width is one, and that of its parts.
    """

    def __init__(self, pad_id: int, multiple: int = 1) -> None:
        self.pad_id, self.multiple = pad_id, multiple

    def __call__(self, rows: Sequence[Row]) -> dict[str, Any]:
        import torch

        lengths = tuple(len(row["input_ids"]) for row in rows)
        width = max(lengths) + -max(lengths) % self.multiple
        ids = torch.full((len(rows), width), self.pad_id, dtype=torch.long)
        following = torch.full((len(rows), width), IGNORED, dtype=torch.long)
        for place, (row, length) in enumerate(zip(rows, lengths, strict=True)):
            ids[place, :length] = torch.as_tensor(row["input_ids"], dtype=torch.long)
            following[place, : length - 1] = torch.as_tensor(row["labels"][1:], dtype=torch.long)
        return _padded(ids, following, lengths, self.multiple)


def _some(batch: Mapping[str, Any], rows: slice) -> dict[str, Any]:
    """ROWS of a task's batch (see `Task.collate`), no wider than they are. Raises ValueError where something in it
    doesn't begin with the rows: cut all the same, the part would learn something else without a word."""
    import torch

    count = len(batch["lengths"])

    def cut(name: str, value: Any) -> Any:
        if isinstance(value, dict):
            return {key: cut(key, item) for key, item in value.items()}
        if not (torch.is_tensor(value) or isinstance(value, (list, tuple))):
            return value
        if (torch.is_tensor(value) and not value.dim()) or len(value) != count:
            held = tuple(value.shape) if torch.is_tensor(value) else len(value)
            raise ValueError(f"A batch of {count} rows can't be taken in parts: its `{name}` has {held} entries.")
        return value[rows]

    found = trimmed({key: cut(key, value) for key, value in batch.items() if key not in ("places", "tokens")})
    if "places" in batch:  # numbers within rows × longest: other rows have others
        found["places"] = asked_places(found["targets"])
    return found | {"tokens": sum(found["lengths"])}


def _padded(ids: torch.Tensor, following: torch.Tensor, lengths: tuple[int, ...], multiple: int) -> dict[str, Any]:
    """A padded batch of IDS [rows, width], a MULTIPLE, and the tokens to be predicted after each."""
    keep = following != IGNORED
    if not keep.any():  # a batch without labels still goes through the model, with loss zero
        keep[0, 0] = True
    return {
        "input_ids": ids,
        "keep": keep,
        "targets": following[keep],
        "lengths": lengths,
        "tokens": sum(lengths),
        "multiple": multiple,
    }


class PaddingFree:
    """Makes a batch of rows that lie one after another, `input_ids` [1, tokens of all rows].

    `position_ids` [1, tokens] begin at 0 with every row. `cu_seq_lens_q` and `_k` [rows + 1], `max_length_q` and `_k`:
    where the rows begin, and the longest, as transformers names them for variable-length attention.
    `keep` [k]: places after which a trained token comes. `targets` [k], `lengths`, `tokens`: as in `Collator`.
    """

    def __call__(self, rows: Sequence[Row]) -> dict[str, Any]:
        import torch

        ids = torch.tensor([token for row in rows for token in row["input_ids"]], dtype=torch.long)
        following = [token for row in rows for token in (*row["labels"][1:], IGNORED)]
        return _laid_out(ids, torch.tensor(following, dtype=torch.long), tuple(len(row["input_ids"]) for row in rows))


def _laid_out(ids: torch.Tensor, following: torch.Tensor, lengths: tuple[int, ...]) -> dict[str, Any]:
    """A padding-free batch of IDS [tokens], the tokens to be predicted after each, and the LENGTHS of its rows."""
    import torch

    sizes = torch.tensor(lengths, device=ids.device)
    ends = torch.cat((sizes.new_zeros(1), sizes.cumsum(0)))
    keep = (following != IGNORED).nonzero().squeeze(1)
    if not len(keep):
        keep = sizes.new_zeros(1)
    places = torch.arange(len(ids), device=ids.device) - ends[:-1].repeat_interleave(sizes)
    starts = ends.to(torch.int32)
    return {
        "input_ids": ids[None],
        "position_ids": places[None],
        "cu_seq_lens_q": starts,
        "cu_seq_lens_k": starts,
        "max_length_q": max(lengths),
        "max_length_k": max(lengths),
        "keep": keep,
        "targets": following[keep],
        "lengths": lengths,
        "tokens": len(ids),
    }


def trained(batch: Mapping[str, Any]) -> torch.Tensor:
    """How many tokens BATCH trains on."""
    return asked(batch["targets"]).sum()


def asked(targets: torch.Tensor) -> torch.Tensor:
    """Which of TARGETS are learnt, as truths: all but the number that stands for none. A score may be that number."""
    import torch

    return torch.ones_like(targets, dtype=torch.bool) if targets.is_floating_point() else targets != IGNORED


def split(batch: Mapping[str, Any], parts: int) -> list[dict[str, Any]]:
    """BATCH as PARTS batches of as many rows each, fewer where it hasn't so many rows: their sums are its sum. Each is
    as wide as its own longest row (see `trimming`).

    One that comes in `pieces` (see `pieces`): those, each cut until it has no more rows than that.
    """
    import torch

    lengths = batch["lengths"]
    size = -(-len(lengths) // parts)
    if "pieces" in batch:
        return [some for piece in batch["pieces"] for some in split(piece, -(-len(piece["lengths"]) // size))]
    if size >= len(lengths):
        return [dict(batch)]
    if "inputs" in batch:
        return [_some(batch, slice(start, start + size)) for start in range(0, len(lengths), size)]
    ids = batch["input_ids"]
    bare = "cu_seq_lens_q" in batch
    if bare:
        ids = ids[0]
    following = torch.full_like(ids, IGNORED)
    following[batch["keep"]] = batch["targets"]
    found, begin = [], 0
    for start in range(0, len(lengths), size):
        some = lengths[start : start + size]
        if bare:
            stop = begin + sum(some)
            found.append(_laid_out(ids[begin:stop], following[begin:stop], some))
            begin = stop
        else:
            multiple = int(batch.get("multiple", 1))
            rows = slice(start, start + size), slice(0, max(some) + -max(some) % multiple)
            found.append(_padded(ids[rows], following[rows], some, multiple))
    return found
