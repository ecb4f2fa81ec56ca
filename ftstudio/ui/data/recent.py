"""Which datasets were opened lately in this workspace, and what else could be opened from here. No widgets."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from ftstudio.core import files
from ftstudio.core.errors import StudioError
from ftstudio.core.run import RunFolder
from ftstudio.core.text import one_line
from ftstudio.core.workspace import Workspace
from ftstudio.data.read import KNOWN
from ftstudio.ui.common.paths import MOST, shown

KEPT = 12
DEMO_NOTE = "the bundled example: support mails and how to answer them"


def _path(workspace: Workspace) -> Path:
    return workspace.path / "recent.json"


def recent(workspace: Workspace) -> list[tuple[str, str]]:
    """(source, note) of what was opened lately, the newest first."""
    value = files.read_json(_path(workspace))
    entries = [entry for entry in value if isinstance(entry, dict)] if isinstance(value, list) else []
    return [
        (entry["source"], one_line(entry.get("note") or "", 60))
        for entry in entries
        if isinstance(entry.get("source"), str)
    ]


def remember(workspace: Workspace, source: str, note: str) -> None:
    """Put SOURCE first. Where the disk doesn't let us, nothing is remembered: no reason to disturb anyone."""
    entries = [{"source": source, "note": note}]
    entries += [{"source": known, "note": said} for known, said in recent(workspace) if known != source]
    with contextlib.suppress(StudioError):
        files.write_json(_path(workspace), entries[:KEPT])


def offers(workspace: Workspace, run: RunFolder | None = None) -> list[tuple[str, str]]:
    """What the open field offers before anything is typed: the rows of RUN, the one in view; recent sources, the demo,
    data files in this folder."""
    rows = of_run(run) if run is not None else []
    both = [*rows, *(entry for entry in recent(workspace) if entry[0] not in dict(rows))]
    found = [(shown(source) if os.path.isabs(source) else source, note) for source, note in both]
    known = {source for source, _ in found}
    if "demo" not in known:
        found.append(("demo", DEMO_NOTE))
    found += [(name, "in this folder") for name in _here() if name not in known]
    return found


def of_run(run: RunFolder) -> list[tuple[str, str]]:
    """(source, note) of the rows that RUN was trained and judged on; none where its recipe can't be read."""
    from ftstudio.engine.recipes import load_recipe

    try:
        data = load_recipe(run.recipe_path).data
    except StudioError:
        return []
    train = [data.train] if isinstance(data.train, str) else [source.path for source in data.train]
    found = [(source, f"trained on by {one_line(run.name, 30)}") for source in train]
    if isinstance(data.eval, str) and data.eval not in train:  # the demo holds both
        found.append((data.eval, f"held out from {one_line(run.name, 30)}"))
    return found


def _here() -> list[str]:
    names = []
    try:
        with os.scandir(".") as entries:
            for number, entry in enumerate(entries):
                suffix = os.path.splitext(entry.name)[1].lower()
                if number < MOST and suffix in KNOWN and suffix != ".md" and not entry.name.startswith("."):
                    names.append(entry.name)
    except OSError:
        return []
    return sorted(names)[:20]
