"""Between two steps: what is due, what was asked, what is told. The studio's side of a training loop."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ftstudio.core.errors import StudioError
from ftstudio.core.folder import JobFolder
from ftstudio.engine.control import Control
from ftstudio.engine.report import StepReport

if TYPE_CHECKING:
    from ftstudio.engine.drift import Drift
    from ftstudio.engine.trainer import StudioTrainer


class RunDirector:
    """Follows the recipe's rhythm and the person's requests, and writes the run's events.

    EVERY and SAVE are steps between evaluations (None: no held-out rows) and checkpoints; FIRST is the step this
    session began at. REST is told when the run pauses and goes on; SAMPLES answers the fixed prompts at a step, DRIFT
    measures there what is forgotten.
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
    ) -> None:
        self.folder, self.control = folder, control
        self.every, self.save, self.first = every, save, first
        self.rest, self.samples, self.drift = rest, samples, drift
        self.report = StepReport(folder)
        self.paused = self.stopped = False
        self.doing = ""  # what the training does, where there is more to say
        self.first_loss: float | None = None
        self.last_loss: float | None = None
        self.evaluation: dict[str, Any] = {}
        self._reason = ""

    # -- what is due ---------------------------------------------------------------------------------------------
    def planned(self, step: int, last: int) -> set[str]:
        """See trainer.Director."""
        due: set[str] = set()
        if step % self.save == 0:
            due.add("checkpoint")
            self._reason = f"every {self.save} steps"
        if self.every is not None and step % self.every == 0:
            due.add("evaluate")
        for request in self.control.poll():
            self._take(request, due)
        if self.stopped:
            due.discard("evaluate")  # whoever stops doesn't want to wait
        if step == last:
            due.add("checkpoint")
            self._reason = "last step"
            due.discard("stop")  # it is through anyway
            self.stopped = self.paused = False
            if self.every is not None:
                due.add("evaluate")
        return due

    def _take(self, request: str, due: set[str]) -> None:
        if request == "pause":
            self.paused = True
        elif request == "resume":
            self.paused = False
        elif request == "checkpoint":
            due.add("checkpoint")
            self._reason = "as asked"
        elif request == "evaluate" and self.every is not None:
            due.add("evaluate")
        elif request == "stop":
            due |= {"checkpoint", "stop"}
            self.stopped, self.paused = True, False
            self._reason = "stopped"

    # -- what happened -------------------------------------------------------------------------------------------
    def stepped(self, trainer: StudioTrainer, logs: dict[str, float]) -> None:
        """See trainer.Director. Raises StudioError where loss or gradient are no finite number."""
        step, loss = trainer.state.global_step, float(logs["loss"])
        norm = logs.get("grad_norm")
        epoch, rate = trainer.state.epoch, logs.get("learning_rate")
        last = trainer.state.max_steps
        self.last_loss = loss
        if self.first_loss is None:
            self.first_loss = loss

        def fields() -> dict[str, Any]:
            return {
                "step": step,
                "epoch": round(epoch or 0.0, 4),
                "loss": loss,
                "lr": rate,
                "grad_norm": norm,
                "tokens": trainer.meter.tokens,
                "tokens_per_second": trainer.meter.rate(),
                "seconds": round(trainer.meter.seconds, 3),
                "eta": trainer.meter.eta(step - self.first, last - self.first),
            }

        self.report.step(fields)
        scaled = trainer.accelerator.scaler is not None  # fp16: a scaler skips such steps by itself
        if not math.isfinite(loss):
            self._broken(f"The loss is not a finite number ({loss}) at step {step}.")
        if norm is not None and not math.isfinite(norm) and not scaled:
            self._broken(f"The gradient is not a finite number ({norm}) at step {step}.")

    def _broken(self, text: str) -> None:
        self.report.flush()
        self.folder.emit("alert", level="error", text=text)
        raise StudioError(
            text, "Lower training.learning_rate, look at the rows, or resume from the last checkpoint; it is sound."
        )

    def shrunk(self, rows: int, parts: int) -> None:
        """See trainer.Director."""
        size = max(1, -(-rows // parts))
        text = (
            f"There was not enough memory for {rows} rows at once: micro-batches of {size} from now on, {parts} times "
            "as many. Each step still learns from as many rows."
        )
        self.folder.emit("alert", level="warning", text=text)

    def evaluating(self, trainer: StudioTrainer) -> None:
        """See trainer.Director."""
        self.tell("evaluating", f"on {len(trainer.held_out)} held-out rows")

    def should_stop(self) -> bool:
        """See trainer.Director."""
        return self.control.should_stop()

    def evaluated(self, trainer: StudioTrainer, metrics: dict[str, Any] | None) -> None:
        """See trainer.Director."""
        if metrics is None:
            self.tell("stopping", "")
            return
        step = trainer.state.global_step
        self.evaluation = metrics
        self.folder.emit("eval", step=step, **metrics)
        if self.samples is not None:
            self.tell("generating samples", "")
            self.samples(trainer, step)
        if self.drift is not None:
            self.tell("measuring forgetting", self.drift.told)
            self.drift(trainer, step)
        self.tell("training", self.doing)

    def saving(self, trainer: StudioTrainer) -> None:
        """See trainer.Director."""
        self.tell("saving", f"checkpoint of step {trainer.state.global_step}")

    def saved(self, trainer: StudioTrainer, path: Path) -> None:
        """See trainer.Director."""
        step = trainer.state.global_step
        self.folder.emit("checkpoint", step=step, path=str(path), reason=self._reason)
        self.tell("training", self.doing)

    def between(self, trainer: StudioTrainer) -> None:
        """See trainer.Director. Waits here while the run is paused; the model stays loaded."""
        last = trainer.state.global_step >= trainer.state.max_steps
        if self.control.stopping and not self.stopped and not last:  # it was asked for during an evaluation
            due: set[str] = set()
            for request in self.control.poll():
                self._take(request, due)
            if "stop" in due:
                trainer.checkpoint()
                trainer.control.should_training_stop = True
        if self.paused and not last:
            self._rest(trainer)

    def _rest(self, trainer: StudioTrainer) -> None:
        self.tell("paused", f"at step {trainer.state.global_step}")
        self.rest(True)
        with trainer.meter.away(pause=True):
            while self.paused:
                self.control.wait(0.1)
                due: set[str] = set()
                for request in self.control.poll(now=True):
                    self._take(request, due)
                if "evaluate" in due:
                    trainer.evaluate()
                if "checkpoint" in due:
                    trainer.checkpoint()
                if "stop" in due:
                    trainer.control.should_training_stop = True
                elif due:
                    self.tell("paused", f"at step {trainer.state.global_step}")
        self.rest(False)
        self.tell(*(("stopping", "") if self.stopped else ("training", self.doing)))

    def tell(self, phase: str, text: str) -> None:
        """A phase, after the step that was held back."""
        self.report.flush()
        self.folder.emit("phase", phase=phase, text=text)
