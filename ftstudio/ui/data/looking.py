"""Through a model's eyes: the parts of the Data screen that tokenise, count and check, all off the screen's thread."""

from __future__ import annotations

from typing import Any

from ftstudio import tasks
from ftstudio.core.errors import Stopped, StudioError, UsageError
from ftstudio.core.recipe import Recipe
from ftstudio.core.text import one_line
from ftstudio.data.checks import CHECKS, Check, run_checks
from ftstudio.data.checks.found import FINAL
from ftstudio.data.dataset import Dataset
from ftstudio.data.examined import mapped_alike, with_task
from ftstudio.data.mixture import Mixture, mixture
from ftstudio.data.personal import texts_in
from ftstudio.data.profile import column_stats
from ftstudio.data.shape import Shape
from ftstudio.data.view import TokenView
from ftstudio.tasks.checked import IN_WINDOWS, checks_of
from ftstudio.ui.common.background import Background, Work
from ftstudio.ui.data.cells import row_text
from ftstudio.ui.data.checks_page import BY_LINE, WAY_OUT, ChecksTable, ProblemsPage
from ftstudio.ui.data.finding import Finder
from ftstudio.ui.data.grid import Grid
from ftstudio.ui.data.histogram import LengthsPage
from ftstudio.ui.data.lens import lens_key, make_lens, next_cut
from ftstudio.ui.data.model import Opened, held_out_of
from ftstudio.ui.data.stats_page import StatsPage
from ftstudio.ui.data.token_page import TokenPage
from ftstudio.ui.shell.screen import StudioScreen
from ftstudio.ui.text.recipes import Recipes
from ftstudio.ui.text.table import Table

BIG_ROW = 60_000  # characters from which a row is tokenised off the screen's thread


