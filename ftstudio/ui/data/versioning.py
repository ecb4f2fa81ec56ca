"""The versions of what is open, on the Data screen: listed, opened, and what each changed."""

from __future__ import annotations

from collections.abc import Sequence

from ftstudio.data.dataset import Cancel, Dataset
from ftstudio.data.versions import address, store
from ftstudio.data.versions.diff import diff
from ftstudio.data.versions.identity import Key
from ftstudio.data.versions.shelf import SOURCE, DatasetFolder
from ftstudio.data.versions.store import Version
from ftstudio.ui.data.mended import folder_of
from ftstudio.ui.data.replacing import Replacing
from ftstudio.ui.data.versions_page import DifferencePage, Two, VersionsTable


class Versioning(Replacing):
    """The list of versions."""

    def open_named(self, source: str) -> None:
        """Open SOURCE."""
        raise NotImplementedError

    def action_versions(self) -> None:
        """List the versions of what is open."""
        opened, workspace = self.opened, self.session.workspace
        if opened is None or not self.all_read():
            return
        recipe = self.at_hand(opened.source)

        def find() -> tuple[DatasetFolder, list[Version]] | None:
            folder = folder_of(opened.source, opened.base, recipe, workspace)
            return (folder, store.versions(folder)) if folder is not None else None

        def done(found: tuple[DatasetFolder, list[Version]] | None) -> None:
            if found is None or not found[1]:
                self.studio.tell("No versions yet: e edits, d drops, and w saves the repairs as the first version.")
                return
            folder, versions = found
            self.query_one(VersionsTable).fill(str(folder.info.get("source")), versions, opened.source)
            self.show_view("versions")

        self.background.start("count", "looking for versions", lambda _: find(), done, self.failed)
        self.tell()

    def action_open_version(self) -> None:
        """Open the version at hand, or the person's own file."""
        table = self.query_one(VersionsTable)
        version = table.at_hand
        self.open_named(version.address if version is not None else table.name_of_source)

    def action_difference(self) -> None:
        """What the version at hand has that its parent hasn't."""
        version = self.query_one(VersionsTable).at_hand
        if version is None:
            self.studio.tell("Your own file has no parent; ↓ goes to the versions.")
            return

        def done(two: Two) -> None:
            self.query_one(DifferencePage).show(two)
            self.show_view("difference")

        self.background.start(
            "count", "comparing the rows", lambda work: compared(version, work.cancel), done, self.failed
        )  # fmt: skip
        self.tell()


def compared(version: Version, cancel: Cancel) -> Two:
    """VERSION and its parent. Raises StudioError where one of them can't be read."""
    second, second_keys = store.open_version(version, cancel=cancel)
    first: Dataset
    first_keys: Sequence[Key] | None
    if version.parent == SOURCE:
        first = address.open_source(version.folder.info, cancel=cancel)
        name = "your own file"
        if first.hash == (version.about.get("source") or {}).get("sha256"):
            first_keys = range(len(first))
        else:  # its rows may stand elsewhere now
            first_keys, name = None, "your own file, changed since"
    else:
        parent = store.read(version.folder, version.parent)
        (first, first_keys), name = store.open_version(parent, cancel=cancel), parent.name
    keys = second_keys if first_keys is not None else None
    return Two((name, version.name), first, second, diff(first, second, first_keys, keys, cancel=cancel))
