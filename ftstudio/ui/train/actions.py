"""What a person can do on the screen Train, and with which key."""

from __future__ import annotations

from ftstudio.ui.shell.actions import Action
from ftstudio.ui.train.steer import LIVE

PAUSE = Action("p", "pause", "pause", "pause after this step, with the model kept loaded; again: go on")
GO_ON = Action(PAUSE.key, PAUSE.run, "go on", PAUSE.help)
STOP = Action("s", "stop", "stop", "save a checkpoint and stop; asks first")
TAKE_BACK = Action(STOP.key, STOP.run, "take back", "take the run out of the queue; asks first")
SAVE = Action("c", "checkpoint", "checkpoint", "save a checkpoint now")
EVALUATE = Action("e", "evaluate", "evaluate", "measure the held-out loss and answer the samples now")
RATE = Action("R", "rate", "rate", "another learning rate from the next step on")
LENGTH = Action("T", "length", "steps", "more or fewer steps")
MORE = Action(LENGTH.key, LENGTH.run, "train on", "to more steps, from the last checkpoint on")
RESUME = Action("r", "resume", "resume", "go on with a run that was stopped, interrupted or has failed")
COMPARE = Action("enter", "compare", "compare", "compare base and tuned model, once the run has saved one")
LOG = Action("l", "log", "log", "all that libraries printed; again: back to the chart")
CHART = Action("g", "chart", "chart", "next chart: loss, forgetting, learning rate, gradient norm, tokens/s, memory, …")
ALL = Action("G", "all", "all charts", "many small charts at once, or one large")
OPEN = Action(
    "v", "samples", "samples", "samples in full, and how each answer changed: ↑ ↓ scroll; again: back to the chart"
)
SAMPLE = Action("m", "sample(1)", "next sample", "next sample")
EARLIER = Action("M", "sample(-1)", "", "previous sample")
SMOOTH = Action("w", "smoothing", "smooth", "how much the curve is smoothed: 0.9, 0.98, not at all, 0.6")
AXIS = Action("y", "axis", "axis", "vertical axis linear or logarithmic")
OVERLAY = Action("o", "overlay", "overlay", "lay other runs over the chart, pin a baseline, compare recipes")
CURSOR = Action(
    "right", "cursor(1)", "cursor", "a cursor on the chart: what the curves are at a step", name="cursor right"
)
CURSOR_LEFT = Action("left", "cursor(-1)", "", "the cursor to the left", name="cursor left")
CURSOR_FAR = Action("shift+right", "cursor(10)", "", "the cursor ten places to the right", name="cursor far right")
CURSOR_FAR_LEFT = Action("shift+left", "cursor(-10)", "", "the cursor ten places to the left", name="cursor far left")
ZOOM = Action("plus", "zoom(0.5)", "zoom", "half as many steps on the chart, around the cursor", name="zoom in")
ZOOM_OUT = Action("minus", "zoom(2.0)", "", "twice as many steps on the chart", name="zoom out")
PAN = Action(
    "greater_than_sign,full_stop", "pan(0.25)", "", "the chart a quarter further to the right", name="pan right"
)
PAN_LEFT = Action("less_than_sign,comma", "pan(-0.25)", "", "the chart a quarter further to the left", name="pan left")
WHOLE = Action("0", "whole", "", "all steps on the chart, and no cursor", name="whole run")
DIFFERENCE = Action("d", "difference", "recipe diff", "where this run's recipe differs from that of the run laid over")
SAMPLE_DIFFERENCE = Action("d", "difference", "diff", "the answer against the base's, against the one before, or plain")
ALERTS = Action("exclamation_mark", "alerts", "alerts", "all that the run warned of")
REPLAY = Action("a", "replay", "replay", "the run once more from its beginning, at a chosen speed; again: back to now")
REST = Action("space", "replay_rest", "halt", "the replay stands still, or goes on")
SLOWER = Action("left_square_bracket", "replay_speed(0.5)", "slower", "the replay half as fast")
FASTER = Action("right_square_bracket", "replay_speed(2.0)", "faster", "the replay twice as fast")
ROWS = Action("h", "rows", "hard rows", "the map of training rows: hard, ambiguous, easy; again: back to the chart")
TURN_ROWS = Action("t", "turn_rows", "ambiguous/hard", "list the ambiguous rows, or the hard ones")
TO_DATA = Action(
    "enter", "rows_to_data", "to the data", "the listed rows on the Data screen, to be looked at and repaired"
)
BACK = Action("escape", "back", "back", "back to the chart; from a cursor, a part or a replay to the whole run")
FIND = Action("slash", "find", "search", "search the log")
NEXT = Action("n", "again(0)", "next", "next place of the text searched for")
PREVIOUS = Action("N", "again(1)", "previous", "previous place of the text searched for")
FOLLOW = Action("f", "follow", "follow", "to the end of the log, and follow what comes")

