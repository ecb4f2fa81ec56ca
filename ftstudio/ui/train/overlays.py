"""Other runs laid over the one in view, and a baseline that is pinned for the workspace. No widgets here."""

from __future__ import annotations

from ftstudio.core import files
from ftstudio.core.run import RunFolder, Story
from ftstudio.core.workspace import Workspace
from ftstudio.ui.shell.session import RunFeed

MOST = 4  # curves beside that of the run in view: more can't be told apart
FILE = "baseline.json"


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
        elif len(self.chosen) < MOST - bool(self.pinned):
            self.chosen.append(name)
        else:
            return False
        return True

    def names(self, here: str) -> list[str]:
        """The runs laid over the run HERE, the baseline first."""
        first = [self.pinned] if self.pinned else []
        return [name for name in [*first, *(name for name in self.chosen if name not in first)] if name != here]

    def stories(self, here: str) -> list[tuple[str, Story]]:
        """(name, story) of the runs laid over the run HERE, as far as they are read; takes 50 ms a run at most."""
        found = []
        for name in self.names(here):
            feed = self._feeds.get(name)
            if feed is None:
                feed = self._feeds[name] = RunFeed(RunFolder(self.workspace.runs_path / name))
            feed.poll()
            found.append((f"{name} (baseline)" if name == self.pinned else name, feed.story))
        return found

    def baseline(self, here: str) -> Story | None:
        """What the baseline tells, where the run HERE is another one."""
        return next((story for name, story in self.stories(here) if name.endswith("(baseline)")), None)
