"""Between two steps of a run that several processes train: the first one decides and tells, the others do the same.

After each step the first says what comes: whether to evaluate, save or stop, the learning rate and length that were
asked for, and whether more follows. Where more follows (a pause, a roll-back, a checkpoint that was asked for), its
orders come one by one, until it says `go`.
"""

from __future__ import annotations

import contextlib
import os
import time
from typing import TYPE_CHECKING, Any

from ftstudio.core.errors import StudioError
from ftstudio.core.run import RunFolder
from ftstudio.engine import alerting, quiet
from ftstudio.engine.callback import RunDirector
from ftstudio.engine.deeds import NotBegun, RolledBack
from ftstudio.engine.ranks import Ranks
from ftstudio.engine.steering import set_rate, set_steps

if TYPE_CHECKING:
    from pathlib import Path

    from ftstudio.engine.trainer import StudioTrainer

STOP = "stop"  # the flag by which an evaluation is cut short everywhere
HANGS = 10.0  # seconds after another process is gone that this one may need to notice by itself


class Leader(RunDirector):
    """The first process's director: all a `RunDirector` does, and tells the others."""

    def __init__(self, *args: Any, ranks: Ranks, **named: Any) -> None:
        super().__init__(*args, **named)
        self.ranks = ranks
        self._more = False
        self._missed: float | None = None

    def begun(self, trainer: StudioTrainer) -> None:
        """See RunDirector. The others do what is ordered meanwhile, as between two steps."""
        try:
            super().begun(trainer)
        except (NotBegun, RolledBack) as error:
            self.ranks.tell({"do": "leave" if isinstance(error, NotBegun) else "rollback"})
            raise
        self._go(trainer)

    def _go(self, trainer: StudioTrainer) -> None:
        self.ranks.tell({"do": "go", **self._settings(), "stop": trainer.control.should_training_stop})

    def _settings(self) -> dict[str, Any]:
        return {"rate": self.steering.rate, "total": self.steering.total}

    def _record(self, trainer: StudioTrainer, step: int) -> dict[str, float]:
        if self.recorder is None:
            trainer.losses.sums()  # the others hand theirs over all the same
        return super()._record(trainer, step)

    def stepped(self, trainer: StudioTrainer, logs: dict[str, float]) -> None:
        """See RunDirector."""
        super().stepped(trainer, logs)
        due = trainer.control
        self._more = bool(
            due.should_evaluate
            or due.should_save
            or self.paused
            or self.deeds.wish
            or self.disk.owed
            or self.control.stopping
        )
        self.ranks.tell(
            {
                **self._settings(),
                "evaluate": due.should_evaluate,
                "save": due.should_save,
                "stop": due.should_training_stop,
                "more": self._more,
            }
        )

    def should_stop(self) -> bool:
        """See RunDirector."""
        stop = super().should_stop()
        if stop:
            self.ranks.raise_flag(STOP)
        return stop

    def between(self, trainer: StudioTrainer) -> None:
        """See RunDirector."""
        if not self._more:
            return
        self._more = False  # it is asked again at the end of an epoch
        try:
            super().between(trainer)
        except RolledBack:
            self.ranks.tell({"do": "rollback"})
            raise
        self._go(trainer)

    def _checkpoint(self, trainer: StudioTrainer) -> None:
        self.ranks.tell({"do": "checkpoint"})
        super()._checkpoint(trainer)

    def _evaluate(self, trainer: StudioTrainer) -> None:
        self.ranks.tell({"do": "evaluate"})
        super()._evaluate(trainer)

    def looked(self, reading: dict[str, Any] | None) -> None:
        """See RunDirector. Another process that is gone ends this one, where it waits for it without end (on GPUs)."""
        super().looked(reading)
        lost = self.ranks.lost()
        now = time.monotonic()
        if not lost:
            self._missed = None
        elif self._missed is None:
            self._missed = now
        elif now - self._missed > HANGS:
            told = self.ranks.gone(lost[0], self.folder)
            step = self.trainer.state.global_step if self.trainer is not None else None
            if isinstance(self.folder, RunFolder):
                alerting.failed(self.folder, told, step)
            quiet.failure(self.folder.log_path, told, told, step)
            with contextlib.suppress(StudioError):  # a full disk takes no event
                self.folder.emit("failed", text=told.message, hint=told.hint, step=step)
            alerting.let_out()
            os._exit(told.code)


class Follower:
    """The others' director: it does what the first process says, and tells nobody anything."""

    def __init__(self, ranks: Ranks) -> None:
        self.ranks = ranks
        self.first_loss: float | None = None
        self.evaluated_at: tuple[int, float] | None = None
        self.trainer: StudioTrainer | None = None
        self._more = False
        self._rate: float | None = None
        self._total: int | None = None

    def begun(self, trainer: StudioTrainer) -> None:
        """See trainer.Director."""
        self.trainer, self._more = trainer, True
        self.between(trainer)

    def _set(self, trainer: StudioTrainer, order: dict[str, Any]) -> None:
        """Rate and length as the first process has them."""
        if order["total"] is not None and order["total"] != self._total:
            self._total = order["total"]
            set_steps(trainer, order["total"])
        if order["rate"] is not None and order["rate"] != self._rate:
            self._rate = order["rate"]
            set_rate(trainer, order["rate"])

    def planned(self, step: int, last: int) -> set[str]:
        """What is due comes with `stepped`."""
        return set()

    def stepped(self, trainer: StudioTrainer, logs: dict[str, float]) -> None:
        """See trainer.Director."""
        trainer.meter.step()
        trainer.losses.sums()
        order = self.ranks.tell()
        self._set(trainer, order)
        self._more = order["more"]
        control = trainer.control
        control.should_evaluate, control.should_save = order["evaluate"], order["save"]
        control.should_training_stop = order["stop"]

    def between(self, trainer: StudioTrainer) -> None:
        """See trainer.Director. Does what is ordered until it is to go on."""
        while self._more:
            order = self.ranks.tell()
            if order["do"] == "checkpoint":
                trainer.checkpoint()
            elif order["do"] == "evaluate":
                trainer.evaluate()
            elif order["do"] == "rollback":
                raise RolledBack
            elif order["do"] == "leave":
                raise NotBegun
            else:
                self._set(trainer, order)
                trainer.control.should_training_stop = order["stop"]
                self._more = False

    def should_stop(self) -> bool:
        """See trainer.Director."""
        return self.ranks.flag(STOP)

    def evaluating(self, trainer: StudioTrainer) -> None:
        """See trainer.Director."""

    def evaluated(self, trainer: StudioTrainer, metrics: dict[str, Any] | None) -> None:
        """See trainer.Director."""

    def unscored(self, error: Exception) -> None:
        """See trainer.Director. The first process makes the scores."""

    def shrunk(self, rows: int, tokens: int, recomputes: bool) -> None:
        """See trainer.Director."""

    def unsound(self) -> None:
        """See trainer.Director."""

    def owned(self) -> None:
        """See trainer.Director. The first process knows."""

    def saving(self, trainer: StudioTrainer) -> None:
        """See trainer.Director."""

    def saved(self, trainer: StudioTrainer, path: Path) -> None:
        """See trainer.Director."""

    def unsaved(self, error: StudioError) -> bool:
        """See trainer.Director."""
        return False
