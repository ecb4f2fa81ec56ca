"""The screen Errors: what a model answers on the held-out rows, sorted by what is wrong with it."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from textual import events
from textual.app import ComposeResult

from ftstudio.core.errors import StudioError
from ftstudio.core.jobs import Answer
from ftstudio.core.recipe import Recipe
from ftstudio.core.text import clean
from ftstudio.evaluation.categories import Categorised
from ftstudio.ui.errors import actions, marks, told
from ftstudio.ui.errors.answers import Answers
from ftstudio.ui.errors.detail import Detail
from ftstudio.ui.errors.export import export
from ftstudio.ui.errors.lists import Lists
from ftstudio.ui.shell.actions import Action, bindings
from ftstudio.ui.shell.screen import StudioScreen
from ftstudio.ui.text.asking import ask_rows
from ftstudio.ui.text.copying import copy, shown
from ftstudio.ui.text.following import pending
from ftstudio.ui.text.lines import Line
from ftstudio.ui.text.panes import Panes
from ftstudio.ui.text.recipes import Recipes, Source, base_source, tuned_source
from ftstudio.ui.text.said import Said
from ftstudio.ui.text.table import Table


class ErrorsScreen(StudioScreen):
    """Categories and rows; a row in full; a person's tags."""

    MODE = "errors"
    TITLE_TEXT = "Errors: what is wrong with the answers"
    HELP = """
The model answers rows it has never seen (held-out rows), and every answer goes through checks: is it empty, too long, \
cut off, does it loop, misspell, copy the prompt, break the format? Each check is a category.

refs is how often the same check fires on the reference answers, which are right by definition. A check that fires on \
them as often says nothing about the model; lift says how many times as often it fires on the model's answers. The \
95 % interval is where the true rate lies, given how few rows these are.

Checks can be wrong: in a row, capital letters put it into a category or take it out. Your word wins and is marked ✎; \
everything is kept in tags.jsonl beside the answers. Base is the model before fine-tuning, tuned the run's result.
"""
    ACTIONS = actions.ALL_ACTIONS
    BINDINGS = bindings(*ACTIONS)
    DEFAULT_CSS = """
    ErrorsScreen #errors-head { height: 2; }
    ErrorsScreen #errors-empty { height: 1fr; padding: 1 2; }
    """

    def __init__(self) -> None:
        super().__init__()
        self.answers: Answers | None = None
        self.tuned = False
        self.limit: int | None = None
        self.difference = False
        self._recipes = Recipes()
        self._source: Source | None = None
        self._opened: dict[Path, Answers] = {}
        self._was_asked = False

    def compose_body(self) -> ComposeResult:
        yield Said(id="errors-head", grow=True)
        yield Said(id="errors-empty")
        yield Lists()
        yield Detail()

    def on_mount(self) -> None:
        self.query_one(Detail).display = False
        self.query_one(Lists).display = False
        self.lists.categories.focus()

    @property
    def lists(self) -> Lists:
        """The two lists."""
        return self.query_one(Lists)

    # -- where the answers come from ---------------------------------------------------------------------------------
    def _choose(self) -> StudioError | None:
        """Look at the answers of the model that is chosen now; what is wrong with the recipe, if anything."""
        draft = self._recipes.wanted(self.session)
        if draft is not None:
            self._resolve(draft)
        tuned = tuned_source(self.session, self._recipes)
        self.tuned = self.tuned and tuned is not None
        recipe = self._recipes.base(self.session)
        error = recipe if isinstance(recipe, StudioError) and not self.tuned else None
        source = tuned if self.tuned else base_source(self.session, recipe) if isinstance(recipe, Recipe) else None
        if source != self._source:
            self._source = source
            self.answers = None
            if source is not None:
                known = self._opened.get(source.path)
                if known is None or known.recipe != source.recipe:
                    known = self._opened[source.path] = Answers(source.folder, source.model, source.recipe)
                self.answers = known
            self._close()
            self.lists.begin(self.answers)
        return error

    def _resolve(self, draft: Recipe) -> None:
        """Open the draft's data in a thread: only then is it known where its answers are."""
        recipes = self._recipes
        recipes.draft, recipes.found = draft, None

        def work() -> None:
            found = recipes.resolve(draft)
            self.app.call_from_thread(done, found)

        def done(found: Recipe | StudioError) -> None:
            if recipes.draft is draft:
                recipes.found = found
                if self.is_current:
                    self.pull()

        self.run_worker(work, thread=True, group="resolve")

    def pull(self) -> None:
        before = self._source
        error = self._choose()
        answers = self.answers
        if answers is None:
            self._show_opening(error)
            return
        changed = answers.poll()
        if answers.behind:
            self._judge(answers)
        asked = self.asked
        if changed or before != self._source or asked or self._was_asked:
            self._show()
        self._was_asked = asked

    def _judge(self, answers: Answers) -> None:
        version, predictions = answers.begin()

        def judge() -> None:
            began = time.monotonic()
            found: Categorised | None = None
            error: Exception | None = None
            try:
                found = answers.categorise(predictions)
            except Exception as caught:  # told on screen, not lost in a thread
                error = caught
            self.app.call_from_thread(done, found, error, time.monotonic() - began)

        def done(found: Categorised | None, error: Exception | None, seconds: float) -> None:
            answers.finish(version, found, seconds)
            if error is not None:
                self.studio.show_error(error)
            if self.answers is answers and self.is_current:
                self._show()

        self.run_worker(judge, thread=True, group="categorise", exit_on_error=False)

    # -- showing -----------------------------------------------------------------------------------------------------
    @property
    def in_detail(self) -> bool:
        """Whether a row is shown in full."""
        return bool(self.query_one(Detail).display)

    @property
    def asked(self) -> bool:
        """Whether the worker was asked for what is in view and hasn't begun."""
        answers = self.answers
        return answers is not None and not answers.following.running and pending(self.session, answers.folder.path)

    def _show(self) -> None:
        answers = self.answers
        if answers is None or not answers.predictions:
            self._show_opening(None)
            return
        self.query_one("#errors-empty").display = False
        self.lists.show(answers)
        self._show_head()
        if self.in_detail:
            self._show_detail(stay=True)
        else:
            self.lists.display = True

    def _show_head(self) -> None:
        answers = self.answers
        lines: list[Line] = []
        if answers is not None:
            state = told.status(answers, self.session, self.asked, self.app.size.width - 3)
            lines = [told.head(answers, self.lists.wrong), *state]
        self.query_one("#errors-head", Said).say(*lines)

    def _show_opening(self, error: StudioError | None) -> None:
        self._close()
        self.lists.display = False
        recipe = self._source.recipe if self._source else None
        other = (
            "" if tuned_source(self.session, self._recipes) is None else "base model" if self.tuned else "tuned model"
        )
        waiting = self.session.recipe is not None and self._recipes.base(self.session) is None
        rows = self.limit or (recipe.evaluation.rows if recipe else 0)
        empty = self.query_one("#errors-empty", Said)
        empty.display = True
        width = self.app.size.width - 7
        empty.say(*told.opening(self.answers, rows, error, waiting, self.asked, other, width))
        self._show_head()

    # -- a row in full -------------------------------------------------------------------------------------------------
    def on_lists_opened(self, event: Lists.Opened) -> None:
        self.lists.display = False
        self.query_one("#errors-head").display = False
        self.query_one(Detail).display = True
        self._show_detail()
        self.query_one(Panes).focus()
        self.refresh_shell()

    def _show_detail(self, *, stay: bool = False) -> None:
        answers, lists = self.answers, self.lists
        row = lists.row
        prediction = answers.predictions.get(row) if answers and row is not None else None
        if answers is None or row is None or prediction is None:
            self._close()
            return
        place = f"{lists.rows.index(row) + 1} of {len(lists.rows)} · " if row in lists.rows else "no longer in "
        self.query_one(Detail).show(
            prediction,
            answers.findings(row),
            answers.names(row),
            answers.tags.of(row),
            place + lists.title,
            answers.reviewed,
            difference=self.difference,
            stay=stay,
        )

    def _close(self) -> None:
        if self.in_detail:
            self.query_one(Detail).display = False
            self.query_one("#errors-head").display = True
            self.lists.display = True
            self.lists.table.focus()
            self.refresh_shell()

    def current_actions(self) -> tuple[Action, ...]:
        if self.in_detail:
            return actions.IN_DETAIL
        answers = self.answers
        if answers is None:
            return ()
        work = (
            actions.STOP if answers.following.running or self.asked else actions.ANSWER,
            actions.MODEL,
            actions.ROWS,
        )
        return (actions.OPEN, *work, actions.EXPORT, actions.UNDO) if answers.predictions else work

    def on_resize(self, event: events.Resize) -> None:
        if self.is_mounted:
            self.call_after_refresh(self._show)

    # -- actions -----------------------------------------------------------------------------------------------------
    def action_open(self) -> None:
        """What enter does where a list has no focus."""
        focused = self.focused
        if isinstance(focused, Table):
            focused.action_choose()
        elif self.answers is not None and self.answers.predictions:
            self.lists.categories.focus()
        else:
            self.action_answer()

    def action_nothing(self) -> None:
        """Capital letters come by `on_key`."""

    def action_answer(self) -> None:
        """Hand the job to the worker."""
        answers, source = self.answers, self._source
        if answers is None or source is None:
            return
        if source.recipe is None:
            self.studio.tell("The recipe of this run can't be read, so nothing can be answered.", "warning")
            return
        if answers.following.running or self.asked:
            self.studio.tell("The answers are being made already.")
            return
        try:
            self.session.submit(Answer(answers.folder.path, source.recipe, source.run, self.limit))
        except StudioError as error:
            self.studio.show_error(error)
            return
        self._show()
        self.refresh_shell()

    def action_stop(self) -> None:
        """Ask the worker to stop; it keeps what was answered."""
        answers = self.answers
        if answers is not None and (answers.following.running or self.asked):
            try:
                answers.folder.request("stop")
            except StudioError as error:
                self.studio.show_error(error)
                return
            self.studio.tell("Stopping after the answers at hand.")

    def action_other_model(self) -> None:
        """Base or tuned."""
        if not self.tuned and tuned_source(self.session, self._recipes) is None:
            self.studio.tell("No run with a tuned model is in view: 6 opens one, 4 trains one.")
            return
        self.tuned = not self.tuned
        self.pull()
        self.refresh_shell()

    def action_limit(self) -> None:
        """Ask how many rows are answered."""
        recipe = self._source.recipe if self._source else None

        def chosen(rows: int | None) -> None:
            self.limit = rows
            self._show()

        ask_rows(self.studio, self.limit or (recipe.evaluation.rows if recipe else 200), chosen)

    def action_next(self, by: int) -> None:
        """The next row of the filter, or the one before."""
        lists = self.lists
        if not self.in_detail or not lists.rows:
            return
        here = lists.rows.index(lists.row) if lists.row in lists.rows else 0
        row = lists.rows[max(0, min(here + by, len(lists.rows) - 1))]
        if row != lists.row:
            lists.go(row)
            self._show_detail()

    def on_key(self, event: events.Key) -> None:
        """Capital letters tag the row that is shown in full."""
        character = event.character or ""
        category = marks.keys().get(character) if self.in_detail and character.isupper() else None
        if category is not None:
            event.stop()
            event.prevent_default()
            self._decide(lambda answers, row: answers.toggle(row, category.name))

    def _decide(self, decision: Callable[[Answers, int], object]) -> object:
        """Let DECISION change the tags of the row in full and show what came of it; what it gave back, None if nothing.

        The list of rows stays as it is, so that `n` goes on where one was.
        """
        answers, row = self.answers, self.lists.row
        if not self.in_detail or answers is None or row is None:
            return None
        try:
            result = decision(answers, row)
        except StudioError as error:
            self.studio.show_error(error)
            return None
        self._after_decision()
        return result

    def _after_decision(self) -> None:
        self.lists.show_categories()
        self._show_head()
        if self.in_detail:
            self._show_detail(stay=True)

    def action_agree(self) -> None:
        """Looked at, nothing to change."""
        if self._decide(lambda answers, row: answers.agree(row)):
            self.action_next(1)

    def action_automatic(self) -> None:
        """The detectors decide again."""
        if self._decide(lambda answers, row: answers.automatic(row)) is False:
            self.studio.tell("You have set no tag on this row.")

    def action_undo(self) -> None:
        """Take the last tag back, and show the row it was about."""
        if self.answers is None:
            return
        try:
            row = self.answers.undo()
        except StudioError as error:
            self.studio.show_error(error)
            return
        if row is None:
            self.studio.tell("Nothing to undo: no tag was set since the answers were opened.")
            return
        if self.in_detail:
            self.lists.go(row)
        self._after_decision()

    def action_difference(self) -> None:
        """What differs from the reference, or what the detectors saw."""
        if self.in_detail:
            self.difference = not self.difference
            self._show_detail()

    def action_fold(self) -> None:
        """The whole prompt, or as much as leaves room for the output."""
        if self.in_detail:
            self.query_one(Panes).toggle_fold()

    def action_copy(self) -> None:
        """Clipboard and file."""
        answers = self.answers
        row = self.lists.row
        prediction = answers.predictions.get(row) if answers and row is not None else None
        if answers is None or prediction is None:
            return
        parts = [("prompt", prediction.prompt), ("reference", prediction.reference), ("output", prediction.output)]
        text = "\n\n".join(f"--- {title}\n{clean(part)}" for title, part in parts if part is not None)
        try:
            copy(self.studio, f"row {prediction.row} · {answers.model}\n\n{text}\n", self.session.workspace.path)
        except StudioError as error:
            self.studio.show_error(error)

    def action_export(self) -> None:
        """Table and rows as JSONL."""
        answers = self.answers
        if answers is None or answers.corrected is None:
            self.studio.tell("There is nothing to export yet.")
            return
        try:
            table, rows = export(answers)
        except StudioError as error:
            self.studio.show_error(error)
            return
        self.studio.tell(f"Written: {shown(table)} and {rows.name}")

    def action_back(self) -> None:
        """From a row to the list, from the rows to the categories."""
        if self.in_detail:
            self._close()
            self._show()
        elif self.lists.table.has_focus:
            self.lists.categories.focus()
