"""Reading rows in full, one after another: which one is shown, and what a person decides on it."""

from __future__ import annotations

import re
from collections.abc import Callable

from ftstudio.core.text import clean
from ftstudio.evaluation.predictions import Prediction
from ftstudio.ui.errors import marks
from ftstudio.ui.errors.answers import Answers
from ftstudio.ui.errors.detail import Detail
from ftstudio.ui.errors.lists import Lists

SHOWN = 5  # unknown words of a row that are looked up


class Reading:
    """Joins the list of rows, the row in full, and the answers with the person's tags."""

    def __init__(self, lists: Lists, detail: Detail) -> None:
        self.lists = lists
        self.detail = detail
        self.meant: dict[str, list[str]] = {}  # unknown words looked up so far: what they may have been meant to be
        self.look_up: Callable[[list[str], str, tuple[str, ...]], None] = lambda words, language, known: None
        self.doing = ""  # what the screen works out meanwhile, such as a suggestion
        self.difference = False  # what differs from the reference is marked, instead of what the checks saw

    @property
    def answers(self) -> Answers | None:
        """The answers that are read."""
        return self.lists.answers

    @property
    def open(self) -> bool:
        """Whether a row is shown in full."""
        return bool(self.detail.display)

    @property
    def prediction(self) -> Prediction | None:
        """What was answered on the row under the cursor."""
        answers, row = self.answers, self.lists.row
        return answers.predictions.get(row) if answers is not None and row is not None else None

    def show(self, *, stay: bool = False) -> bool:
        """Bring the row in full up to date; False where there is no such row any more. STAY keeps the scroll."""
        answers, lists, prediction = self.answers, self.lists, self.prediction
        if answers is None or prediction is None:
            return False
        row = prediction.row
        place = f"{lists.rows.index(row) + 1} of {len(lists.rows)} · " if row in lists.rows else "no longer in "
        order = "" if answers.order.name == "data" else f" · {answers.order.title}"
        self.detail.show(
            prediction,
            answers.findings(row),
            answers.names(row),
            answers.decisions(row),
            answers.scores(row),
            answers.known,
            place + lists.title + order,
            f"{self.doing}   s stops" if self.doing else answers.progress(lists.rows),
            note=answers.noted(row),
            meant=self._meant_by(prediction, answers),
            correction=answers.corrections.texts.get(row),
            difference=self.difference,
            stay=stay,
        )
        return True

    def _meant_by(self, prediction: Prediction, answers: Answers) -> dict[str, list[str]]:
        """What the unknown words of PREDICTION may have been meant to be; those not looked up yet come later."""
        spans = [one.spans for one in answers.findings(prediction.row) if one.category == "misspelling"]
        words = dict.fromkeys(prediction.output[start:end].lower() for span in spans for start, end in span[:SHOWN])
        missing = [word for word in words if word not in self.meant]
        if missing and answers.context is not None:
            self.meant |= {word: [] for word in missing}  # asked for once
            known = tuple(dict.fromkeys(re.findall(r"[^\W\d_]+", prediction.prompt.lower())))[:2_000]
            self.look_up(missing, answers.context.dictionary_language, known)
        return {word: self.meant[word] for word in words if self.meant[word]}

    def step(self, by: int) -> None:
        """Go BY rows on within the filter."""
        lists = self.lists
        if not self.open or not lists.rows:
            return
        here = lists.rows.index(lists.row) if lists.row in lists.rows else 0
        row = lists.rows[max(0, min(here + by, len(lists.rows) - 1))]
        if row != lists.row:
            lists.go(row)
            self.show()

    def decide(self, decision: Callable[[Answers, int], bool]) -> bool | None:
        """Let DECISION change the tags of the row in full; what it gave back, None where no row is shown.

        The list of rows stays as it is, so that one goes on where one was. Raises StudioError.
        """
        answers, prediction = self.answers, self.prediction
        if not self.open or answers is None or prediction is None:
            return None
        result = decision(answers, prediction.row)
        self._decided()
        return result

    def toggle(self, letter: str) -> bool:
        """Put the row into the category of the capital LETTER or take it out; False where no category has it."""
        known = self.answers.known if self.answers is not None else {}
        category = marks.keys(known).get(letter) if self.open and letter.isupper() else None
        if category is None:
            return False
        name = category.name
        self.decide(lambda answers, row: answers.toggle(row, name))
        return True

    def undo(self) -> bool:
        """Take the last decision back and go to its row; False where there is none. Raises StudioError."""
        row = self.answers.undo() if self.answers is not None else None
        if row is None:
            return False
        if self.open:
            self.lists.go(row)
        self._decided()
        return True

    def _decided(self) -> None:
        self.lists.show_categories()
        if self.open:
            self.show(stay=True)

    def text(self) -> str:
        """The row as plain text, to be copied; empty where there is none."""
        answers, prediction = self.answers, self.prediction
        if answers is None or prediction is None:
            return ""
        parts = [("prompt", prediction.prompt), ("reference", prediction.reference), ("output", prediction.output)]
        texts = "\n\n".join(f"--- {title}\n{clean(part)}" for title, part in parts if part is not None)
        return f"row {prediction.row} · {answers.model}\n\n{texts}\n"
