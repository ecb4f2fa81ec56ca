"""Letting a model answer, stopping it, whose answers are looked at. A part of the screen Errors."""

from __future__ import annotations

from pathlib import Path

from ftstudio.core.jobs import Answer
from ftstudio.ui.errors.grouping import Grouping
from ftstudio.ui.errors.stored import keep
from ftstudio.ui.errors.subject import Subject
from ftstudio.ui.shell.dialogs import Prompt
from ftstudio.ui.text.asking import ask_rows
from ftstudio.ui.text.recipes import Source


class Answering(Grouping):
    """What the screen does to get answers."""

    subject: Subject
    limit: int | None = None
    page: object

    @property
    def asked(self) -> bool:
        """Whether the worker was asked for what is in view and hasn't begun."""
        raise NotImplementedError

    def _show(self) -> None:
        raise NotImplementedError

    # -- answering -----------------------------------------------------------------------------------------------------
    def action_answer(self) -> None:
        """Hand the job to the worker."""
        answers, source = self.answers, self.subject.source
        if answers is None or source is None:
            return
        if self.subject.kind == "stored":
            self.studio.tell("These are stored answers: there is no model to ask.")
            return
        if source.recipe is None:
            self.studio.tell("The recipe of this run can't be read, so nothing can be answered.", "warning")
            return
        if answers.following.running or self.asked:
            self.studio.tell("The answers are being made already.")
            return
        job = Answer(answers.folder.path, source.recipe, source.run, self.limit)
        if self.attempt(lambda: self.session.submit(job)):
            self._show()
            self.refresh_shell()

    def action_stop(self) -> None:
        """Ask the worker to stop; it keeps what was answered."""
        if self.background.running:
            for group in [group for group in self.background.running if group != "repair"]:
                self.background.stop(group)
            if self.page is self.training_page:
                self.training_page.trouble = "Stopped: esc leads back, t begins anew."
            self.show_state()
            return
        answers = self.answers
        if answers is None or not (answers.following.running or self.asked):
            return
        folder = answers.folder
        if self.attempt(lambda: folder.request("stop")):
            self.studio.tell("Stopping after the answers at hand.")

    def action_other_model(self) -> None:
        """Base or tuned."""
        if not self.subject.turn(self.session):
            self.studio.tell("No run with a tuned model is in view: 6 opens one, 4 trains one.")
            return
        self.pull()
        self.refresh_shell()

    def action_import(self) -> None:
        """Ask for a file of answers and show them."""

        def typed(name: str | None) -> None:
            if name is not None and name.strip():
                self._import(Path(name.strip()).expanduser())

        hint = "JSON lines with prompt, reference and output"
        self.studio.push_screen(Prompt("Which file of answers?", hint=hint), typed)

    def _import(self, path: Path) -> None:
        workspace = self.session.workspace

        def read() -> None:
            found: Source | Exception
            try:
                found = keep(path, workspace)
            except Exception as error:  # told on screen, not lost in a thread
                found = error
            self.app.call_from_thread(done, found)

        def done(found: Source | Exception) -> None:
            if isinstance(found, Exception):
                self.studio.show_error(found)
                return
            self.subject.look_at(found)
            if self.is_current:
                self.pull()
                self.refresh_shell()

        self.run_worker(read, thread=True, exclusive=True, group="import")

    def action_limit(self) -> None:
        """Ask how many rows are answered."""
        recipe = self.subject.recipe

        def chosen(rows: int | None) -> None:
            self.limit = rows
            self._show()

        ask_rows(self.studio, self.limit or (recipe.evaluation.rows if recipe else 200), chosen)
