"""What mends the rows of a check, on the Data screen: chosen, shown before it is done, done, and checked again."""

from __future__ import annotations

from ftstudio.core.text import one_line
from ftstudio.data.checks import Check
from ftstudio.data.versions.repairs import REPAIRS, repair, repairs_of
from ftstudio.data.versions.replace import Preview
from ftstudio.ui.data.checks_page import ChecksTable
from ftstudio.ui.data.preview import PreviewDialog, counted
from ftstudio.ui.data.repairing import Repairing
from ftstudio.ui.shell.dialogs import Ask


class CheckRepairs(Repairing):
    """The repairs of the check at hand."""

    def action_repair_check(self) -> None:
        """Mend the rows of the check at hand, after a look at what that does."""
        check, opened = self.query_one(ChecksTable).at_hand, self.opened
        if check is None or opened is None or not self.can_repair():
            return
        names = repairs_of(check.name)
        if not names:
            self.studio.tell("No repair fits all of these rows; enter shows them, e edits a cell, d drops a row.")
        elif len(names) == 1:
            self._preview_repair(check, names[0])
        else:
            keys = {str(place): name for place, name in enumerate(names, 1)}

            def done(answer: str | None) -> None:
                if answer is not None:
                    self._preview_repair(check, keys[answer])

            title = f"{check.name.replace('_', ' ')}: {check.count:,} rows"
            ask = Ask(title, "What shall be done with them?", {key: REPAIRS[name] for key, name in keys.items()})
            self.studio.push_screen(ask, done)

    def _preview_repair(self, check: Check, name: str) -> None:
        opened = self.opened
        if opened is None or opened.state is None or opened.checks is None:
            return
        state, shape = opened.state, opened.shape
        marks = opened.lens.tokenizer.end_texts if opened.lens is not None else ()

        def show(preview: Preview) -> None:
            if opened is not self.opened or opened.state is not state:
                return
            if not preview.rows:
                self.studio.tell("That would change nothing in these rows; enter shows them.")
                return
            title = f"{check.name.replace('_', ' ')}: {REPAIRS[name]}"

            def answered(yes: bool | None) -> None:
                if yes:
                    self.do("repairing", preview.edit, lambda _: self.action_checks())

            self.studio.push_screen(PreviewDialog(one_line(title, 90), counted(preview), preview, state), answered)

        self.background.start(
            "count", "looking at the rows",
            lambda _: repair(state.working, name, check.rows, check=check.name, shape=shape, marks=marks),
            show, self.failed,
        )  # fmt: skip
        self.tell()
