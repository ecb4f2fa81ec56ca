"""What a model answered on held-out rows, what detectors found in it, and what a person says. No widgets here."""

from __future__ import annotations

import time
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ftstudio.core.errors import StudioError
from ftstudio.core.files import LineReader
from ftstudio.core.folder import JobFolder
from ftstudio.core.recipe import Recipe
from ftstudio.data.versions.edit import me
from ftstudio.evaluation.categories import Category, categories
from ftstudio.evaluation.corrected import corrected
from ftstudio.evaluation.corrections import FILE as CORRECTIONS
from ftstudio.evaluation.corrections import Corrections
from ftstudio.evaluation.predictions import Prediction, from_line
from ftstudio.evaluation.tags import Agreement
from ftstudio.ui.errors import pace
from ftstudio.ui.errors.order import Ordering
from ftstudio.ui.text.context import ContextMaker
from ftstudio.ui.text.following import Following

if TYPE_CHECKING:
    from ftstudio.evaluation.categories import Categorised, Categoriser, Finding
    from ftstudio.evaluation.context import Context
    from ftstudio.evaluation.scoring import RowScorer, Scores
    from ftstudio.evaluation.tags import Tags

ALL, CLEAN, GROUP = "", "-", "*"  # filters beside the categories: every row, rows without any error, a group of rows
REVIEWED = "reviewed"  # kept among the tags, but no category: a person has looked and agrees
READ_AT_ONCE = 1 << 20  # bytes of outputs read in one look, so that no look takes long
SCORED = ("rouge1", "rouge2", "rougeL", "length")
REST = 4.0  # categorising rests this many times as long as it took


@dataclass(frozen=True)
class Group:
    """Rows that mean alike, and what they are called."""

    title: str
    rows: tuple[int, ...]


