"""What the detectors must know besides the answers: from the recipe's data where it can be read, else the answers."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ftstudio.core.errors import StudioError
from ftstudio.core.recipe import Recipe
from ftstudio.core.text import one_line
from ftstudio.evaluation.predictions import Prediction

if TYPE_CHECKING:
    from ftstudio.evaluation.context import Context
    from ftstudio.evaluation.own import OwnCategory

GROWTH = 1.5  # a context read off the answers is read again when there are this many times as many


class ContextMaker:
    """Makes the context of one recipe's answers, anew only where new answers change it. Not for the screen's thread."""

    def __init__(self, recipe: Recipe | None, workspace: Path | None = None, part: str = "eval") -> None:
        self.recipe = recipe
        self.part = part  # the rows that are answered: `eval` or `test`
        self.workspace = workspace  # where a person's own categories are defined
        self.trouble = ""  # why they are left out
        self._own: tuple[OwnCategory, ...] = ()
        self.context: Context | None = None
        self.embedder: Any = None
        self._opened = False
        self._lock = threading.Lock()  # of opening: scoring and reading columns are threads of their own
        self._materials: Any = None
        self._covered: set[int] = set()
        self._rows = 0

    def make(self, predictions: Sequence[Prediction], final: bool) -> Context:
        """The context for PREDICTIONS; FINAL says that no more will come."""
        with self._lock:
            if not self._opened:
                self._open()
        if self._materials is not None:
            if self.context is None or any(prediction.row not in self._covered for prediction in predictions):
                self.context = self._of_data(predictions)
            return self.context
        grown = len(predictions) >= GROWTH * max(self._rows, 1) or (final and len(predictions) != self._rows)
        if self.context is None or grown:
            from ftstudio.evaluation.context import of_predictions

            self.context, self._rows = of_predictions(predictions, own=self._own), len(predictions)
        return self.context

    def reopen(self) -> None:
        """The person's own categories have changed: they are read again for the next context."""
        with self._lock:
            self._opened, self.context, self.trouble, self._own = False, None, "", ()

    def columns(self, rows: Collection[int]) -> dict[int, dict[str, Any]]:
        """ROWS of the held-out data as they stand there, by number; empty where the data can't be read."""
        with self._lock:
            if not self._opened:
                self._open()
        held_out = self._materials.held_out if self._materials is not None else None
        if held_out is None:
            return {}
        wanted = set(rows)
        return {
            number: held_out[index] for index in range(len(held_out)) if (number := held_out.origin_of(index)) in wanted
        }

    def training_rows(self) -> tuple[int, Callable[[int], tuple[int, str, str] | None]] | None:
        """(how many training rows, what reads one: its number, prompt and answer, None where it has none of these);
        None where the data can't be read."""
        from ftstudio.data.example import BadRow

        with self._lock:
            if not self._opened:
                self._open()
        materials = self._materials
        if materials is None:
            return None

        def read(place: int) -> tuple[int, str, str] | None:
            try:
                example = materials.shape.example(materials.train[place])
            except BadRow:
                return None
            if example.is_text or not example.reference:
                return None
            return materials.train.origin_of(place), example.prompt, example.reference

        return len(materials.train), read

    def _open(self) -> None:
        self._opened = True
        from ftstudio.evaluation.similarity import load_embedder

        try:
            self.embedder = load_embedder("static", allow_torch=False)
        except StudioError:
            self.embedder = None
        if self.workspace is not None:
            from ftstudio.evaluation import own

            try:
                self._own = own.load(self.workspace)
            except StudioError as error:
                self.trouble = f"Your own categories are left out: {one_line(error, 200)}"
        if self.recipe is None:
            return
        from ftstudio.engine.prepare import open_materials

        try:
            self._materials = open_materials(self.recipe).on(self.part)
        except StudioError:  # the data moved or changed since: the answers are still there
            self._materials = None

    def _of_data(self, predictions: Sequence[Prediction]) -> Context:
        """From all held-out rows, answered or not, so that no check depends on how far the answers are."""
        from ftstudio.engine.answering import questions
        from ftstudio.engine.judging import context_of

        rows = {prediction.row: prediction for prediction in predictions}
        if self.recipe is not None:
            try:
                examples = self._materials.examples(self.recipe.evaluation.rows)
            except StudioError:
                examples = []
            for question in questions(examples, {"": self._materials})[0]:
                rows.setdefault(question.row, Prediction(question.row, question.text, question.reference, ""))
        self._covered = set(rows)
        return context_of(self._materials, list(rows.values()), self._own)
