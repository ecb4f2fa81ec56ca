"""What a person can do on the screen Train, and with which key."""

from __future__ import annotations

from ftstudio.ui.shell.actions import Action
from ftstudio.ui.train.steer import LIVE

PAUSE = Action("p", "pause", "pause", "pause after this step, with the model kept loaded; again: go on")
GO_ON = Action(PAUSE.key, PAUSE.run, "go on", PAUSE.help)
STOP = Action("s", "stop", "stop", "save a checkpoint and stop; asks first")
SAVE = Action("c", "checkpoint", "checkpoint", "save a checkpoint now")
EVALUATE = Action("e", "evaluate", "evaluate", "measure the held-out loss and answer the samples now")
RESUME = Action("r", "resume", "resume", "go on with a run that was stopped, interrupted or has failed")
COMPARE = Action("enter", "compare", "compare", "compare base and tuned model, once the run is done")
LOG = Action("l", "log", "log", "all that libraries printed; again: back to the chart")
CHART = Action("g", "chart", "chart", "next chart: loss, learning rate, gradient norm, tokens per second, memory")
OPEN = Action("v", "samples", "samples", "samples in full, and how each answer changed; again: back to the chart")
SAMPLE = Action("m", "sample(1)", "next sample", "next sample")
EARLIER = Action("M", "sample(-1)", "", "previous sample")
SMOOTH = Action("o", "smoothing", "smooth", "how much the curve is smoothed: 0.9, 0.98, not at all, 0.6")
AXIS = Action("y", "axis", "axis", "vertical axis linear or logarithmic")
BACK = Action("escape", "back", "back", "back to the chart")
FIND = Action("slash", "find", "search", "search the log")
NEXT = Action("n", "again(0)", "next", "next place of the text searched for")
PREVIOUS = Action("N", "again(1)", "previous", "previous place of the text searched for")
FOLLOW = Action("f", "follow", "follow", "to the end of the log, and follow what comes")

ALL_ACTIONS = (
    PAUSE, STOP, SAVE, EVALUATE, RESUME, COMPARE, LOG, CHART, OPEN, SAMPLE, EARLIER, SMOOTH, AXIS, BACK,
    FIND, NEXT, PREVIOUS, FOLLOW,
)  # fmt: skip


def working(state: str, *, log: bool, samples: bool) -> tuple[Action, ...]:
    """The actions that work on a run in STATE while the chart, the LOG or the SAMPLES in full are in view."""
    if state in LIVE:
        steering: tuple[Action, ...] = (GO_ON if state == "paused" else PAUSE, STOP, SAVE, EVALUATE)
    elif state == "done":
        steering = (COMPARE,)
    else:
        steering = (RESUME,)
    if log:
        return (FIND, NEXT, PREVIOUS, FOLLOW, BACK, *steering, LOG)
    if samples:
        return (SAMPLE, EARLIER, BACK, *steering, LOG, OPEN)
    return (*steering, LOG, CHART, OPEN, SAMPLE, EARLIER, SMOOTH, AXIS)
