"""What a person has asked the run for, and whether it has been answered."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from ftstudio.ui.shell.session import RunFeed
from ftstudio.ui.train.steer import LIVE

SECONDS = 20.0  # how long an unanswered request stays on screen

WORDS = {
    "pause": "pausing after this step …",
    "resume": "going on …",
    "stop": "saving a checkpoint and stopping after this step …",
    "checkpoint": "saving a checkpoint after this step …",
    "evaluate": "evaluating after this step …",
    "learning_rate": "another learning rate from the next step on …",
    "steps": "another number of steps …",
}


def _count(feed: RunFeed, what: str) -> int:
    """How many of what WHAT leads to there are."""
    if what == "checkpoint":
        return len(feed.story.checkpoints)
    if what in ("learning_rate", "steps"):
        return len(feed.story.steers) + len(feed.story.alerts)  # an alert says why it can't be
    return len(feed.story.curves.get("eval_loss", [])) if what == "evaluate" else 0


@dataclass(frozen=True)
class Asked:
    """A request for WHAT (one of WORDS), when there were BEFORE of what it leads to."""

    what: str
    before: int
    when: float = field(default_factory=time.monotonic)

    @classmethod
    def now(cls, what: str, feed: RunFeed) -> Asked:
        """WHAT is asked of the run of FEED now."""
        return cls(what, _count(feed, what))

    def answered(self, feed: RunFeed) -> bool:
        """Whether it was done, or has been waited for long enough."""
        if time.monotonic() - self.when > SECONDS:
            return True
        if self.what == "pause":
            return feed.state != "running"
        if self.what == "resume":
            return feed.state != "paused"
        if self.what == "stop":
            return feed.state not in LIVE
        return _count(feed, self.what) > self.before
