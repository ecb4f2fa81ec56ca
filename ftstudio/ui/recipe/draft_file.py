"""The file that a studio keeps its draft in: `draft.yaml`, or `draft-2.yaml` and so on where others are open.

Beside each lies who has it open. What a studio left when it ended, or was killed, is taken up by the next one; what
another one has open is left alone.
"""

from __future__ import annotations

import itertools
import re
import time
import uuid
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

from ftstudio.core import files
from ftstudio.core.owner import Owner, alone, here, recorded

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
        self._found: bytes | None = None  # what stood in it when it was taken up

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
        self._found = _content(self._mine)
        return self._mine

    def path(self) -> Path:
        """Where to write, ours alone. Raises StudioError where that can't be said there.

        What was taken up stays another studio's where that was the first to write there, or has written since.
        """
        if self._mine is not None and not self._claim(self._mine, self._found):
            self._mine = None
        if self._mine is None:
            self._mine = next(path for path in self._names() if self._claim(path, None))
        return self._mine

    def _claim(self, draft: Path, holds: bytes | None) -> bool:
        """Whether DRAFT is ours now: nobody else has it open, and it HOLDS still what it did. Of several that try at
        once one succeeds."""
        if self._open_elsewhere(draft):
            return False
        try:
            draft.parent.mkdir(parents=True, exist_ok=True)  # a new workspace
            with alone(draft.with_name(".draft.claiming"), draft.name):
                owner = self._owner(draft)
                if owner is not None:
                    return owner.token == self._token
                if _content(draft) != holds:
                    return False
                files.write_json(_owner_path(draft), asdict(here(self._token)))
                return True
        except OSError as error:
            raise files.explain(error, _owner_path(draft)) from error

    def forget(self) -> None:
        """Write elsewhere: what was found can't be read, and may be mended."""
        self._mine = self._found = None

    def close(self) -> None:
        """The next studio may take it up."""
        if self._mine is not None and (owner := self._owner(self._mine)) is not None and owner.token == self._token:
            _owner_path(self._mine).unlink(missing_ok=True)

    def _names(self) -> Iterator[Path]:
        for name in itertools.chain(["draft.yaml"], (f"draft-{number}.yaml" for number in itertools.count(2))):
            yield self.folder / name

    def _open_elsewhere(self, path: Path) -> bool:
        owner = self._owner(path)
        return owner is not None and owner.token != self._token

    def _owner(self, path: Path) -> Owner | None:
        """Who has PATH open. Of another machine one can't tell whether its process is there: for a day it counts so."""
        owner = recorded(_owner_path(path))
        if owner is None:
            return None
        lately = time.time() - max(owner.heartbeat, _written(path)) < A_DAY
        return owner if (owner.alive() if owner.near else lately) else None


def _owner_path(draft: Path) -> Path:
    return draft.with_name(draft.name + OWNER)


def _content(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except OSError:
        return None


def _written(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0
