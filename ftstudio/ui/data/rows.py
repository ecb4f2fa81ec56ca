"""What a person does with the rows on the Data screen: go through them, sort, search, filter, copy, map columns."""

from __future__ import annotations

import os
from typing import Any

from textual import events
from textual.timer import Timer
from textual.widgets import Input

from ftstudio import tasks
from ftstudio.core.errors import StudioError
from ftstudio.ui.data.cells import row_text
from ftstudio.ui.data.enlarged import MOST, enlarge
from ftstudio.ui.data.frequency_page import FrequencyTable
from ftstudio.ui.data.grid import Grid
from ftstudio.ui.data.lens import lens_key, roles_of
from ftstudio.ui.data.looking import Looking
from ftstudio.ui.data.mapping import ColumnsDialog
from ftstudio.ui.data.model import Opened, plainly, with_data
from ftstudio.ui.data.page import Page
from ftstudio.ui.data.picture import pictures_of, reduced
from ftstudio.ui.data.query import QueryLine
from ftstudio.ui.data.row_page import RowPage
from ftstudio.ui.text.copying import copy

REST = 0.12  # seconds the cursor rests on a row before its picture is drawn


class Rows(Looking):
    """The table, one row of it, and the line in which one searches."""

    _shown_beside: Opened | None = None
    _rest: Timer | None = None

    def _show_view(self) -> None:
        """Bring the present view on screen, and the focus into it."""
        raise NotImplementedError

    # -- the table ---------------------------------------------------------------------------------------------------
    def on_grid_moved(self, event: Grid.Moved) -> None:
        event.stop()
        self._preview()
        self.tell()

    def on_grid_chosen(self, event: Grid.Chosen) -> None:
        event.stop()
        self.action_row()

    def _row(self) -> dict[str, Any]:
        number = self.grid.row_number
        return self.opened.sheet.read(number) if self.opened is not None and number is not None else {}

    def _preview(self) -> None:
        """The row at hand beside the table, where there is room."""
        page = self.query_one("#preview", RowPage)
        opened = self.opened
        pictures = opened is not None and any(column.type == "image" for column in opened.dataset.columns)
        beside = opened is not None and (pictures or self.has_class("-huge")) and len(opened.dataset.names) > 0
        page.set_class(beside, "beside")
        if not beside or opened is None:
            return
        if pictures and self._shown_beside is opened:  # a picture is kilobytes: not for each row one hurries past
            if self._rest is not None:
                self._rest.stop()
            self._rest = self.set_timer(REST, self._show_beside)
        else:
            self._show_beside()

    def _show_beside(self) -> None:
        opened = self._shown_beside = self.opened
        if opened is not None:
            self.query_one("#preview", RowPage).show(self._row(), opened.dataset, roles_of(opened.shape))

    def action_enlarge(self) -> None:
        """The row's picture over the whole terminal."""
        opened = self.opened
        if opened is None:
            return
        row, folder = self._row(), opened.dataset.path.parent if opened.dataset.path is not None else None
        found = [one for column in opened.dataset.columns for one in pictures_of(row.get(column.name), column.type)]
        if not found:
            self.studio.tell("There is no picture in this row.")
            return
        picture = str(folder / found[0]) if isinstance(found[0], str) and folder is not None else found[0]
        self.background.start("count", "reading the picture", lambda _: reduced(picture, MOST), self._enlarged,
                              self.failed)  # fmt: skip
        self.tell()

    def _enlarged(self, found: tuple[Any, str]) -> None:
        try:
            with self.studio.suspend():
                enlarge(*found, None if os.environ.get("NO_COLOR") else self.studio.console._color_system)
        except Exception as error:  # no terminal to lend: a test, a web driver
            self.studio.tell(f"No picture can be drawn here ({type(error).__name__}).", "warning")
        self.studio.refresh(layout=True)

    def on_resize(self, event: events.Resize) -> None:
        self.call_after_refresh(self._preview)
        self.call_after_refresh(self.tell)  # the line above is cut to the width

    def action_row(self) -> None:
        """The row at hand, whole."""
        if self.opened is not None and len(self.opened.sheet):
            self.query_one("#row", RowPage).show(self._row(), self.opened.dataset, roles_of(self.opened.shape))
            self.show_view("row")

    def action_step_row(self, by: int) -> None:
        """The next or previous row of the table, in the view shown."""
        self.grid.go(self.grid.cursor + by)
        if self.view == "row":
            self.action_row()
        elif self.view == "tokens":
            self._tokens(stay=False)
        self.tell()

    def action_bare(self) -> None:
        """Show personal data and secrets, or mask them again."""
        bare = not self.grid.bare
        self.grid.show_bare(bare)
        self.query_one(FrequencyTable).show_bare(bare)
        for page in self.query(Page):
            page.show_bare(bare)
        self.studio.tell("Personal data and secrets are shown." if bare else "They are masked again.")

    def action_sort(self) -> None:
        """Sort by the column at hand."""
        if self.opened is not None and self.all_read():
            self.finder.sort(self.opened)
            self.tell()

    def action_copy(self) -> None:
        """Copy the row at hand as JSON."""
        if self.opened is None or self.grid.row_number is None:
            return
        try:
            copy(self.studio, row_text(self._row()), self.session.workspace.path)
        except StudioError as error:
            self.studio.show_error(error)

    def action_recipe(self) -> None:
        """A recipe for this data, in the wizard."""
        if self.opened is None:
            return
        if self.opened.state is not None and self.opened.state.edits:
            self.studio.tell(f"{self.opened.said_pending} not saved: w makes a version of them, then r.", "warning")
            return
        try:
            recipe = self.at_hand(self.opened.source)
            if recipe is not None and recipe is not self.session.recipe:  # a run's: begun anew
                recipe = plainly(recipe)
            self.session.recipe = with_data(
                recipe, self.opened.source, self.opened.columns, self.opened.known_as,
                self.opened.accepted(recipe), self.opened.suited(recipe),
            )  # fmt: skip
        except StudioError as error:
            self.studio.show_error(error)
            return
        self.studio.action_go("recipe")

    # -- search and filter -------------------------------------------------------------------------------------------
    def action_search(self) -> None:
        """Ask what to look for."""
        self._ask_query("search")

    def action_filter(self) -> None:
        """Ask which rows to keep."""
        if self.all_read():
            self._ask_query("filter")

    def _ask_query(self, what: str) -> None:
        self.query_one(QueryLine).ask(what)
        self.refresh_shell()

    def _close_query(self) -> None:
        self.query_one(QueryLine).close()
        self._show_view()

    async def action_entered(self) -> None:
        """Take the line as it is."""
        await self.query_one(QueryLine).query_one(Input).action_submit()

    def on_query_line_entered(self, event: QueryLine.Entered) -> None:
        event.stop()
        opened = self.opened
        try:
            if opened is not None and event.text.strip():
                if event.what == "search":
                    self.finder.look_for(opened, event.text)
                else:
                    self.finder.narrow(opened, event.text, expression=event.what == "where")
        except StudioError as error:
            self.query_one(QueryLine).fault(str(error))
            return
        self._close_query()

    def action_hit(self, by: int) -> None:
        """The next or previous hit."""
        self.finder.hit(by)
        self.tell()

    # -- columns -----------------------------------------------------------------------------------------------------
    def action_columns(self) -> None:
        """Change which column plays which part."""
        opened = self.opened
        if opened is None:
            return
        chosen = opened.columns or (dict(opened.shape.columns) if opened.shape else {})

        def done(columns: dict[str, str] | None) -> None:
            if columns is None:
                return
            guessed = dict(opened.shape.columns) if opened.shape and not opened.columns else None
            if columns != guessed:
                self._map(opened, columns, "you")
                self._keep_columns(opened)
            if self.view == "row":
                self.action_row()
            elif self.view == "tokens":
                self.action_tokens()

        roles = tasks.get(lens_key(self.at_hand(opened.source))[0]).roles
        self.studio.push_screen(ColumnsDialog(opened.dataset, self.grid.row_number or 0, roles, chosen), done)

    def _map(self, opened: Opened, columns: dict[str, str], whose: str) -> None:
        opened.map_columns(columns, whose)
        self.background.stop("count")
        self.grid.mark_roles(roles_of(opened.shape))
        self._preview()
        self.tell()

    def _keep_columns(self, opened: Opened) -> None:
        """The mapping belongs to the recipe, where there is one for this data."""
        recipe = self.session.recipe
        if recipe is not None and recipe.data.train == opened.source:
            try:
                self.session.recipe = with_data(recipe, opened.source, opened.columns)
            except StudioError as error:
                self.studio.show_error(error)
