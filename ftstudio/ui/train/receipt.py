"""What a request has led to, said once it is done: what is waited for goes by faster than one reads."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ftstudio.core import steered
from ftstudio.core.text import number
from ftstudio.ui.shell.session import RunFeed

STEERED = ("learning_rate", "steps")


def _of(what: str, feed: RunFeed) -> list[dict[str, Any]]:
    """The events that answer WHAT."""
    story = feed.story
    if what in STEERED:
        return [event for event in story.steers if event.get("what") == what]
    return story.checkpoints if what == "checkpoint" else []


@dataclass(frozen=True)
class Receipt:
    """WHAT was asked for when there were BEFORE of the events that answer it, and EVALUATED evaluations."""

    what: str
    before: int
    evaluated: int

    @classmethod
    def now(cls, what: str, feed: RunFeed) -> Receipt:
        """WHAT is asked of the run of FEED now."""
        return cls(what, len(_of(what, feed)), feed.story.evaluated)

    def text(self, feed: RunFeed) -> str:
        """What it led to; empty where that shows by itself (a pause, a stop), or an alert says why it can't be."""
        story = feed.story
        if self.what == "evaluate" and story.evaluated > self.evaluated:
            return f"Evaluated at step {story.evaluation.get('step')}: held-out loss {number(story.eval_loss)}."
        new = _of(self.what, feed)[self.before :]
        if not new:
            return ""
        if self.what == "checkpoint":
            return f"Checkpoint of step {new[-1].get('step')} saved."
        return f"From step {new[-1].get('step')} on: {steered.what(new[-1])}."