WAITS = "waits"  # the state of a run that waits for its turn in this studio
MOVING = (CURSOR, CURSOR_LEFT, CURSOR_FAR, CURSOR_FAR_LEFT, ZOOM, ZOOM_OUT, PAN, PAN_LEFT, WHOLE)
REPLAYING = (REST, SLOWER, FASTER)
OF_CHARTS = frozenset(one.run.partition("(")[0] for one in (*MOVING, *REPLAYING, CHART, ALL, SMOOTH, AXIS))
OF_ROWS = frozenset(one.run for one in (TURN_ROWS, TO_DATA))
ALL_ACTIONS = (
    PAUSE, STOP, SAVE, EVALUATE, RATE, LENGTH, RESUME, COMPARE, LOG, CHART, ALL, OPEN, SAMPLE, EARLIER, OVERLAY,
    SMOOTH, AXIS, *MOVING, DIFFERENCE, ALERTS, REPLAY, *REPLAYING, ROWS, TURN_ROWS, TO_DATA, BACK, FIND, NEXT,
    PREVIOUS, FOLLOW,
)  # fmt: skip


def working(
    state: str,
    *,
    log: bool,
    samples: bool,
    rows: bool = False,
    apart: bool = False,
    alerts: bool = False,
    model: bool = False,
) -> tuple[Action, ...]:
    """The actions that work on a run in STATE while the chart, LOG, SAMPLES in full or the map of ROWS are in view.

    STATE is `replay` while it is shown once more, WAITS while its turn hasn't come. APART: a cursor stands there,
    or a part is shown; ALERTS: there are some; MODEL: it has saved one, if it isn't done.
    """
    if state in LIVE:
        steering: tuple[Action, ...] = (GO_ON if state == "paused" else PAUSE, STOP, SAVE, EVALUATE)
    elif state == WAITS:
        steering = (TAKE_BACK,)
    elif state == "done":
        steering = (COMPARE,)
    else:
        steering = (*REPLAYING, BACK) if state == "replay" else (RESUME, *((COMPARE,) if model else ()))
    if log:
        return (FIND, NEXT, PREVIOUS, FOLLOW, BACK, *steering, LOG)
    if samples:
        return (SAMPLE, EARLIER, SAMPLE_DIFFERENCE, BACK, *steering, LOG, OPEN)
    if rows:
        steering = tuple(one for one in steering if one is not COMPARE)
        return (TO_DATA, TURN_ROWS, BACK, *steering, ROWS, LOG)
    back = (BACK,) if apart and BACK not in steering else ()
    told = (ALERTS,) if alerts else ()
    course = (RATE, LENGTH) if state in LIVE else ()
    view = (LOG, CHART, OPEN, OVERLAY, SAMPLE, ALL, *MOVING, ROWS, SMOOTH, AXIS, DIFFERENCE, REPLAY, EARLIER)
    more = (MORE,) if state == "done" else ()
    return (*steering, *more, *back, *told, *view[:6], *course, *view[6:])
