"""A thin subclass of transformers' Trainer: exact token-weighted loss, seeded order, sealed checkpoints.

The loop, accumulation, clipping, schedule, optimiser and their checkpoints are transformers'.
"""

from __future__ import annotations

import hashlib
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import nn
from torch.utils.data import DataLoader, Sampler
from transformers import PrinterCallback, ProgressCallback, TrainerCallback, TrainingArguments

from ftstudio.core.errors import StudioError
from ftstudio.engine import (
    attention,
    capacity,
    going_on,
    gradient_cache,
    loading,
    paging,
    resume,
    same_rows,
    soft_prompts,
)
from ftstudio.engine.budget import Order, TokenBudget, order_of, tokens_in
from ftstudio.engine.by_source import by_source
from ftstudio.engine.collate import trained
from ftstudio.engine.disk import disk_trouble
from ftstudio.engine.held import Held, Load, load_of
from ftstudio.engine.held_out import Rows, held_out_loss
from ftstudio.engine.levers import Levers, recompute
from ftstudio.engine.meter import Meter
from ftstudio.engine.objective import TaskObjective
from ftstudio.engine.order import Shuffled
from ftstudio.engine.passing import PassingTrainer
from ftstudio.engine.restoring import restore
from ftstudio.engine.row_losses import Numbered, RowLosses, numbered
from ftstudio.engine.saving import save_weights
from ftstudio.engine.trouble import out_of_memory

WITHIN = ("batch_sampler", "sampler", "inner")  # where a loader, and what lies around the order of rows, keep the next


class Director(Protocol):
    """Who decides between steps, and is told. Implemented by `engine.callback`."""

    first_loss: float | None

    evaluated_at: tuple[int, float] | None

    def begun(self, trainer: StudioTrainer) -> None:
        """The first step is next; a checkpoint, if any, was read. Raises where none is to be taken: see `deeds`."""

    def unsaved(self, error: StudioError) -> bool:
        """A checkpoint couldn't be written for want of room. True where the run goes on all the same."""

    def planned(self, step: int, last: int) -> set[str]:
        """What is due after STEP of LAST: any of evaluate, checkpoint, stop."""

    def stepped(self, trainer: StudioTrainer, logs: dict[str, float]) -> None:
        """A step was taken. Raises StudioError to end the run as failed."""

    def evaluating(self, trainer: StudioTrainer) -> None:
        """An evaluation begins."""

    def evaluated(self, trainer: StudioTrainer, metrics: dict[str, Any] | None) -> None:
        """An evaluation was made; None where a stop was asked for in the middle of it."""

    def unscored(self, error: Exception) -> None:
        """The task's scores of an evaluation failed with ERROR: it has none."""

    def shrunk(self, rows: int, tokens: int, recomputes: bool) -> None:
        """Memory didn't do for ROWS of TOKENS in all at once: as many are taken in parts from now on, or (RECOMPUTES)
        activations are computed again."""

    def should_stop(self) -> bool:
        """Whether someone waits for the run to stop: evaluation is then cut short."""

    def unsound(self) -> None:
        """The weights are no finite numbers: no checkpoint was written."""

    def owned(self) -> None:
        """Raises StudioError where another process has taken over the run: this one must write nothing more."""

    def saving(self, trainer: StudioTrainer) -> None:
        """A checkpoint is about to be written."""

    def saved(self, trainer: StudioTrainer, path: Path) -> None:
        """A checkpoint was written and sealed."""

    def between(self, trainer: StudioTrainer) -> None:
        """Step, evaluation and checkpoint are through: the place to pause."""


class _Plan(TrainerCallback):
    """Asks the director after each step; transformers' own rhythm of saving and evaluating is off."""

    def __init__(self, director: Director, trainer: StudioTrainer) -> None:
        self.director, self.trainer = director, trainer

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> Any:
        """See TrainerCallback."""
        self.director.begun(self.trainer)
        self.trainer.meter.start()
        return control

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> Any:
        """See TrainerCallback."""
        due = self.director.planned(state.global_step, state.max_steps)
        control.should_log = True
        control.should_evaluate = "evaluate" in due
        control.should_save = "checkpoint" in due
        # its length may have been changed since transformers looked
        control.should_training_stop = "stop" in due or state.global_step >= state.max_steps
        return control

    def on_epoch_end(self, args: Any, state: Any, control: Any, **_: Any) -> Any:
        """Nothing is due at the end of an epoch: it was done after its last step."""
        control.should_log = control.should_evaluate = control.should_save = False
        return control


