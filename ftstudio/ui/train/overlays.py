"""Other runs laid over the one in view, and a baseline that is pinned for the workspace. No widgets here."""

from __future__ import annotations

import time
from collections.abc import Sequence

from rich.cells import cell_len

from ftstudio.core import files
from ftstudio.core.run import RunFolder, Story
from ftstudio.core.text import one_line
from ftstudio.core.workspace import Workspace
from ftstudio.ui.shell.session import RunFeed
from ftstudio.ui.text.lines import fit
from ftstudio.ui.train.steer import LIVE

BASELINE = "▲"  # before its name
MOST = 4  # curves beside that of the run in view: more can't be told apart
FILE = "baseline.json"
SECONDS = 0.25  # in which the runs laid over are read at a time


def told_apart(names: Sequence[str], width: int) -> list[str]:
    """NAMES in at most WIDTH cells each, so that they still differ: without the words that all begin with, those that
    all end with, where that isn't enough cut in the middle or at their end."""
    safe = [one_line(name, 300) for name in names]
    first, last = _shared(safe), _shared([name[::-1] for name in safe])
    bare = [name[first[-1] : len(name) - last[-1]] for name in safe]
    for found in (
        *([f"…{name[at:]}" if at else name for name in safe] for at in first),
        bare,
        *([fit(name, width, align).rstrip() for name in bare] for align in ("ends", "left")),
    ):
        fits = all(0 < cell_len(name) <= width for name in found) and len(set(found)) == len(set(safe))
        if fits and all(label == name or label not in safe for label, name in zip(found, safe, strict=True)):
            return found  # and none is called what another one's name is
    return [fit(f"{place} {name}", width).rstrip() for place, name in enumerate(safe, 1)]


def _shared(names: Sequence[str]) -> list[int]:
    """After how many signs a word of NAMES begins, up to where they begin to differ; 0 is the first of them."""
    low, high = min(names, default=""), max(names, default="")  # what these two share, all share
    differ = next((at for at, (one, two) in enumerate(zip(low, high, strict=False)) if one != two), 0)
    return [0, *(at + 1 for at in range(differ) if low[at] in "-_. ")]


class Overlays:
    """Follows the chosen runs of WORKSPACE. The baseline is laid over every run but itself."""

    def __init__(self, workspace: Workspace) -> None:
        self.workspace = workspace
        kept = files.read_json(workspace.path / FILE)
        name = kept.get("run") if isinstance(kept, dict) else None
        self.pinned = name if isinstance(name, str) else ""
        self.chosen: list[str] = []
        self._feeds: dict[str, RunFeed] = {}

    def pin(self, name: str) -> None:
        """NAME is the baseline from now on; the empty name takes it away. Raises StudioError."""
        files.write_json(self.workspace.path / FILE, {"run": name})
        self.pinned = name

    def toggle(self, name: str) -> bool:
        """Lay NAME over, or not any more. False where there are too many already."""
        if name in self.chosen:
            self.chosen.remove(name)
        elif sum(map(self._there, self.chosen)) < MOST - self._there(self.pinned):
            self.chosen.append(name)
        else:
            return False
        return True

    def names(self, here: str) -> list[str]:
        """The runs laid over the run HERE, the baseline first; those that were deleted are left out."""
        wanted = dict.fromkeys([self.pinned, *self.chosen])
        return [name for name in wanted if name != here and self._there(name)]

    def _there(self, name: str) -> bool:
        return bool(name) and (self.workspace.runs_path / name).is_dir()

    def labels(self, here: str, width: int) -> dict[str, str]:
        """What the runs laid over the run HERE, and it itself, are called in WIDTH cells each."""
        names = [here, *self.names(here)]
        told = told_apart(names, width - (len(BASELINE) + 1) * (self.pinned in names))
        labels = dict(zip(names, told, strict=True))
        if self.pinned in labels:
            labels[self.pinned] = f"{BASELINE} {labels[self.pinned]}"
        return labels

    def poll(self, here: str) -> None:
        """Take in what came of the runs laid over the run HERE, in turns, for `SECONDS`. Not for the screen's thread: a
        long history is many looks' work."""
        end = time.monotonic() + SECONDS
        more = True
        while more:
            more = False
            names = self.names(here)
            for name in names:
                if name not in self._feeds:
                    self._feeds[name] = RunFeed(RunFolder(self.workspace.runs_path / name))
            feeds = [self._feeds[name] for name in names]
            for feed in sorted(feeds, key=lambda one: one.story.version):  # the one that is least far first
                more = feed.poll(0.0) or more
                if time.monotonic() > end:
                    return

    def stories(self, here: str) -> list[tuple[str, Story]]:
        """(name, story) of the runs laid over the run HERE, as far as they are read."""
        return [(name, self._feeds[name].story) for name in self.names(here) if name in self._feeds]

    def end(self, here: str) -> int:
        """The last step that a chart has room for beside the run HERE: as planned while a run trains or is read, so
        that the chart doesn't change with every step; then the last one taken."""
        feeds = [self._feeds[name] for name in self.names(here) if name in self._feeds]
        return max((self._end(feed) for feed in feeds), default=0)

    @staticmethod
    def _end(feed: RunFeed) -> int:
        grows = feed.behind or feed.state in LIVE
        return max(feed.story.step, feed.story.total_steps or 0) if grows else feed.story.step

    def baseline(self, here: str) -> Story | None:
        """What the baseline tells, where the run HERE is another one."""
        return next((story for name, story in self.stories(here) if name == self.pinned), None)
