"""The trainer as one of several processes: the same batches a step as one process, one writer of checkpoints."""

from __future__ import annotations

import contextlib
import json
import math
import tempfile
import traceback
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.utils.data import Sampler

from ftstudio.core.errors import StudioError
from ftstudio.engine import attention, capacity, gradients, quiet
from ftstudio.engine.by_source import by_source
from ftstudio.engine.collate import Collate, Row, trained
from ftstudio.engine.held import NotHeld, load_of
from ftstudio.engine.held_out import Rows, held_out_loss, in_turn, scored
from ftstudio.engine.levers import Levers
from ftstudio.engine.objective import TaskObjective
from ftstudio.engine.order import Shuffled
from ftstudio.engine.ranks import Ranks
from ftstudio.engine.row_losses import RowLosses, Wrapped
from ftstudio.engine.trainer import StudioTrainer, sound
from ftstudio.engine.trouble import explain, out_of_memory
from ftstudio.tasks.base import Predicted

SMALL = 256 << 20  # bytes of gradients that are exchanged once a step is through: on the way back it would save little

Sums = tuple[list[int], list[float], list[float]]


class RankedTrainer(StudioTrainer):
    """`StudioTrainer` among RANKS. Each takes every count-th batch of the one order, so that a step of n processes is
    that of one with n times the accumulation; where batches don't go round, some learn nothing from an empty one.

    Held-out rows are shared out; checkpoints are written by the first process alone.
    """

    shards = False  # whether weights lie in parts, whose gradients are averaged on the way back

    def __init__(self, *args: Any, ranks: Ranks, **named: Any) -> None:
        super().__init__(*args, **named)
        self.ranks = ranks
        # a loss of a task's own may ask its model more than once
        few = isinstance(self.levers.objective, TaskObjective) or gradients.size(self.model) <= SMALL
        few = few or gradients.unsteady(self.model)
        self._by_hand = few and not self.shards
        if self._by_hand or self.shards:
            prepare = self.accelerator.prepare_model
            self.accelerator.prepare_model = partial(prepare, evaluation_mode=True)  # type: ignore[method-assign]
            gradients.begin(self.model)
        self.losses = SharedLosses(ranks)
        self.train_dataset: Any = Filled(self.train_dataset)
        self.data_collator: Any = filled(self.data_collator)  # type: ignore[arg-type]
        self._told = [0, 0, 0, 0]  # how often this process ran out of memory; the last time's rows, tokens, recomputes
        self._heard: dict[int, int] = {}  # how often the others did
        self._doubted = False  # whether a process can't be sure that its part of this step goes through at once
        self._fits: list[dict[str, Any]] = []  # of all processes, while a checkpoint is written
        self._states: list[bytes] = []  # of the random generators of all processes, while a checkpoint is written

    # -- data --------------------------------------------------------------------------------------------------
    def _get_train_sampler(self, train_dataset: Any = None) -> Sampler[int]:
        order: Any = super()._get_train_sampler(train_dataset)
        if not isinstance(order, Shuffled):
            return order  # type: ignore[no-any-return]
        return Evened(order, self.args.train_batch_size * self.ranks.count)

    def _get_num_items_in_batch(self, batch_samples: list[Any], device: torch.device) -> torch.Tensor:
        real = [batch for batch in batch_samples if not batch.get("void")]
        count = sum(int(trained(one)) for one in real)
        own = torch.tensor([[count, sum(one["tokens"] for one in real), self._doubts(batch_samples), *self._told]])
        each: Any = self.accelerator.gather(own.to(device))
        told = each[:, 2:].tolist()
        self._doubted = any(doubts for doubts, *_ in told)
        self._hear([one[1:] for one in told])
        found = each.sum(0)
        self.meter.tokens += int(found[1] - own[0, 1].to(device))  # those of the others; the own ones as they are taken
        return found[0].clamp(min=1)  # type: ignore[no-any-return]

    def _doubts(self, batches: Sequence[Mapping[str, Any]]) -> bool:
        """Whether one of the BATCHES of a step may have to be taken in parts here, for all that is known. Gradients are
        exchanged on the way back only where all processes are sure: what isn't exchanged yet can be taken again."""
        return not (self._by_hand or all(self.held.sure(load_of(batch)) for batch in batches))

    def _hear(self, told: Sequence[Sequence[int]]) -> None:
        """Tell the person in the first process which others ran out of memory, of what each has TOLD."""
        for rank, (times, rows, tokens, recomputes) in enumerate(told):
            if self.ranks.first and rank != self.ranks.rank and times > self._heard.get(rank, 0):
                self._heard[rank] = times
                self.director.shrunk(rows, tokens, bool(recomputes))

    def utilisation(self, speed: float | None) -> float | None:
        """See StudioTrainer; SPEED and the peak are those of all GPUs."""
        return super().utilisation(None if speed is None else speed / self.ranks.count)

    def compute_loss(self, model: nn.Module, inputs: dict[str, Any], *args: Any, **named: Any) -> Any:
        """See StudioTrainer. An empty batch goes through the model, since the others wait for its gradients: zeros."""
        found = super().compute_loss(model, inputs, *args, **named)
        return found * 0 if inputs.get("void") else found

    def training_step(self, *args: Any, **named: Any) -> torch.Tensor:
        """See StudioTrainer. After the last micro-batch of a step the gradients are those of all processes."""
        kept_back = self._doubted and not self.shards and not self._by_hand  # from torch's data parallelism
        with self.accelerator.no_sync(self.model_wrapped) if kept_back else contextlib.nullcontext():
            loss = super().training_step(*args, **named)
        if (self._by_hand or kept_back) and self._taken == len(self._step):
            gradients.average(self.model)
        return loss

    def _may_shrink(self, error: BaseException) -> bool:
        """See StudioTrainer. A process takes its part of the step again alone, before the others have seen any of it;
        they wait. Raises NotHeld where they already have: where weights lie in parts, or gradients are under way."""
        may = super()._may_shrink(error)
        last = self._taken == len(self._step)
        if not out_of_memory(error) or not (self.shards or (last and not self._by_hand and not self._doubted)):
            return may
        told = explain(error)
        if not may:
            return False
        how = "weights in parts" if self.shards else "gradients under way"
        what = f"{self._rows} rows at once" if self._rows > 1 else "a single row"
        then = "takes it in smaller parts" if self._rows > 1 else "computes activations again (checkpointing)"
        raise NotHeld(
            f"{told.message[:-1]} for {what} ({self._passing[0]:,} tokens), and a step of several processes with {how} "
            f"can't be taken again by one of them. Gone on with, the run {then}.",
            self._passing,
            self._rows,
            capacity.memory(self.args.device.type),
        ) from error

    def _shrink(self) -> None:
        rows, tokens = self._rows, self._passing[0]
        super()._shrink()
        self._told = [self._told[0] + 1, rows, tokens, int(rows == 1)]

    # -- evaluation --------------------------------------------------------------------------------------------
    def evaluate(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """See StudioTrainer. The others wait while the first one tells, answers prompts and measures forgetting."""
        with self.meter.away("evaluating"):
            self.director.evaluating(self)
            metrics = by_source(self.held_out, self.sources, self._measure)
            if self.ranks.first:
                with attention.plain(self.model), self.levers.objective.precision():
                    self.director.evaluated(self, metrics)
            # what the first one sees in the figures may call a checkpoint off, or for one
            self.control.should_save = bool(self.ranks.tell(self.control.should_save))
        return metrics or {}

    def _measure(self, rows: Rows) -> dict[str, Any] | None:
        """The held-out loss of ROWS, each process a share of them; what it is, every process is told."""
        batch, budget = self.args.per_device_eval_batch_size, self.budget
        own = share(rows, self.levers, batch, self.ranks.rank, self.ranks.count)
        kept: dict[str, Any] = {"missed": ""}
        found = held_out_loss(
            self.model, own, self.levers, batch, self.director.should_stop, kept, budget, self.still,
            lambda error: kept.update(missed=_missed(error)),
        )  # fmt: skip
        said = None
        if found is not None:
            said = [found["loss"], found["tokens"], [_plain(one) for one in kept["predicted"]], kept["missed"]]
        parts = self.ranks.all_of(said)
        merged = self._merged(rows, batch, parts, kept) if parts and None not in parts else None
        told: dict[str, Any] | None = self.ranks.tell(merged)
        return told

    def _merged(self, rows: Rows, batch: int, parts: Sequence[Any], kept: Mapping[str, Any]) -> dict[str, Any]:
        tokens = sum(int(count) for _, count, *_ in parts)
        total = sum(loss * count for loss, count, *_ in parts if count)
        mean = total / tokens if tokens else math.nan
        told: dict[str, Any] = {"loss": mean, "rows": len(rows), "tokens": tokens}
        objective = self.levers.objective
        if isinstance(objective, TaskObjective) and not objective.task.generates:
            missed = next((why for *_, why in parts if why), "")
            if missed:
                self.director.unscored(StudioError(missed))
                return told
            predicted, answered = [], []
            for rank, (_, _, said, _) in enumerate(parts):
                predicted += [Predicted(text, extra) for text, extra in said]
                answered += share(rows, self.levers, batch, rank, self.ranks.count)[: len(said)]
            return told | scored(kept["task"], predicted, answered, self.director.unscored)
        told["perplexity"] = math.exp(min(mean, 700))
        if len(rows) and "bytes" in rows[0]:
            told["bits_per_byte"] = total / math.log(2) / max(1, sum(rows[at]["bytes"] for at in range(len(rows))))
        return told

    # -- checkpoints -------------------------------------------------------------------------------------------
    def _save_checkpoint(self, model: nn.Module, trial: Any) -> None:
        if not sound(self.model):  # the same in all processes
            self.director.unsound()
            return
        self._states = self.ranks.gathered(self._random_state())
        own = json.dumps(super()._what_fits()[0])
        self._fits = [json.loads(one) for one in self.ranks.gathered(own.encode())]
        if self.ranks.first:
            super()._save_checkpoint(model, trial)
        self._states = []
        self.ranks.tell()  # writing takes longer than data parallelism waits

    def _what_fits(self) -> list[dict[str, Any]]:
        return self._fits

    def store_flos(self) -> None:
        """Not counted (see `floating_point_ops`), and not to be asked of the others while one writes."""

    def _random_state(self) -> bytes:
        """The state of this process's random generators, as transformers writes it."""
        with tempfile.TemporaryDirectory() as folder:
            super()._save_rng_state(folder)
            return next(Path(folder).iterdir()).read_bytes()

    def _save_rng_state(self, output_dir: str) -> None:
        for rank, state in enumerate(self._states):
            (Path(output_dir) / f"rng_state_{rank}.pth").write_bytes(state)


def share(rows: Rows, levers: Levers, batch: int, rank: int, count: int) -> list[Row]:
    """The held-out ROWS that RANK of COUNT looks at, in turn: every count-th BATCH of those of one process,
    since there are losses that hold the rows of a batch against each other."""
    order = in_turn(rows, levers)
    return [
        rows[row] for start in range(rank * batch, len(order), batch * count) for row in order[start : start + batch]
    ]


class SharedLosses(RowLosses):
    """Row losses of a step; `sums` gives the first process those of all. To be called by all of them."""

    def __init__(self, ranks: Ranks) -> None:
        super().__init__()
        self.ranks = ranks

    def sums(self) -> Sums:
        """See RowLosses."""
        own = super().sums()
        rows: list[int] = []
        tokens: list[float] = []
        losses: list[float] = []
        for part in self.ranks.all_of(own):
            rows, tokens, losses = rows + part[0], tokens + part[1], losses + part[2]
        return (rows, tokens, losses) if self.ranks.first else own


class Evened(Sampler[int]):
    """ORDER, filled up to a multiple of SPAN with numbers beyond its rows: places that hold no row."""

    def __init__(self, order: Shuffled, span: int) -> None:
        self.inner, self.span = order, span

    def set_epoch(self, epoch: int) -> None:
        """See Shuffled."""
        self.inner.set_epoch(epoch)

    def __len__(self) -> int:
        return len(self.inner) + -len(self.inner) % self.span

    def __iter__(self) -> Iterator[int]:
        yield from self.inner
        yield from range(len(self.inner), len(self))


class Filled(Wrapped):
    """ROWS; at places beyond them the first one, marked as `void`."""

    def __getitem__(self, index: int) -> dict[str, Any]:
        return dict(self.rows[index]) if index < len(self.rows) else {**self.rows[0], "void": True}


def filled(collate: Collate) -> Collate:
    """COLLATE without the void rows; where there are no others, a batch that is marked as `void`."""

    def together(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        real = [row for row in rows if not row.get("void")]
        if real:
            return collate(real)
        return {**collate(rows[:1]), "rows": (), "void": True, "tokens": 0}

    return together


def _missed(error: Exception) -> str:
    """Why there are no scores, for the first process to tell; the traceback goes to the log of this one."""
    quiet.note("".join(traceback.format_exception(error)))
    return explain(error).message


def _plain(one: Predicted) -> list[Any]:
    return [one.text, one.extra]