class StudioTrainer(PassingTrainer):
    """Trains on rows of token ids and labels, laid out and judged as LEVERS say.

    `meter` holds time and tokens. A micro-batch that memory won't hold is taken in parts, by what `held` knows
    (`still`: of passes without gradients); gradients add up to the same. BUDGET: batches hold so many tokens instead of
    a number of rows. SOURCES tells of each held-out row which source of a mix it is from. Evaluation sums over all
    trained tokens of the held-out rows; transformers' own mean of batch means depends on the batch size.
    """

    def __init__(
        self,
        model: nn.Module,
        args: TrainingArguments,
        train: Rows,
        held_out: Rows,
        lengths: Sequence[int],
        levers: Levers,
        director: Director,
        meter: Meter,
        *,
        keep: int,
        held: Held | None = None,
        still: Held | None = None,
        budget: int | None = None,
        sources: Sequence[str] = (),
        rates: Mapping[str, float] | None = None,
    ) -> None:
        super().__init__(
            model=model,
            args=args,
            train_dataset=Numbered(train),  # type: ignore[arg-type]
            data_collator=levers.laid_out(numbered(levers.collator)),  # type: ignore[arg-type]
        )
        for callback in (ProgressCallback, PrinterCallback):
            self.remove_callback(callback)
        self.add_callback(_Plan(director, self))
        self.director, self.meter, self.keep = director, meter, keep
        self.held_out, self.sources = held_out, sources
        self.lengths = lengths
        self.levers, self.budget = levers, budget
        self.held, self.still = held or Held(), still or Held()
        self._passing: Load = (0, 0, 0)  # what goes through the model, and
        self._rows = 0  # of how many rows
        self.rates = rates or {}
        self.model_accepts_loss_kwargs = True  # our loss is already divided by all tokens of the accumulated step
        self.loss_is_scaled_for_ga = True
        self.recomputes = self.may_recompute = False  # activations on the way back: does it, could it
        self._step: list[dict[str, Any]] = []  # the micro-batches of this optimiser step, and
        self._taken = 0  # how many of them have been through
        self.losses = RowLosses()
        self._order = ""
        self._epoch: tuple[int, float] | None = None  # tokens and batches of an epoch
        self.peak: float | None = None  # FLOP/s of the GPU, where known
        self.flops: float | None = None  # a token takes, where known
        self.judged_on = ""  # which rows are held out: see `same_rows`
        self.made_by: dict[str, Any] = {}  # what training depends on beside the checkpoint: see `going_on`

    # -- data --------------------------------------------------------------------------------------------------
    def order(self, follow: Callable[[int, int], None] | None = None) -> Order:
        """The order of the rows; FOLLOW is told seed and epoch."""
        args = self.args
        ways, texts = max(1, args.world_size), self.levers.texts
        alike, group = self.levers.alike, args.gradient_accumulation_steps
        return order_of(self.lengths, args.train_batch_size, self.budget, args.seed, ways, follow, texts, alike, group)

    def _get_train_sampler(self, train_dataset: Any = None) -> Sampler[int]:
        return self.order(getattr(self.train_dataset, "at", None))  # type: ignore[return-value]

    def _run_epoch(self, *args: Any, **named: Any) -> None:
        """transformers' own. It and accelerate tell the order which epoch it is, but not in the rest of an epoch that
        several processes go on with: the order lies one wrapper deeper there, and would stay at the first epoch."""
        if self.control.should_training_stop:  # it was shortened before its first step
            return
        order: Any = named["train_dataloader"]
        while not isinstance(order, (Shuffled, TokenBudget)):
            order = getattr(order, next(name for name in WITHIN if hasattr(order, name)))
        order.set_epoch(named["epoch"])
        super()._run_epoch(*args, **named)

    def get_train_dataloader(self) -> DataLoader[Any]:
        """transformers' own; where batches are cut by tokens, one that takes them as they are."""
        order = self._get_train_sampler()
        if not isinstance(order, TokenBudget):
            return super().get_train_dataloader()
        found: DataLoader[Any] = self.accelerator.prepare(
            DataLoader(
                self.train_dataset,  # type: ignore[arg-type]
                batch_sampler=order,  # type: ignore[arg-type]
                collate_fn=self.data_collator,
                pin_memory=self.args.dataloader_pin_memory,
            )
        )
        return found

    def set_initial_training_values(self, *args: Any, **kwargs: Any) -> Any:
        """transformers' own, but for the epochs: the run ends after its steps, which may become more."""
        found = super().set_initial_training_values(*args, **kwargs)
        return (sys.maxsize, *found[1:])

    def _init_training_state(self, max_steps: int, *args: Any, **kwargs: Any) -> tuple[int, int]:
        """transformers' own; where the checkpoint's step is the last one, no epoch is begun: it looks whether to stop
        after a step only."""
        found = super()._init_training_state(max_steps, *args, **kwargs)
        return found if self.state.global_step < max_steps else (sys.maxsize, 0)

    def order_digest(self) -> str:
        """Stands for the order of the rows: a resumed run has to have the same."""
        if not self._order:
            order = self.order()
            rows = order.batches(0) if isinstance(order, TokenBudget) else order.order(0)
            self._order = hashlib.blake2b(repr(rows).encode(), digest_size=12).hexdigest()
        return self._order

    def tokens_a_step(self, first: int, last: int) -> float:
        """Tokens that an optimiser step of all processes has on average between steps FIRST and LAST."""
        if not self._epoch:
            batches = len(self.order()) if self.budget is not None else len(self.lengths) / self.args.train_batch_size
            self._epoch = (int(sum(self.lengths)), batches)
        group = self.args.gradient_accumulation_steps * max(1, self.args.world_size)
        taken, through = (tokens_in(step, *self._epoch, group) for step in (first, max(first + 1, last)))
        return (through - taken) / max(1, last - first)

    def utilisation(self, speed: float | None) -> float | None:
        """Model FLOPs utilisation at SPEED tokens a second: see `flops`. None where the card's peak isn't known."""
        if speed is None or self.peak is None or self.flops is None:
            return None
        return round(speed * self.flops / self.peak, 4)

    def rate(self) -> float:
        """The learning rate of the next step, by the schedule (not as a checkpoint remembers it)."""
        outer: Any = self.lr_scheduler
        scheduler = getattr(outer, "scheduler", outer)
        return float(scheduler.base_lrs[0] * scheduler.lr_lambdas[0](scheduler.last_epoch))

    def get_batch_samples(self, *args: Any, **kwargs: Any) -> Any:
        """The micro-batches of the next optimiser step, remembered until it is taken."""
        found = super().get_batch_samples(*args, **kwargs)
        self._step, self._taken = found[0], 0
        self.losses.clear()
        return found

    def _get_num_items_in_batch(self, batch_samples: list[Any], device: torch.device) -> torch.Tensor:
        count = sum(trained(batch) for batch in batch_samples)
        found = torch.as_tensor(count, device=device)
        if self.args.world_size > 1:
            found = self.accelerator.gather(found).sum()
        return found.clamp(min=1)

    def create_optimizer(self, *args: Any, **kwargs: Any) -> torch.optim.Optimizer:
        """transformers' optimiser; weights named in `rates` learn by that factor faster."""
        optimizer: torch.optim.Optimizer = super().create_optimizer(*args, **kwargs)
        named = {id(weight): self.rates[name] for name, weight in self.model.named_parameters() if name in self.rates}
        for group in list(optimizer.param_groups) if named else ():
            for factor in sorted(set(named.values())):
                faster = [weight for weight in group["params"] if named.get(id(weight)) == factor]
                if faster:
                    rest = {key: value for key, value in group.items() if key not in ("params", "lr")}
                    group["params"] = [weight for weight in group["params"] if named.get(id(weight)) != factor]
                    optimizer.add_param_group({**rest, "params": faster, "lr": group["lr"] * factor})
        return optimizer

    # -- loss --------------------------------------------------------------------------------------------------
    def training_step(
        self, model: nn.Module, inputs: dict[str, Any], num_items_in_batch: torch.Tensor | int | None = None
    ) -> torch.Tensor:
        """Forward and backward of one micro-batch; where memory won't do, of its parts, from the step's beginning."""
        if self.passes:
            return self.nothing()
        inputs = self._prepare_inputs(inputs)  # type: ignore[assignment]
        self._taken += 1
        again = [inputs]
        while True:
            try:
                for batch in again:
                    loss = self._in_parts(model, batch, num_items_in_batch)
            except (RuntimeError, MemoryError) as error:  # let go of before going on: it holds the activations
                if not self._may_shrink(error):
                    raise
            else:
                self.meter.tokens += inputs["tokens"]
                return loss
            # part of the gradients may have been added already: the whole step is taken again
            model.zero_grad(set_to_none=True)
            self.losses.clear()
            loading.free()
            self._shrink()
            again = [*(self._prepare_inputs(batch) for batch in self._step[: self._taken - 1]), inputs]

    def _cut(self, batch: dict[str, Any]) -> list[dict[str, Any]]:
        """BATCH as it goes through the model, one after another."""
        return self.held.parts_of(batch, gradient_cache.wanted(self.levers.objective, len(batch["lengths"])))

    def _in_parts(self, model: nn.Module, batch: dict[str, Any], count: Any) -> torch.Tensor:
        losses, done = [], 0
        self._passing, self._rows = load_of(batch), len(batch["lengths"])
        parts = self._cut(batch)
        if len(parts) > 1 and self.levers.texts is not None:
            return self._together(model, batch, parts, count)
        for part in parts:  # in the order of the batch's rows
            some = len(part["lengths"])
            part["rows"] = batch["rows"][done : done + some] if "rows" in batch else ()
            self._passing, self._rows = load_of(part), some
            losses.append(super().training_step(model, part, count))
            self.held.took(self._passing)
            done += some
        return torch.stack(losses).sum()

    def _together(self, model: nn.Module, batch: dict[str, Any], parts: list[dict[str, Any]], count: Any) -> Any:
        objective = self.levers.objective
        assert isinstance(objective, TaskObjective)
        self._passing, self._rows = max((load_of(part), len(part["lengths"])) for part in parts)
        loss, pulls, draws = gradient_cache.look(objective, model, batch, parts)
        for part, pull, draw in zip(parts, pulls, draws, strict=True):
            with draw.again():
                super().training_step(model, {**part, "pulls": pull}, count)
        share = loss / (count if count is not None else trained(batch).clamp(min=1))
        return share * self.accelerator.num_processes if self.args.world_size > 1 else share  # see compute_loss

    def _may_shrink(self, error: BaseException) -> bool:
        """Whether smaller parts may help, or computing activations again."""
        if not out_of_memory(error):
            return False
        if self._rows > 1:
            return self.held.fits(self._passing)  # else it was cut already, and what failed is something beside it
        return self.may_recompute and not self.recomputes

    def _shrink(self) -> None:
        """Take less at once from now on: what has just gone through the model was too much."""
        if self._rows > 1:
            self.held.ran_out(self._passing)
        else:
            recompute(self.model)
            self.recomputes = True
            self.held.forget()
        self.director.shrunk(self._rows, self._passing[0], self._rows == 1)

    def compute_loss(
        self,
        model: nn.Module,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: torch.Tensor | int | None = None,
    ) -> Any:
        """The batch's summed loss over all trained tokens of the optimiser step: gradients add up to the exact mean."""
        each: list[torch.Tensor] = []
        objective = self.levers.objective
        if "pulls" in inputs and isinstance(objective, TaskObjective):
            loss = gradient_cache.pulled(objective, model, inputs)
        elif inputs.get("rows"):
            loss = objective(model, inputs, each)
            self.losses.add(inputs, each)
        else:
            loss = objective(model, inputs)
        loss = loss / (num_items_in_batch if num_items_in_batch is not None else trained(inputs).clamp(min=1))
        if self.args.world_size > 1:
            loss = loss * self.accelerator.num_processes  # data parallelism takes the mean over ranks
        return (loss, None) if return_outputs else loss

    def floating_point_ops(self, inputs: dict[str, Any]) -> int:
        """Not counted: it would be estimated from the parameter count, at every batch."""
        return 0

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Hand the step to the director instead of keeping a history that grows with every step."""
        if "loss" in logs:
            self.director.stepped(self, logs)

    def _maybe_log_save_evaluate(self, *args: Any, **kwargs: Any) -> None:
        super()._maybe_log_save_evaluate(*args, **kwargs)
        self.director.between(self)

    # -- evaluation --------------------------------------------------------------------------------------------
    def evaluate(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """`{loss, perplexity, rows, tokens}` on the held-out rows, weighted by tokens, and `sources`; the director is
        told."""
        with self.meter.away("evaluating"):
            self.director.evaluating(self)
            batch, stop = self.args.per_device_eval_batch_size, self.director.should_stop
            measure = partial(held_out_loss, self.model_wrapped, levers=self.levers, batch=batch, should_stop=stop)
            measure = partial(measure, budget=self.budget, held=self.still, missed=self.director.unscored)
            metrics = by_source(self.held_out, self.sources, measure)
            with attention.plain(self.model), self.levers.objective.precision():  # samples are generated with padding
                self.director.evaluated(self, metrics)
        return metrics or {}

    def _determine_best_metric(self, metrics: dict[str, float], trial: Any) -> bool:
        return False

    # -- checkpoints -------------------------------------------------------------------------------------------
    def _get_output_dir(self, trial: Any) -> str:
        return str(Path(self.args.output_dir or ".") / resume.SAVING)

    def _save_checkpoint(self, model: nn.Module, trial: Any) -> None:
        """Write beside, seal with hashes, rename, then drop what is older than the last `keep`."""
        folder = Path(self.args.output_dir or ".")
        target = folder / f"checkpoint-{self.state.global_step}"
        if not sound(self.model):  # what can't be gone on from must not take the place of what can
            self.director.unsound()
            return
        self.director.owned()
        with self.meter.away("saving"):
            self.director.saving(self)
            shutil.rmtree(folder / resume.SAVING, ignore_errors=True)
            try:
                super()._save_checkpoint(model, trial)
                saving = folder / resume.SAVING / target.name
                resume.seal(
                    saving,
                    step=self.state.global_step,
                    seconds=self.meter.seconds,
                    first_loss=self.director.first_loss,
                    tokens=self.meter.tokens,
                    took=self.meter.lately(),
                    parts=self.held.parts,
                    recomputes=self.recomputes,
                    held=self._what_fits(),
                    rate=self.rate(),
                    order=self.order_digest(),
                    **self.judgement(),
                    ranks=max(1, self.args.world_size),
                    made_by=self.made_by,
                )
                self.director.owned()  # writing takes long
                resume.settle(saving, target)
            except Exception as error:
                self.director.owned()
                shutil.rmtree(folder / resume.SAVING, ignore_errors=True)
                told = disk_trouble(error, target)
                if told is not None and self.director.unsaved(told):
                    return
                if told is None:
                    raise
                raise told from error
            resume.prune(folder, self.keep, target)
            self.director.saved(self, target)

    def _what_fits(self) -> list[dict[str, Any]]:
        """What memory holds, of every process."""
        fits = {"held": self.held.values(), "still": self.still.values(), "recomputes": self.recomputes}
        return [fits | {"memory": capacity.memory(self.args.device.type)}]

    def judgement(self) -> dict[str, Any]:
        """What a checkpoint says of the held-out loss of the weights as they are; None where they weren't evaluated."""
        last = self.director.evaluated_at
        if last is None or last[0] != self.state.global_step:
            return {"eval_loss": None}
        return {"eval_loss": last[1], same_rows.KEY: self.judged_on}

    def checkpoint(self) -> None:
        """Write a checkpoint now, between two steps."""
        self._save_checkpoint(self.model_wrapped, None)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        restore(model or self.model, Path(resume_from_checkpoint))

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        decay = [group.get("weight_decay") for group in self.optimizer.param_groups]
        with paging.kept(self.optimizer):
            super()._load_optimizer_and_scheduler(checkpoint)
        going_on.decay_as(self.optimizer, decay)

    def _save(self, output_dir: str | None = None, state_dict: dict[str, Any] | None = None) -> None:
        folder = Path(output_dir or self.args.output_dir or ".")
        save_weights(self.model, folder, state_dict)
        soft_prompts.save_network(self.model, folder)


def sound(model: nn.Module) -> bool:
    """Whether all weights that learn are finite numbers."""
    return all(bool(item.isfinite().all()) for item in model.parameters() if item.requires_grad)
