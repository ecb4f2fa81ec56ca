"""The view goes on with the queue: where the run in view was the one that this process trained, and it has ended, the
next one that trains comes into view, unless a person reads the one that is there. No widgets here."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from ftstudio.core.run import state_word
from ftstudio.core.text import one_line
from ftstudio.core.turn import QUEUE

if TYPE_CHECKING:
    from ftstudio.ui.shell.session import RunFeed, Session

CALM = 10.0  # seconds that the end of a run stays in view before the next one takes its place


class Succession:
    """Knows whether the run in view was trained here, and whether somebody has looked at it since it ended."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self._feed: RunFeed | None = None
        self._trained = self._read = False
        self._ended: float | None = None

    def touched(self) -> None:
        """A person has pressed a key on a screen that shows the run in view: one that has ended is being read."""
        self._read = self._read or self._ended is not None

    def look(self, *, free: bool, shown: bool) -> str:
        """Bring the run that trains into view where it is its turn; gives what to say then, else nothing. FREE: what
        is on screen may be replaced. SHOWN: the run in view is: else there is nothing to wait for."""
        feed, training = self.session.feed, self.session.training
        if feed is None or feed is not self._feed:  # a person has chosen another one
            self._feed, self._trained, self._read, self._ended = feed, False, False, None
        if feed is None or training is None:
            return ""
        if training.path == feed.run.path:
            self._trained, self._read, self._ended = True, False, None
            return ""
        folders = [getattr(job, "folder", None) for job in self.session.jobs]
        if feed.run.path in self.session.hearing.latest and feed.run.path not in folders:
            self._trained = True  # it began and ended between two looks
        if not self._trained or (feed.story.last_state or {}).get("by") == QUEUE:
            return ""
        now = time.monotonic()
        self._ended = now if self._ended is None else self._ended
        if self._read or not free or (shown and now < self._ended + CALM):
            return ""
        self.session.view_run(training)
        return f"{_end_of(feed)} {training.name} trains now and is in view; 6 leads back."


def _end_of(feed: RunFeed) -> str:
    """How the run of FEED has ended, in a sentence or two."""
    story, name = feed.story, feed.run.name
    if feed.state == "failed":
        return f"{name} has failed: {one_line((story.failure or {}).get('text') or 'it failed', 160)}"
    if feed.state == "stopped":
        return f"{name} was stopped at step {story.step}."
    return f"{name} is {state_word(feed.state, story.collapsed)}."
