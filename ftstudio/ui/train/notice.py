"""What is going on and what can be done about it, in a sentence or two below the chart."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.cells import cell_len

from ftstudio.core.run import Story, state_word, trained_text
from ftstudio.core.text import duration, number, one_line
from ftstudio.core.turn import QUEUE
from ftstudio.ui.shell.bell import counted
from ftstudio.ui.text.lines import Line
from ftstudio.ui.train.samples import cut, wrap

MOST = 3  # lines
MOST_FAILED = 6  # of why a run failed and the way out, which matter more than its charts
FRESH = 60.0  # seconds of training that an alert fills the notice; what went wrong with the figures stays
ABOVE = 0.01  # of the lowest held-out loss: what the last one is more than that is no noise of an evaluation

PHASES = {
    "loading libraries": "loading libraries: takes some seconds, once",
    "loading model": "loading the model",
    "preparing data": "preparing the data",
    "evaluating": "evaluating on held-out rows",
    "generating samples": "answering the sample prompts",
    "measuring forgetting": "measuring forgetting on general text",
    "saving": "saving",
    "stopping": "stopping after a checkpoint",
}

MARKS = {"error": ("bad", "✗"), "warning": ("warn", "!")}  # of alerts
KEYS = "g next chart · v samples in full · m next sample · l log"


def notice(
    story: Story,
    state: str,
    *,
    waits_for: str | None,
    asked: str,
    resumable: str,
    comparable: bool = False,
    elsewhere: str = "",
    keys: bool = False,
    read: int = 0,
    held: Mapping[str, Any] | None = None,
) -> tuple[str, str, str]:
    """(ink, mark, text) for the run's STATE.

    WAITS_FOR names the job before it in the queue, ASKED what was just requested and not answered yet, RESUMABLE what
    resuming would mean, COMPARABLE whether an ended run has a model to compare, ELSEWHERE the process that trains it
    where it isn't this one. KEYS: the key line has no room for those that change the view.
    READ: how many of the alerts have been looked at. HELD: what its process can't write (`RunFeed.held`).
    """
    if waits_for is not None:
        return "dim", "…", f"queued: waits for {waits_for}"
    compares = f"{as_it_is(story)} · enter compares" if comparable else ""
    if held is not None and not asked:
        return "bad", "!", held_text(story, state, held)
    if state == "failed":
        failure = story.failure or {}
        hint = one_line(failure.get("hint"), 300)
        text = one_line(failure.get("text") or "it failed", 400)
        return "bad", "✗", f"{text} {hint}{' ' if hint else ''}· l shows the log{compares}"
    if state == "interrupted":
        return "warn", "!", f"interrupted: the process that trained it is gone · r {resumable}{compares}"
    if state == "stopped":
        compares = " · enter compares it as it is" if comparable else ""
        return "warn", "■", f"{stopped_text(story)} · r {resumable}{compares}"
    if state == "queued":
        return "dim", "…", "not begun, and nobody works on it · r starts it"
    if state == "done":
        if story.collapsed:
            return "bad", "!", done_text(story)
        return "warn" if worse(story) else "good", "✓", done_text(story)
    if asked:
        return "warn", "→", asked
    if state == "paused":
        if story.pausing is not None:  # no person paused it
            return "warn", "‖", f"{alert_text(story.pausing)} · p goes on"
        return "warn", "‖", f"paused at step {story.step}; the model stays loaded · p goes on"
    if story.phase not in ("", "training"):
        text = one_line((story.last_state or {}).get("text"), 120)
        said = PHASES.get(story.phase, story.phase)
        return "dim", "▶", f"{said}{f': {text}' if text and text not in said else ''}"
    rest = f"trained by {elsewhere}, steered from here too" if elsewhere else KEYS if keys else ""
    if alerts := story.alerts_now:
        ink, mark = MARKS.get(str(alerts[-1].get("level")), ("dim", "i"))
        if _over(alerts[-1], story):
            ink, mark = MARKS["warning"]
        if _fresh(alerts[-1], story) and len(story.alerts) > read:
            return ink, mark, alert_text(alerts[-1])
        told = f"{counted(story)} (!)"
        return "dim" if len(story.alerts) <= read else ink, mark, " · ".join(part for part in (told, rest) if part)
    return "dim", "", rest


def _fresh(alert: dict[str, Any], story: Story) -> bool:
    """Whether ALERT is to be told in full: errors always, what is known of the data only as the training begins."""
    moment, last = alert.get("time"), story.last_time
    if _over(alert, story):
        return False
    if alert.get("level") == "error" or not isinstance(moment, (int, float)) or last is None:
        return True
    return last - moment < FRESH


def _over(alert: dict[str, Any], story: Story) -> bool:
    """Whether ALERT says that the run is paused, and it has gone on since."""
    return alert.get("action") == "pause" and alert is not story.pausing


def held_text(story: Story, state: str, held: Mapping[str, Any]) -> str:
    """What is known of a run whose disk takes no events: why, since when, and what it does all the same."""
    since, heard, step = held.get("since"), held.get("heard"), held.get("step")
    told = ""
    if isinstance(since, (int, float)) and isinstance(heard, (int, float)) and heard - since >= 1:
        told = f" for {duration(heard - since)}"
    why = one_line(held.get("why") or "The disk takes no more", 200).partition(": ")[0].rstrip(".")  # without the path
    if state == "failed":
        failed = held.get("state") or {}
        return f"{alert_text(failed)} (That it failed isn't written: {why[0].lower()}{why[1:]}.)"
    at = step if isinstance(step, int) else story.step
    does = {"paused": f"the run is paused at step {at}", "running": f"it goes on, and is at step {at} by now"}
    return (
        f"{why}. Nothing was written{told}; {does.get(state, f'the run is {state}')}. "
        "Free some space: what is missing here waits in memory."
    )


def stopped_text(story: Story) -> str:
    """Why a run has stopped, and what its model is."""
    by = (story.last_state or {}).get("by")
    if by == QUEUE:
        return "taken out of the queue before it began"
    if by == "resume_fault":
        return f"stopped at step {story.step} before a step was taken: it would have gone on otherwise than before"
    if by != "eval_rising":
        why = ": the model had collapsed" if story.collapsed or by == "collapsed" else ""
        if story.step == story.total_steps and story.eval_loss is not None and story.judged_loss is None:
            why = f" in the evaluation after the last step{why}"
        lost = f", from step {story.resumes_from} on in no checkpoint" if story.resumes_from is not None else ""
        return f"stopped at step {story.step}{lost}{why}{model_text(story)}"
    more = "; the model had collapsed" if story.collapsed else model_text(story)
    return f"stopped early at step {story.step}: the held-out loss got no better{more}"


def model_text(story: Story) -> str:
    """Of which step the saved model is, where that isn't the last."""
    loss = f" (held-out {number(story.judged_loss)})" if story.judged_loss is not None else ""
    return f" · its model is that of step {story.model_step}{loss}" if story.model_step is not None else ""


