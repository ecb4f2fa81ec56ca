"""Going through rows: in which order, and what of them is written to files. A part of the screen Errors."""

from __future__ import annotations

from ftstudio.evaluation.review import Queue
from ftstudio.ui.common.background import Background, Ended, Ticked
from ftstudio.ui.errors import order
from ftstudio.ui.errors.answers import ALL, Answers
from ftstudio.ui.errors.export import export, held_out, preferences
from ftstudio.ui.errors.lists import Lists
from ftstudio.ui.errors.reading import Reading
from ftstudio.ui.shell.dialogs import Ask
from ftstudio.ui.shell.screen import StudioScreen
from ftstudio.ui.text.copying import shown


class Reviewing(StudioScreen):
    """What the screen does with the order of its rows and with files. The screen itself gives lists and answers."""

    background: Background
    reading: Reading

    @property
    def lists(self) -> Lists:
        """The two lists."""
        return self.query_one(Lists)

    @property
    def answers(self) -> Answers | None:
        """The answers in view."""
        raise NotImplementedError

    def show_state(self) -> None:
        """Bring the lines that tell what is being done up to date."""
        raise NotImplementedError

    # -- work in threads ---------------------------------------------------------------------------------------------
    def on_ticked(self, event: Ticked) -> None:
        """Work has got further."""
        event.stop()
        self.show_state()

    def on_ended(self, event: Ended) -> None:
        """Work is over."""
        event.stop()
        self.background.ended(event)
        self.show_state()

    def failed(self, error: BaseException) -> None:
        """Work could not be done."""
        self.studio.show_error(error)

    def on_unmount(self) -> None:
        self.background.stop_all()

    # -- order -------------------------------------------------------------------------------------------------------
    def action_order(self) -> None:
        """Ask for the order of the rows."""
        answers = self.answers
        if answers is None or not answers.predictions:
            self.studio.tell("There are no answers to put in order yet.")
            return

        def chosen(key: str | None) -> None:
            if key is not None and self.answers is answers:
                self._order(answers, order.KEYS[key])

        text = f"Now: {answers.order.title}. Rows not looked at yet always come first."
        self.studio.push_screen(Ask("In which order do you go through the rows?", text, order.choices()), chosen)

    def _order(self, answers: Answers, name: str) -> None:
        asked = order.Asked.of(answers, name, self.lists.row)

        def done(found: Queue) -> None:
            answers.order.take(found, asked.reviewed)
            if found.why:
                self.studio.tell(
                    f"Not by {order.TITLES[name]!r}: {found.why}. The rows stand as in the data.", "warning"
                )
            if self.answers is answers:
                self._ordered()

        self.background.start(
            "order", f"ordering rows: {order.TITLES[name]}", lambda _: asked.make(), done, self.failed
        )
        self.show_state()

    def _ordered(self) -> None:
        lists = self.lists
        if not self.reading.open:  # from the first on; who reads a row goes on from there
            lists.row, lists.table.cursor = None, 0
        lists.show_rows()
        lists.explain()
        if self.reading.open:
            self.reading.show(stay=True)

    # -- files -------------------------------------------------------------------------------------------------------
    def action_export(self) -> None:
        """Ask what is to be written."""
        answers = self.answers
        if answers is None or answers.corrected is None:
            self.studio.tell("There is nothing to export yet.")
            return
        title, rows = self.chosen_rows(answers)
        kinds = {
            "t": "the table of categories and all answers",
            "h": "these rows as held-out rows, which runs can always face",
            "p": "these rows as preference pairs: your answer or the reference, and the output",
        }

        def chosen(key: str | None) -> None:
            if key is not None:
                self.attempt(lambda: self._write(key, answers, title, rows))

        text = f"JSON lines. “These rows” are {title.lower()}: {len(rows):,} of {len(answers.predictions):,}."
        self.studio.push_screen(Ask("What is written?", text, kinds), chosen)

    def chosen_rows(self, answers: Answers) -> tuple[str, list[int]]:
        """(what they are called, the rows of ANSWERS that the filter holds); without one, those with errors."""
        lists = self.lists
        if lists.filter != ALL:
            return lists.title, answers.rows(lists.filter)
        return "with errors", [row for row in answers.rows(ALL) if answers.names(row)]

    def _write(self, key: str, answers: Answers, title: str, rows: list[int]) -> None:
        if key == "t":
            table, all_rows = export(answers)
            self.studio.tell(f"Written: {shown(table)} and {all_rows.name}")
            return
        workspace = self.session.workspace.path
        write, use = (
            (held_out, "data.eval of a recipe takes it")
            if key == "h"
            else (preferences, "columns prompt, chosen, rejected")
        )
        path, count = write(answers, rows, title, workspace)
        self.studio.tell(f"Written: {shown(path)} · {count:,} of {len(rows):,} rows · {use}")
