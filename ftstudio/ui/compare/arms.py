"""Two arms on the same rows: the base model's answers and a run's, scored as they come. No widgets here."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ftstudio.core import files
from ftstudio.core.errors import StudioError
from ftstudio.core.files import LineReader
from ftstudio.core.recipe import Recipe
from ftstudio.core.run import RunFolder
from ftstudio.evaluation.predictions import Prediction, from_line
from ftstudio.ui.text.context import ContextMaker
from ftstudio.ui.text.following import Following

if TYPE_CHECKING:
    from ftstudio.evaluation.scoring import RowScorer

BASE = "base"
READ_AT_ONCE = 1 << 20  # bytes of one arm's answers read in one look
REST = 4.0  # scoring rests this many times as long as it took
QUICK = 2_000  # bootstrap samples while answers still come; the final report has 10,000


@dataclass
class Answered:
    """One arm's answers, read as they come."""

    path: Path
    known: dict[int, Prediction] = field(default_factory=dict)
    reader: LineReader = field(init=False)

    def __post_init__(self) -> None:
        self.reader = LineReader(self.path)

    def poll(self) -> bool:
        """Take in what came; True where something did."""
        before = self.reader.offset
        lines = self.reader.poll(READ_AT_ONCE)
        if self.reader.offset < before:  # answered anew
            self.known.clear()
        for line in lines:
            try:
                prediction = from_line(line, len(self.known))
            except StudioError:
                continue
            self.known[prediction.row] = prediction
        return bool(lines)


class Arms:
    """A run's comparison: answers of both arms, and `report`, the worker's or, until there is one, our own."""

    def __init__(self, run: RunFolder, recipe: Recipe | None) -> None:
        self.run = run
        self.folder = run.compare
        self.recipe = recipe
        self.following = Following(self.folder)
        self.base = Answered(self.folder.path / f"{BASE}.jsonl")
        self.tuned = Answered(self.folder.path / f"{run.name}.jsonl")
        self.report: dict[str, Any] | None = None
        self.final = False  # the report is the worker's
        self._version = 0
        self._scored_version = 0
        self._seen: tuple[float, int] | None = None  # of report.json
        self._working = False
        self._rest_until = 0.0
        self._maker = ContextMaker(recipe, run.path.parents[1])  # the workspace
        self._scorer: RowScorer | None = None

    # -- reading ---------------------------------------------------------------------------------------------------
    def poll(self) -> bool:
        """Take in what came; True where anything changed."""
        came = self.base.poll()
        came = self.tuned.poll() or came
        self._version += came
        report = self._look_for_report()
        return self.following.poll() or came or report

    def _look_for_report(self) -> bool:
        path = self.folder.path / "report.json"
        try:
            status = path.stat()
        except OSError:
            return False
        seen = (status.st_mtime, status.st_size)
        if seen == self._seen:
            return False
        self._seen = seen
        value = files.read_json(path)
        if not usable(value, self.run.name):
            return False
        self.report, self.final = value, True
        self._scored_version = self._version
        return True

    @property
    def rows(self) -> list[int]:
        """The rows that both arms have answered."""
        return [row for row in self.base.known if row in self.tuned.known]

    @property
    def stale(self) -> bool:
        """Whether both arms have answers that the report doesn't know."""
        if self._version == self._scored_version:
            return False
        return not self.final or {entry["row"] for entry in (self.report or {})["per_row"]} != set(self.rows)

    @property
    def behind(self) -> bool:
        """Whether there is something to score, and it is time to."""
        if self._working or time.monotonic() < self._rest_until or not self.stale:
            return False
        return bool(self.rows)

    # -- scoring ---------------------------------------------------------------------------------------------------
    def begin(self) -> tuple[int, list[Prediction], list[Prediction]]:
        """What `score` is to be given; called on the screen's thread."""
        self._working = True
        rows = self.rows
        return self._version, [self.base.known[row] for row in rows], [self.tuned.known[row] for row in rows]

    def score(self, base: list[Prediction], tuned: list[Prediction]) -> dict[str, Any] | None:
        """The report of these answers, but for similarity, which only the worker can tell. May take a while."""
        from ftstudio.evaluation.comparison import Arm, compare
        from ftstudio.evaluation.scoring import RowScorer

        # One prompt or reference that differs is another row: only what is the same in both is compared.
        pairs = [
            (a, b) for a, b in zip(base, tuned, strict=True) if a.prompt == b.prompt and a.reference == b.reference
        ]
        if not pairs:
            return None
        running = self.following.running
        context = self._maker.make([a for a, _ in pairs], not running)
        if self._scorer is None or self._scorer.answer != (context.answer or "exact"):
            self._scorer = RowScorer(answer=context.answer)
        return compare(
            [Arm(BASE, [a for a, _ in pairs]), Arm(self.run.name, [b for _, b in pairs])],
            context,
            metrics=self._metrics(),
            scorer=self._scorer,
            resamples=QUICK if running else 10_000,
            seed=self.recipe.training.seed if self.recipe else 0,
        )

    def _metrics(self) -> list[str]:
        if self.recipe is None:
            return ["rouge"]
        from ftstudio.engine.judging import metrics_of

        return [name for name in metrics_of(self.recipe) if name != "similarity"] or ["rouge"]

    def finish(self, version: int, report: dict[str, Any] | None, seconds: float) -> None:
        """Take over what `score` found in VERSION after SECONDS; None where it failed. On the screen's thread."""
        self._working = False
        self._scored_version = version
        self._rest_until = time.monotonic() + REST * seconds
        if report is not None and (not self.final or self.stale or self.report is None):
            self.report, self.final = report, False

    @property
    def settled(self) -> bool:
        """Whether the report knows all answers."""
        return not self.stale

    # -- what is shown ---------------------------------------------------------------------------------------------
    def differences(self) -> list[dict[str, Any]]:
        """The report's differences between base and this run."""
        return [entry for entry in (self.report or {}).get("differences", ()) if self._ours(entry["a"], entry["b"])]

    def categories(self) -> list[dict[str, Any]]:
        """The report's categories, base against this run."""
        return [entry for entry in (self.report or {}).get("categories", ()) if self._ours(*entry["arms"])]

    def metrics(self, arm: str) -> dict[str, float]:
        """The metrics of ARM over all rows."""
        for entry in (self.report or {}).get("arms", ()):
            if entry["name"] == arm:
                return dict(entry["metrics"])
        return {}

    def _ours(self, a: str, b: str) -> bool:
        return a == BASE and b == self.run.name


def usable(value: Any, run: str) -> bool:
    """Whether VALUE is a report with the base and RUN in it: one of another version, or torn, is none."""
    if not isinstance(value, dict):
        return False
    try:
        names = {arm["name"] for arm in value["arms"]}
        pairs = any(entry["a"] == BASE and entry["b"] == run for entry in value["differences"])
        rows = all(isinstance(entry["row"], int) and BASE in entry["arms"] for entry in value["per_row"])
        whole = all(key in value for key in ("rows", "categories", "identical", "gain"))
    except (KeyError, TypeError):
        return False
    return {BASE, run} <= names and pairs and rows and whole
