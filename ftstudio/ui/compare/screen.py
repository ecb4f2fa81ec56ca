"""The screen Compare: base and tuned on the same held-out rows, what got better, what broke, what is chance."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from textual import events
from textual.app import ComposeResult

from ftstudio.core import files
from ftstudio.core.jobs import Compare
from ftstudio.core.run import RunFolder
from ftstudio.core.text import clean
from ftstudio.ui.compare import actions, told
from ftstudio.ui.compare.arms import Arms
from ftstudio.ui.compare.categories import Changes
from ftstudio.ui.compare.choose import ChooseRun
from ftstudio.ui.compare.detail import MODES, CompareDetail
from ftstudio.ui.compare.overview import Overview
from ftstudio.ui.compare.rows import Choice
from ftstudio.ui.shell.actions import Action, bindings
from ftstudio.ui.shell.screen import StudioScreen
from ftstudio.ui.text.asking import ask_rows
from ftstudio.ui.text.copying import copy, shown
from ftstudio.ui.text.following import pending
from ftstudio.ui.text.panes import Panes
from ftstudio.ui.text.recipes import Recipes
from ftstudio.ui.text.said import Said


class CompareScreen(StudioScreen):
    """Verdict, metrics, rows; a row in full; the categories before and after."""

    MODE = "compare"
    TITLE_TEXT = "Compare: is the tuned model really better?"
    HELP = """
Base (before fine-tuning) and tuned (after) answer the same rows, which neither was trained on.

ROUGE counts shared words with the reference: ROUGE-1 single words, ROUGE-2 pairs, ROUGE-L the longest run in order; \
1 is equal, 0 has nothing in common. Similarity compares meaning by an embedding model, which is named. The \
difference is tuned minus base. Its 95 % interval is where the true difference lies, given how few rows these are: \
if it excludes zero, the difference is more than chance. p is the chance of so large a difference if both were alike.

Forgetting: how much worse the tuned model has become on general text, in bits a byte.