class Answers:
    """The answers in one job folder. `poll` reads what came, `categorise` (off the screen's thread) judges it."""

    def __init__(self, folder: JobFolder, model: str, recipe: Recipe | None, workspace: Path | None = None) -> None:
        from ftstudio.evaluation.tags import Tags

        self.folder = folder
        self.model = model
        self.recipe = recipe
        self.following = Following(folder)
        self.predictions: dict[int, Prediction] = {}
        self.categorised: Categorised | None = None  # as the detectors say
        self.corrected: Categorised | None = None  # as the person has corrected them
        self.tags: Tags = Tags.load(folder.path / "tags.jsonl")
        self.corrections = Corrections(folder.path / CORRECTIONS)  # the answers that a person would have given
        self.order = Ordering(self.tags.decided)  # one goes on with the rows not looked at yet
        self.group: Group | None = None  # the one that the person has chosen last
        self.refused = 0  # lines that are no predictions
        self._steps: list[int] = []  # decisions each of the person's actions took, for undo
        self._reader = LineReader(folder.path / "outputs.jsonl")
        self._version = 0
        self._judged_version = -1
        self._working = False
        self._rest_until = 0.0
        self._categoriser: Categoriser | None = None
        self._maker = ContextMaker(recipe, workspace)
        self._taken: dict[int, Prediction] = {}
        self._scorer: RowScorer | None = None
        self._scores: dict[int, Scores] = {}

    @property
    def written(self) -> bool:
        """Whether the answers are texts that the model writes; labels, tags and numbers share no words to count."""
        from ftstudio import tasks

        return self.recipe is None or tasks.get(self.recipe.task).generates

    # -- reading ---------------------------------------------------------------------------------------------------
    def poll(self) -> bool:
        """Take in what came; True where anything changed."""
        lines = self._reader.poll(READ_AT_ONCE)
        if self._reader.restarted:  # answered anew
            self.predictions.clear()
            self.categorised = self.corrected = None
        new = []
        for line in lines:
            try:
                prediction = from_line(line, len(self.predictions))
            except StudioError:
                self.refused += 1
                continue
            self.predictions[prediction.row] = prediction
            new.append(prediction)
        if new:
            self.tags.see(new)
            self.order.look_again(self.tags.outdated)
        came = bool(lines) or self._reader.restarted
        self._version += came
        return self.following.poll() or came

    @property
    def behind(self) -> bool:
        """Whether there is something to categorise, and it is time to."""
        if self._working or not self.predictions or self._version == self._judged_version:
            return False
        return time.monotonic() >= self._rest_until

    # -- judging ---------------------------------------------------------------------------------------------------
    def begin(self) -> tuple[int, list[Prediction]]:
        """What `categorise` is to be given; called on the screen's thread."""
        self._working = True
        return self._version, list(self.predictions.values())

    def categorise(self, predictions: list[Prediction]) -> Categorised:
        """The detectors' findings in PREDICTIONS; those judged before aren't judged again. May take a while.

        Scores them by the way; see `scores`.
        """
        from ftstudio.evaluation.categories import Categoriser
        from ftstudio.evaluation.scoring import RowScorer

        context = self._maker.make(predictions, not self.following.running)
        gone = self._taken.keys() - {prediction.row for prediction in predictions}  # of answers before these
        if self._categoriser is None or gone or context != self._categoriser.context:
            self._categoriser, self._taken = Categoriser(context, embedder=self._maker.embedder), {}
        for prediction in predictions:
            if self._taken.get(prediction.row) is not prediction:
                self._categoriser.add(prediction)
                self._taken[prediction.row] = prediction
        self._scorer = self._scorer or RowScorer(SCORED if self.written else SCORED[-1:])
        found = self._scorer.score(predictions)
        self._scores = {prediction.row: scores for prediction, scores in zip(predictions, found, strict=True)}
        return self._categoriser.result()

    def finish(self, version: int, categorised: Categorised | None, seconds: float) -> None:
        """Take over what `categorise` found in VERSION after SECONDS; None where it failed. On the screen's thread."""
        self._working = False
        self._judged_version = version
        self._rest_until = time.monotonic() + REST * seconds
        if categorised is not None:
            self.categorised = categorised
            self._correct()

    def judge_again(self) -> None:
        """The person's own categories have changed: all rows are judged anew."""
        self._maker.reopen()
        self._categoriser, self._judged_version, self._rest_until = None, -1, 0.0

    @property
    def settled(self) -> bool:
        """Whether all that came has been categorised."""
        return self._version == self._judged_version

    # -- what a person says ----------------------------------------------------------------------------------------
    def toggle(self, row: int, category: str) -> bool:
        """Turn CATEGORY on or off for ROW; whether it is on now. Raises StudioError where it can't be kept."""
        on = self.tags.toggle(row, category, self.detected(row), who=me())
        self._steps.append(1)
        self._correct()
        return on

    def agree(self, row: int) -> bool:
        """Note that a person has looked at ROW and agrees with its categories. Always True."""
        if row not in self.tags.decided:
            self.tags.add(row, REVIEWED, who=me())
            self._steps.append(1)
        return True

    def note(self, row: int, text: str) -> None:
        """Keep TEXT as the person's note on ROW, which counts as looked at; an empty one takes the note back. Raises
        StudioError where it can't be kept."""
        self.tags.add(row, REVIEWED, who=me(), note=text)
        self._steps.append(1)

    def noted(self, row: int) -> str:
        """The person's note on ROW; empty without one."""
        return self.tags.note(row, REVIEWED)

    def agreement(self, category: str) -> Agreement | None:
        """How the person and the check of CATEGORY agree on the rows that the person has looked at; None before any."""
        rows = self.tags.decided & self.predictions.keys()
        if not rows or self.categorised is None:
            return None
        pairs = [(category in self.names(row), category in self.detected(row)) for row in rows]
        return Agreement(*(pairs.count(pair) for pair in ((True, True), (True, False), (False, True), (False, False))))

    def automatic(self, row: int) -> bool:
        """Leave ROW to the detectors again; False where nothing was decided on it."""
        decided = self.tags.of(row)
        for category in decided:
            self.tags.reset(row, category, who=me())
        if decided:
            self._steps.append(len(decided))
            self._correct()
        return bool(decided)

    def undo(self) -> int | None:
        """Take back the person's last action; the row it was about, None where nothing is left."""
        if not self._steps:
            return None
        row = None
        for _ in range(self._steps.pop()):
            tag = self.tags.undo()
            row = tag.row if tag is not None else row
        self._correct()
        return row

    def _correct(self) -> None:
        if self.categorised is not None:
            self.corrected = corrected(self.categorised, self.tags)

    # -- what is shown ---------------------------------------------------------------------------------------------
    @property
    def known(self) -> dict[str, Category]:
        """The categories that are looked for, the person's own ones too, by name."""
        return (self.categorised.categories if self.categorised is not None else {}) or categories()

    @property
    def context(self) -> Context | None:
        """What the detectors judge by; None until they have begun."""
        return self._maker.context

    @property
    def trouble(self) -> str:
        """Why the person's own categories are left out; empty where they aren't."""
        return self._maker.trouble

    def detected(self, row: int) -> set[str]:
        """The categories that the detectors put ROW in."""
        return self.categorised.names(row) if self.categorised is not None else set()

    def names(self, row: int) -> set[str]:
        """The categories of ROW, the person's word above the detectors'."""
        return self.tags.apply(row, self.detected(row)) - {REVIEWED}

    def decisions(self, row: int) -> dict[str, str]:
        """What the person decided on ROW: category to `add` or `remove`."""
        return {category: action for category, action in self.tags.of(row).items() if category != REVIEWED}

    def findings(self, row: int) -> tuple[Finding, ...]:
        """What the detectors found in ROW."""
        return self.categorised.findings.get(row, ()) if self.categorised is not None else ()

    def scores(self, row: int) -> Scores:
        """The metrics (of SCORED) of ROW; those that need a missing reference are left out."""
        return self._scores.get(row, {})

    def mean(self, metric: str) -> float | None:
        """The mean of METRIC over all rows that have it; None where none has."""
        values = [scores[metric] for scores in self._scores.values() if metric in scores]
        return sum(values) / len(values) if values else None

    @property
    def judged(self) -> frozenset[int]:
        """The rows that the detectors have seen."""
        seen = self.categorised.predictions if self.categorised is not None else ()
        return frozenset(prediction.row for prediction in seen)

    def rows(self, wanted: str) -> list[int]:
        """The rows of the filter WANTED (a category, ALL, CLEAN or GROUP), in the order of review."""
        if wanted == GROUP:
            return self.order.arrange(row for row in (self.group.rows if self.group else ()) if row in self.predictions)
        if wanted == ALL or self.corrected is None:
            return self.order.arrange(self.predictions)
        if wanted == CLEAN:
            wrong = set().union(*self.corrected.rows.values()) if self.corrected.rows else set()
            judged = (prediction.row for prediction in self.corrected.predictions)
            return self.order.arrange(row for row in judged if row not in wrong)
        return self.order.arrange(row for row in self.corrected.rows.get(wanted, ()) if row in self.predictions)

    def table(self) -> list[dict[str, Any]]:
        """The category table, the person's corrections in it."""
        from ftstudio.evaluation.summary import category_table

        return category_table(self.corrected) if self.corrected is not None else []

    @property
    def reviewed(self) -> int:
        """Rows that a person decided on."""
        return len(self.tags.decided)

    @property
    def outdated(self) -> int:
        """Rows that a person decided on when they were answered otherwise: they are to be looked at again."""
        return len(self.tags.outdated & self.predictions.keys())

    def progress(self, rows: Collection[int] | None = None) -> str:
        """How many of ROWS (None: of all) a person has looked at, and how long the rest takes; empty before any."""
        rows = self.predictions.keys() if rows is None else rows
        decided = self.tags.decided
        said = pace.progress(sum(row in decided for row in rows), len(rows), pace.seconds_a_row(self.tags.history))
        before = f"{self.outdated:,} ✎ of earlier answers" if self.outdated else ""
        return " · ".join(part for part in (said, before) if part)
