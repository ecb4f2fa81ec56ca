"""The datasets of a workspace: a folder each, called after the source, with its versions and its pending edits.

studio/datasets/<name>/
  dataset.json      the source: what the person named, how it is read
  pending/          <base>.jsonl: the edits on the source (`source`) or on a version (its number), not saved yet
  1/ 2/ 3/ …        the versions: rows.jsonl, keys.json, repairs.jsonl, version.json; never written to again
"""

from __future__ import annotations

import os
import re
import shutil
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ftstudio.core import files
from ftstudio.core.errors import UsageError
from ftstudio.core.workspace import Workspace, slug

INFO = "dataset.json"
SOURCE = "source"


@dataclass(frozen=True)
class DatasetFolder:
    """One dataset of a workspace: its versions are folders called by numbers."""

    path: Path

    @property
    def name(self) -> str:
        """How it is called: `<name>@<version>`."""
        return self.path.name

    @property
    def info(self) -> dict[str, Any]:
        """`source`, `split` and `reading` of what it began with."""
        found = files.read_json(self.path / INFO)
        return found if isinstance(found, dict) else {}

    @property
    def pending(self) -> Path:
        """The folder of the journals."""
        return self.path / "pending"

    def journal(self, base: str) -> Path:
        """The journal of the edits on BASE: `source`, or the number of a version."""
        return self.pending / f"{base}.jsonl"

    def numbers(self) -> list[int]:
        """The numbers of the versions there are, in order."""
        try:
            found = [int(path.name) for path in self.path.iterdir() if path.name.isdigit()]
        except OSError:
            return []
        return sorted(number for number in found if (self.path / str(number) / "version.json").is_file())


class Shelf:
    """The datasets in FOLDER (`<workspace>/datasets`). Reading makes nothing."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @classmethod
    def of(cls, workspace: Workspace) -> Shelf:
        """The shelf of WORKSPACE."""
        return cls(workspace.path / "datasets")

    def all(self) -> list[DatasetFolder]:
        """Every dataset, by name."""
        try:
            found = [DatasetFolder(path) for path in self.folder.iterdir() if (path / INFO).is_file()]
        except OSError:
            return []
        return sorted(found, key=lambda item: item.name)

    def named(self, name: str) -> DatasetFolder:
        """The dataset called NAME. Raises UsageError with the names there are."""
        if re.fullmatch(r"[a-z0-9][a-z0-9-]*", name) and (self.folder / name / INFO).is_file():
            return DatasetFolder(self.folder / name)
        known = ", ".join(item.name for item in self.all()[:8]) or "none yet"
        raise UsageError(f"There is no dataset {name!r} in {self.folder}.", f"There are: {known}.")

    def of_source(self, source: str, facts: Mapping[str, Any] | None = None) -> DatasetFolder | None:
        """The dataset that began with SOURCE, read as FACTS say; None where there is none."""
        wanted = _info(source, facts)
        return next((item for item in self.all() if _known(item.info) == wanted), None)

    def open(self, source: str, facts: Mapping[str, Any] | None = None) -> DatasetFolder:
        """The dataset that began with SOURCE, made where there is none. FACTS: split, reading options, …

        Two studios that open the same source at once get the same folder.
        """
        wanted = _info(source, facts)
        stem = slug(_stem(source))
        number = 1
        while True:
            path = self.folder / (stem if number == 1 else f"{stem}-{number}")
            known = files.read_json(path / INFO)
            if known is None:
                self._make(path, wanted)
                known = files.read_json(path / INFO)
            if isinstance(known, dict) and _known(known) == wanted:
                return DatasetFolder(path)
            number += 1

    def _make(self, path: Path, info: dict[str, Any]) -> None:
        """PATH with INFO in it, at once; nothing where someone else was quicker."""
        new = self.folder / f".{path.name}.{uuid.uuid4().hex[:8]}"
        files.write_json(new / INFO, {**info, "created": time.time()})
        try:
            os.rename(new, path)  # fails where there is a folder with something in it
        except OSError as error:
            shutil.rmtree(new, ignore_errors=True)
            if not path.is_dir():
                raise files.explain(error, path) from error


def _info(source: str, facts: Mapping[str, Any] | None) -> dict[str, Any]:
    return {
        "source": source,
        **{key: value for key, value in sorted((facts or {}).items()) if value is not None},
    }


def _known(info: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in info.items() if key != "created"}


def _stem(source: str) -> str:
    """What a dataset is called after: the file's name, that of its folder where the file's says nothing."""
    path = Path(source)
    stem = path.name.split(".")[0] or path.name
    return path.parent.name if stem.lower() in _COMMON and path.parent.name else stem


_COMMON = {"train", "training", "data", "dataset", "index", "all", "rows"}
