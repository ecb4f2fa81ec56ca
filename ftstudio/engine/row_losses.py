"""Which row of a batch lost how much: rows carry their numbers, token losses are summed by row on the device."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from ftstudio.engine.collate import Collate, asked


class Wrapped:
    """ROWS, each looked at in another way by what is made of this."""

    def __init__(self, rows: Any) -> None:
        self.rows = rows

    @property
    def at(self) -> Any:
        """Who is to be told seed and epoch, where rows are others in each (see `order`); else None."""
        return getattr(self.rows, "at", None)

    def __len__(self) -> int:
        return len(self.rows)


class Numbered(Wrapped):
    """ROWS, each with its number as `row`; where each epoch sees others (see `drawn`), its number among them all."""

    def __getitem__(self, index: int) -> dict[str, Any]:
        number = getattr(self.rows, "number", None)
        return {**self.rows[index], "row": index if number is None else number(index)}


def numbered(collate: Collate) -> Collate:
    """COLLATE, with the numbers of the rows as `rows` in the batch."""

    def together(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        return {**collate(rows), "rows": tuple(int(row["row"]) for row in rows)}

    return together


def row_of(batch: Mapping[str, Any]) -> torch.Tensor:
    """Which row of BATCH, from 0, each of its `targets` belongs to: [k] int64."""
    keep = batch["keep"]
    if "cu_seq_lens_q" in batch:
        return torch.searchsorted(batch["cu_seq_lens_q"][1:].to(keep.dtype), keep, right=True)
    return keep.nonzero()[:, 0]


class RowLosses:
    """The rows of one optimiser step, with summed loss and trained tokens each. Read once, at the end of the step."""

    def __init__(self) -> None:
        self._rows: list[int] = []
        self._parts: list[torch.Tensor] = []

    def clear(self) -> None:
        """Forget the step."""
        self._rows, self._parts = [], []

    def add(self, batch: Mapping[str, Any], each: Sequence[torch.Tensor]) -> None:
        """Take up the losses of every token of BATCH (see `loss.Objective`), or of its targets by rows (see
        `objective.TaskObjective`)."""
        if not each:
            return
        losses = each[0].detach()
        part = losses.new_zeros((2, len(batch["rows"])))
        if "inputs" in batch:
            part[0] = losses.flatten(1).sum(1) if losses.dim() > 1 else losses
            learnt = asked(batch["targets"])
            part[1] = learnt.flatten(1).sum(1) if learnt.dim() > 1 else learnt
            self._rows += batch["rows"]
            self._parts.append(part)
            return
        where = row_of(batch)
        part[0].index_add_(0, where, losses)
        part[1].index_add_(0, where, asked(batch["targets"]).to(losses.dtype))
        self._rows += batch["rows"]
        self._parts.append(part)

    def sums(self) -> tuple[list[int], list[float], list[float]]:
        """(numbers of the rows, trained tokens, summed losses in nats); and forget them."""
        rows, parts = self._rows, self._parts
        self.clear()
        if not parts:
            return [], [], []
        losses, tokens = torch.cat(parts, 1).cpu().tolist()
        return rows, tokens, losses
