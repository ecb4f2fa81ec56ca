"""Learning rate and length of a run, changed while it trains, and changed again at the same steps after a resume.

Every change is a `steer` event (`step`, `what`: learning_rate or steps, `value`, `why`): the events are the memory, so
a run that was killed after a change and goes on from a checkpoint before it makes the change again where it was made.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ftstudio.core import steered
from ftstudio.core.folder import JobFolder
from ftstudio.engine import passed_over, quiet

if TYPE_CHECKING:
    from ftstudio.engine.trainer import StudioTrainer

BACK = "went back"  # why a rollback steers: a rate that was asked for after that checkpoint no longer counts


@dataclass(frozen=True)
class Change:
    """At `step`, `what` became `value`."""

    step: int
    what: str
    value: float


class Steering:
    """The changes of the run in FOLDER that goes on after step FIRST."""

    def __init__(self, folder: JobFolder, first: int) -> None:
        self.folder = folder
        self.rate: float | None = None  # the peak learning rate, where it isn't the recipe's
        self.total: int | None = None  # the steps, where they aren't
        self.lengthened = False  # or shortened at FIRST itself, maybe after the checkpoint of that step was written
        self._again: list[Change] = []
        for change in changes(folder.rare_events()):
            if change.step <= first:
                self.lengthened |= change.step == first and change.what == "steps"
                self._remember(change)
            else:
                self._again.append(change)

    def _remember(self, change: Change) -> None:
        if change.what == "steps":
            self.total = int(change.value)
        else:
            self.rate = change.value

    def ask(self, trainer: StudioTrainer, step: int, what: str, value: Any, why: str = "as asked") -> str:
        """Change WHAT to VALUE at STEP, from the next step on, and tell it; gives back what can't be done, in words."""
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not abs(value) < 1e15:  # NaN, too
            return f"{what} must be a number."
        if what == "learning_rate" and not 0 < value <= 1:
            return f"A learning rate lies above 0 and at most at 1, not at {value:g}."
        change = Change(step, what, float(value) if what == "learning_rate" else max(step, int(value)))
        self._again = [later for later in self._again if later.what != what]  # what is asked for now counts
        self._make(trainer, change)
        steer(self.folder, step, what, change.value, why)
        return ""

    @property
    def length(self) -> int | None:
        """The steps the run comes to by all changes, those that are made again later among them; None: the recipe's."""
        return next((int(later.value) for later in reversed(self._again) if later.what == "steps"), self.total)

    def due(self, trainer: StudioTrainer, step: int) -> None:
        """Make the changes again that were made at STEP before the run was interrupted."""
        while self._again and self._again[0].step <= step:
            self._make(trainer, self._again.pop(0))

    def begun(self, trainer: StudioTrainer) -> None:
        """A checkpoint holds the rate it was written with; rate and length that were set after it was written count."""
        if self.rate is not None:
            set_rate(trainer, self.rate)
        elif self.total is not None:  # the schedule is that of such a run already, but no step was taken by it
            _apply(_scheduler(trainer))

    def _make(self, trainer: StudioTrainer, change: Change) -> None:
        self._remember(change)
        if change.what == "steps":
            set_steps(trainer, int(change.value))
        else:
            set_rate(trainer, change.value)


def changes(events: Iterable[dict[str, Any]]) -> list[Change]:
    """The changes that EVENTS tell of and that still count, by step."""
    return [Change(event["step"], str(event.get("what")), float(event["value"])) for event in steered.standing(events)]


def steer(folder: JobFolder, step: int, what: str, value: float, why: str) -> None:
    """Write into FOLDER's events, and into its log, that from STEP on WHAT is VALUE. Raises StudioError."""
    quiet.note(steered.told(folder.emit("steer", step=step, what=what, value=value, why=why)))


def go_back_wholly(folder: JobFolder) -> None:
    """Where FOLDER's run was killed while it went back, after it told what is passed over and before the learning rate:
    tell that, too. Raises StudioError."""
    owed: Any = None
    for event in folder.rare_events():
        if event.get("kind") == passed_over.KIND:
            owed = event.get("back")
        elif event.get("kind") == "steer" and event.get("why") == BACK:
            owed = None
    if isinstance(owed, dict):
        steer(folder, owed["step"], "learning_rate", owed["rate"], BACK)


def _scheduler(trainer: StudioTrainer) -> Any:
    """torch's scheduler, without what accelerate wraps around it."""
    found: Any = trainer.lr_scheduler
    return getattr(found, "scheduler", found)


def set_rate(trainer: StudioTrainer, peak: float) -> None:
    """Let the learning rate's schedule have the peak PEAK from here on: what it is now scales with it."""
    scheduler = _scheduler(trainer)
    ratio = peak / scheduler.base_lrs[0]
    if ratio != 1.0:
        scheduler.base_lrs = [rate * ratio for rate in scheduler.base_lrs]
        for group in scheduler.optimizer.param_groups:
            group["initial_lr"] = group.get("initial_lr", group["lr"]) * ratio
    _apply(scheduler)
    trainer.args.learning_rate = peak


def set_steps(trainer: StudioTrainer, total: int) -> None:
    """Let the run have TOTAL steps; the schedule is the one of such a run from here on."""
    import torch
    from transformers import get_scheduler

    scheduler = _scheduler(trainer)
    stand_in = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    made: Any = get_scheduler(
        trainer.args.lr_scheduler_type, stand_in, trainer.args.get_warmup_steps(total), total,
        trainer.args.lr_scheduler_kwargs,
    )  # fmt: skip
    scheduler.lr_lambdas = made.lr_lambdas * len(scheduler.base_lrs)
    _apply(scheduler)
    trainer.args.max_steps = trainer.state.max_steps = total


def _apply(scheduler: Any) -> None:
    """The rate of the next step, as the scheduler would have set it."""
    rates = [
        rate * shape(scheduler.last_epoch) for rate, shape in zip(scheduler.base_lrs, scheduler.lr_lambdas, strict=True)
    ]
    for group, rate in zip(scheduler.optimizer.param_groups, rates, strict=True):
        group["lr"] = rate
    scheduler._last_lr = rates
