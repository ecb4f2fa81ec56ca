"""Between two steps: what is due, what was asked, what is told. The studio's side of a training loop."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ftstudio.core.errors import DiskFull, StudioError
from ftstudio.core.folder import JobFolder
from ftstudio.core.watch import Watch
from ftstudio.engine import (
    alerting,
    disk,
    gauges,
    going_on,
    held,
    pace,
    recent_losses,
    report,
    resume,
    same_rows,
)
from ftstudio.engine.ahead import BEST, Ahead
from ftstudio.engine.control import Control, Request
from ftstudio.engine.deeds import Deeds, NotBegun, RolledBack, remedy
from ftstudio.engine.pausing import Pausing
from ftstudio.engine.steering import Steering
from ftstudio.engine.watchdog import RECENT, Fault, Watchdog

if TYPE_CHECKING:
    from ftstudio.engine.drift import Drift
    from ftstudio.engine.dynamics import Recorder
    from ftstudio.engine.trainer import StudioTrainer


class RunDirector(Pausing):
    """Follows the recipe's rhythm and the person's requests, and writes the run's events.

    EVERY and SAVE are steps between evaluations (None: no held-out rows) and checkpoints; FIRST is the step this
    session began at. REST is told when the run pauses and goes on; SAMPLES answers the fixed prompts at a step, DRIFT
    measures there what is forgotten. BEST: the best evaluation so far is saved, too.
    """

    def __init__(
        self,
        folder: JobFolder,
        control: Control,
        *,
        every: int | None,
        save: int,
        first: int,
        rest: Callable[[bool], None] = lambda resting: None,
        samples: Callable[[StudioTrainer, int], None] | None = None,
        drift: Drift | None = None,
        recorder: Recorder | None = None,
        watch: Watch | None = None,
        steering: Steering | None = None,
        best: bool = False,
    ) -> None:
        self.folder, self.control = folder, control
        folder.patient = True  # a full disk is met by what the recipe says, not by an end in the middle of something
        self.every, self.save, self.first = every, save, first
        self.rest, self.samples, self.drift, self.recorder = rest, samples, drift, recorder
        self.report = report.StepReport(folder)
        self.paused = self.stopped = False
        self.doing = ""  # what the training does, where there is more to say
        self.first_loss: float | None = None
        self.last_loss: float | None = None
        self.evaluation: dict[str, Any] = {}
        self.evaluated_at: tuple[int, float] | None = None  # the last evaluation's step and loss
        self.judged_on = ""  # which rows it is a loss of: see `same_rows`
        self._reason = ""
        self._places: list[int] = []  # the rows of the last step, by their places in training
        self.watch = watch or Watch()
        self.watchdog = Watchdog(self.watch)
        self.steering = steering or Steering(folder, first)
        self.best = best
        self.ahead = Ahead(every, save, best, self.watch.eval_rising == "stop")
        self._saved, self._saved_step = 0.0, first  # training seconds and step at the last checkpoint, and
        self._saved_as: tuple[Any, ...] = ()  # what it says of them: see `_as_it_is`
        self.trainer: StudioTrainer | None = None
        # what isn't as it was when the checkpoint gone on from was written; None: that was looked at already
        self.changed: list[str] | None = []
        self.early = ""  # what to tell where the run had stopped early
        self._begun = False  # a step was taken, or is next
        self._known: dict[str, Any] = {}  # what the checkpoint gone on from says of what comes next
        self.deeds = Deeds(folder, self.watch)
        told = any(event.get("hint") in pace.HINTS for event in folder.rare_events())
        self.pace = pace.Pace(every, save, told)
        self.disk = disk.Disk(folder.path)
        self._unwritten = False  # it took no event lately, which is told
        self.gauges = gauges.Gauges(folder.log_path, partial(self._alert, "warning"))
        self._unkept = False  # it took no losses of rows, which is told

    def begun(self, trainer: StudioTrainer) -> None:
        """See trainer.Director. Where a resumed run wouldn't go on as before, what the recipe says is done before a
        step is taken: what was saved so far stays as it is. Raises NotBegun where none is to be, and RolledBack."""
        self.trainer = trainer
        if self.early:
            self._alert("info", self.early)
        if self.changed is not None:
            found = [(text, "") for text in self.changed]
            found += going_on.otherwise(self._known, trainer, steered=self.steering.lengthened)
            way_out = going_on.HINTS[self.watch.resume_fault]
            self._found([Fault("resume_fault", text, hint or way_out) for text, hint in found])
        self.steering.begun(trainer)
        if self.paused and not self.deeds.wish:
            self._rest(trainer)
        if self.stopped or self.deeds.wish == "stop":
            raise NotBegun
        self._goes_back()
        self._catch_up(trainer)
        self._begun = True

    def _catch_up(self, trainer: StudioTrainer) -> None:
        """Make the evaluation that is due before the first step, of what the run begins with or of a step at which a
        stop cut it short, and do what comes of it, as after that step. Raises as `begun` does."""
        step, last = trainer.state.global_step, trainer.state.max_steps
        if self.every is not None and (step % self.every == 0 or step >= last) and not self.judged(step):
            trainer.meter.start()
            trainer.control.should_save = True  # these weights are saved already
            self._evaluate(trainer)
            trainer.control.should_save = False
            if not self.judged(step):
                raise NotBegun
        self._goes_back()
        if self._known and self.judged(step):
            with contextlib.suppress(StudioError):  # a full disk: it is made anew the next time
                resume.add_judgement(self.folder.path / "checkpoints" / f"checkpoint-{step}", trainer.judgement())
        self._saved_as = self._as_it_is(trainer) if self._known else ()
        if self.paused and not self.deeds.wish:
            self._rest(trainer)
        if self.stopped:
            raise NotBegun
        self._as_watched(trainer, trainer.state.global_step >= trainer.state.max_steps)

    def goes_on(self, facts: dict[str, Any], judged_on: str = "") -> None:
        """FACTS: what the checkpoint that is gone on from says; none where none is. The events tell how patient one was
        by then, of the evaluations of the held-out rows that JUDGED_ON stands for, and what losses were usual."""
        self._known, self.judged_on = facts, judged_on
        if not facts:
            return
        self.first_loss = self.watchdog.first_loss = facts.get("first_loss")
        if same_rows.alike(facts, judged_on) and isinstance(facts.get("eval_loss"), float):
            self.evaluated_at = (self.first, facts["eval_loss"])
        events = same_rows.alike_alone(self.folder.rare_events(self.first), judged_on)
        self.evaluation, self.last_loss = going_on.told(events, self.first)
        self.ahead.goes_on(events, self.first)
        self.watchdog.recall(recent_losses.losses(self.folder.events_path, self.first, RECENT))
        going_on.replay(events, self.first, self.watchdog, self._in_rhythm)
        self.early = going_on.stopped_early(events, self.first, self.watchdog)

    def _in_rhythm(self, step: int) -> bool:
        """Whether an evaluation is due at STEP, asked for or not."""
        return self.every is None or step % self.every == 0

    def judged(self, step: int) -> bool:
        """Whether the weights of STEP were evaluated, and nothing was since."""
        return self.evaluated_at is not None and self.evaluated_at[0] == step

    # -- what is due ---------------------------------------------------------------------------------------------
    def planned(self, step: int, last: int) -> set[str]:
        """See trainer.Director."""
        self.folder.keep(look=False)
        due: set[str] = set()
        if self.trainer is not None:
            self.steering.due(self.trainer, step)
        if step % self.save == 0:
            due.add("checkpoint")
            self._reason = f"every {self.save} steps"
        if self.every is not None and step % self.every == 0:
            due.add("evaluate")
        for request in self.control.poll():
            self._take(request, due)
        if self.stopped:
            due.discard("evaluate")  # whoever stops doesn't want to wait
        if self.trainer is not None:
            last = self.trainer.state.max_steps  # it may have just been changed
        if step >= last:
            due.add("checkpoint")
            self._reason = "last step"
            due.discard("stop")  # it is through anyway
            self.stopped = self.paused = False
            if self.every is not None:
                due.add("evaluate")
        if "checkpoint" in due and not self._room():
            due.discard("checkpoint")
        return due

    def _take(self, request: Request, due: set[str]) -> None:
        if request in ("learning_rate", "steps") and self.trainer is not None:
            trainer = self.trainer
            told = self.steering.ask(trainer, trainer.state.global_step, request, request.value)
            if told:
                self._alert("warning", told)
        elif request == "pause":
            self.paused, self.disk.alone = True, False  # by a person: room on the disk doesn't end it
        elif request == "resume":
            self.paused, self.disk.alone = False, True
        elif request == "checkpoint":
            due.add("checkpoint")
            self._reason = "as asked"
        elif request == "evaluate" and self.every is not None:
            due.add("evaluate")
        elif request == "evaluate":
            text = "There is nothing to evaluate on: no rows are held out (data.eval)."
            self._alert("warning", text)
        elif request == "stop":
            due |= {"stop"} if self.stopped and self.disk.owed else {"checkpoint", "stop"}  # asked again: without
            self.stopped, self.paused, self.disk.owed, self.disk.alone = True, False, False, True
            self._reason = "stopped"

    # -- what happened -------------------------------------------------------------------------------------------
    def stepped(self, trainer: StudioTrainer, logs: dict[str, float]) -> None:
        """See trainer.Director. Raises StudioError where loss or gradient are no finite number."""
        step, loss = trainer.state.global_step, float(logs["loss"])
        if step in trainer.passed_over:
            self._passed(trainer, step)
            return
        norm = logs.get("grad_norm")
        last = trainer.state.max_steps
        self.last_loss = loss
        if self.first_loss is None:
            self.first_loss = loss
        trainer.meter.step()
        sources = self._record(trainer, step)
        scaled = trainer.accelerator.scaler is not None  # fp16: a scaler skips such steps by itself
        skipped = scaled and norm is not None and not math.isfinite(norm)
        told, eta = report.of_step(trainer, logs, sources, skipped=skipped), partial(self._eta, trainer, step, last)
        with self._on_disk():
            self.report.step(lambda: told(eta()))
        recorder = self.recorder
        self._found(self.watchdog.step(step, loss, None if norm is None else float(norm), scaled=scaled))
        if self.deeds.wish == "rollback" and not skipped:  # a scale that isn't found is no fault of these rows
            self.deeds.blame(step, recorder.numbers(self._places) if recorder is not None else ())

    def _eta(self, trainer: StudioTrainer, step: int, last: int) -> float | None:
        """Seconds to the end, with the evaluations and checkpoints that are to come and the saved model."""
        last = self.steering.length or last
        tokens = trainer.tokens_a_step(step, last)
        return trainer.meter.eta(last - step, tokens, self.ahead.counts(step, last, tokens, trainer.meter))

    def _record(self, trainer: StudioTrainer, step: int) -> dict[str, float]:
        """Keep what each row of the step lost; the loss of each source where several are mixed."""
        if self.recorder is None:
            return {}
        taken = trainer.losses.sums()
        self._places = taken[0] or [row for batch in trainer._step for row in batch.get("rows", ())]
        epoch = max(0, math.ceil((trainer.state.epoch or 0.0) - 1e-6) - 1)
        return self.recorder.took(epoch, step, *taken)

    def _passed(self, trainer: StudioTrainer, step: int) -> None:
        """STEP was passed over: see `passed_over`."""
        trainer.losses.sums()  # of several processes all ask
        self.watchdog.away()
        self.watchdog.back()
        with self._on_disk():
            self.flush()
            text = f"Step {step} was passed over: nothing was learnt from its rows."
            alerting.say(self.folder, self.watch, "info", text, passed_over=step)

    # -- what is wrong -------------------------------------------------------------------------------------------
    def _found(self, faults: list[Fault]) -> None:
        """Tell FAULTS and do what the recipe says. Raises StudioError where the run can't go on."""
        collapsed, trainer = self.watchdog.collapsed, self.trainer
        for fault, deed in self.deeds.decide(faults, *self._at(), collapsed):
            self._tell_fault(fault, deed)
            if trainer is not None and (fault.kind == "not_finite" or deed == "rollback"):
                trainer.control.should_evaluate = trainer.control.should_save = False
            if deed == "pause":
                self.paused = True
            elif deed == "stop" and fault.kind == "not_finite":
                raise StudioError(fault.text, fault.hint or remedy(self.folder, collapsed))

    def _at(self) -> tuple[int | None, bool]:
        """The step that was taken last, and whether it is the last one."""
        state = self.trainer.state if self.trainer is not None else None
        return (None, False) if state is None else (state.global_step, state.global_step >= state.max_steps)

    def _tell_fault(self, fault: Fault, deed: str) -> None:
        with contextlib.suppress(StudioError):  # a full disk takes no event
            self.flush()
        self._say(fault, deed)

    def _say(self, fault: Fault, deed: str) -> None:
        """Emit the alert; from any thread."""
        alerting.emit(self.folder, self.watch, fault, deed, self._at()[0])

    def _alert(self, level: str, text: str, hint: str = "") -> None:
        """An alert that is no fault to watch for."""
        alerting.say(self.folder, self.watch, level, text, hint, step=self._at()[0])

    def looked(self, reading: dict[str, Any] | None) -> None:
        """Called by the pulse's thread every few seconds, with a READING of the machine now and then."""
        faults = self.watchdog.stalled() + (self.watchdog.machine(reading) if reading else [])
        state = self.trainer.state if self.trainer is not None else None
        last = state is not None and not self.paused and state.global_step + 1 >= state.max_steps
        for fault, deed in self.deeds.ask(faults, last):
            self._say(fault, deed)
            if deed in ("pause", "stop"):
                self.folder.request(deed)

    def _room(self) -> bool:
        """Whether the disk takes another checkpoint, as big as the last one; where not, the recipe's deed is done."""
        if self.disk.takes():
            return True
        hint = disk.WAITS if self.stopped else "Free some space, then resume."
        self._found([Fault("disk", self.disk.short(), hint)])
        if self.watch.disk == "pause":
            self.disk.owes()
        return self.watch.disk == "alert"

    def unsaved(self, error: StudioError) -> bool:
        """See trainer.Director. The last checkpoint is whole; a pause lets a person make room."""
        self._found([Fault("disk", error.message, disk.WAITS if self.stopped else error.hint)])
        if self.watch.disk == "pause":
            self.disk.owes()
        return True

    @contextlib.contextmanager
    def _on_disk(self) -> Iterator[None]:
        """What is done about a disk that takes no events is the recipe's deed, told once until it takes some again."""
        try:
            yield
            full = self.folder.unwritten
        except DiskFull as error:
            full = error
        told, self._unwritten = self._unwritten, full is not None
        if full is not None and not told:
            self.unsaved(full)
        elif full is not None and self.watch.disk == "pause" and not self.stopped:  # what stops waits at its end
            self.paused = True
            self.disk.owes()

    def shrunk(self, rows: int, tokens: int, recomputes: bool) -> None:
        """See trainer.Director."""
        self._alert("warning", held.short(rows, tokens, recomputes))

    def unscored(self, error: Exception) -> None:
        """See trainer.Director."""
        self.gauges.unscored(error, self._at()[0])

    def evaluating(self, trainer: StudioTrainer) -> None:
        """See trainer.Director."""
        self._tell("evaluating", f"on {len(trainer.held_out)} held-out rows")
        text, hint = self.pace.judged(trainer.meter, trainer.state.global_step, trainer.state.max_steps)
        if text:
            self._alert("info", text, hint)

    def should_stop(self) -> bool:
        """See trainer.Director."""
        return self.control.should_stop()

    def evaluated(self, trainer: StudioTrainer, metrics: dict[str, Any] | None) -> None:
        """See trainer.Director."""
        step = trainer.state.global_step
        if metrics is None:
            if step >= trainer.state.max_steps and not self.paused:  # without it the run isn't through; a pause asks
                self.stopped = True
                self.control.heed()
            self._tell("stopping", "")
            return
        self.evaluation = metrics
        with self._on_disk():
            self.folder.emit(
                "eval", step=step, **metrics, **({same_rows.KEY: self.judged_on} if self.judged_on else {})
            )
        began, best = time.perf_counter(), self.watchdog.best
        if isinstance(metrics.get("loss"), float):
            self.evaluated_at = (step, metrics["loss"])
            due = self._in_rhythm(step) or step >= trainer.state.max_steps
            self._found(self.watchdog.evaluated(step, metrics["loss"], counts=due))
        if self.samples is not None:
            self._tell("generating samples", "")
            with self._on_disk():
                self.gauges.look("samples", self.samples, trainer, step)
        if self.drift is not None:
            self._tell("measuring forgetting", self.drift.told)
            with self._on_disk():
                self.gauges.look("measure of forgetting", self.drift, trainer, step)
        if step and self.best and not self.deeds.wish and not trainer.control.should_save:
            if self.watchdog.best < best:
                self._keep_best(trainer, time.perf_counter() - began)
            self.ahead.chance(kept=trainer.control.should_save)
        self._trains_again()

    def _keep_best(self, trainer: StudioTrainer, evaluating: float) -> None:
        """Have the weights saved with the lowest held-out loss so far, where that costs little beside EVALUATING and
        training (seconds): while a large model learns well, nearly every evaluation is the best."""
        if self.ahead.affords(trainer.meter, evaluating, self._saved) and self.disk.fits():
            trainer.control.should_save, self._reason = True, BEST

    def unsound(self) -> None:
        """See trainer.Director."""
        text = "No checkpoint was written: the weights are no finite numbers any more."
        self._alert("error", text, remedy(self.folder))

    def owned(self) -> None:
        """See trainer.Director."""
        self.folder.keep()

    def saving(self, trainer: StudioTrainer) -> None:
        """See trainer.Director."""
        self._tell("saving", f"checkpoint of step {trainer.state.global_step}")

    def saved(self, trainer: StudioTrainer, path: Path) -> None:
        """See trainer.Director."""
        step = trainer.state.global_step
        self._saved, self._saved_step, self._saved_as = trainer.meter.seconds, step, self._as_it_is(trainer)
        with self._on_disk():
            self.folder.emit("checkpoint", step=step, path=str(path), reason=self._reason)
        self._trains_again()

    def _trains_again(self) -> None:
        """Tell that it trains again, unless a pause comes, or goes on."""
        if not self.paused:
            self._tell("training", self.doing)

    def between(self, trainer: StudioTrainer) -> None:
        """See trainer.Director. Waits here while the run is paused; the model stays loaded."""
        last = trainer.state.global_step >= trainer.state.max_steps
        if self._as_watched(trainer, last):
            return
        if self.control.stopping and not self.stopped and not last:  # it was asked for during an evaluation
            due: set[str] = set()
            for request in self.control.poll():
                self._take(request, due)
            if "stop" in due:
                self._keep(trainer)
                trainer.control.should_training_stop = True
        if self.paused and (not last or self.disk.owed):
            self._rest(trainer)
            self._as_watched(trainer, trainer.state.global_step >= trainer.state.max_steps)
        self.watchdog.back()

    def _as_watched(self, trainer: StudioTrainer, last: bool) -> bool:
        """Do what a fault asks for, by the recipe. Whether that ends the run before its LAST step."""
        self._goes_back()
        if self.deeds.take() != "stop" or last:
            return False
        self.stopped, self.paused = True, False
        self._reason = "stopped"
        if self.deeds.ended_by != "disk":  # which has no room for one
            self._keep(trainer)
        trainer.control.should_training_stop = True
        return True

    def _goes_back(self) -> None:
        """Raises RolledBack where that is wished."""
        if self.deeds.wish == "rollback":
            self.flush()
            raise RolledBack(self.deeds.fault, self.deeds.bad)

    def _keep(self, trainer: StudioTrainer) -> None:
        """A checkpoint of the weights as they are, where there is none that says the same."""
        if self._saved_as != self._as_it_is(trainer):
            self._checkpoint(trainer)

    def _as_it_is(self, trainer: StudioTrainer) -> tuple[Any, ...]:
        """What a checkpoint says beside the weights of its step: what was steered, and the held-out loss."""
        step = trainer.state.global_step
        return step, self.steering.rate, self.steering.total, self.evaluated_at if self.judged(step) else None

    def _checkpoint(self, trainer: StudioTrainer) -> None:
        trainer.checkpoint()

    def _evaluate(self, trainer: StudioTrainer) -> None:
        trainer.evaluate()

    def tell(self, phase: str, text: str) -> None:
        """A phase, after the step that was held back. Raises StudioError where it can't be written."""
        if phase == "training":
            self.watchdog.back()
        else:
            self.watchdog.away()
        self.flush()
        self.folder.emit("phase", phase=phase, text=text)

    def _tell(self, phase: str, text: str) -> None:
        with self._on_disk():
            self.tell(phase, text)

    def flush(self) -> None:
        """Write what was held back: the last step, the losses of its rows."""
        self.report.flush()
        if self.recorder is not None:
            self.recorder.flush()
            trouble, told = self.recorder.trouble, self._unkept
            self._unkept = trouble is not None
            if trouble is not None and not told:
                self._alert("warning", f"The losses of single rows wait to be written: {trouble.message}")
