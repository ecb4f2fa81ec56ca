"""What a person makes of a failing row: a corrected answer, a new training row, a category of one's own; and what came
of the repairs. A part of the screen Errors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ftstudio.core.errors import StudioError
from ftstudio.core.run import RunFolder
from ftstudio.data.versions.edit import me
from ftstudio.engine.behind import Training
from ftstudio.engine.repairing import Repairs
from ftstudio.evaluation.own import OwnCategory
from ftstudio.ui.common.background import Work
from ftstudio.ui.errors import suggesting
from ftstudio.ui.errors.answers import GROUP, Group
from ftstudio.ui.errors.editing import EditText
from ftstudio.ui.errors.outcome import Chosen, Outcome
from ftstudio.ui.errors.own_dialog import OwnDialog
from ftstudio.ui.errors.relabelling import Relabelling
from ftstudio.ui.errors.suggesting import BASE, SERVER, TUNED, Wanted
from ftstudio.ui.shell.dialogs import Ask, Prompt


class Correcting(Relabelling):
    """What the screen does with corrected answers."""

    # -- corrected answers -------------------------------------------------------------------------------------------
    def action_correct(self) -> None:
        """Type in the answer that the row should have had."""
        answers, prediction = self.answers, self.reading.prediction
        if answers is None or prediction is None:
            return
        known = answers.corrections.texts.get(prediction.row)
        text = known if known is not None else prediction.reference or prediction.output
        self._ask_correction(f"Your answer to row {prediction.row}", text, me())

    def _ask_correction(self, title: str, text: str, who: str) -> None:
        answers, prediction = self.answers, self.reading.prediction
        if answers is None or prediction is None:
            return

        def typed(new: str | None) -> None:
            if new is None:
                return
            if self.attempt(lambda: answers.corrections.set(prediction.row, new if new.strip() else None, who=who)):
                self.reading.show(stay=True)
                kept = "a adds it to the training rows, x writes preference pairs" if new.strip() else "taken back"
                self.studio.tell(f"Your answer to row {prediction.row}: {kept}.")

        self.studio.push_screen(EditText(title, text, f"Prompt: {prediction.prompt}"), typed)

    def action_add_row(self) -> None:
        """The failing prompt with the corrected answer, else the reference, as a new training row."""
        answers, prediction, recipe = self.answers, self.reading.prediction, self.trained_on()
        if answers is None or prediction is None:
            return
        if recipe is None:
            self.studio.tell("No recipe says what these answers' model was trained on: 3 makes one.", "warning")
            return
        row = prediction.row
        answer = answers.corrections.texts.get(row, prediction.reference)
        if not answer:
            self.studio.tell("The row has no reference: e types in the right answer first.", "warning")
            return
        against = sorted(answers.names(row))
        why = f"failing held-out row {row}"

        def opened(training: Training, repairs: Repairs | str) -> None:
            if isinstance(repairs, str):
                self.studio.tell(f"Nothing can be added here. {repairs}", "warning")
                return
            self.background.start(
                "repair",
                "keeping the repair",
                lambda _: repairs.add(prediction.prompt, answer, why, against, row),
                lambda _: self.studio.tell(
                    f"Row {row} becomes a training row ({repairs.count} pending): t and then l lists them, v saves. "
                    "It is unseen no more, so before and after leave it out."
                ),
                self.failed,
            )

        self.with_training(recipe, opened, self.failed)

    # -- suggestions -------------------------------------------------------------------------------------------------
    def action_suggest(self) -> None:
        """Let a model write the answer: to be accepted, changed or thrown away."""
        page = self.training_page if self.page is self.training_page else None
        if page is not None:
            row, training, repairs = page.row, page.training, page.repairs
            if row is None or training is None or repairs is None:
                return
            prompt, answer = training.texts[row]
            why, against = self._why(), self._against()

            def accept(text: str | None) -> None:
                if text is not None:
                    self._repair(lambda repairs: repairs.edit(row, text, f"{why}, as suggested", against))

            def take(who: str, text: str) -> None:
                title = f"{who} suggests for training row {row}"
                self.studio.push_screen(EditText(title, text, f"Now: {answer}"), accept)

            self._from_whom(Wanted(prompt, answer), take)
            return
        prediction = self.reading.prediction
        if prediction is not None:
            wanted = Wanted(prediction.prompt, prediction.output, prediction.reference)
            self._from_whom(
                wanted, lambda who, text: self._ask_correction(f"{who} suggests for row {prediction.row}", text, who)
            )

    def _from_whom(self, wanted: Wanted, take: Callable[[str, str], None]) -> None:
        run = self.session.feed.run if self.session.feed is not None else None
        choices: dict[str, str] = {}
        if run is not None and run.model.is_dir():
            choices |= {BASE: f"the base model of {run.name}", TUNED: f"the tuned model {run.name}"}
        choices[SERVER] = "a server that speaks OpenAI's chat completions"

        def chosen(key: str | None) -> None:
            if key == SERVER:
                self._from_server(wanted, take)
            elif key is not None and run is not None:
                self._from_run("base" if key == BASE else run.name, run, wanted, take)

        text = "What it writes is a suggestion: you accept, change or leave it."
        self.studio.push_screen(Ask("Who rewrites the answer?", text, choices), chosen)

    def _from_server(self, wanted: Wanted, take: Callable[[str, str], None]) -> None:
        workspace = self.session.workspace

        def typed(target: str | None) -> None:
            if target and target.strip():
                name = target.strip()
                self._suggest(
                    name.partition("#")[2] or "The server",
                    lambda work: suggesting.from_server(name, wanted, workspace, work),
                    take,
                )

        hint = "http://HOST/v1#MODEL; its key comes from OPENAI_API_KEY"
        self.studio.push_screen(Prompt("Which server?", suggesting.last_server(workspace), hint), typed)

    def _from_run(self, arm: str, run: RunFolder, wanted: Wanted, take: Callable[[str, str], None]) -> None:
        if self.session.busy:
            self.studio.tell("The worker is busy: the suggestion comes after what it does now.")
        session = self.session
        who = "The base model" if arm == "base" else arm
        self._suggest(who, lambda work: suggesting.from_run(arm, run.path, wanted, session, work), take)

    def _suggest(self, who: str, ask: Callable[[Work], str], take: Callable[[str, str], None]) -> None:
        def done(text: str) -> None:
            if text:
                take(who, text)
            else:
                self.studio.tell(f"{who} wrote nothing.", "warning")

        self.background.start("suggest", f"asking {who[:1].lower() + who[1:]}", ask, done, self.failed)
        self.show_state()

    # -- own categories ----------------------------------------------------------------------------------------------
    def action_own_category(self) -> None:
        """Write a category of one's own, seeing what it catches."""
        from ftstudio.evaluation import own

        answers = self.answers
        if answers is None or answers.context is None:
            self.studio.tell("The answers are not judged yet: then a category can be tried on them.")
            return
        workspace = self.session.workspace.path
        try:
            others = own.load(workspace)
        except StudioError as error:
            self.studio.show_error(error)
            return

        def written(category: OwnCategory | None) -> None:
            if category is not None and self.attempt(lambda: own.add(workspace, category)):
                answers.judge_again()
                self.studio.tell(f"{category.title} is kept in {own.FILE}; key {category.key.upper()} tags with it.")
                self.pull()

        self.studio.push_screen(OwnDialog(list(answers.predictions.values()), answers.context, others), written)

    # -- before and after --------------------------------------------------------------------------------------------
    def action_outcome(self) -> None:
        """What the repair before the run in view did, category by category."""
        feed, workspace = self.session.feed, self.session.workspace
        if feed is None:
            self.studio.tell("No run is in view: 6 opens one that was trained on a repaired version.")
            return
        run = feed.run

        def work(work: Work) -> dict[str, Any] | str:
            from ftstudio.engine import trail

            return trail.report(workspace, run) or trail.missing(workspace, run)

        def done(found: dict[str, Any] | str) -> None:
            if isinstance(found, str):
                self.studio.tell(found)
            else:
                self.studio.push_screen(Outcome(found), self._show_rows)

        self.background.start("outcome", f"comparing {run.name} with the run before", work, done, self.failed)
        self.show_state()

    def _show_rows(self, chosen: Chosen | None) -> None:
        answers = self.answers
        if chosen is None or answers is None:
            return
        answers.group = Group(chosen.title, chosen.rows)
        self.lists.filter, self.lists.row, self.lists.table.cursor = GROUP, None, 0
        self.lists.show(answers)
        self.leave_row()
