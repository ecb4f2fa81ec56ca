"""Steps whose rows are passed over after a rollback: those at which the loss spiked, or was no finite number.

As in PaLM (Chowdhery et al. 2022, section 5.1, "Training Instability"): training goes on from a checkpoint before the
spike, without batches that were seen during it (PaLM left out those shortly before it, too, and found that the very
same batches do no harm to other weights: a spike comes of both). Else the same batch would come again to much the same
weights. Such a step counts and the schedule goes on, but its rows go through no model and no weight changes: so the
order of the rows, and where a checkpoint stands in it, stay as they were.

The `skip` events are the memory, as those of `steering` are: a run that was killed and goes on passes over the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ftstudio.core.folder import JobFolder

if TYPE_CHECKING:
    from ftstudio.engine.trainer import StudioTrainer

KIND = "skip"
FAULTS = ("spike", "not_finite")  # of a step's loss: its rows may be at fault
NAMED = 8  # rows that a sentence names


@dataclass(frozen=True)
class Bad:
    """The `step` that the run goes back because of, and the numbers of its `rows` in the data, as far as known."""

    step: int
    rows: tuple[int, ...] = ()

    def __str__(self) -> str:
        if not self.rows:
            return f"The rows of step {self.step}"
        more = f" and {len(self.rows) - NAMED} more" if len(self.rows) > NAMED else ""
        some = ", ".join(str(row + 1) for row in self.rows[:NAMED])
        return f"The rows of step {self.step} ({some}{more} of the data)"


def layout(trainer: StudioTrainer) -> list[Any]:
    """What says which rows come at which step of TRAINER, as JSON."""
    return [trainer.order_digest(), trainer.args.gradient_accumulation_steps * max(1, trainer.args.world_size)]


def note(folder: JobFolder, bad: Bad, trainer: StudioTrainer, back: int, rate: float) -> None:
    """Let BAD be passed over from now on in FOLDER's run, and tell it; with the step that it goes BACK to and the
    learning rate from there on, should it be killed before that is told: see `steering.go_back_wholly`."""
    folder.emit(KIND, step=bad.step, rows=list(bad.rows), layout=layout(trainer), back={"step": back, "rate": rate})


def steps(events: Iterable[Mapping[str, Any]], now: Sequence[Any], after: int) -> tuple[list[int], list[int]]:
    """(the steps beyond AFTER that EVENTS say are passed over, those that were and whose rows come at others now), by
    the `layout` NOW."""
    kept, lost = set[int](), set[int]()
    for event in events:
        step = event.get("step")
        if event.get("kind") == KIND and isinstance(step, int) and step > after:
            (kept if event.get("layout") == list(now) else lost).add(step)
    return sorted(kept), sorted(lost - kept)
