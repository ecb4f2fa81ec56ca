"""`name@version` in a recipe: which version of a dataset, wherever one stands.

`tickets@2`, `tickets@latest` and `tickets@source` are looked for in the workspace; with the path of a shelf before it
(`/home/me/studio/datasets/tickets@2`, as a run's recipe has it) an address means the same from anywhere.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ftstudio.core.errors import UsageError
from ftstudio.core.reading import Reading
from ftstudio.core.workspace import Workspace
from ftstudio.data.dataset import Cancel, Dataset, Progress
from ftstudio.data.versions import store
from ftstudio.data.versions.identity import Key
from ftstudio.data.versions.shelf import SOURCE, Shelf

_ADDRESS = re.compile(r"(?P<folder>.*[/\\])?(?P<name>[a-z0-9][a-z0-9-]*)@(?P<version>v?\d{1,9}|latest|source)")


@dataclass(frozen=True)
class Address:
    """A dataset and a version (`latest`, `source` or a number); `folder` is the shelf, None: the workspace's."""

    name: str
    version: str
    folder: Path | None = None

    def shelf(self) -> Shelf:
        """Where it is looked for."""
        return Shelf(self.folder) if self.folder is not None else Shelf.of(Workspace())

    def found(self) -> store.Version | None:
        """The version; None for the source. Raises UsageError where there is none."""
        folder = self.shelf().named(self.name)
        return None if self.version == SOURCE else store.read(folder, self.version)


def parse(text: str) -> Address | None:
    """TEXT as an address; None where it is none, or a file of that name is there."""
    match = _ADDRESS.fullmatch(text.strip())
    if match is None or os.path.exists(text.strip()):
        return None
    folder = match["folder"]
    return Address(
        match["name"],
        match["version"],
        Path(folder).expanduser().absolute() if folder else None,
    )


def locate(text: str, places: Iterable[Path]) -> str | None:
    """TEXT with its shelf: the workspace's, or the nearest above PLACES (a run's folder lies in its workspace), which
    has the dataset. None where TEXT is no address, or already has its shelf."""
    address = parse(text)
    if address is None or address.folder is not None:
        return None
    above = [parent / "datasets" for place in places for parent in (place, *place.parents) if parent.name != "datasets"]
    for folder in (Workspace().path / "datasets", *above):
        if (folder / address.name / "dataset.json").is_file():
            return str(folder / f"{address.name}@{address.version}")
    return None


def open_address(
    address: Address, *, progress: Progress | None = None, cancel: Cancel | None = None
) -> tuple[Dataset, Sequence[Key] | None]:
    """(what ADDRESS names, the keys of its rows; None for a source: their numbers). Raises StudioError."""
    version = address.found()
    if version is not None:
        return store.open_version(version, progress=progress, cancel=cancel)
    return open_source(address.shelf().named(address.name).info, progress, cancel), None


def open_source(info: dict[str, Any], progress: Progress | None = None, cancel: Cancel | None = None) -> Dataset:
    """The dataset that INFO, a dataset.json, began with."""
    from ftstudio.data.read import open_dataset

    source = info.get("source")
    if not isinstance(source, str):
        raise UsageError(
            "That dataset doesn't say what it was made from.",
            "Name one of its versions.",
        )
    reading = info.get("reading")
    more: dict[str, Any] = {"reading": Reading.model_validate(reading)} if isinstance(reading, dict) else {}
    return open_dataset(source, split=info.get("split"), progress=progress, cancel=cancel, **more)
