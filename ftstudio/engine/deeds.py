"""What is done about the faults that the watchdog finds: by the recipe's word, as far as that can be done."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from ftstudio.core.folder import JobFolder
from ftstudio.core.watch import Watch
from ftstudio.engine import resume
from ftstudio.engine.passed_over import FAULTS, Bad
from ftstudio.engine.steering import BACK
from ftstudio.engine.watchdog import Fault

LOWER = "Lower training.learning_rate, look at the rows, or resume from the last checkpoint; it is sound."
ANEW = "Lower training.learning_rate or look at the rows, and train again: there is no checkpoint to resume from."
COLLAPSED = "The model had collapsed before, and so has the last checkpoint: train again with a lower learning rate."
LAST, UNDER_WAY = "It was the last step.", "The last step is under way."
GETS_WORSE = ("eval_rising", "collapsed")  # faults that end a run with a model worse than it was


class RolledBack(Exception):
    """The steps since the last good checkpoint are to be taken again, because of FAULT (a key of `training.watch`); but
    for what is BAD: see `passed_over`."""

    def __init__(self, fault: str = "", bad: Bad | None = None) -> None:
        super().__init__(fault)
        self.fault, self.bad = fault, bad


class NotBegun(Exception):
    """No step is to be taken: the run would go on otherwise than before, and all stays as it is."""


class Deeds:
    """Of the run in FOLDER, as WATCH says.

    `wish` is stop or rollback, done once the step is through; `fault` what is gone back for, and `bad` the step, where
    its rows may be at fault; `ended_by` the fault that ends the run, where no person does, or that it ends with;
    `pauses` that a fault pauses it once the step is through.
    """

    def __init__(self, folder: JobFolder, watch: Watch) -> None:
        self.folder, self.watch = folder, watch
        self.wish = self.fault = self.ended_by = ""
        self.bad: Bad | None = None
        self.pauses = False

    def decide(self, faults: Sequence[Fault], step: int | None, last: bool, collapsed: bool) -> list[tuple[Fault, str]]:
        """FAULTS of one moment after STEP, each with what is done about it, which from now on is the `wish`.

        LAST: no step is to come, so that nothing is left to pause or to stop. COLLAPSED: the model is worth less than
        before training. What ends the run, and what lets a person decide, goes before what goes back.
        """
        deeds = [self._wanted(fault, step) for fault in faults]
        real = [deed for fault, deed in zip(faults, deeds, strict=True) if deed not in _void(fault, last)]
        self.pauses = self.pauses or "pause" in real
        instead = {"rollback": "pause"} if self.pauses else {}
        if "stop" in (self.wish, *deeds):
            instead = {"rollback": "stop"}
        if "stop" in (self.wish, *real):
            instead["pause"] = "alert"
        found = []
        for fault, deed in zip(faults, (instead.get(deed, deed) for deed in deeds), strict=True):
            if deed == "rollback":
                self.wish, self.fault = deed, "collapsed" if collapsed else fault.kind
            elif deed == "stop":
                self.ended_by = fault.kind
            if deed in _void(fault, last):
                found.append((replace(fault, text=f"{fault.text} {LAST}"), "alert"))
                continue
            if deed == "stop":
                self.wish = deed
            found.append((fault, deed))
        return found

    def blame(self, step: int, rows: Sequence[int]) -> None:
        """The step that was just taken, of the data's ROWS, is what is gone back for, if at all."""
        if self.wish == "rollback" and self.fault in FAULTS:
            self.bad = Bad(step, tuple(rows))

    def ask(self, faults: Sequence[Fault], last: bool) -> list[tuple[Fault, str]]:
        """The same of what is seen while a step, the LAST one or not, is taken: the run is asked for it."""
        found = []
        for fault in faults:
            deed: str = getattr(self.watch, fault.kind)
            void = deed in _void(fault, last)
            found.append((replace(fault, text=f"{fault.text} {UNDER_WAY}"), "alert") if void else (fault, deed))
        return found

    def _wanted(self, fault: Fault, step: int | None) -> str:
        deed: str = getattr(self.watch, fault.kind)
        return "stop" if deed == "rollback" and not self._goes_back(step) else deed

    def _goes_back(self, step: int | None) -> bool:
        """Whether it may go back from STEP: it hasn't too often, and there is a checkpoint."""
        before = sum(event.get("kind") == "steer" and event.get("why") == BACK for event in self.folder.rare_events())
        back = before < self.watch.rollbacks and resume.newest(self.folder.path / "checkpoints", below=step)
        return bool(back)

    def take(self) -> str:
        """The `wish`, which is then done."""
        wish, self.wish = self.wish, ""
        return wish


def _void(fault: Fault, last: bool) -> tuple[str, ...]:
    """What can't be done about FAULT after the LAST step. A run whose numbers aren't finite fails then, too; for want
    of room it waits with its last checkpoint; and one that would end otherwise than it began doesn't end."""
    if not last:
        return ()
    return {"not_finite": ("pause",), "disk": ("stop",), "resume_fault": ()}.get(fault.kind, ("pause", "stop"))


def remedy(folder: JobFolder, collapsed: bool = False) -> str:
    """The way out where numbers of FOLDER's run are finite no more; COLLAPSED: nor was the model worth much before."""
    kept = resume.checkpoints(folder.path / "checkpoints")
    return (COLLAPSED if collapsed else LOWER) if kept else ANEW
