"""The bell: rung once for what a person who looks at another screen, or elsewhere, must hear of the run in view."""

from __future__ import annotations

from ftstudio.core.run import Story

LOUD = ("warning", "error")
LIVE = ("running", "paused")


class Bell:
    """Knows which alerts of a story were there before, and whether its run lived."""

    def __init__(self) -> None:
        self._story: Story | None = None
        self._known, self._lived = 0, False

    def rings(self, story: Story, state: str) -> bool:
        """Whether STORY, whose run is in STATE, has a new warning or error since the last call, or its run failed.
        What is there at the first look is not new."""
        known = self._known if story is self._story else len(story.alerts)
        lived = self._lived if story is self._story else False
        self._story, self._known, self._lived = story, len(story.alerts), state in LIVE
        warned = any(alert.get("level") in LOUD for alert in story.alerts[known:])
        return (warned and (lived or self._lived)) or (lived and state == "failed")


def warnings(story: Story) -> int:
    """How many warnings and errors STORY holds."""
    return sum(alert.get("level") in LOUD for alert in story.alerts)


def counted(story: Story) -> str:
    """How many alerts STORY holds, warnings and errors, and how many notes beside; empty where none."""
    loud = warnings(story)
    notes = len(story.alerts) - loud
    said = [f"{loud} alert{'s' if loud > 1 else ''}"] if loud else []
    said += [f"{notes} note{'s' if notes > 1 else ''}"] if notes else []
    return ", ".join(said)
