"""The edits of a dataset that aren't saved yet: kept on the disk as they are made, shared by all studios.

Two studios on one workspace merge: each edit is written under a claim, after those of others were read and done. An
edit of a row that someone else has changed meanwhile is refused with the row's number; nothing is ever replaced.
"""

from __future__ import annotations

import hashlib
import os
import threading
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ftstudio.core import files
from ftstudio.core.errors import StudioError
from ftstudio.data.dataset import Cancel, Dataset, Progress
from ftstudio.data.versions import store
from ftstudio.data.versions.edit import Conflict, Edit, me
from ftstudio.data.versions.history import History
from ftstudio.data.versions.identity import Key
from ftstudio.data.versions.journal import Journal, claimed
from ftstudio.data.versions.rebase import Rebased, rebase
from ftstudio.data.versions.shelf import SOURCE, DatasetFolder, Shelf
from ftstudio.data.versions.working import Working

Make = Callable[[Working], Edit]


class Pending:
    """The edits on one base: the source, or a version. Thread-safe.

    `working` is the base with the edits done, `rebased` what became of them where the source has changed (they are
    then not done until `accept`, and nothing else can be).
    """

    def __init__(
        self,
        folder: DatasetFolder | None,
        base: str,
        dataset: Dataset,
        keys: Sequence[Key] | None,
        source: Mapping[str, Any],
        make: Callable[[bool], DatasetFolder | None] | None = None,
    ) -> None:
        """MAKE finds the folder where FOLDER is None, and makes it when told to: looking writes nothing."""
        self._folder, self._make = folder, make
        self.base, self.source = base, dict(source)
        self.session = uuid.uuid4().hex[:12]
        self.rebased: Rebased | None = None
        self.working = Working(dataset, keys)
        self._dataset, self._keys = dataset, keys
        self._history = History(self.session)
        self._lock = threading.RLock()
        if folder is not None:
            self._begin(folder)
            self._history.feed(self._journal.read(), old=True)
            self._adopt_saved()
            self._take_up()

    def _begin(self, folder: DatasetFolder) -> None:
        self._folder, self._journal = folder, Journal(folder.journal(self.base))

    def _take_up(self) -> None:
        """The edits of the history, done; where the source has changed since, only looked at."""
        self.rebased = None
        known, active = self._history.base.get("sha256"), self._history.active
        self.working = Working(self._dataset, self._keys)
        try:
            if active and known is not None and known != self._mark():
                raise Conflict("The source has changed.")
            self.working = Working(self._dataset, self._keys, active)
        except Conflict:  # or a line between them was damaged
            self.rebased = rebase(active, self._dataset, self._keys)

    # -- making one ----------------------------------------------------------------------------------------------
    @classmethod
    def of_source(cls, shelf: Shelf, dataset: Dataset, facts: Mapping[str, Any] | None = None) -> Pending:
        """The edits on DATASET, a source: a file, several, or a hub id. FACTS: split and reading options."""
        source = named(dataset)

        def make(new: bool) -> DatasetFolder | None:
            return shelf.open(source, facts) if new else shelf.of_source(source, facts)

        about = {"path": source, "sha256": dataset.hash, "rows": len(dataset)}
        return cls(make(False), SOURCE, dataset, None, about, make)

    @classmethod
    def of_version(cls, version: store.Version) -> Pending:
        """The edits on VERSION."""
        dataset, keys = store.open_version(version)
        return cls(
            version.folder,
            str(version.number),
            dataset,
            keys,
            version.about.get("source") or {},
        )

    # -- doing ---------------------------------------------------------------------------------------------------
    @property
    def folder(self) -> DatasetFolder:
        """The dataset's folder, made where there is none yet."""
        with self._lock:
            if self._folder is None:
                assert self._make is not None
                found = self._make(True)
                assert found is not None
                self._begin(found)
            assert self._folder is not None
            return self._folder

    @property
    def edits(self) -> tuple[Edit, ...]:
        """The edits that count, oldest first."""
        return self.working.edits

    @property
    def undoable(self) -> Edit | None:
        """What `undo` would take back."""
        return self._history.undoable

    @property
    def redoable(self) -> Edit | None:
        """What `redo` would do again."""
        return self._history.redoable

    def do(self, make: Edit | Make) -> Edit:
        """Do an edit and keep it: when this returns, it is on the disk.

        MAKE may be a function of the working state as it is then. An edit without patches changes nothing and isn't
        kept. Raises Conflict where a row isn't what the edit expects, StudioError where it can't be written.
        """
        if isinstance(make, Edit) and not make.patches:
            return make
        with self._lock, claimed(self.folder.pending):
            self._refresh()
            self._accepted()
            edit = (make(self.working) if callable(make) else make).signed(self.session)
            if not edit.patches:
                return edit
            done = self.working.with_edit(edit)
            entries = [{"kind": "edit", **edit.plain()}]
            if self._history.base.get("sha256") != self._mark():
                entries.insert(0, self._base_line())
            self._keep(*entries)
            self.working = done
            return edit

    def undo(self) -> Edit | None:
        """Take back the last edit that isn't another studio's; it is returned (None: there is none).

        Raises Conflict where a later edit, of another studio, stands on it.
        """
        if not self._kept():
            return None
        with self._lock, claimed(self.folder.pending):
            self._refresh()
            self._accepted()
            edit = self._history.undoable
            if edit is None:
                return None
            try:
                done = Working(self._dataset, self._keys, self._history.without(edit.id))
            except Conflict as error:
                message = f"{edit.text} can't be undone: a later edit by another studio stands on it."
                raise Conflict(message, "Undo that one there first.") from error
            self._keep(self._line("undo", edit=edit.id))
            self.working = done
            return edit

    def redo(self) -> Edit | None:
        """Do the last undone edit again; it is returned (None: there is none). Raises Conflict."""
        if not self._kept():
            return None
        with self._lock, claimed(self.folder.pending):
            self._refresh()
            self._accepted()
            edit = self._history.redoable
            if edit is None:
                return None
            done = Working(self._dataset, self._keys, self._history.with_again(edit.id))
            self._keep(self._line("redo", edit=edit.id))
            self.working = done
            return edit

    def refresh(self) -> bool:
        """Take in what other studios did; whether that was anything."""
        with self._lock:
            return self._kept() and self._refresh()

    def accept(self) -> Rebased | None:
        """Go on with the edits that can be done on the changed source; what they were stays in the journal."""
        if self.rebased is None:
            return None
        with self._lock, claimed(self.folder.pending):
            self._refresh()
            found = self.rebased
            if found is None:  # another studio has accepted them
                return None
            edits = [edit.plain() for edit in found.edits]
            self.rebased = None
            self._keep(
                self._line(
                    "rebased",
                    base=self._base_line(),
                    edits=edits,
                    lost=[t for _, t in found.lost],
                )
            )
            self.working = Working(self._dataset, self._keys, self._history.active)
            return found

    def save(
        self,
        why: str = "",
        *,
        progress: Progress | None = None,
        cancel: Cancel | None = None,
    ) -> store.Version:
        """Make a new version of the edits, and go on from it with none pending. Raises StudioError where there is
        nothing to save."""
        if not self._kept():
            raise StudioError(
                f"There is nothing to save of {self.source.get('path')}.",
                "Repair or edit a row first.",
            )
        with self._lock, claimed(self.folder.pending):
            self._refresh()
            self._accepted()
            self._unchanged()
            if not self.working.edits:
                raise StudioError(
                    f"There is nothing to save in {self.folder.name}.",
                    "Repair or edit a row first.",
                )
            made = store.write(
                self.folder,
                self.working,
                self.base,
                self.source,
                why,
                progress=progress,
                cancel=cancel,
            )
            self._keep(
                self._line(
                    "saved",
                    version=made.number,
                    edits=[edit.id for edit in self.working.edits],
                )
            )
            self._follow(made)
            return made

    # -- inside --------------------------------------------------------------------------------------------------
    def _kept(self) -> bool:
        """Whether there is a folder, made by this studio or another."""
        with self._lock:
            if self._folder is None and self._make is not None:
                found = self._make(False)
                if found is not None:
                    self._begin(found)
            return self._folder is not None

    def _keep(self, *lines: dict[str, Any]) -> None:
        self._journal.append(*lines)
        self._history.feed(self._journal.read())

    def _line(self, kind: str, **fields: Any) -> dict[str, Any]:
        return {
            "kind": kind,
            "session": self.session,
            "who": me(),
            "time": time.time(),
            **fields,
        }

    def _base_line(self) -> dict[str, Any]:
        return self._line(
            "base",
            base=self.base,
            sha256=self._mark(),
            rows=len(self._dataset),
            source=self.source,
        )

    def _mark(self) -> str:
        return self._dataset.hash

    def _refresh(self) -> bool:
        lines = self._journal.read()
        if not lines:
            return False
        self._history.saved = None
        told = self._history.feed(lines)
        saved = self._history.saved
        if saved is not None:
            self._follow(store.read(self.folder, int(saved["version"])))
        elif told:
            self._take_up()
        return bool(told)

    def _follow(self, version: store.Version) -> None:
        """Another base: what was saved, by this studio or another. Rows keep their keys."""
        new = Pending.of_version(version)
        self.base, self.source, self._dataset, self._keys = (
            new.base,
            new.source,
            new._dataset,
            new._keys,
        )
        self._journal, self._history, self.working, self.rebased = (
            new._journal,
            new._history,
            new.working,
            new.rebased,
        )
        self._history.session = self.session

    def _unchanged(self) -> None:
        """Raise StudioError where the source was written to since it was opened: its rows would be others."""
        path = self._dataset.path
        if self.base != SOURCE or path is None or self._dataset.files:
            return
        try:
            with open(path, "rb") as file:
                now = hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            raise files.explain(error, path) from error
        if now != self._mark():
            hint = "Open it again: edits of rows that are still there are done on it as it is now."
            raise StudioError(f"{path} has changed since it was opened; no version was made.", hint)

    def _accepted(self) -> None:
        if self.rebased is not None:
            hint = "Go on with those that fit, or put the old file back."
            raise StudioError(f"{self.rebased.text} Nothing can be edited before you say so.", hint)

    def _adopt_saved(self) -> None:
        """A version was written and the line that says so wasn't: a crash between the two."""
        if not self._history.active or not self.folder.numbers():
            return
        with claimed(self.folder.pending):
            self._history.feed(self._journal.read(), old=True)
            active = [edit.id for edit in self._history.active]
            for version in store.versions(self.folder):
                held = [str(repair.get("id")) for repair in version.about.get("repairs", ())]
                if version.parent == self.base and held and held == active:
                    self._keep(self._line("saved", version=version.number, edits=held))


def named(dataset: Dataset) -> str:
    """What DATASET is called on the shelf, the same from anywhere: its path, a hub id, or `demo`."""
    if dataset.source == "demo":
        return "demo"
    if dataset.path is not None:
        return os.path.abspath(dataset.path)
    return os.path.abspath(dataset.source) if dataset.files else dataset.source
