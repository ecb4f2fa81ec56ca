"""A pause between two steps: the model stays loaded, and what is asked for meanwhile is done."""

from __future__ import annotations

import contextlib
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ftstudio.core.errors import StudioError

if TYPE_CHECKING:
    from ftstudio.core.folder import JobFolder
    from ftstudio.engine.control import Control, Request
    from ftstudio.engine.deeds import Deeds
    from ftstudio.engine.disk import Disk
    from ftstudio.engine.trainer import StudioTrainer


class Pausing(ABC):
    """The part of a `RunDirector` that waits, and what it asks of the rest."""

    folder: JobFolder
    control: Control
    deeds: Deeds
    disk: Disk
    every: int | None
    rest: Callable[[bool], None]
    doing: str
    paused: bool
    stopped: bool
    _begun: bool
    _unwritten: bool
    _reason: str
    _saved_step: int
    _saved_as: tuple[Any, ...]

    @abstractmethod
    def judged(self, step: int) -> bool: ...

    @abstractmethod
    def tell(self, phase: str, text: str) -> None: ...

    @abstractmethod
    def _tell(self, phase: str, text: str) -> None: ...

    @abstractmethod
    def _alert(self, level: str, text: str, hint: str = "") -> None: ...

    @abstractmethod
    def _take(self, request: Request, due: set[str]) -> None: ...

    @abstractmethod
    def _room(self) -> bool: ...

    @abstractmethod
    def _as_it_is(self, trainer: StudioTrainer) -> tuple[Any, ...]: ...

    @abstractmethod
    def _evaluate(self, trainer: StudioTrainer) -> None: ...

    @abstractmethod
    def _checkpoint(self, trainer: StudioTrainer) -> None: ...

    @property
    def asked(self) -> tuple[bool, bool, Disk, bool]:
        """What a run that goes back takes along: see `goes_back`."""
        return self.stopped, self.paused, self.disk, self._unwritten

    def goes_back(self, asked: tuple[bool, bool, Disk, bool] | None) -> None:
        """What was ASKED of the director before this one, in the step that it went back for, isn't done yet."""
        if asked is not None:
            self.stopped, self.paused, self.disk, self._unwritten = asked
            self.stopped = self.stopped or self.control.stopping  # at the last step it counted for nothing
            self.paused = self.paused and not self.stopped  # the checkpoint that it went back to is what it stops with

    def _rest(self, trainer: StudioTrainer) -> None:
        where = f"at step {trainer.state.global_step}"
        self._say_paused(where)
        self.deeds.pauses = False
        self.rest(True)
        with trainer.meter.away():
            while self.paused:
                self.control.wait(0.1)
                self.folder.keep(look=False)
                self.folder.catch_up()  # a full disk may have room by now
                due: set[str] = set()
                for request in self.control.poll(now=True):
                    self._take(request, due)
                if not self._begun:
                    self._keeps_the_old(trainer, due)
                elif "stop" in due and self._saved_as == self._as_it_is(trainer):
                    due.discard("checkpoint")
                if "evaluate" in due:
                    self._evaluate(trainer)
                    due |= {"checkpoint"} if trainer.control.should_save and self._begun else set()
                    trainer.control.should_save = False
                if self.disk.owed and self.paused and self.disk.more():
                    self.paused = False
                if "checkpoint" in due or (self.disk.owed and not self.paused):
                    due.add("checkpoint")
                    self.disk.owed = False
                    if self._begun and self._room():  # before, what is gone on from is whole already
                        self._checkpoint(trainer)
                if "stop" in due:
                    trainer.control.should_training_stop = True
                if self.deeds.wish:  # of what was seen meanwhile: it is told, and done
                    self.paused = False
                elif due and self.paused:
                    self._say_paused(where)
            if trainer.state.global_step >= trainer.state.max_steps and not self.stopped:
                self._finish(trainer)
        self.rest(False)
        self._tell(*(("stopping", "") if self.stopped else ("training", self.doing)))

    def _keeps_the_old(self, trainer: StudioTrainer, due: set[str]) -> None:
        """Before the first step: what is gone on from isn't written again, by a recipe that it wasn't trained by."""
        if "checkpoint" in due and not self.stopped:
            text = f"Nothing was learnt since the checkpoint of step {trainer.state.global_step}: it stays as it is."
            self._alert("info", text)
        due.discard("checkpoint")

    def _finish(self, trainer: StudioTrainer) -> None:
        """This was the last step, since the run was shortened while it paused: what is due then."""
        step = trainer.state.global_step
        if self.every is not None and not self.judged(step):
            self._evaluate(trainer)
        if self._saved_step != step and self._room():
            self._reason = "last step"
            self._checkpoint(trainer)
        trainer.control.should_save = False
        trainer.control.should_training_stop = True

    def _say_paused(self, where: str) -> None:
        with contextlib.suppress(StudioError):
            self.tell("paused", where)
