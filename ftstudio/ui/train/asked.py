"""What a person has asked the run for, and whether it has been answered."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from ftstudio.core.text import duration
from ftstudio.ui.shell.session import RunFeed
from ftstudio.ui.train.steer import LIVE

SLOW = 20.0  # seconds from which on it is told how long one waits for an answer

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
    story = feed.story
    told = {"checkpoint": len(story.checkpoints), "evaluate": story.evaluated}.get(what, len(story.steers))
    return told + len(story.alerts)  # an alert says why it can't be


@dataclass(frozen=True)
class Asked:
    """A request for WHAT (one of WORDS), when there were BEFORE of what it leads to, and so many ALERTS."""

    what: str
    before: int
    alerts: int = 0
    when: float = field(default_factory=time.monotonic)

    @classmethod
    def now(cls, what: str, feed: RunFeed) -> Asked:
        """WHAT is asked of the run of FEED now."""
        return cls(what, _count(feed, what), len(feed.story.alerts))

    def answered(self, feed: RunFeed) -> bool:
        """Whether it was done, or nobody is there any more who would do it."""
        if feed.state not in LIVE:
            return True
        if self.what == "pause":
            return feed.state != "running"
        if self.what == "resume":  # an alert says why it can't, or has paused it again meanwhile
            return feed.state != "paused" or len(feed.story.alerts) > self.alerts
        found = _count(feed, self.what) > self.before
        return found and (self.what != "stop" or feed.state == "paused")  # which waits for room on the disk

    @property
    def told(self) -> str:
        """What is being waited for, and how long if that is long: a step or an evaluation may take minutes."""
        waited = time.monotonic() - self.when
        return WORDS[self.what] + (f" asked {duration(waited // 10 * 10)} ago" if waited > SLOW else "")
