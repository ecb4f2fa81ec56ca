"""The screen Errors: what a model answers on the held-out rows, sorted by what is wrong with it."""

from __future__ import annotations

import time

from textual import events
from textual.app import ComposeResult

from ftstudio.core.errors import StudioError
from ftstudio.core.recipe import Recipe
from ftstudio.evaluation.categories import Categorised
from ftstudio.ui.common.background import Background
from ftstudio.ui.errors import actions, told
from ftstudio.ui.errors.answers import Answers
from ftstudio.ui.errors.confusion_page import ConfusionPage
from ftstudio.ui.errors.correcting import Correcting
from ftstudio.ui.errors.detail import Detail
from ftstudio.ui.errors.editing import EditText
from ftstudio.ui.errors.groups_page import GroupsPage
from ftstudio.ui.errors.lists import Lists
from ftstudio.ui.errors.reading import Reading
from ftstudio.ui.errors.subject import Subject
from ftstudio.ui.errors.training_page import TrainingPage
from ftstudio.ui.shell.actions import Action, bindings
from ftstudio.ui.text.copying import copy
from ftstudio.ui.text.following import pending
from ftstudio.ui.text.lines import Line
from ftstudio.ui.text.panes import Panes
from ftstudio.ui.text.said import Said
from ftstudio.ui.text.table import Table


