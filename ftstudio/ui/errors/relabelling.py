"""Labels in doubt, put right with one key: of training rows and of held-out rows. A part of the screen Errors."""

from __future__ import annotations

from ftstudio.data.versions.edit import me
from ftstudio.engine.behind import Training
from ftstudio.engine.repairing import Repairs, held_out_inside
from ftstudio.evaluation.doubtful import NAME
from ftstudio.evaluation.predictions import Prediction
from ftstudio.ui.errors.answering import Answering
from ftstudio.ui.errors.answers import Answers


class Relabelling(Answering):
    """What the screen does with labels that are likely wrong."""

    @property
    def labelled(self) -> bool:
        """Whether the answers in view are labels that may be in doubt."""
        return self.answers is not None and NAME in self.answers.known

    def action_relabel(self) -> None:
        """The likelier label instead of the one in doubt, as a pending repair; on to the next row."""
        if self.page is self.training_page:
            self._relabel_training()
            return
        answers, prediction, recipe = self.answers, self.reading.prediction, self.trained_on()
        if answers is None or prediction is None or not self.labelled:
            return
        if recipe is None:
            self.studio.tell("No recipe says which data these rows come from: 3 makes one.", "warning")
            return
        label, before = prediction.output.strip(), prediction.reference
        if not label or before is None or label == before.strip():
            self.studio.tell(f"The model gives row {prediction.row} the label it has: e types in another one.")
            return
        self.with_training(
            recipe, lambda training, _: self._relabel_held_out(answers, training, prediction, label), self.failed
        )

    def _relabel_training(self) -> None:
        page = self.training_page
        row, training = page.row, page.training
        if row is None or training is None:
            return
        label = training.likelier(row)
        if label is None:
            self.studio.tell(f"No other label is likelier for row {row}: e types one in.")
            return
        why = f"the label was in doubt, likelier is {label}"

        def done(_: object) -> None:
            page.table.action_move(1)

        self._repair(lambda repairs: repairs.edit(row, label, why, [NAME]), done)

    def _relabel_held_out(self, answers: Answers, training: Training, prediction: Prediction, label: str) -> None:
        row, before = prediction.row, prediction.reference or ""
        workspace = self.session.workspace

        def work(_: object) -> Repairs:
            repairs = Repairs.of_held_out(training, workspace, {row: before})
            repairs.edit(row, label, f"the label was in doubt, the model says {label}", [NAME])
            return repairs

        def done(repairs: Repairs) -> None:
            if not self.attempt(lambda: answers.corrections.set(row, label, who=me())):
                return
            where = "t and then l lists it, v saves" if held_out_inside(training.recipe) else "1 opens it, w saves"
            name = repairs.pending.folder.name
            self.studio.tell(f"Row {row} is {label}: {repairs.count} pending in {name}; {where} a version.")
            if self.reading.open:
                self.reading.step(1)
                self.reading.show(stay=True)

        self.background.start("repair", "keeping the repair", work, done, self.failed)
