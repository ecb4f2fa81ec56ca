"""Other runs laid over the one in view, and a baseline that is pinned for the workspace. No widgets here."""

from __future__ import annotations

from collections.abc import Sequence

from rich.cells import cell_len

from ftstudio.core import files
from ftstudio.core.run import RunFolder, Story
from ftstudio.core.text import one_line
from ftstudio.core.workspace import Workspace
from ftstudio.ui.shell.session import RunFeed
from ftstudio.ui.text.lines import fit

BASELINE = "▲"  # before its name
MOST = 4  # curves beside that of the run in view: more can't be told apart
FILE = "baseline.json"


def told_apart(names: Sequence[str], width: int) -> list[str]:
    """NAMES in at most WIDTH cells each, so that they still differ: without the words that all begin with, where that
    is needed, then cut in the middle or at their end."""
    safe = [one_line(name, 300) for name in names]
    if max(map(cell_len, safe), default=0) <= width:
        return safe
    first, last = min(safe), max(safe)  # what these two share, all share
    differ = next((at for at, (one, two) in enumerate(zip(first, last, strict=False)) if one != two), 0)
    words = [at + 1 for at in range(differ) if first[at] in "-_. "]
    longest = max(map(cell_len, safe))
    start = next((at for at in words if longest - at < width), words[-1] if words else 0)
    bare = [f"…{name[start:]}" if start else name for name in safe]
    for align in ("ends", "left"):
        found = [fit(name, width, align).rstrip() for name in bare]
        if len(set(found)) == len(set(safe)):
            return found
    return [fit(f"{place} {name}", width).rstrip() for place, name in enumerate(bare, 1)]


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
        marks = [f"{BASELINE} " if name == self.pinned else "" for name in names]
        least = width - max(map(len, marks))
        return {name: mark + told for name, mark, told in zip(names, marks, told_apart(names, least), strict=True)}

    def stories(self, here: str) -> list[tuple[str, Story]]:
        """(name, story) of the runs laid over the run HERE, as far as they are read; takes 50 ms a run at most."""
        found = []
        for name in self.names(here):
            feed = self._feeds.get(name)
            if feed is None:
                feed = self._feeds[name] = RunFeed(RunFolder(self.workspace.runs_path / name))
            feed.poll()
            found.append((name, feed.story))
        return found

    def baseline(self, here: str) -> Story | None:
        """What the baseline tells, where the run HERE is another one."""
        return next((story for name, story in self.stories(here) if name == self.pinned), None)