def as_it_is(story: Story) -> str:
    """Of which step the model is that was saved before the run was taken up again; empty where no event tells."""
    told = trained_text(story.trained)
    return f" · its model is of an earlier session, {told}" if told else ""


def alert_text(alert: dict[str, Any]) -> str:
    """What ALERT says, and the way out."""
    return one_line(f"{alert.get('text') or ''} {alert.get('hint') or ''}", 600)


def worse(story: Story) -> bool:
    """Whether the run's model has a held-out loss that is clearly above the lowest it had."""
    if story.model_step is not None:  # the best checkpoint was taken
        return False
    best, last = story.best, story.eval_loss
    return best is not None and last is not None and last - best[1] > ABOVE * abs(best[1])


def done_text(story: Story) -> str:
    """The end of a run in one sentence, and the next key."""
    done = story.done or {}
    loss = done.get("loss") if isinstance(done.get("loss"), dict) else {}
    parts = []
    if loss and story.first_loss is not None:
        parts.append(f"loss {number(story.first_loss)} → {number(loss.get('last'))}")
    if story.eval_loss is not None:
        best = story.best
        told = f" (best was {number(best[1])} at step {best[0]})" if best is not None and worse(story) else ""
        parts.append(f"held-out {number(story.eval_loss)}{told}")
    took = f" in {duration(story.seconds)}" if story.seconds is not None else ""
    word = state_word("done", story.collapsed)
    return f"{word}{took}: {', '.join(parts) or 'saved'}{model_text(story)} · enter compares"


def lines_of(ink: str, mark: str, text: str, width: int, most: int = MOST) -> list[Line]:
    """As one to MOST lines of WIDTH cells; an empty text is one empty line."""
    if not text:
        return [()]
    head = f"{mark} " if mark else ""
    rows = cut(wrap(text, max(8, width - cell_len(head))), most, width - cell_len(head))
    return [((head if not at else " " * cell_len(head), ink), (row, ink)) for at, row in enumerate(rows)]
