"""Find and replace on the Data screen: in the column at hand, over the rows in view, after a look at what changes."""

from __future__ import annotations

from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Vertical
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Input, Static

from ftstudio.core.text import one_line
from ftstudio.data.versions.replace import Preview, find_and_replace
from ftstudio.ui.data.check_repair import CheckRepairs
from ftstudio.ui.data.preview import PreviewDialog, counted

HINT = (
    "/c[au]t/ is a regular expression, \\1 its first group\n"
    "enter goes on and shows what changes · tab other line · esc back"
)


class ReplaceDialog(ModalScreen[tuple[str, str] | None]):
    """Two lines to type; gives back (find, replacement), or None for escape."""

    BINDINGS = [
        Binding("escape", "dismiss(None)", "back"),
        Binding("down,tab", "app.focus_next", "next", show=False, priority=True),
        Binding("up", "app.focus_previous", "previous", show=False, priority=True),
    ]
    DEFAULT_CSS = "ReplaceDialog { align: center middle; }"

    def __init__(self, where: str) -> None:
        super().__init__()
        self.where = where

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog"):
            yield Static(Content(f"Find and replace in {self.where}"), classes="dialog-title")
            for name in ("find", "replace by"):
                line = Input(placeholder=name, compact=True, id=name.replace(" ", "-"))
                line.cursor_blink = False
                yield Static(Content(name), classes="dim")
                yield line
            yield Static(Content(HINT), classes="dialog-hint")

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Enter in the first line goes to the second; there it is done."""
        event.stop()
        if event.input.id == "find":
            self.query_one("#replace-by", Input).focus()
        else:
            self.dismiss((self.query_one("#find", Input).value, event.value))


class Replacing(CheckRepairs):
    """Find and replace."""

    def action_replace(self) -> None:
        """Ask what is replaced by what."""
        opened, column = self.opened, self.grid.column_name
        if opened is None or opened.state is None or column is None or not self.can_repair():
            return
        rows = opened.state.used_rows(opened.sheet.rows)
        where = f"{one_line(column, 30)}, {len(rows):,} rows"

        def done(found: tuple[str, str] | None) -> None:
            if found is not None and found[0]:
                self._look_at(column, rows, *found)

        self.studio.push_screen(ReplaceDialog(where), done)

    def _look_at(self, column: str, rows: list[int], find: str, replacement: str) -> None:
        opened = self.opened
        if opened is None or opened.state is None:
            return
        state = opened.state
        pattern = len(find) > 2 and find.startswith("/") and find.endswith("/")

        def show(preview: Preview) -> None:
            if not preview.rows:
                self.studio.tell(f"{one_line(find, 60)} is in none of the {len(rows):,} rows.")
            elif opened is self.opened and opened.state is state:
                title = one_line(f"Replace {find} by {replacement}: found {preview.matches:,} times", 90)
                self.studio.push_screen(
                    PreviewDialog(title, counted(preview), preview, state),
                    lambda yes: self.do("replacing", preview.edit) if yes else None,
                )

        self.background.start(
            "count", "looking through the rows",
            lambda work: find_and_replace(
                state.working, find[1:-1] if pattern else find, replacement, pattern=pattern, columns=[column],
                rows=rows, cancel=work.cancel,
            ),
            show, self.failed,
        )  # fmt: skip
        self.tell()
