"""One training, from the run's recipe to its saved model."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ftstudio import methods
from ftstudio.core import files
from ftstudio.core.errors import StudioError
from ftstudio.core.jobs import Train
from ftstudio.core.run import RunFolder
from ftstudio.engine import (
    accepting,
    alerting,
    best_weights,
    capacity,
    flops,
    going_on,
    hardware,
    loading,
    no_room,
    passed_over,
    quiet,
    ranks,
    reloading,
    resume,
    room,
    same_rows,
    stopped,
    unchanged,
)
from ftstudio.engine.budget import batches_in
from ftstudio.engine.callback import RunDirector
from ftstudio.engine.context import JobContext
from ftstudio.engine.control import Control
from ftstudio.engine.deeds import GETS_WORSE, NotBegun, RolledBack, remedy
from ftstudio.engine.drift import gauge
from ftstudio.engine.dynamics import recorder
from ftstudio.engine.held import Held
from ftstudio.engine.meter import Meter
from ftstudio.engine.models import recipe_of
from ftstudio.engine.probing import numbers_of
from ftstudio.engine.pulse import Pulse
from ftstudio.engine.ranks import ALONE, Ranks
from ftstudio.engine.rows import TrainingRows, open_rows, samples
from ftstudio.engine.steering import BACK, Steering, go_back_wholly, steer
from ftstudio.engine.together import Follower, Leader

if TYPE_CHECKING:
    from ftstudio.core.recipe import Recipe
    from ftstudio.engine.disk import Disk
    from ftstudio.engine.hardware import Hardware
    from ftstudio.engine.trainer import StudioTrainer
    from ftstudio.engine.unasked import Unasked


def run(job: Train, context: JobContext, control: Control, pulse: Pulse) -> None:
    """Train what JOB's folder says, from its last checkpoint where it has one. Ends with a `done` or `stopped` event;
    raises for the worker to tell `failed`.

    Under a launcher of several processes this is the first of them; the others follow (see `follow`).
    """
    folder, together = context.folder, ranks.joined()  # the one that was claimed, not another object of its path
    assert isinstance(folder, RunFolder)
    resuming = job.resume or resume.has_any(folder.checkpoints)
    if resuming and not job.resume:
        text = f"{folder.name} was trained by another process before its turn came here: training goes on from there."
        alerting.say(folder, recipe_of(folder).training.watch, "warning", text)
    if together.alone:
        Training(folder, context, control, pulse).run(resuming=resuming)
        return
    since = folder.control_path.stat().st_size if folder.control_path.is_file() else 0
    together.tell({"folder": str(folder.path.absolute()), "resume": resuming})
    try:
        there = together.all_of(True)
        if not all(there):
            host = together.peers[there.index(False)].host
            hint = "Put the workspace on a file system that all machines share."
            raise StudioError(f"{host} doesn't see {folder.path.absolute()}.", hint)
        Training(folder, context, control, pulse, together).run(resuming=resuming)
        together.leave()
    except Exception as error:
        told = together.explain(error, folder, since)
        if told is None:
            raise
        raise told from error


class Training:
    """The parts of one training, and the order they come in."""

    def __init__(
        self, run: RunFolder, context: JobContext, control: Control, pulse: Pulse, together: Ranks = ALONE
    ) -> None:
        self.folder, self.context, self.control, self.pulse, self.ranks = run, context, control, pulse, together
        self.recipe: Recipe = recipe_of(run)
        self.method = methods.get(self.recipe.method.name)
        self.settings = self.method.settings(self.recipe.method.settings)
        self._head = ""  # what became of the head that the model brought
        self._made_by: dict[str, Any] = {}
        self._changed: list[str] | None = []  # since the checkpoint that is gone on from; None: looked at already
        self._judged_on = ""  # which rows are held out: see `same_rows`
        self._why = ""  # activations are computed again or not
        self._shards = self.recipe.training.shard and not together.alone
        self._unasked: Unasked | None = None
        self._asked: tuple[bool, bool, Disk, bool] | None = None  # of a run that goes back

    def run(self, *, resuming: bool) -> None:
        """Everything."""
        from ftstudio.engine import levers
        from ftstudio.engine.trainer import sound

        began = time.perf_counter()
        checkpoint = self._newest() if resuming else None
        if resuming and self.ranks.first:
            go_back_wholly(self.folder)
        machine = hardware.resolve(self.recipe)
        self.ranks.sit(machine.device)
        self.context.phase("preparing data", "reading and tokenising the rows")
        rows = open_rows(self.recipe, self.context)
        if not resuming:
            accepting.refuse(self.recipe, accepting.errors_of_encoded(rows.train, rows.materials.train))
        self.context.check()
        self._settle(rows, machine, checkpoint)
        steps = rows.materials.task.phases()
        if "pairs" in steps:
            self.context.phase("pairs", steps["pairs"])
        if self.ranks.first:
            unchanged.measure(self.recipe, rows, self.context)
        model = self._model(rows)
        try:
            if self.ranks.first:
                self._made_by = going_on.made_by(self.recipe)
                self._changed = going_on.look(self.folder, self.recipe, checkpoint, self._made_by)
                step = resume.step_of(checkpoint) if checkpoint else None
                self._judged_on, others = same_rows.look(self.folder, self.recipe, rows, step)
                for text in others:
                    self._alert("warning", text)
            while True:
                trainer, director = self._trainer(model, rows, machine, checkpoint)
                self._start(trainer, rows, machine, checkpoint, resuming)
                if isinstance(director, RunDirector):
                    director.tell("training", director.doing)
                    self.pulse.watch = director.looked
                self.ranks.tell()  # loading may take longer than data parallelism waits
                back: RolledBack | None = None
                try:
                    trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
                except NotBegun:
                    self._not_begun(trainer, director)
                    return
                except RolledBack as error:
                    back = error.with_traceback(None)  # its frames would hold the trainer and its optimiser
                finally:
                    self.pulse.watch = None
                if back is None:
                    break
                checkpoint, resuming = self._back(trainer, back), True
                del trainer, director
                self._let_go(model, whole=not self._shards)
                model = None
                loading.free()
                model = self._model_again(rows)
            best = None
            if isinstance(director, RunDirector):
                best = best_weights.chosen(self.folder, self.recipe, trainer, director)
            best = self._named(best)
            if best is not None:
                trainer._load_from_checkpoint(str(best))
            peak = max(self.ranks.all_of(hardware.peak_memory(machine.device)), default=0)
            if self._shards:
                from ftstudio.engine import sharding

                sharding.gather(trainer.model)
            if not isinstance(director, RunDirector):
                return  # the first process does the rest
            if not sound(trainer.model):
                told = "The weights are no finite numbers any more: there is no model to save."
                raise StudioError(told, remedy(self.folder))
            if "head" in steps:
                director.tell("head", steps["head"])
            levers.release(model)
            probe = rows.probe()
            # without the mixed precision around it: so the saved model has to say the very same
            plain = trainer.accelerator.unwrap_model(trainer.model, keep_fp32_wrapper=False)
            expected = numbers_of(rows.materials.task, plain, probe, rows.pad)
            task = rows.materials.task.fitted(plain, rows.pad)
            self.folder.keep()
            no_room.save(self.folder, self.recipe, trainer.model, task, director, waits=self.ranks.alone)
            facts = (
                self._facts(trainer, director, began)
                | {"peak_memory_bytes": peak}
                | best_weights.told(self.folder, best, director, trainer.state.global_step)
            )
            kept = math.inf if best is None else resume.facts(best)["eval_loss"]
            if director.watchdog.collapsed and (best is None or director.watchdog.far(kept)):
                facts["collapsed"] = True
        finally:
            self._let_go(model)
        task, pad, last = rows.materials.task, rows.pad, trainer.state.global_step >= trainer.state.max_steps
        del trainer, model, plain, director.samples, director.drift
        loading.free()
        self.context.phase("saving", "reading the saved model back")
        facts["reload_difference"] = reloading.check(
            self.context.models, self.folder, self.recipe, lambda model: numbers_of(task, model, probe, pad), expected
        )
        if facts.pop("stopped"):
            self.folder.emit("stopped", **stopped.told(self.folder, facts, last=last), **facts)
        else:
            self.folder.emit("done", **facts)
        no_room.settle(director)

    def _newest(self) -> Path | None:
        """The newest whole checkpoint, as the first process sees it."""
        if not self.ranks.first:
            return self._named(None)
        resume.adopt(self.folder.checkpoints)
        return self._named(resume.newest(self.folder.checkpoints))

    def _named(self, found: Path | None) -> Path | None:
        """The checkpoint that the first process FOUND."""
        name = self.ranks.tell(found.name if found is not None else None)
        return self.folder.checkpoints / name if name else None

    def _back(self, trainer: StudioTrainer, why: RolledBack) -> Path:
        """The checkpoint to go back to; from there on the learning rate is lower. Later ones are set aside."""
        folder, step = self.folder.checkpoints, trainer.state.global_step
        checkpoint = self._named(
            resume.good(folder, step, rising=why.fault in GETS_WORSE, on=trainer.judged_on)
            if self.ranks.first
            else None
        )
        if checkpoint is None:
            raise StudioError("There is no checkpoint to go back to.", remedy(self.folder))
        if isinstance(trainer.director, RunDirector):
            self._asked = trainer.director.asked
            resume.set_aside(folder, resume.step_of(checkpoint))
        peak = trainer.args.learning_rate * self.recipe.training.watch.rollback_rate
        if self.ranks.first and why.bad is not None:
            passed_over.note(self.folder, why.bad, trainer, resume.step_of(checkpoint), peak)
        steer(self.folder, resume.step_of(checkpoint), "learning_rate", peak, BACK)
        if self.ranks.first and why.bad is not None:
            self._alert("info", f"{why.bad} are passed over from now on.")
        if self.ranks.first:
            kept = Steering(self.folder, resume.step_of(checkpoint))
            if kept.length != kept.total:  # it was asked for after that step
                text = f"The length that was asked for stays: the run still ends at step {kept.length}."
                self._alert("info", text)
        return checkpoint

    def _not_begun(self, trainer: StudioTrainer, director: RunDirector | Follower) -> None:
        """The run stops before its first step, and nothing was written."""
        if isinstance(director, RunDirector):
            by = director.deeds.ended_by
            text = "Stopped before a step was taken: it can be resumed from where it was."
            self.folder.emit("stopped", step=trainer.state.global_step, text=text, **({"by": by} if by else {}))

    # -- setting up ----------------------------------------------------------------------------------------------
    def _settle(self, rows: TrainingRows, machine: Hardware, checkpoint: Path | None) -> None:
        """Whether activations are computed again, where the recipe leaves it open. The first process decides."""
        known = resume.facts(checkpoint) if checkpoint else {}
        on, self._why = self.ranks.tell(self._recompute(rows, machine, known) if self.ranks.first else None)
        self.recipe = self.recipe.with_changes({"training.gradient_checkpointing": on})

    def _recompute(self, rows: TrainingRows, machine: Hardware, known: dict[str, Any]) -> tuple[bool, str]:
        """(whether, why): as the run began, where it has, but for a larger device; KNOWN as the checkpoint says."""
        wanted = self.recipe.training.gradient_checkpointing
        starts = [event for event in self.folder.rare_events() if event.get("kind") == "start"]
        before = starts[-1].get("gradient_checkpointing") if starts else None
        if wanted is None and isinstance(before, bool) and not (before and capacity.larger(known, 0, machine.device)):
            return before, "as the run began"
        if wanted is None and self._shards:
            return False, "not decided for weights that lie in parts on several GPUs"
        loading.free()  # what answering left in torch's store
        return room.settle(self.recipe, rows, machine.device, self.context.models.holds(self.recipe))

    def _model(self, rows: TrainingRows) -> Any:
        """The model with what learns set to learn. Raises StudioError where the tokenizer doesn't fit it."""
        from transformers import set_seed

        self.context.phase("loading model", self.recipe.model)
        base = self.context.models.to_train(self.recipe)
        room = base.get_input_embeddings().num_embeddings
        if rows.highest >= room:
            raise StudioError(
                f"The rows hold token {rows.highest}, but the model has only {room} tokens.",
                "Use the tokenizer that belongs to the model.",
            )
        self._head = getattr(base, "ftstudio_told", "")
        set_seed(self.recipe.training.seed)  # the adapter's first weights are drawn from here
        return self.method.apply(base, self.settings, rows.materials.tokenizer.encode)

    def _model_again(self, rows: TrainingRows) -> Any:
        """The model for another trainer, as after a resume: what is tried for the levers is tried on the weights that
        training began with, not on those that are no good any more."""
        if self._shards:
            self.context.models.unload()  # the base, too, lies in parts
        return self._model(rows)

    def _let_go(self, model: Any, *, whole: bool = True) -> None:
        """MODEL, where there is one, isn't trained any more: under a WHOLE one the base is as it was loaded."""
        from ftstudio.engine import levers

        if model is None:
            return
        levers.release(model)
        if whole and hasattr(model, "peft_config") and not self.method.alters_base(self.settings):
            self.context.models.give_back(model)

    def _trainer(
        self, model: Any, rows: TrainingRows, machine: Hardware, checkpoint: Path | None
    ) -> tuple[StudioTrainer, RunDirector | Follower]:
        from ftstudio.engine import levers
        from ftstudio.engine.arguments import arguments
        from ftstudio.engine.unasked import Unasked

        recipe = self.recipe
        known = resume.facts(checkpoint) if checkpoint else {}
        again = bool(recipe.training.gradient_checkpointing)
        fits, told = capacity.carried(known, self.ranks.rank, machine.device, again)
        if told and self.ranks.first and self._unasked is None:  # once, as below
            self._alert("info", told)
        director = self._director(rows, checkpoint, known) if self.ranks.first else Follower(self.ranks)
        values = arguments(recipe, self.method, machine, self.folder.checkpoints)
        total = director.steering.total if isinstance(director, RunDirector) else None
        values.max_steps = self.ranks.tell(total) or values.max_steps
        stats = rows.tokens
        labels = stats["trained"] / max(1, stats["total"])
        length = stats["total"] / max(1, len(rows.train))
        needed = flops.per_token(model, length, labels, flops.context(rows.lengths))  # of weights that are whole
        trainer = self._kind()(
            model,
            values,
            rows.trained,
            rows.held_out,
            rows.lengths,
            levers.choose(model, rows.trained, rows.lengths, machine, recipe, rows.pad, rows.materials.task, self._why),
            director,
            Meter(known.get("seconds", 0.0), known.get("tokens", 0), took=known.get("took")),
            keep=recipe.training.keep_checkpoints,
            held=Held(fits.get("held"), known.get("parts", 1)),
            still=Held(fits.get("still")),
            budget=recipe.training.batch_tokens,
            sources=rows.sources,
            rates=self.method.rates(model, self.settings),
        )
        if self.ranks.first:
            # told once, however often the run goes back
            self._unasked = self._unasked or Unasked(self.folder, recipe.training.watch)
            trainer.add_callback(self._unasked)
        trainer.recomputes = again
        trainer.may_recompute = room.can(recipe)
        alone = trainer.held.forewarned(self.ranks.tell(self.ranks.noted(self.folder, machine.device)))
        asked = fits["recomputes"] or alone
        if asked and trainer.may_recompute and not trainer.recomputes:  # memory asked for it before
            levers.recompute(model)
            trainer.recomputes = True
        trainer.flops, trainer.made_by = needed, self._made_by
        trainer.passed_over = self._passed_over(trainer, checkpoint)
        trainer.judged_on = self._judged_on
        if machine.device == "cuda":
            import torch

            torch.cuda.reset_peak_memory_stats()
            trainer.peak = flops.peak(torch.cuda.get_device_name(), machine.precision)
        return trainer, director

    def _passed_over(self, trainer: StudioTrainer, checkpoint: Path | None) -> frozenset[int]:
        """The steps after CHECKPOINT that are passed over. The first process says."""
        kept: list[int] = []
        if self.ranks.first:
            first = resume.step_of(checkpoint) if checkpoint else 0
            kept, lost = passed_over.steps(self.folder.rare_events(), passed_over.layout(trainer), first)
            if lost:
                text = (
                    f"What was passed over at step {', '.join(map(str, lost))} comes at other steps now, and is learnt."
                )
                self._alert("warning", text)
        return frozenset(self.ranks.tell(kept))

    def _kind(self) -> Callable[..., StudioTrainer]:
        """What makes the trainer."""
        if self.ranks.alone:
            from ftstudio.engine.trainer import StudioTrainer

            return StudioTrainer
        if self._shards:
            from ftstudio.engine.sharded import ShardedTrainer

            return partial(ShardedTrainer, ranks=self.ranks)
        from ftstudio.engine.ranked import RankedTrainer

        return partial(RankedTrainer, ranks=self.ranks)

    def _director(self, rows: TrainingRows, checkpoint: Path | None, known: dict[str, Any]) -> RunDirector:
        """Who decides between steps; KNOWN is what the CHECKPOINT that is gone on from says."""
        recipe = self.recipe
        kept = recorder(self.folder.path, rows.materials, rows.numbers)
        kept.begin(after=resume.step_of(checkpoint) if checkpoint else 0)
        kind = RunDirector if self.ranks.alone else partial(Leader, ranks=self.ranks)
        director = kind(
            self.folder,
            self.control,
            every=recipe.evaluation.every if rows.held_out else None,
            save=recipe.training.save_steps,
            first=resume.step_of(checkpoint) if checkpoint else 0,
            rest=lambda resting: setattr(self.pulse, "resting", resting),
            samples=samples(self.folder, recipe, rows.materials, rows.examples, self.control.should_stop),
            recorder=kept,
            drift=gauge(self.folder, recipe, rows.materials, self.control.should_stop),
            watch=recipe.training.watch,
            best=recipe.training.save_best or recipe.training.watch.eval_rising == "stop",
        )
        director.goes_on(known, self._judged_on)
        director.goes_back(self._asked)
        director.changed, self._changed = self._changed, None
        director.doing = rows.materials.task.phases().get("training", "")
        return director

    def _start(
        self, trainer: StudioTrainer, rows: TrainingRows, machine: Hardware, checkpoint: Path | None, resuming: bool
    ) -> None:
        recipe = self.recipe
        batches = batches_in(rows.lengths, recipe.training.batch_size, recipe.training.batch_tokens)
        per_epoch = math.ceil(math.ceil(batches / self.ranks.count) / recipe.training.gradient_accumulation)
        total = recipe.training.steps or math.ceil((recipe.training.epochs or 3) * per_epoch)
        total = trainer.args.max_steps if trainer.args.max_steps > 0 else total
        if isinstance(trainer.director, RunDirector):
            total = trainer.director.steering.length or total
        self.folder.emit(
            "start",
            run=self.folder.name,
            task=recipe.task,
            method=recipe.method.name,
            model=recipe.model,
            device=hardware.device_name(machine.device),
            precision=machine.precision,
            precision_why=machine.why,
            threads=machine.threads,
            processes=self.ranks.count,
            hosts=sorted({peer.host for peer in self.ranks.peers}),
            engine=trainer.levers.told,
            gradient_checkpointing=bool(recipe.training.gradient_checkpointing),
            total_steps=total,
            epochs=total / per_epoch,
            steps_per_epoch=per_epoch,
            rows={"train": len(rows.train), "eval": rows.held_out_total},
            tokens=rows.tokens,
            parameters=loading.parameters(trainer.model),
            flops_per_token=trainer.flops,
            peak_flops=trainer.peak,
            resumed_from=resume.step_of(checkpoint) if checkpoint else 0 if self._began_before() else None,
        )
        for name, what in trainer.levers.told.items():
            quiet.note(f"{name}: {what}")
        if not self.ranks.first:
            return
        notes = [*rows.notes, *([("info", self._head)] if self._head else [])]
        for level, text in notes if checkpoint is None else ():
            self._alert(level, text)
        step = resume.step_of(checkpoint) if checkpoint else 0
        beyond = resume.checkpoints(self.folder.checkpoints)
        beyond = [path for path in beyond if checkpoint is None or resume.step_of(path) > step]
        if resuming and beyond:
            where = f"from step {step}" if checkpoint else "from the start"
            self._alert("warning", f"{beyond[0].name} is damaged: training goes on {where}.")
        elif resuming and checkpoint is None:
            self._alert("warning", "There is no checkpoint: training begins at the start.")
        resume.set_aside(self.folder.checkpoints, step if checkpoint else -1)

    def _alert(self, level: str, text: str) -> None:
        alerting.say(self.folder, self.recipe.training.watch, level, text)

    def _began_before(self) -> bool:
        """Whether events tell of steps that no checkpoint holds: they are taken again from the start."""
        return any(event.get("kind") in ("step", "eval") for event in files.each_line(self.folder.events_path))

    # -- ending --------------------------------------------------------------------------------------------------
    def _facts(self, trainer: StudioTrainer, director: RunDirector, began: float) -> dict[str, Any]:
        meter = trainer.meter
        return {
            "stopped": director.stopped,
            "step": trainer.state.global_step,
            "loss": {"first": director.first_loss, "last": director.last_loss},
            "tokens": meter.tokens,
            "tokens_per_second": meter.tokens / meter.seconds if meter.seconds > 0 else None,
            "training_seconds": meter.seconds,
            "seconds": time.perf_counter() - began,
            "parameters": loading.parameters(trainer.model),
            "path": str(self.folder.model),
            **({"by": director.deeds.ended_by} if director.stopped and director.deeds.ended_by else {}),
        }
