"""From errors back to the training rows: what is near, what shares a fault, repairs. A part of the screen Errors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ftstudio.core.errors import StudioError
from ftstudio.core.jobs import Train
from ftstudio.core.recipe import Recipe
from ftstudio.core.run import RunFolder
from ftstudio.data.versions.store import Version
from ftstudio.engine.behind import Training, find_faults, open_training
from ftstudio.engine.repairing import Repairs, on_version
from ftstudio.evaluation.neighbours import Neighbour
from ftstudio.evaluation.predictions import Prediction
from ftstudio.ui.common.background import Work
from ftstudio.ui.errors.answers import Answers
from ftstudio.ui.errors.editing import EditText
from ftstudio.ui.errors.pending_list import PendingRepairs
from ftstudio.ui.errors.reviewing import Reviewing
from ftstudio.ui.errors.training_page import TrainingPage
from ftstudio.ui.shell.dialogs import Ask, Prompt


class Backing(Reviewing):
    """What the screen does with training rows. The screen itself opens and closes pages."""

    _opened: tuple[Recipe, Training, Repairs | str] | None = None  # the last, with its repairs, or why there are none

    @property
    def training_page(self) -> TrainingPage:
        """The page."""
        return self.query_one(TrainingPage)

    def open_page(self, page: Any) -> None:
        """Show PAGE instead of lists or row."""
        raise NotImplementedError

    def trained_on(self) -> Recipe | None:
        """The resolved recipe whose training rows are looked at; None where none is known."""
        raise NotImplementedError

    # -- near rows and faults ----------------------------------------------------------------------------------------
    def action_training(self) -> None:
        """From the row under the cursor to the training rows."""
        answers, recipe = self.answers, self.trained_on()
        if answers is None or not answers.predictions:
            self.studio.tell("There are no answers yet.")
            return
        if recipe is None:
            self.studio.tell("No recipe says what these answers' model was trained on: 3 makes one.", "warning")
            return
        prediction = self.reading.prediction
        own = answers.names(prediction.row) if prediction is not None else set()
        page, wanted = self.training_page, self.lists.filter
        category = wanted if wanted in answers.known else ""
        whole = bool(category) and self.lists.categories.has_focus and not self.reading.open
        group = [answers.predictions[row] for row in self.lists.rows] if whole else []
        page.begin(None if group else prediction, {category} if group else own, answers.known, category, group)
        self.open_page(page)
        page.table.focus()
        page.training = page.repairs = None
        self.with_training(recipe, lambda *found: self._take_training(answers, *found), self._failed_page)

    def with_training(
        self,
        recipe: Recipe,
        then: Callable[[Training, Repairs | str], None],
        failed: Callable[[BaseException], None],
    ) -> None:
        """THEN gets the training rows of RECIPE and their repairs (or why there are none), opened off the screen's
        thread where they weren't before."""
        known = self._opened
        if known is not None and known[0] == recipe:
            then(known[1], known[2])
            return
        workspace = self.session.workspace

        def work(work: Work) -> tuple[Training, Repairs | str]:
            training = open_training(recipe, workspace.path, work)
            _ = training.index.near  # worked out once, here
            work.phase = "looking for repairs"
            try:
                return training, Repairs.open(training, workspace)
            except StudioError as error:
                return training, str(error)

        def done(found: tuple[Training, Repairs | str]) -> None:
            self._opened = (recipe, *found)
            then(*found)

        self.background.start("training", "opening the training data", work, done, failed)
        self.show_state()

    def _take_training(self, answers: Answers, training: Training, repairs: Repairs | str) -> None:
        page = self.training_page
        page.repairs = repairs if isinstance(repairs, Repairs) else None
        page.take(training)
        if page.group:
            self._find_near(training, page.group)
        if training.faults is None:
            self._find_faults(answers, training)

    def _find_near(self, training: Training, group: list[Prediction]) -> None:
        """What is near a whole category, and how much of it has nothing near."""
        page = self.training_page

        def work(work: Work) -> tuple[list[Neighbour], int]:
            return training.nearest_to_all(group, work), len(training.missing(group))

        def done(found: tuple[list[Neighbour], int]) -> None:
            if page.training is training and page.group is group:
                page.take_near(*found)

        self.background.start("near", f"looking near {len(group):,} rows", work, done, self._failed_page)
        self.show_state()

    def _find_faults(self, answers: Answers, training: Training) -> None:
        context = answers.context
        if context is None:
            self.training_page.trouble = "The answers are still being categorised: faults are looked for after that."
            return

        def done(found: Any) -> None:
            training.faults = found
            if self.training_page.training is training:
                self.training_page.faults_found()

        self.background.start(
            "faults",
            "looking for the same faults in the training answers",
            lambda work: find_faults(training, context, work),
            done,
            self._failed_page,
        )
        self.show_state()

    def _failed_page(self, error: BaseException) -> None:
        self.training_page.trouble = (
            str(error) if isinstance(error, StudioError) else f"{type(error).__name__}: {error}"
        )
        self.training_page.show()

    def action_same_fault(self) -> None:
        """From the near rows to those with the same fault, or back."""
        self.training_page.turn()

    def action_category(self) -> None:
        """The next category that occurs in the training answers."""
        self.training_page.next_category()

    # -- repairs -----------------------------------------------------------------------------------------------------
    def _repair(self, what: Callable[[Repairs], object], then: Callable[[Any], None] | None = None) -> None:
        """Do WHAT with the repairs, off the screen's thread: it writes to the disk; THEN gets what it gave."""
        page = self.training_page
        if page.repairs is None:
            why = self._opened[2] if self._opened is not None else "The training rows are still being read."
            self.studio.tell(f"Nothing can be repaired here. {why}", "warning")
            return
        if self.background.is_running("repair"):
            return
        repairs = page.repairs

        def done(found: Any) -> None:
            page.show()
            if then is not None:
                then(found)

        self.background.start("repair", "keeping the repair", lambda _: what(repairs), done, self._failed_repair)

    def _failed_repair(self, error: BaseException) -> None:
        self.training_page.show()
        self.failed(error)

    def _against(self) -> list[str]:
        """The categories that a repair made here is meant to fix: the one in view, else those of the failing row."""
        page = self.training_page
        return [page.category] if page.category else sorted(page.own)

    def _why(self) -> str:
        page = self.training_page
        names = ", ".join(self._against()) or "a failing row"
        row = f" (held-out row {page.prediction.row})" if page.prediction is not None else ""
        return f"against {names}{row}"

    def action_drop(self) -> None:
        """Leave the training row out of the next version."""
        row, why, against = self.training_page.row, self._why(), self._against()
        if row is not None:
            self._repair(lambda repairs: repairs.drop([row], why, against))

    def action_edit(self) -> None:
        """Change the answer of the training row in the next version."""
        page, row, why, against = self.training_page, self.training_page.row, self._why(), self._against()
        if row is None or page.repairs is None:
            self._repair(lambda repairs: None)
            return
        repairs = page.repairs

        def edited(text: str | None) -> None:
            if text is not None:
                self._repair(lambda repairs: repairs.edit(row, text, why, against))

        def ask() -> None:
            self.studio.push_screen(EditText(f"The answer of training row {row}", repairs.answer(row)), edited)

        self.attempt(ask)

    def action_weigh(self, factor: float) -> None:
        """The training row is trained FACTOR times as often in the next version."""
        row, why, against = self.training_page.row, self._why(), self._against()
        if row is not None:
            self._repair(lambda repairs: repairs.weigh([row], factor, why, against))

    def action_drop_all(self) -> None:
        """Leave all listed training rows out of the next version, after asking."""
        page, why, against = self.training_page, self._why(), self._against()
        rows = list(page.rows)
        if not rows:
            return

        def chosen(key: str | None) -> None:
            if key == "d":
                self._repair(lambda repairs: repairs.drop(rows, why, against))

        which = "near this row" if page.near else f"with the fault {page.category}"
        self.studio.push_screen(
            Ask(
                f"Leave all {len(rows):,} training rows {which} out?",
                "It is one pending repair; u takes it back.",
                {"d": "drop them"},
            ),
            chosen,
        )

    def action_pending(self) -> None:
        """The repairs that wait to be saved."""
        page = self.training_page
        if page.repairs is None:
            self._repair(lambda repairs: None)
            return

        def chosen(key: str | None) -> None:
            if key == "u":
                self.action_undo_repair()
            elif key == "v":
                self.action_version()

        self.studio.push_screen(PendingRepairs(page.repairs.pending.edits), chosen)

    def action_undo_repair(self) -> None:
        """Take the last repair back."""

        def undone(edit: Any) -> None:
            gone = "The last repair is taken back." if edit is not None else "There is no repair to take back."
            self.studio.tell(gone)

        self._repair(lambda repairs: repairs.undo(), undone)

    def action_version(self) -> None:
        """Save the repairs as a version of the data, after asking what it is for."""
        page = self.training_page
        if page.repairs is None or not page.repairs.count:
            self._repair(lambda repairs: None)
            if page.repairs is not None:
                self.studio.tell("There is no repair to save: d drops a row, e edits its answer.")
            return

        def named(why: str | None) -> None:
            if why is not None:
                self._repair(lambda repairs: repairs.save(why.strip()), self._saved)

        count = page.repairs.count
        title = f"Save {count:,} {'repair' if count == 1 else 'repairs'} as a new version of the data?"
        aims = page.repairs.aims
        why = f"against {', '.join(aims)}" if aims else self._why()
        self.studio.push_screen(Prompt(title, why, "what it is for"), named)

    def _saved(self, version: Version) -> None:
        recipe = self.trained_on()

        def chosen(key: str | None) -> None:
            if recipe is None or key is None:
                return
            if key == "r":
                self.attempt(lambda: self._open_recipe(recipe, version))
            else:
                self._train(recipe, version)

        count = version.about["rows"]
        self.studio.push_screen(
            Ask(
                f"{version.name} is saved: {count:,} rows.",
                "A run on it tells whether the repairs helped: f shows before and after, category by category.",
                {"t": f"train on {version.name} now, all else as before", "r": f"open the recipe on {version.name}"},
            ),
            chosen,
        )

    def _open_recipe(self, recipe: Recipe, version: Version) -> None:
        self.session.recipe = on_version(recipe, version, self.session.workspace)
        self.close_page()
        self.studio.action_go("recipe")

    def _train(self, recipe: Recipe, version: Version) -> None:
        """A new run of RECIPE on VERSION, at once."""
        workspace = self.session.workspace

        def work(work: Work) -> RunFolder:
            from ftstudio.engine.prepare import prepare_run

            wanted = on_version(recipe, version, workspace)
            return prepare_run(wanted, workspace, progress=work.progress, cancel=work.cancel)

        def done(run: RunFolder) -> None:
            self.session.submit(Train(run.path))
            self.session.view_run(run)
            self.close_page()
            self.studio.action_go("train")

        self.background.start("train", f"preparing a run on {version.name}", work, done, self.failed)
        self.show_state()

    def close_page(self) -> None:
        """Back from a page to where one was."""
        raise NotImplementedError
