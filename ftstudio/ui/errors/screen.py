"""The screen Errors: what a model answers on the held-out rows, sorted by what is wrong with it."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from textual import events
from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical

from ftstudio.core.errors import StudioError
from ftstudio.core.jobs import Answer
from ftstudio.core.recipe import Recipe
from ftstudio.core.text import clean, one_line
from ftstudio.evaluation.categories import Categorised
from ftstudio.ui.errors import marks
from ftstudio.ui.errors.answers import ALL, CLEAN, Answers
from ftstudio.ui.errors.detail import Detail
from ftstudio.ui.errors.export import export
from ftstudio.ui.errors.source import Recipes, Source, base_source, tuned_source
from ftstudio.ui.shell.actions import Action, bindings
from ftstudio.ui.shell.dialogs import Prompt
from ftstudio.ui.shell.screen import StudioScreen
from ftstudio.ui.text.copying import copy, shown
from ftstudio.ui.text.following import queued_behind
from ftstudio.ui.text.lines import Line, Part
from ftstudio.ui.text.panes import Panes
from ftstudio.ui.text.said import Said, wrapped
from ftstudio.ui.text.table import Cells, Column, Table

OPEN = Action("enter", "open", "open", "see a category's rows, then a row in full")
ANSWER = Action("g", "answer", "answer", "let the model answer the held-out rows (those not answered yet)")
STOP = Action("s", "stop", "stop", "stop answering; what was answered is kept")
MODEL = Action("b", "other_model", "base/tuned", "switch between the base model and the tuned model of the run in view")
ROWS = Action("l", "limit", "rows", "how many held-out rows are answered")
EXPORT = Action("x", "export", "export", "write the category table and all rows as JSONL files")
NEXT = Action("n", "next(1)", "next", "the next row of this category")
PREVIOUS = Action("p", "next(-1)", "previous", "the row before")
TAG = Action("capitals", "nothing", "tag", "a capital letter puts the row into that category or takes it out")
AGREE = Action("space", "agree", "agree", "note that you looked and agree; go to the next row")
UNDO = Action("u", "undo", "undo", "take back your last tag")
AUTOMATIC = Action("r", "automatic", "automatic", "forget your tags on this row: the checks decide again")
DIFFERENCE = Action("d", "difference", "diff", "mark what differs from the reference, word by word")
FOLD = Action("z", "fold", "unfold", "show a shortened prompt in full")
COPY = Action("y", "copy", "copy", "copy prompt, reference and output (clipboard and a file)")
BACK = Action("escape", "back", "back", "back to the list")

ROW_COLUMNS = (Column("row", 5, "right"), Column("errors", 6), Column("prompt", 0, least=72), Column("output", 0))


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
    ACTIONS = (
        OPEN, ANSWER, STOP, MODEL, ROWS, NEXT, PREVIOUS, DIFFERENCE, TAG, AGREE, UNDO, AUTOMATIC, COPY, FOLD, EXPORT,
        BACK,
    )  # fmt: skip
    BINDINGS = bindings(*ACTIONS)
    DEFAULT_CSS = """
    ErrorsScreen #errors-head { height: 2; }
    ErrorsScreen #errors-lists { height: 1fr; }
    ErrorsScreen #errors-categories { width: 43; margin-right: 1; }
    ErrorsScreen.-wide #errors-categories { width: 55; margin-right: 2; }
    ErrorsScreen.-huge #errors-categories { width: 70; margin-right: 3; }
    ErrorsScreen #errors-help { height: 2; }
    ErrorsScreen #errors-empty { height: 1fr; padding: 1 2; }
    """

    def __init__(self) -> None:
        super().__init__()
        self.answers: Answers | None = None
        self.tuned = False
        self.limit: int | None = None
        self.filter = ALL
        self.difference = False
        self._recipes = Recipes()
        self._source: Source | None = None
        self._opened: dict[Path, Answers] = {}
        self._entries: list[dict[str, Any]] = []
        self._rows: list[int] = []
        self._judged: frozenset[int] = frozenset()  # rows the detectors have seen
        self._row: int | None = None
        self._asked: Path | None = None

    def compose_body(self) -> ComposeResult:
        yield Said(id="errors-head")
        yield Said(id="errors-empty")
        with Vertical(id="errors-list"):
            with Horizontal(id="errors-lists"):
                yield Table(
                    marks.CATEGORY_COLUMNS, lambda index: marks.cells(self._entries[index]), id="errors-categories"
                )
                yield Table(ROW_COLUMNS, self._row_cells, empty="no rows here", id="errors-rows")
            yield Said(id="errors-help")
        yield Detail(id="errors-detail")

    def on_mount(self) -> None:
        self.query_one(Detail).display = False
        self.query_one("#errors-list").display = False
        self.query_one("#errors-categories", Table).focus()

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
            self.filter, self._row = ALL, None
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
        changed = answers.poll() if answers is not None else False
        if answers is not None and answers.behind:
            self._judge(answers)
        if answers is None:
            self.query_one("#errors-head", Said).say()
            self._say_empty(error)
        elif changed or before != self._source or answers.following.running or self._asked:
            self._show()

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

    def _show(self) -> None:
        answers = self.answers
        self.query_one("#errors-head", Said).say(*self._head())
        if answers is None or not answers.predictions:
            self._say_empty()
            return
        self.query_one("#errors-empty").display = False
        if not self.in_detail:
            self.query_one("#errors-list").display = True
            self.query_one("#errors-head").display = True
        self._show_categories(answers)
        self._show_rows(answers)
        if self.in_detail:
            self._show_detail(stay=True)

    def _show_categories(self, answers: Answers) -> None:
        table = marks.ordered(answers.table())
        total = len(answers.predictions)
        clean_rows = len(answers.rows(CLEAN)) if table else 0
        self._judged = answers.judged
        judged = len(self._judged)
        first = {"name": ALL, "title": "All answers", "count": total, "rate": None}
        last = {
            "name": CLEAN,
            "title": "✓ Nothing found",
            "count": clean_rows,
            "rate": clean_rows / judged if judged else None,
        }
        self._entries = [first, *table, *([last] if table else [])]
        place = next((i for i, entry in enumerate(self._entries) if entry["name"] == self.filter), 0)
        self.query_one("#errors-categories", Table).show(len(self._entries), place)
        self._explain()

    def _show_rows(self, answers: Answers) -> None:
        self._rows = answers.rows(self.filter)
        place = self._rows.index(self._row) if self._row in self._rows else None
        table = self.query_one("#errors-rows", Table)
        table.empty = "categorising …" if self.filter != ALL and answers.corrected is None else "no rows here"
        table.show(len(self._rows), place)
        if self._rows and not self.in_detail:
            self._row = self._rows[table.cursor]

    def _row_cells(self, index: int) -> Cells:
        answers, row = self.answers, self._rows[index]
        prediction = answers.predictions.get(row) if answers else None
        if answers is None or prediction is None:
            return ("", "", "", "")
        names = answers.names(row)
        signs = marks.marks(names, answers.tags.of(row))
        output = one_line(prediction.output, 160)
        judged = answers.categorised is not None and row in self._judged
        return (
            (f"{row}", "dim"),
            (signs, "warn") if names else (signs or "✓", "good") if judged else (signs or "…", "dim"),
            (one_line(prediction.prompt, 160), "dim"),
            output if output else ("(empty)", "dim"),
        )

    def _head(self) -> list[Line]:
        answers, source = self.answers, self._source
        if answers is None or source is None:
            return []
        parts: list[Part] = [(one_line(source.model, 40), "title")]
        if answers.predictions:
            parts.append((f"  {len(answers.predictions)} rows answered", ""))
        if answers.corrected is not None:
            judged = len(answers.corrected.predictions)
            wrong = judged - len(answers.rows(CLEAN))
            if judged:
                parts.append((f" · {wrong} with errors ({100 * wrong / judged:.0f} %)", ""))
        if answers.reviewed:
            parts.append((f" · {answers.reviewed} reviewed {marks.PEN}", "key"))
        return [tuple(parts), self._status(answers)]

    def _status(self, answers: Answers) -> Line:
        following = answers.following
        if following.running:
            self._asked = None
            return (*following.bar(16), ("   s stops", "dim"))
        if self._asked == answers.folder.path:
            behind = queued_behind(self.session, answers.folder.path)
            if behind:
                return (("… queued behind ", "warn"), (one_line(behind, 60), ""), ("   s takes it back", "dim"))
            if self.session.current_folder() is not None:
                return (("▶ ", "good"), ("starting", ""))
            self._asked = None
        failed = following.failed_line()
        if failed:
            return failed
        if not answers.settled and answers.predictions:
            return (("categorising …", "dim"),)
        if following.alerts:
            return (("! ", "warn"), (following.alerts[-1], ""))
        if following.state == "stopped":
            return (("■ stopped; ", "dim"), ("g", "key"), (" goes on", "dim"))
        if following.state == "interrupted":
            return (("! was interrupted; ", "warn"), ("g", "key"), (" goes on", "dim"))
        return ()

    def _explain(self) -> None:
        entry = next((entry for entry in self._entries if entry["name"] == self.filter), None)
        self.query_one("#errors-help", Said).say(*wrapped(marks.explained(entry), self.app.size.width - 4))

    def _say_empty(self, error: StudioError | None = None) -> None:
        self.query_one("#errors-list").display = False
        self.query_one(Detail).display = False
        empty = self.query_one("#errors-empty", Said)
        empty.display = True
        source, answers = self._source, self.answers
        lines: list[Line] = [(("What does the model get wrong on your data?", "strong"),), ()]
        if error is not None:
            lines += [((one_line(error.message, 200), "bad"),), ((one_line(error.hint, 200), ""),)]
        elif self._recipes.base(self.session) is None and self.session.recipe is not None:
            lines += [(("opening the data of the recipe …", "dim"),)]
        elif source is None or answers is None:
            lines += [
                (("There is no recipe yet: it says which model and which data.", ""),),
                (),
                (("1", "key"), ("  opens a dataset      ", ""), ("3", "key"), ("  makes a recipe", "")),
                (("6", "key"), ("  opens an earlier run", "")),
            ]
        elif answers.following.running or self._asked == answers.folder.path:
            lines += [(("Answers appear here as they come.", ""),)]
        else:
            rows = self.limit or (source.recipe.evaluation.rows if source.recipe else 0)
            lines += [
                (("g", "key"), (f"  lets {one_line(source.model, 40)} answer the held-out rows, {rows} at most", "")),
                (("   and sorts what is wrong with the answers into categories", "dim"),),
                (("l", "key"), ("  sets how many rows", "")),
            ]
            if tuned_source(self.session, self._recipes) is not None:
                lines.append(
                    (("b", "key"), ("  looks at the base model" if self.tuned else "  looks at the tuned model", ""))
                )
            failed = answers.following.failed_line()
            if failed:
                lines += [(), failed]
        empty.say(*lines)

    # -- lists -------------------------------------------------------------------------------------------------------
    def on_table_moved(self, event: Table.Moved) -> None:
        if self.answers is None:
            return
        if event.table.id == "errors-categories":
            self.filter = self._entries[event.index]["name"]
            self._row = None
            self.query_one("#errors-rows", Table).cursor = 0
            self._show_rows(self.answers)
            self._explain()
        else:
            self._row = self._rows[event.index]

    def on_table_chosen(self, event: Table.Chosen) -> None:
        if event.table.id == "errors-categories":
            self.query_one("#errors-rows", Table).focus()
        elif self._rows:
            self._row = self._rows[event.index]
            self.query_one("#errors-list").display = False
            self.query_one("#errors-head").display = False
            self.query_one(Detail).display = True
            self._show_detail()
            self.query_one(Panes).focus()
            self.refresh_shell()

    def _show_detail(self, *, stay: bool = False) -> None:
        answers, row = self.answers, self._row
        prediction = answers.predictions.get(row) if answers and row is not None else None
        if answers is None or row is None or prediction is None:
            self._close()
            return
        what = "answers"
        if self.filter:
            what = next((entry["title"] for entry in self._entries if entry["name"] == self.filter), self.filter)
        place = f"{self._rows.index(row) + 1} of {len(self._rows)}" if row in self._rows else "no longer one of those"
        self.query_one(Detail).show(
            prediction,
            answers.findings(row),
            answers.names(row),
            answers.tags.of(row),
            f"{place} · {what}",
            answers.reviewed,
            difference=self.difference,
            stay=stay,
        )

    def _close(self) -> None:
        if self.in_detail:
            self.query_one(Detail).display = False
            self.query_one("#errors-head").display = True
            self.query_one("#errors-list").display = True
            self.query_one("#errors-rows", Table).focus()
            self.refresh_shell()

    def current_actions(self) -> tuple[Action, ...]:
        if self.in_detail:
            return (NEXT, PREVIOUS, TAG, DIFFERENCE, AGREE, UNDO, AUTOMATIC, COPY, FOLD, EXPORT, BACK)
        answers = self.answers
        if answers is None:
            return ()
        running = answers.following.running or self._asked == answers.folder.path
        work = (STOP,) if running else (ANSWER,)
        if not answers.predictions:
            return (*work, MODEL, ROWS)
        return (OPEN, *work, MODEL, ROWS, EXPORT, UNDO)

    # -- actions -----------------------------------------------------------------------------------------------------
    def action_open(self) -> None:
        """What enter does where a list has no focus."""
        focused = self.focused
        if isinstance(focused, Table):
            focused.action_choose()
        elif self.answers is not None and self.answers.predictions:
            self.query_one("#errors-categories", Table).focus()
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
        if answers.following.running or queued_behind(self.session, answers.folder.path):
            self.studio.tell("The answers are being made already.")
            return
        try:
            self.session.submit(Answer(answers.folder.path, source.recipe, source.run, self.limit))
        except StudioError as error:
            self.studio.show_error(error)
            return
        self._asked = answers.folder.path
        self._show()
        self.refresh_shell()

    def action_stop(self) -> None:
        """Ask the worker to stop; it keeps what was answered."""
        answers = self.answers
        if answers is not None and (answers.following.running or self._asked == answers.folder.path):
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
        source = self._source
        usual = source.recipe.evaluation.rows if source and source.recipe else 200

        def chosen(value: str | None) -> None:
            if value is None:
                return
            text = value.strip().replace(",", "")
            if text and not (text.isdigit() and int(text) >= 1):
                self.studio.tell("A whole number from 1 on, please.", "warning")
                return
            self.limit = int(text) if text else None
            self._show()

        self.app.push_screen(
            Prompt(
                "How many held-out rows are answered, at most?", str(self.limit or usual), "empty: as the recipe says"
            ),
            chosen,
        )

    def action_next(self, by: int) -> None:
        """The next row of the filter, or the one before."""
        if not self.in_detail or not self._rows:
            return
        here = self._rows.index(self._row) if self._row in self._rows else 0
        place = max(0, min(here + by, len(self._rows) - 1))
        if self._rows[place] != self._row:
            self._row = self._rows[place]
            self.query_one("#errors-rows", Table).show(len(self._rows), place)
            self._show_detail()

    def on_key(self, event: events.Key) -> None:
        """Capital letters tag the row that is shown in full."""
        character = event.character or ""
        category = marks.keys().get(character) if self.in_detail and character.isupper() else None
        if category is None or self.answers is None or self._row is None:
            return
        event.stop()
        event.prevent_default()
        try:
            self.answers.toggle(self._row, category.name)
        except StudioError as error:
            self.studio.show_error(error)
        self._after_tag()

    def _after_tag(self) -> None:
        """Show what a tag changed; the row list stays as it is, so that `n` goes on where one was."""
        if self.answers is None:
            return
        rows = self._rows
        self._show_categories(self.answers)
        self._rows = rows
        self.query_one("#errors-rows", Table).paint()
        self.query_one("#errors-head", Said).say(*self._head())
        if self.in_detail:
            self._show_detail(stay=True)

    def action_agree(self) -> None:
        """Looked at, nothing to change."""
        if self.in_detail and self.answers is not None and self._row is not None:
            try:
                self.answers.agree(self._row)
            except StudioError as error:
                self.studio.show_error(error)
                return
            self._after_tag()
            self.action_next(1)

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
            self._row = row
        self._after_tag()

    def action_automatic(self) -> None:
        """The detectors decide again."""
        if self.in_detail and self.answers is not None and self._row is not None:
            try:
                changed = self.answers.automatic(self._row)
            except StudioError as error:
                self.studio.show_error(error)
                return
            if not changed:
                self.studio.tell("You have set no tag on this row.")
            self._after_tag()

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
        prediction = answers.predictions.get(self._row) if answers and self._row is not None else None
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
        elif self.query_one("#errors-rows", Table).has_focus:
            self.query_one("#errors-categories", Table).focus()
