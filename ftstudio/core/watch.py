"""What is watched while a run trains, and what is done about it: `training.watch` of a recipe."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

Deed = Literal["alert", "pause", "rollback", "stop"]
"""`alert` tells and goes on; `pause` waits for a person; `rollback` goes back to the last good checkpoint and on from
there at a lower learning rate, without the rows of a step whose loss spiked or was no finite number; `stop` ends the
run."""


OF_THE_RUN = ("spike", "zero_loss", "collapsed", "eval_rising", "resume_fault")
"""Faults of one run that say nothing of the next one in a queue."""


def adopted(values: Any) -> Any:
    """VALUES of a recipe; where they are a run's own, what an earlier version took and this one refuses is what it came
    to then, so that the run still opens: going back for a `resume_fault` met the same again, and stopped."""
    training = values.get("training") if isinstance(values, dict) and values.get("resolved") else None
    watch = training.get("watch") if isinstance(training, dict) else None
    if not isinstance(training, dict) or not isinstance(watch, dict) or watch.get("resume_fault") != "rollback":
        return values
    return {**values, "training": {**training, "watch": {**watch, "resume_fault": "stop"}}}


class Watch(BaseModel):
    """What to do about each trouble. All of them are told on screen and in the run's events."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True, allow_inf_nan=False)

    not_finite: Literal["pause", "rollback", "stop"] = Field(
        "stop",
        description="loss or gradient are no finite number: pause, rollback (the step's rows are then passed over) or "
        "stop (the run has then failed)",
    )
    spike: Deed = Field(
        "alert",
        description="the loss jumps far beyond what it was lately (spike_score), by half of that, a tenth of the run's "
        "first loss and 0.1 at least (rollback: the step's rows are then passed over)",
    )
    zero_loss: Deed = Field("alert", description="the loss stays at zero: nothing is learnt any more")
    collapsed: Deed = Field(
        "alert",
        description="the gradient is exactly zero, or the held-out loss far above that before training (stop: the "
        "model is then the best checkpoint kept)",
    )
    eval_rising: Deed = Field(
        "alert",
        description="the held-out loss got no better (stop: early stopping, and the model is the best checkpoint kept)",
    )
    stalled: Literal["alert", "stop"] = Field("alert", description="no step for far longer than steps take")
    resume_fault: Literal["alert", "pause", "stop"] = Field(
        "alert",
        description="a resumed run would go on with another recipe, base or row order (pause, stop: before any step)",
    )
    disk: Literal["alert", "pause", "stop"] = Field("pause", description="the next checkpoint won't fit on the disk")
    gpu: Literal["alert", "pause", "stop"] = Field("alert", description="a GPU is throttled by heat or power, or lost")
    patience: int = Field(
        3, ge=1, description="evaluations that were due, without a better held-out loss, until it counts as rising"
    )
    spike_score: float = Field(10.0, gt=1, description="robust z-score from which a loss is a spike")
    stall: float = Field(20.0, gt=1, description="how many times the median step a stalled one takes (60 s at least)")
    rollbacks: int = Field(2, ge=0, description="how often a run goes back before it stops instead")
    rollback_rate: float = Field(0.5, gt=0, le=1, description="the learning rate after going back, as a factor")
    command: str | None = Field(
        None,
        description="a line for sh, run at every warning and error and when the run fails, never waited for; its "
        'environment has FTSTUDIO_TEXT, _RUN, _STEP and _LEVEL: write "$FTSTUDIO_TEXT", in quotes',
    )
    webhook: str | None = Field(
        None,
        pattern=r"^https?://",
        description="an address that every warning and error is posted to, as JSON, and that the run failed",
    )

    @field_validator("resume_fault", mode="before")
    @classmethod
    def _nothing_to_go_back_from(cls, value: object) -> object:
        if value == "rollback":
            raise ValueError(
                "can't be rollback, since the checkpoint that is gone on from is good and going back would meet the "
                "same again: choose alert, pause or stop"
            )
        return value