class Looking(StudioScreen):
    """What the Data screen does with tokens, figures and checks. The screen itself gives views and lines of text."""

    opened: Opened | None
    background: Background
    grid: Grid
    finder: Finder
    trail: list[str]
    recipes: Recipes

    def at_hand(self, source: str) -> Recipe | None:
        """The recipe that the rows of SOURCE are read and looked through by: the draft, else that of the run in view
        where it was trained on them."""
        if self.session.recipe is not None or self.session.feed is None:
            return self.session.recipe
        recipe = self.recipes.of_run(self.session.feed.run)
        if recipe is None or source not in recipe.data.addresses:
            return None
        return recipe

    @property
    def view(self) -> str:
        """The view shown."""
        return self.trail[-1]

    def show_view(self, view: str) -> None:
        """Show VIEW; going back leads here."""
        raise NotImplementedError

    def back_to_table(self) -> None:
        """Show the table, forgetting the way here."""
        raise NotImplementedError

    def tell(self) -> None:
        """Bring the lines above and below up to date."""
        raise NotImplementedError

    def failed(self, error: BaseException) -> None:
        """Say that something went wrong."""
        raise NotImplementedError

    def note(self, do: str, **values: Any) -> None:
        """Keep a step in the log of what is open."""
        raise NotImplementedError

    def all_read(self) -> bool:
        """Whether all rows are there; says so where they aren't: what counts them all would count some."""
        if self.opened is not None and self.opened.reading == "now":
            self.studio.tell("The rows are still being read; this needs all of them. esc stops reading.", "warning")
            return False
        return self.opened is not None

    # -- through a model's eyes --------------------------------------------------------------------------------------
    def _with_lens(self, then: Any) -> None:
        """Call THEN() once tokenizer and template are there; loads them off the thread."""
        opened = self.opened
        if opened is None:
            return
        shape, key = opened.shape, lens_key(self.at_hand(opened.source))
        if shape is None:
            self.studio.tell(f"{opened.unmapped} c chooses the columns.", "warning")
            return
        suited = opened.suited(self.at_hand(opened.source))
        if suited is not None and key[0] != suited:  # the recipe at hand is of other rows: its model alone counts
            key = (suited, key[1], None, key[3], key[4], {})
        if opened.lens is not None and opened.lens_key == key:
            then()
            return

        def done(lens: Any) -> None:
            opened.look_through(lens)
            opened.lens_key = key
            then()

        self.background.start(
            "count",
            f"loading the tokenizer of {one_line(key[1], 40)}",
            lambda _: make_lens(key, shape),
            done,
            self.failed,
        )
        self.tell()

    def action_tokens(self) -> None:
        """The row at hand in tokens."""
        if self.opened is not None and len(self.opened.sheet):
            self._with_lens(self._tokens)

    def _tokens(self, stay: bool = False) -> None:
        opened, number = self.opened, self.grid.row_number
        if opened is None or opened.lens is None or opened.shape is None or number is None:
            return
        lens, shape, limit = opened.lens, opened.shape, opened.max_length

        def done(view: TokenView) -> None:
            self.query_one(TokenPage).show(view, lens.said(limit), texts, stay=stay)
            if self.view != "tokens":
                self.show_view("tokens")
            self.tell()

        row = opened.sheet.read(number)
        texts = list(texts_in(row))
        if opened.sheet.fault:
            self.tell()
        elif len(row_text(row)) < BIG_ROW:
            try:
                done(lens.view(opened.dataset, number, shape, limit))
            except StudioError as error:
                self.failed(error)
        else:
            self.background.start(
                "count",
                "tokenising the row",
                lambda _: lens.view(opened.dataset, number, shape, limit),
                done,
                self.failed,
            )

    def action_way(self) -> None:
        """Tell tokens apart in another way."""
        self.query_one(TokenPage).next_way()

    def action_cut(self) -> None:
        """Try the next max_length."""
        opened = self.opened
        if opened is None or opened.lens is None:
            return
        opened.max_length = next_cut(opened.max_length, opened.lens.limit)
        if self.view == "tokens":
            self._tokens(stay=True)
        else:
            self.action_lengths()

    def _with_tokens(self, then: Any, needed: bool = True) -> None:
        """Call THEN(encoded) once all rows are tokenised with the present cut; with None where the task can't, and
        they are not NEEDED."""
        opened = self.opened
        if opened is None or opened.lens is None or opened.shape is None:
            return
        lens, shape, limit = opened.lens, opened.shape, opened.max_length
        if limit in opened.encoded:
            then(opened.encoded[limit])
            return

        def run(work: Work) -> Any:
            try:
                return lens.encode(opened.used, shape, limit, work.progress, work.cancel)
            except StudioError as error:
                if needed or isinstance(error, Stopped):
                    raise
                return None

        def done(encoded: Any) -> None:
            if encoded is not None:
                opened.encoded[limit] = encoded
            then(encoded)

        self.background.start("count", f"tokenising {len(opened.used):,} rows", run, done, self.failed)
        self.tell()

    def action_lengths(self) -> None:
        """Lengths in tokens."""
        if self.all_read():
            self._with_lens(lambda: self._with_tokens(self._lengths))

    def _lengths(self, encoded: Any) -> None:
        opened = self.opened
        if opened is not None and opened.lens is not None:
            limit = opened.max_length
            said, task = opened.lens.said(limit), opened.lens.task
            parted = task.generates and (opened.shape is None or opened.shape.name != "text")
            self.query_one(LengthsPage).show(encoded, limit, said, parted=parted, windows=task.name in IN_WINDOWS)
            self.show_view("lengths")

    # -- figures and checks ------------------------------------------------------------------------------------------
    def action_statistics(self) -> None:
        """Figures of all columns."""
        opened = self.opened
        if opened is None or not self.all_read():
            return

        def done(found: tuple[Any, Mixture]) -> None:
            opened.stats, opened.mixture = found
            self.query_one(StatsPage).show(found[0], self.grid.column, found[1])
            self.show_view("stats")
            self.note("describe")

        if opened.stats is not None and opened.mixture is not None:
            done((opened.stats, opened.mixture))
            return

        def run(work: Work) -> tuple[Any, Mixture]:
            stats = opened.stats or column_stats(opened.used, progress=work.progress, cancel=work.cancel)
            return stats, mixture(opened.used, opened.shape, cancel=work.cancel)

        self.background.start("count", "counting values", run, done, self.failed)
        self.tell()

    def action_column(self, by: int) -> None:
        """Another column's values."""
        self.query_one(StatsPage).choose(by)

    def action_checks(self) -> None:
        """What is wrong with the rows."""
        opened = self.opened
        if opened is None or not self.all_read():
            return
        if opened.checks is not None:
            self._checked(opened.checks)
        elif opened.shape is None:  # nothing to tokenise: what the reader found is told all the same
            self._check(None)
        else:
            self._with_lens(lambda: self._with_tokens(self._check, needed=False))

    def _check(self, encoded: Any) -> None:
        opened = self.opened
        if opened is None:
            return
        lens, limit, recipe = opened.lens, opened.max_length, self.at_hand(opened.source)

        def run(work: Work) -> list[Check]:
            held_out = held_out_of(opened.source, recipe)
            other = None
            if held_out is not None and opened.shape is not None:
                other = mapped_alike(held_out, opened.columns, opened.meant.task)
            found = run_checks(
                opened.used, opened.shape, template=lens.template if lens else None,
                tokenizer=lens.tokenizer if lens else None, encoded=encoded, max_length=limit,
                held_out=held_out, held_out_shape=other, progress=work.progress, cancel=work.cancel,
            )  # fmt: skip

            def by_task(name: str, rows: Dataset, shape: Shape, sure: bool) -> list[Check]:
                task = tasks.get(name)
                if recipe is not None and name == recipe.task and opened.task is not None:
                    try:
                        task = task.bound(recipe.options)
                    except UsageError:  # the recipe's own step tells which option is wrong
                        return []
                return checks_of(task, rows, shape, sure, progress=work.progress, cancel=work.cancel)

            return with_task(found, opened.used, opened.meant, CHECKS, by_task)

        self.background.start("count", "checking the rows", run, self._checked, self.failed)
        self.tell()

    def _checked(self, checks: list[Check]) -> None:
        if self.opened is not None:
            self.opened.checks = checks
            self.query_one(ChecksTable).fill(checks, self.opened.accepted(self.session.recipe))
            self.show_view("checks")

    def action_accept_check(self) -> None:
        """Accept the errors of the check at hand, so that they don't stop a run; or no more."""
        opened, table = self.opened, self.query_one(ChecksTable)
        check = table.at_hand
        if opened is None or check is None:
            return
        if check.severity != "error":
            self.studio.tell("Only errors need to be accepted: this doesn't stop a run.")
            return
        if check.name in FINAL:
            self.studio.tell(WAY_OUT, "warning")
            return
        names = [name for name in opened.accepted(self.session.recipe) if name != check.name]
        if len(names) == len(opened.accepted(self.session.recipe)):
            names.append(check.name)
        opened.to_accept = names
        recipe = self.session.recipe
        if recipe is not None and recipe.data.train == opened.source:
            self.session.recipe = recipe.with_changes({"data.accepted": names})
        table.fill(table.checks, names)
        taken = check.name in names
        word = check.name.replace("_", " ")
        self.studio.tell(f"{word} is accepted: the recipe keeps it." if taken else f"{word} stops a run again.")

    def on_table_moved(self, event: Any) -> None:
        event.stop()
        self.tell()

    def on_table_chosen(self, event: Table.Chosen) -> None:
        event.stop()
        self.enter_table(event.table)

    def enter_table(self, table: Table) -> None:
        """What is under TABLE's cursor was chosen."""
        self.action_check_rows()

    def action_check_rows(self) -> None:
        """The rows that the check at hand found."""
        opened, check = self.opened, self.query_one(ChecksTable).at_hand
        if opened is None or check is None:
            return
        if check.name in BY_LINE:
            kept = check.name == "ragged"
            found = [problem for problem in opened.base.problems if problem.kept is kept]
            self.query_one(ProblemsPage).show(found, check.count - len(found), "" if kept else opened.kept)
            self.show_view("problems")
        elif check.rows:
            self.finder.only(opened, check.name.replace("_", " "), opened.places(check.rows))
            self.back_to_table()
