"""The file that a studio keeps its draft in: `draft.yaml`, or `draft-2.yaml` and so on where others are open.

Beside each lies who has it open. What a studio left when it ended, or was killed, is taken up by the next one; what
another one has open is left alone.
"""

from __future__ import annotations

import itertools
import re
import time
import uuid
from dataclasses import asdict
from pathlib import Path

from ftstudio.core import files
from ftstudio.core.folder import Owner, here

A_DAY = 86400.0
_NAME = re.compile(r"draft(-\d+)?\.yaml")
OWNER = ".open"  # behind the name of a draft: the file that tells who has it open


class DraftFile:
    """That of this studio in FOLDER. `others`: whether another studio has a draft open there."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.others = False
        self._token = uuid.uuid4().hex
        self._mine: Path | None = None

    def newest(self) -> Path | None:
        """The draft that was written last and that nobody has open, ours from now on; None where there is none."""
        found = []
        for path in self.folder.glob("draft*.yaml"):
            if not _NAME.fullmatch(path.name):
                continue
            if self._open_elsewhere(path):
                self.others = True
            else:
                found.append(path)
        if not found:
            return None
        self._mine = max(found, key=_written)
        return self._mine

    def path(self) -> Path:
        """Where to write, ours alone. Raises StudioError where that can't be said there."""
        if self._mine is not None and self._open_elsewhere(self._mine):  # it was taken for one of a studio that is gone
            self._mine = None
        if self._mine is None:
            self._mine = self._free()
        if self._owner(self._mine) is None:
            files.write_json(_owner_path(self._mine), asdict(here(self._token)))
        return self._mine

    def forget(self) -> None:
        """Write elsewhere: what was found can't be read, and may be mended."""
        self._mine = None

    def close(self) -> None:
        """The next studio may take it up."""
        if self._mine is not None and (owner := self._owner(self._mine)) is not None and owner.token == self._token:
            _owner_path(self._mine).unlink(missing_ok=True)

    def _free(self) -> Path:
        names = itertools.chain(["draft.yaml"], (f"draft-{number}.yaml" for number in itertools.count(2)))
        paths = (self.folder / name for name in names)
        return next(path for path in paths if not path.exists() and self._owner(path) is None)

    def _open_elsewhere(self, path: Path) -> bool:
        owner = self._owner(path)
        return owner is not None and owner.token != self._token

    def _owner(self, path: Path) -> Owner | None:
        """Who has PATH open. Of another machine one can't tell whether its process is there: for a day it counts so."""
        value = files.read_json(_owner_path(path))
        try:
            owner = Owner(**{key: value[key] for key in Owner.__dataclass_fields__}) if value else None
        except (KeyError, TypeError):
            return None
        if owner is None:
            return None
        lately = time.time() - max(owner.heartbeat, _written(path)) < A_DAY
        return owner if (owner.alive() if owner.near else lately) else None


def _owner_path(draft: Path) -> Path:
    return draft.with_name(draft.name + OWNER)


def _written(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0