class ErrorsScreen(Correcting):
    """Categories and rows; a row in full; a person's tags."""

    MODE = "errors"
    SHOWS_RUN = True
    TITLE_TEXT = "Errors: what is wrong with the answers"
    HELP = """
The model answers rows it has never seen (held-out rows), and every answer goes through checks: is it empty, too long, \
cut off, does it loop, misspell, copy the prompt, break the format? Each check is a category.

refs is how often the same check fires on the reference answers, which are right by definition. A check that fires on \
them as often says nothing about the model; lift says how many times as often it fires on the model's answers (∞: \
never on the references). The 95 % interval is where the true rate lies, given how few rows these are.

Checks can be wrong: in a row, capital letters put it into a category or take it out. Your word wins and is marked ✎; \
everything is kept in tags.jsonl beside the answers. Rows you have not looked at come first, in the order that o \
chooses. Base is the model before fine-tuning, tuned the run's result.

t leads from a row, or a whole category, to the training rows: the nearest ones, and those whose answers have the \
same fault, which the model may have learnt there. Drop or edit them, save a version of the data, and train on it. \
m groups answers by meaning, to find a fault that no check knows; of labels it shows which is taken for which, and r \
there how far the probabilities can be believed. \
e types in the answer a row should have had, w lets a model suggest one, \
a makes it a training row, j jots down a note, c writes a category of your own. Of labels in doubt h takes the \
likelier one. After a run on a repaired version f tells, category by category, whether the repair did what it was \
meant to.
"""
    ACTIONS = actions.ALL_ACTIONS
    BINDINGS = bindings(*ACTIONS)
    DEFAULT_CSS = """
    ErrorsScreen #errors-head { height: 2; }
    ErrorsScreen #errors-empty { height: 1fr; padding: 1 2; }
    ErrorsScreen.-wide #errors-lists, ErrorsScreen.-huge #errors-lists { margin-top: 1; }
    ErrorsScreen.-wide #errors-categories { width: 53; margin-right: 2; }
    ErrorsScreen.-huge #errors-categories { width: 68; margin-right: 3; }
    """

    def __init__(self) -> None:
        super().__init__()
        self.subject = Subject()
        self.background = Background(self)
        self.limit: int | None = None
        self._was_asked = False

    def compose_body(self) -> ComposeResult:
        yield Said(id="errors-head", grow=True)
        yield Said(id="errors-empty")
        yield Lists()
        yield Detail()
        yield TrainingPage()
        yield GroupsPage()
        yield ConfusionPage()

    def on_mount(self) -> None:
        self.reading = Reading(self.lists, self.query_one(Detail))
        self.reading.look_up = self._look_up
        self.reading.detail.display = False
        self.lists.display = False
        self.page: TrainingPage | GroupsPage | ConfusionPage | None = None  # shown instead of lists and row
        self._behind_page = False  # a row is read behind it
        self._left = self.lists.categories  # the list that had the keys before
        self.training_page.display = self.groups_page.display = self.confusion_page.display = False
        self.lists.categories.focus()

    @property
    def answers(self) -> Answers | None:
        """The answers in view."""
        return self.subject.answers

    # -- bringing up to date -----------------------------------------------------------------------------------------
    def pull(self) -> None:
        draft = self.subject.recipes.wanted(self.session)
        if draft is not None:
            self._resolve(draft)
        before = self.subject.source
        error = self.subject.choose(self.session)
        other = self.subject.source != before
        if other:
            self.close_page()
            self._close()
            self.lists.begin(self.answers)
        answers = self.answers
        if answers is None:
            self._show_opening(error)
            return
        if other:
            self.call_after_refresh(self.refresh_shell)
        changed = answers.poll()
        if answers.behind:
            self._judge(answers)
        asked = self.asked
        if changed or other or asked or self._was_asked:
            self._show()
        self._was_asked = asked

    def _resolve(self, draft: Recipe) -> None:
        """Open the draft's data in a thread: only then is it known where its answers are."""
        recipes = self.subject.recipes
        recipes.draft, recipes.found = draft, None

        def work() -> None:
            found: Recipe | StudioError
            try:
                found = recipes.resolve(draft)
            except Exception as error:  # told on screen: a fault here must not end the studio
                found = StudioError(
                    f"The recipe can't be opened ({type(error).__name__}: {error}).", "Try another one."
                )
            self.app.call_from_thread(done, found)

        def done(found: Recipe | StudioError) -> None:
            if recipes.draft is draft:
                recipes.found = found
                if self.is_current:
                    self.pull()

        self.run_worker(work, thread=True, group="resolve")

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

    @property
    def asked(self) -> bool:
        """Whether the worker was asked for what is in view and hasn't begun."""
        answers = self.answers
        return answers is not None and not answers.following.running and pending(self.session, answers.folder.path)

    # -- showing -----------------------------------------------------------------------------------------------------
    def _show(self) -> None:
        answers = self.answers
        if answers is None or not answers.predictions:
            self._show_opening(None)
            return
        self.query_one("#errors-empty").display = False
        self.lists.show(answers)
        self._show_head()
        if self.page is not None:
            self.page.show()
            return
        if not self.reading.open:
            self.lists.display = True
        elif not self.reading.show(stay=True):
            self._close()

    def _show_head(self) -> None:
        answers = self.answers
        lines: list[Line] = []
        if answers is not None:
            width = self.app.size.width - 3
            state = told.status(answers, self.session, self.asked, self.subject.kind, width, self.background.text)
            lines = [told.head(answers, self.lists.wrong, width), *state]
        self.query_one("#errors-head", Said).say(*lines)

    def show_state(self) -> None:
        if not self.is_mounted:
            return
        self.reading.doing = self.background.text
        if self.page is not None:
            self.page.doing = self.background.text
            self.page.show()
        elif self.reading.open:
            self.reading.show(stay=True)
        else:
            self._show_head()
        self.refresh_shell()

    def _show_opening(self, error: StudioError | None) -> None:
        self.close_page()
        self._close()
        self.lists.display = False
        recipe = self.subject.recipe
        rows = self.limit or (recipe.evaluation.rows if recipe else 0)
        waiting = self.subject.resolving(self.session)
        empty = self.query_one("#errors-empty", Said)
        empty.display = True
        width = self.app.size.width - 7
        other = self.subject.other(self.session)
        empty.say(*told.opening(self.answers, rows, error, waiting, self.asked, other, width))
        self._show_head()

    def on_lists_opened(self, event: Lists.Opened) -> None:
        self.lists.display = False
        self.query_one("#errors-head").display = False
        self.reading.detail.display = True
        self.reading.show()
        self.query_one("#detail-panes").focus()
        self.refresh_shell()

    def open_page(self, page: TrainingPage | GroupsPage | ConfusionPage) -> None:
        self._behind_page = self.reading.open
        self._left = self.lists.categories if self.lists.categories.has_focus else self.lists.table
        self.page = page
        for other in (self.lists, self.reading.detail, self.query_one("#errors-head")):
            other.display = False
        page.display = True
        self.refresh_shell()

    def close_page(self) -> None:
        page, self.page = self.page, None
        if page is None:
            return
        page.display = False
        for group in ("training", "near", "faults", "groups"):
            self.background.stop(group)
        if self._behind_page:
            self.reading.detail.display = True
            self.query_one("#detail-panes").focus()
        else:
            self.lists.display = self.query_one("#errors-head").display = True
            self._left.focus()
        self.refresh_shell()

    def trained_on(self) -> Recipe | None:
        answers = self.answers
        if answers is not None and answers.recipe is not None:
            return answers.recipe
        recipe = self.subject.recipes.base(self.session)
        return recipe if isinstance(recipe, Recipe) else None

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Several keys mean another thing on a page than in a row."""
        own = {one.run.partition("(")[0] for one in self.ACTIONS}
        return action not in own or action in {one.run.partition("(")[0] for one in self._working()}

    def _of_page(self) -> tuple[Action, ...]:
        if self.page is self.confusion_page:
            return actions.IN_RELIABILITY if self.confusion_page.bars.display else actions.IN_CONFUSION
        if self.page is not self.training_page:
            return actions.IN_GROUPS
        return self._shown(actions.IN_TRAINING, actions.LABELS_IN_TRAINING)

    def _shown(self, usual: tuple[Action, ...], labels: tuple[Action, ...]) -> tuple[Action, ...]:
        return labels if self.labelled else tuple(one for one in usual if one is not actions.RELABEL)

    def _working(self) -> tuple[Action, ...]:
        """What works in the view shown, told on the key line or not."""
        if self.is_mounted and self.page is not None:
            return (*self._of_page(), actions.STOP)
        return tuple(one for one in self.ACTIONS if one not in actions.IN_A_PAGE)

    def _look_up(self, words: list[str], language: str, known: tuple[str, ...]) -> None:
        """What WORDS may have been meant to be, off the screen's thread: 20 ms each."""

        def work() -> None:
            from ftstudio.evaluation import spelling

            found = {word: spelling.suggestions(word, language, known) for word in words}
            self.app.call_from_thread(done, found)

        def done(found: dict[str, list[str]]) -> None:
            self.reading.meant |= found
            if self.is_current and self.reading.open and self.page is None:
                self.reading.show(stay=True)

        self.run_worker(work, thread=True, group="spelling", exit_on_error=False)

    def leave_row(self) -> None:
        self._close()
        self.lists.table.focus()

    def _close(self) -> None:
        """From the row in full back to the lists."""
        if self.reading.open:
            self.reading.detail.display = False
            self.query_one("#errors-head").display = True
            self.lists.display = True
            self.lists.table.focus()
            self.refresh_shell()

    def current_actions(self) -> tuple[Action, ...]:
        if self.is_mounted and self.page is not None:
            return (*((actions.STOP,) if self.background.running else ()), *self._of_page())
        if self.is_mounted and self.reading.open:
            busy = (actions.STOP,) if self.background.running else ()
            return busy + self._shown(actions.IN_DETAIL, actions.LABELS_IN_DETAIL)
        answers = self.answers
        model = (actions.MODEL,) if self.subject.other(self.session) else ()
        if answers is None:
            return (actions.FILE, *model)
        running = answers.following.running or self.asked
        work: tuple[Action, ...] = (actions.FILE,)
        if self.subject.kind != "stored":
            work = (actions.STOP if running else actions.ANSWER, actions.ROWS, actions.FILE)
        if not answers.predictions:
            return (*work, *model)
        if self.background.running and actions.STOP not in work:
            work = (actions.STOP, *work)
        return (
            actions.OPEN,
            *model,
            actions.TRAINING,
            actions.ORDER,
            actions.GROUPS,
            *work,
            *((actions.EXPORT,) if answers.corrected is not None else ()),
            *((actions.OWN,) if answers.context is not None else ()),
            actions.OUTCOME,
            actions.UNDO,
        )

    def on_resize(self, event: events.Resize) -> None:
        if self.is_mounted:
            self.call_after_refresh(self._show)

    # -- a row in full -----------------------------------------------------------------------------------------------
    def action_open(self) -> None:
        """What enter does where a list has no focus."""
        focused = self.focused
        if self.reading.open and self.page is None:
            self.action_agree()
        elif isinstance(focused, Table):
            focused.action_choose()
        elif self.answers is not None and self.answers.predictions:
            self.lists.categories.focus()
        else:
            self.action_answer()

    def action_nothing(self) -> None:
        """Capital letters come by `on_key`."""

    def on_key(self, event: events.Key) -> None:
        """Capital letters tag the row that is shown in full."""
        letter = event.character or ""

        def tag() -> None:
            if self.reading.toggle(letter):
                event.stop()
                event.prevent_default()

        self.attempt(tag)

    def action_next(self, by: int) -> None:
        """The next row of the filter, or the one before."""
        self.reading.step(by)

    def action_agree(self) -> None:
        """Looked at, nothing to change."""
        if self.attempt(lambda: self.reading.decide(lambda answers, row: answers.agree(row))):
            self.reading.step(1)

    def action_note(self) -> None:
        """A note on the row, kept among the tags."""
        answers, prediction = self.answers, self.reading.prediction
        if answers is None or prediction is None or not self.reading.open:
            return

        def written(text: str | None) -> None:
            if text is not None and self.attempt(lambda: answers.note(prediction.row, text.strip())):
                self.lists.show_categories()
                self.reading.show(stay=True)

        title = f"Your note on row {prediction.row}"
        self.studio.push_screen(EditText(title, answers.noted(prediction.row), f"Output: {prediction.output}"), written)

    def action_automatic(self) -> None:
        """The detectors decide again."""

        def automatic() -> None:
            if self.reading.decide(lambda answers, row: answers.automatic(row)) is False:
                self.studio.tell("You have set no tag on this row.")

        self.attempt(automatic)

    def action_undo(self) -> None:
        """Take the last tag back, and show the row it was about."""

        def undo() -> None:
            if not self.reading.undo():
                self.studio.tell("Nothing to undo: no tag was set since the answers were opened.")
            self._show_head()

        self.attempt(undo)

    def action_difference(self) -> None:
        """What differs from the reference, or what the detectors saw."""
        if self.reading.open:
            self.reading.difference = not self.reading.difference
            self.reading.show()

    def action_fold(self) -> None:
        """The whole prompt, or as much as leaves room for the output."""
        if self.reading.open:
            self.query_one("#detail-panes", Panes).toggle_fold()
        elif self.page is not None:
            self.page.query_one(Panes).toggle_fold()

    def action_copy(self) -> None:
        """Clipboard and file."""
        text = self.reading.text()
        if text:
            self.attempt(lambda: copy(self.studio, text, self.session.workspace.path))

    def action_back(self) -> None:
        """From a page to where one was, from a row to the list, from the rows to the categories."""
        if self.page is not None:
            self.close_page()
            self._show()
        elif self.reading.open:
            self._close()
            self._show()
        elif self.lists.table.has_focus:
            self.lists.categories.focus()
