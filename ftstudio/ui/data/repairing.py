"""Repairs on the Data screen: edit, drop, undo, redo, save. Each is kept on the disk before the table shows it."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from ftstudio.core.errors import StudioError
from ftstudio.core.text import one_line
from ftstudio.data.dataset import Row
from ftstudio.data.versions.actions import add, drop, duplicate, set_cell, set_row
from ftstudio.data.versions.edit import Edit
from ftstudio.data.versions.identity import Key
from ftstudio.data.versions.pending import Make, Pending
from ftstudio.data.versions.store import Version
from ftstudio.data.versions.working import Working
from ftstudio.ui.common.background import Work
from ftstudio.ui.data import recent
from ftstudio.ui.data.cell_dialog import CellDialog, RowDialog
from ftstudio.ui.data.editing import editable, edited_outside, parsed, parsed_row, row_as_text
from ftstudio.ui.data.lens import roles_of
from ftstudio.ui.data.mended import State, rows_of_edit, told
from ftstudio.ui.data.model import Opened
from ftstudio.ui.data.pending_page import PendingTable
from ftstudio.ui.data.sheets import Sheets
from ftstudio.ui.shell.dialogs import Ask, Prompt


@dataclass
class _Wanted:
    """A change that waits for its turn: none that a person asked for is dropped."""

    opened: Opened
    phase: str
    function: Callable[[Pending, Work], Any]
    then: Callable[[Any], None]
    step: str = ""  # what it is called in the log


@dataclass
class _Done:
    """What became of it, and the state since."""

    wanted: _Wanted
    state: State
    result: Any = None
    error: StudioError | None = field(default=None)


class Repairing(Sheets):
    """Changes of rows and cells, done one after the other off the screen's thread."""

    _waiting: deque[_Wanted]

    # -- doing -------------------------------------------------------------------------------------------------------
    def can_repair(self) -> bool:
        """Whether the rows can be repaired; says why where they can't."""
        opened = self.opened
        if opened is None or not self.all_read():
            return False
        if opened.reading == "stopped":
            self.studio.tell("Only the first rows were read: o opens it again, then it can be repaired.", "warning")
        elif opened.mended is None or opened.state is None:
            self.studio.tell(f"This can't be repaired here. {opened.unmendable}", "warning")
        elif opened.state.rebased:
            self.ask_rebased(opened)
        else:
            return True
        return False

    def change(
        self,
        phase: str,
        function: Callable[[Pending, Work], Any],
        then: Callable[[Any], None] = lambda _: None,
        step: str = "",
    ) -> None:
        """Do FUNCTION(pending, work) off the thread, after those before it; then show the rows, then THEN(result)."""
        if self.opened is not None:
            self._waiting.append(_Wanted(self.opened, phase, function, then, step))
            self._next_change()

    def _next_change(self) -> None:
        if not self._waiting or self.background.is_running("edit"):
            return
        wanted = self._waiting.popleft()
        mended = wanted.opened.mended
        assert mended is not None

        def run(work: Work) -> _Done:
            try:
                return _Done(wanted, result=wanted.function(mended.pending, work), state=mended.look())
            except StudioError as error:
                return _Done(wanted, error=error, state=mended.look())

        self.background.start("edit", wanted.phase, run, self._changed, self._not_changed)
        self.tell()

    def _changed(self, done: _Done) -> None:
        opened = done.wanted.opened
        self.background.stop("count")  # what it counts is no more
        opened.take(done.state)
        if opened is self.opened:
            if not opened.sheet.layers:
                self.finder.reset()
            self.grid.renew()
            self.grid.mark_roles(roles_of(opened.shape))
            self.query_one(PendingTable).fill(done.state)
            self._preview()
            if self.view == "row":
                self.action_row()
        if done.error is not None:
            self.failed(done.error)
        else:
            if opened is self.opened:
                self._note_change(done.wanted.step, done.result)
            done.wanted.then(done.result)
        self.tell()
        self._next_change()

    def _note_change(self, step: str, result: Any) -> None:
        if isinstance(result, Edit) and result.patches:
            self.note(step, edit=result.id if step == "undo" else result.plain())
        elif isinstance(result, Version):
            self.note("save", name=result.name)

    def _not_changed(self, error: BaseException) -> None:
        self.failed(error)
        self._next_change()

    def do(self, phase: str, make: Edit | Make, then: Callable[[Any], None] = lambda _: None) -> None:
        """Do an edit."""
        self.change(phase, lambda pending, _: pending.do(make), then, "edit")

    # -- a cell, a row -----------------------------------------------------------------------------------------------
    def _key_at_hand(self) -> Key | None:
        """The key of the row at hand, where it can be repaired and isn't dropped."""
        opened, number = self.opened, self.grid.row_number
        if not self.can_repair() or opened is None or opened.state is None or number is None:
            return None
        if number in opened.state.marks.dropped:
            self.studio.tell(f"Row {number:,} is dropped already; u undoes.", "warning")
            return None
        return opened.state.key(number)

    def _set(self, key: Key, column: str, value: Any) -> None:
        def make(working: Working) -> Edit:
            return set_cell(working, _index(working, key), column, value)

        self.do("editing", make)

    def action_edit_cell(self) -> None:
        """Edit the cell at hand."""
        column, key = self.grid.column_name, self._key_at_hand()
        if column is None or key is None:
            return

        def done(found: tuple[Any] | None) -> None:
            if found is not None:
                self._set(key, column, found[0])

        title = f"{one_line(column, 40)} of row {self.grid.row_number:,}"
        self.studio.push_screen(CellDialog(title, self._row().get(column)), done)

    def action_edit_outside(self) -> None:
        """Edit the cell at hand in the person's editor."""
        column, key = self.grid.column_name, self._key_at_hand()
        if column is None or key is None:
            return
        text, is_json = editable(self._row().get(column))
        self._outside(text, is_json, lambda new: self._set(key, column, parsed(new, is_json)))

    def _outside(self, text: str, is_json: bool, then: Callable[[str], None]) -> None:
        """Lend the terminal to the person's editor; THEN(what it made of TEXT) where that is something else."""
        try:
            with self.studio.suspend():
                new = edited_outside(text, is_json)
            if new != text:
                then(new)
        except StudioError as error:
            self.studio.show_error(error)
        except Exception as error:  # no terminal to lend: a test, a web driver
            self.studio.tell(f"No editor can be opened here ({type(error).__name__}); e edits in place.", "warning")
        self.studio.refresh(layout=True)

    def _set_row(self, key: Key, row: Row) -> None:
        self.do("editing", lambda working: set_row(working, _index(working, key), row))

    def action_edit_row(self) -> None:
        """Edit the whole row at hand."""
        key, row = self._key_at_hand(), self._row()
        if key is not None:
            self.studio.push_screen(
                RowDialog(f"row {self.grid.row_number:,}", row),
                lambda found: self._set_row(key, found[0]) if found is not None else None,
            )

    def action_edit_row_outside(self) -> None:
        """Edit the whole row at hand in the person's editor."""
        key, row = self._key_at_hand(), self._row()
        if key is not None:
            self._outside(row_as_text(row), True, lambda new: self._set_row(key, parsed_row(new, row)))

    def action_add_row(self) -> None:
        """A new row after the one at hand."""
        key, opened = self._key_at_hand(), self.opened
        if key is None or opened is None:
            return
        empty = {column.name: "" if column.type == "text" else None for column in opened.dataset.columns}

        def done(found: tuple[Any] | None) -> None:
            if found is not None:
                self.do("adding", lambda working: add(working, [found[0]], _index(working, key)))

        self.studio.push_screen(RowDialog(f"A new row after row {self.grid.row_number:,}", empty), done)

    def action_drop_row(self) -> None:
        """Leave the row at hand out."""
        key = self._key_at_hand()
        if key is not None:
            self.do("dropping", lambda working: drop(working, [_index(working, key)]))
            self.grid.go(self.grid.cursor + 1)

    def action_duplicate_row(self) -> None:
        """The row at hand once more."""
        key = self._key_at_hand()
        if key is not None:
            self.do("duplicating", lambda working: duplicate(working, [_index(working, key)]))

    def action_drop_view(self) -> None:
        """Leave out all rows that the filter left."""
        opened = self.opened
        if not self.can_repair() or opened is None or opened.state is None:
            return
        if not opened.sheet.layers or any(layer.finding for layer in opened.sheet.layers):
            self.studio.tell("Filter first (f), or open the rows of a check (k): D drops the rows in view.", "warning")
            return
        state = opened.state
        keys = [state.key(number) for number in opened.sheet.rows if number not in state.marks.dropped]

        def done(answer: str | None) -> None:
            if answer == "d":
                self.do("dropping", lambda working: drop(working, _indices(working, keys)))

        text = f"{one_line(opened.sheet.label, 200)}. Your own file stays as it is; u undoes."
        self.studio.push_screen(Ask(f"Drop the {len(keys):,} rows in view?", text, {"d": "drop them"}), done)

    # -- back and forth ----------------------------------------------------------------------------------------------
    def action_undo(self) -> None:
        """Take back the last repair."""
        if self.can_repair():
            self.change("undoing", lambda pending, _: pending.undo(), lambda edit: self._tell_of("Undone", edit),
                        "undo")  # fmt: skip

    def action_redo(self) -> None:
        """Do again what was undone last."""
        if self.can_repair():
            self.change("doing again", lambda pending, _: pending.redo(), lambda edit: self._tell_of("Again", edit),
                        "redo")  # fmt: skip

    def _tell_of(self, what: str, edit: Edit | None) -> None:
        state = self.opened.state if self.opened is not None else None
        if edit is None:
            self.studio.tell("There is nothing to undo." if what == "Undone" else "There is nothing to do again.")
        elif state is not None:
            self.studio.tell(f"{what}: {told(edit, state)}")

    def ask_rebased(self, opened: Opened) -> None:
        """The source has changed since its rows were repaired: ask whether the repairs that fit are done on it."""
        assert opened.state is not None

        def done(answer: str | None) -> None:
            if answer == "y":
                self.change("repairing", lambda pending, _: pending.accept())

        answers = {"y": "go on with the repairs that fit; the others stay in the journal"}
        self.studio.push_screen(Ask("The file has changed since it was repaired", opened.state.rebased, answers), done)

    # -- the list, and saving ----------------------------------------------------------------------------------------
    def action_pending(self) -> None:
        """The repairs that aren't saved."""
        if self.can_repair() and self.opened is not None and self.opened.state is not None:
            self.query_one(PendingTable).fill(self.opened.state)
            self.show_view("pending")

    def action_pending_rows(self) -> None:
        """The rows of the repair at hand."""
        opened, edit = self.opened, self.query_one(PendingTable).at_hand
        if opened is not None and opened.state is not None and edit is not None:
            self.finder.only(opened, one_line(edit.action, 20), rows_of_edit(edit, opened.state))
            self.back_to_table()

    def action_save(self) -> None:
        """Make a new version of the repairs."""
        opened = self.opened
        if not self.can_repair() or opened is None or opened.state is None:
            return
        if not opened.state.edits:
            self.studio.tell("There is nothing to save: e edits a cell, d drops a row.")
            return

        def done(why: str | None) -> None:
            if why is not None:
                self.change(
                    "saving",
                    lambda pending, work: pending.save(why.strip(), progress=work.progress),
                    lambda version: self._saved(opened, version),
                )

        title = f"Save {opened.said_pending} as a new version"
        hint = "Your own file stays as it is. Why these repairs? (may be empty)"
        self.studio.push_screen(Prompt(title, "", hint, "why"), done)

    def _saved(self, opened: Opened, version: Version) -> None:
        opened.become(version.address)
        recent.remember(self.session.workspace, version.address, opened.note)
        if opened is self.opened:
            self.adopt_source(opened)
            self.studio.tell(f"Saved as {version.name}: {len(opened.used):,} rows. r takes it to the recipe.")

    def adopt_source(self, opened: Opened) -> None:
        """OPENED is called otherwise now."""
        raise NotImplementedError


def _indices(working: Working, keys: list[Key]) -> list[int]:
    """Where those of the rows KEYS stand in WORKING that are still there."""
    places = working.places(keys)
    return [places[key] for key in keys if key in places]


def _index(working: Working, key: Key) -> int:
    """Where the row KEY stands in WORKING. Raises StudioError where it doesn't any more."""
    try:
        return working.index(key)
    except KeyError:
        raise StudioError("The row isn't there any more.", "u undoes what was done last.") from None