In the word diff, [-so-] is missing and {+so+} was added.
"""
    ACTIONS = actions.ALL_ACTIONS
    BINDINGS = bindings(*ACTIONS)
    DEFAULT_CSS = """
    CompareScreen #compare-opening { height: 1fr; padding: 1 2; }
    CompareScreen.-wide #compare-choice, CompareScreen.-huge #compare-choice { margin-top: 1; }
    CompareScreen.-wide #compare-figures, CompareScreen.-huge #compare-figures { margin-top: 1; }
    """

    def __init__(self) -> None:
        super().__init__()
        self.arms: Arms | None = None
        self.mode = "off"
        self.limit: int | None = None
        self.view = "opening"  # or list, detail, changes
        self._recipes = Recipes()
        self._opened: dict[Path, Arms] = {}
        self._was_asked = False
        self._came_from = "list"

    def compose_body(self) -> ComposeResult:
        yield Said(id="compare-opening")
        yield Overview()
        yield CompareDetail()
        yield Changes()

    def on_mount(self) -> None:
        self._look("opening")

    @property
    def overview(self) -> Overview:
        """Verdict, metrics and rows."""
        return self.query_one(Overview)

    def _look(self, view: str) -> None:
        """Show one of the views."""
        self.view = view
        self.query_one("#compare-opening").display = view == "opening"
        self.overview.display = view == "list"
        self.query_one(CompareDetail).display = view == "detail"
        self.query_one(Changes).display = view == "changes"
        if view == "list":
            self.overview.table.focus()
        elif view == "detail":
            self.query_one(Panes).focus()
        elif view == "changes":
            self.query_one(Changes).table.focus()
        if self.is_mounted:
            self.refresh_shell()

    # -- bringing up to date -----------------------------------------------------------------------------------------
    def _choose(self) -> bool:
        """Look at the run in view; True where it is another than before."""
        feed = self.session.feed
        run = feed.run if feed is not None else None
        if (run.path if run else None) == (self.arms.run.path if self.arms else None):
            return False
        self.arms = None
        if run is not None:
            if run.path not in self._opened:
                self._opened[run.path] = Arms(run, self._recipes.of_run(run))
            self.arms = self._opened[run.path]
        self.overview.begin()
        self._look("opening")
        return True

    def pull(self) -> None:
        other = self._choose()
        arms = self.arms
        if arms is None:
            self._show_opening()
            return
        changed = arms.poll()
        if arms.behind:
            self._score(arms)
        asked = self.asked
        if changed or other or asked or self._was_asked or self.view == "opening":
            self._show()
        self._was_asked = asked

    def _score(self, arms: Arms) -> None:
        version, base, tuned = arms.begin()

        def score() -> None:
            began = time.monotonic()
            found: dict[str, Any] | None = None
            error: Exception | None = None
            try:
                found = arms.score(base, tuned)
            except Exception as caught:  # told on screen, not lost in a thread
                error = caught
            self.app.call_from_thread(done, found, error, time.monotonic() - began)

        def done(found: dict[str, Any] | None, error: Exception | None, seconds: float) -> None:
            arms.finish(version, found, seconds)
            if error is not None:
                self.studio.show_error(error)
            if self.arms is arms and self.is_current:
                self._show()

        self.run_worker(score, thread=True, group="score", exit_on_error=False)

    @property
    def asked(self) -> bool:
        """Whether the worker was asked for what is in view and hasn't begun."""
        arms = self.arms
        return arms is not None and not arms.following.running and pending(self.session, arms.folder.path)

    # -- showing -----------------------------------------------------------------------------------------------------
    def _show(self) -> None:
        arms = self.arms
        if arms is None or not arms.rows:
            if self.view != "opening":
                self._look("opening")
            self._show_opening()
            return
        if self.view == "opening":
            self._look("list")
        state = told.status(arms, self.session, self.asked, self.app.size.width - 3)
        self.overview.show(arms, state, hold=self.view == "detail")
        if self.view == "detail":
            self._show_detail(stay=True)
        elif self.view == "changes":
            self.query_one(Changes).show(arms)

    def _show_opening(self) -> None:
        arms = self.arms
        has_model = arms is not None and arms.run.model.is_dir()
        state = self.session.feed.state if self.session.feed is not None else ""
        others = any(arms is None or run.path != arms.run.path for run in self._tuned_runs())
        rows = self.limit or (arms.recipe.evaluation.rows if arms and arms.recipe else 200)
        width = self.app.size.width - 7
        lines = told.opening(arms, has_model, state, others, rows, self.asked, width)
        if arms is not None and (arms.following.running or self.asked):
            lines += [(), *told.status(arms, self.session, self.asked, width)]
        self.query_one("#compare-opening", Said).say(*lines)

    def _tuned_runs(self) -> list[RunFolder]:
        return [run for run in self.session.workspace.runs() if run.model.is_dir()]

    def _show_detail(self, *, stay: bool = False) -> None:
        arms, row = self.arms, self.overview.row
        if arms is None or row is None or row not in arms.base.known or row not in arms.tuned.known:
            self._look("list")
            return
        rows = self.overview.rows
        self.query_one(CompareDetail).show(
            arms.base.known[row],
            arms.tuned.known[row],
            arms.run.name,
            rows.scores.get(row, {}),
            rows.metric,
            self.overview.place,
            self.mode,
            stay=stay,
        )

    def current_actions(self) -> tuple[Action, ...]:
        if self.view == "detail":
            return actions.IN_DETAIL
        if self.view == "changes":
            return actions.IN_CATEGORIES
        arms = self.arms
        if arms is None:
            return (actions.RUN,)
        work = (actions.STOP if arms.following.running or self.asked else actions.COMPARE, actions.RUN, actions.ROWS)
        if self.view == "opening":
            return work
        mine = (actions.OPEN, actions.CATEGORIES, actions.ORDER, actions.FILTER)
        return (*mine, *work, actions.EXPORT, *((actions.BACK,) if self.overview.choice.category else ()))

    def on_overview_opened(self, event: Overview.Opened) -> None:
        self._look("detail")
        self._show_detail()

    def on_changes_picked(self, event: Changes.Picked) -> None:
        self._list(Choice(self.overview.choice.order, event.name, "changed"))

    def _list(self, choice: Choice) -> None:
        """List the rows of CHOICE."""
        self.overview.choose(choice)
        self._look("list")

    def on_resize(self, event: events.Resize) -> None:
        if self.is_mounted:
            self.call_after_refresh(self._show)

    # -- comparing -----------------------------------------------------------------------------------------------------
    def action_compare(self) -> None:
        """Hand the job to the worker."""
        arms = self.arms
        if arms is None:
            self.action_choose()
            return
        if arms.following.running or self.asked:
            self.studio.tell("The comparison is being made already.")
            return
        if not arms.run.model.is_dir():
            self.studio.tell("This run has saved no model yet: 4 shows it.")
            return
        job = Compare(arms.folder.path, (arms.run.path,), self.limit)
        if self.attempt(lambda: self.session.submit(job)):
            self._show()
            self.refresh_shell()

    def action_stop(self) -> None:
        """Ask the worker to stop; it keeps what was answered."""
        arms = self.arms
        if arms is None or not (arms.following.running or self.asked):
            return
        folder = arms.folder
        if self.attempt(lambda: folder.request("stop")):
            self.studio.tell("Stopping after the answers at hand.")

    def action_choose(self) -> None:
        """Another run."""
        if self.view not in ("list", "opening"):
            return
        runs = self._tuned_runs()
        if not runs:
            self.studio.tell("There is no run with a tuned model yet: 3 makes a recipe and starts one.")
            return

        def chosen(run: RunFolder | None) -> None:
            if run is not None:
                self.session.view_run(run)
                self.refresh_shell()
                self.pull()

        self.app.push_screen(ChooseRun(runs, self.arms.run if self.arms else None), chosen)

    def action_limit(self) -> None:
        """Ask how many rows are answered."""
        if self.arms is None or self.view not in ("list", "opening"):
            return
        recipe = self.arms.recipe

        def chosen(rows: int | None) -> None:
            self.limit = rows
            self._show()

        ask_rows(self.studio, self.limit or (recipe.evaluation.rows if recipe else 200), chosen)

    # -- looking -------------------------------------------------------------------------------------------------------
    def action_open(self) -> None:
        """What enter does where no list has the focus."""
        if self.view == "list":
            self.overview.table.action_choose()
        elif self.view == "opening":
            self.action_compare()

    def action_order(self) -> None:
        """Gains, losses, rows."""
        if self.view == "list":
            self._list(self.overview.choice.next_order())

    def action_filter(self) -> None:
        """Another kind of the category's rows; without a category, choose one."""
        if self.view == "list" and self.overview.choice.category:
            self._list(self.overview.choice.next_kind())
        elif self.view == "list":
            self.action_categories()

    def action_categories(self) -> None:
        """The before/after table."""
        if self.arms is not None and self.view in ("list", "detail"):
            self._came_from = self.view
            self._look("changes")
            self.query_one(Changes).show(self.arms)

    def action_next(self, by: int) -> None:
        """The next row in this order, or the one before."""
        if self.view == "detail" and self.overview.step(by):
            self._show_detail()

    def action_difference(self) -> None:
        """Mark nothing, base against tuned, both against the reference."""
        if self.view == "detail":
            self.mode = MODES[(MODES.index(self.mode) + 1) % len(MODES)]
            self._show_detail(stay=True)

    def action_fold(self) -> None:
        """All of the texts, or as much as leaves room for the last."""
        if self.view == "detail":
            self.query_one(Panes).toggle_fold()

    def action_copy(self) -> None:
        """Clipboard and file."""
        arms, row = self.arms, self.overview.row
        if arms is None or row is None or row not in arms.base.known or row not in arms.tuned.known:
            return
        base, tuned = arms.base.known[row], arms.tuned.known[row]
        texts = [("prompt", base.prompt), ("reference", base.reference), ("base", base.output)]
        texts.append((f"tuned: {arms.run.name}", tuned.output))
        text = "\n\n".join(f"--- {title}\n{clean(part)}" for title, part in texts if part is not None)
        self.attempt(lambda: copy(self.studio, f"row {row}\n\n{text}\n", self.session.workspace.path))

    def action_export(self) -> None:
        """The report as text, beside its JSON."""
        arms = self.arms
        if arms is None or arms.report is None:
            self.studio.tell("There is nothing to export yet.")
            return
        from ftstudio.evaluation.report import compare_text

        path, text = arms.folder.path / "report.txt", compare_text(arms.report) + "\n"
        if self.attempt(lambda: files.write(path, text)):
            self.studio.tell(f"Written: {shown(path)}")

    def action_back(self) -> None:
        """A level up; in the list, all rows again."""
        if self.view == "detail":
            self._look("list")
        elif self.view == "changes":
            self._look(self._came_from)
        elif self.view == "list" and self.overview.choice.category:
            self._list(Choice(self.overview.choice.order))
