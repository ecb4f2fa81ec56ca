"""The arms of a run's comparison: their answers as they come, the pair in view, and its scores. No widgets here."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from ftstudio.core import files
from ftstudio.core.errors import StudioError
from ftstudio.core.files import LineReader
from ftstudio.core.recipe import Recipe
from ftstudio.core.run import RunFolder, trained_text
from ftstudio.core.text import one_line
from ftstudio.evaluation.metrics import title
from ftstudio.evaluation.predictions import Prediction, from_line
from ftstudio.evaluation.stored import differently_stored, quantised
from ftstudio.ui.compare.oriented import oriented
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
        lines = self.reader.poll(READ_AT_ONCE)
        if self.reader.restarted:  # answered anew
            self.known.clear()
        for line in lines:
            try:
                prediction = from_line(line, len(self.known))
            except StudioError:
                continue
            self.known[prediction.row] = prediction
        return bool(lines) or self.reader.restarted


@dataclass(frozen=True)
class ToScore:
    """Answers of the arms `a` and `b`, row by row, as they were at `version`."""

    version: int
    a: str
    b: str
    pairs: list[tuple[Prediction, Prediction]]


class Arms:
    """A run's comparison: the answers of all its arms, and `report`, the worker's or, until there is one, our own.

    `names` are the arms in their order; `a` and `b` are the two that are held against each other, b against a.
    """

    def __init__(self, run: RunFolder, recipe: Recipe | None, part: Literal["eval", "test"] = "eval") -> None:
        self.run = run
        self.part = part  # the rows that are compared on
        self.folder = run.compared_on(part)
        self.recipe = recipe
        self.following = Following(self.folder)
        self.names: list[str] = [BASE, run.name]
        self.a, self.b = BASE, run.name
        self.answered = {name: self._open(name) for name in self.names}
        self.report: dict[str, Any] | None = None
        self.final = False  # the report is the worker's
        self.columns: Mapping[int, Mapping[str, Any]] = {}  # rows of the data, once they were read
        self.version = 0  # goes up with every answer
        self._scored_version = 0
        self._seen: tuple[float, int] | None = None  # of report.json
        self._worker_report: dict[str, Any] | None = None
        self._reported: frozenset[int] = frozenset()  # rows of the worker's report
        self._working = False
        self._rest_until = 0.0
        self._maker = ContextMaker(recipe, run.path.parents[1], part)  # the workspace
        self._scorer: RowScorer | None = None

    def _open(self, name: str) -> Answered:
        return Answered(self.folder.path / f"{name}.jsonl")

    # -- reading ---------------------------------------------------------------------------------------------------
    def poll(self) -> bool:
        """Take in what came; True where anything changed."""
        told = self.following.poll()
        report = self._look_for_report()
        self._name_arms()
        came = [answered.poll() for answered in self.answered.values()]
        self.version += any(came)
        return told or report or any(came)

    def _name_arms(self) -> None:
        """Which arms there are: those that the job told of, else those of the report, else base and tuned."""
        told = self.following.start.get("arms")
        names = [str(name) for name in told] if isinstance(told, list) else []
        if len(names) < 2:
            names = [entry["name"] for entry in (self._worker_report or {}).get("arms", ())]
        if len(names) < 2 or names == self.names:
            return
        self.names = names
        self.answered = {name: self.answered.get(name) or self._open(name) for name in names}
        if not {self.a, self.b} <= set(names):
            self.a = names[0]
            self.b = self.run.name if self.run.name in names[1:] else names[-1]

    def hold(self, a: str, b: str) -> None:
        """Hold B against A from now on."""
        if (a, b) == (self.a, self.b) or a == b or not {a, b} <= set(self.names):
            return
        self.a, self.b = a, b
        self.report = self._worker_report if usable(self._worker_report, a, b) else None
        self.final = self.report is not None
        self.version += not self.final  # our own scores are of the pair alone

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
        if not isinstance(value, dict) or not usable(value, *first_pair(value, self.run.name)):
            return False
        self._worker_report = value
        self._reported = frozenset(entry["row"] for entry in value["per_row"])
        if not usable(value, self.a, self.b):
            self.a, self.b = first_pair(value, self.run.name)
        self.report, self.final = value, True
        self._scored_version = self.version
        return True

    @property
    def rows_name(self) -> str:
        """What the rows are called."""
        return "test rows" if self.part == "test" else "held-out rows"

    @property
    def base(self) -> Answered:
        """The answers that are held against."""
        return self.answered[self.a]

    @property
    def tuned(self) -> Answered:
        """The answers that are held against them."""
        return self.answered[self.b]

    @property
    def rows(self) -> list[int]:
        """The rows that both arms in view have answered. Once the worker is done, those it was asked for: answers
        to more rows, from earlier, are kept, but aren't what its report is about."""
        both = [row for row in self.base.known if row in self.tuned.known]
        if self.following.state != "done" or not self._reported:
            return both
        return [row for row in both if row in self._reported]

    @property
    def stale(self) -> bool:
        """Whether both arms have answers that the report doesn't know."""
        if self.version == self._scored_version:
            return False
        return not self.final or {entry["row"] for entry in (self.report or {})["per_row"]} != set(self.rows)

    @property
    def behind(self) -> bool:
        """Whether there is something to score, and it is time to."""
        if self._working or time.monotonic() < self._rest_until or not self.stale:
            return False
        return bool(self.rows)

    # -- scoring ---------------------------------------------------------------------------------------------------
    def begin(self) -> ToScore:
        """What `score` is to be given; called on the screen's thread."""
        self._working = True
        pairs = [(self.base.known[row], self.tuned.known[row]) for row in self.rows]
        return ToScore(self.version, self.a, self.b, pairs)

    def score(self, work: ToScore) -> dict[str, Any] | None:
        """The report of these answers, but for similarity, which only the worker can tell. May take a while."""
        from ftstudio.evaluation.comparison import Arm, compare
        from ftstudio.evaluation.scoring import RowScorer

        # One prompt or reference that differs is another row: only what is the same in both is compared.
        pairs = [(a, b) for a, b in work.pairs if a.prompt == b.prompt and a.reference == b.reference]
        if not pairs:
            return None
        running = self.following.running
        context = self._maker.make([a for a, _ in pairs], not running)
        if self._scorer is None or self._scorer.answer != (context.answer or "exact"):
            self._scorer = RowScorer(answer=context.answer)
        return compare(
            [Arm(work.a, [a for a, _ in pairs]), Arm(work.b, [b for _, b in pairs])],
            context,
            metrics=self._metrics(),
            scorer=self._scorer,
            resamples=QUICK if running else 10_000,
            seed=self.recipe.training.seed if self.recipe else 0,
        )

    def read_columns(self) -> Mapping[int, Mapping[str, Any]]:
        """The rows of the data behind the answers, by row number. Opens the data: not for the screen's thread."""
        return self._maker.columns(self.rows)

    def training_rows(self) -> tuple[int, Callable[[int], tuple[int, str, str] | None]] | None:
        """(how many training rows there are, what gives the number, prompt and answer of one by its place, or None for
        one without); None where the data can't be read. Opens the data: not for the screen's thread."""
        return self._maker.training_rows()

    def _metrics(self) -> list[str]:
        if self.recipe is None:
            return ["rouge"]
        from ftstudio.engine.judging import metrics_of

        return [name for name in metrics_of(self.recipe) if name != "similarity"] or ["rouge"]

    def finish(self, work: ToScore, report: dict[str, Any] | None, seconds: float) -> None:
        """Take over what `score` found of WORK after SECONDS; None where it failed. On the screen's thread."""
        self._working = False
        self._rest_until = time.monotonic() + REST * seconds
        if (work.a, work.b) != (self.a, self.b):
            return  # another pair was chosen meanwhile
        self._scored_version = work.version
        if report is not None and (not self.final or self.stale or self.report is None):
            self.report, self.final = report, False

    @property
    def leak(self) -> Mapping[str, Any]:
        """Held-out rows that stand in the training rows, as the worker found them: true of any pair of arms. Empty
        where none does and all could be looked into."""
        leak = (self._worker_report or {}).get("leak")
        return leak if isinstance(leak, Mapping) and (leak.get("rows") or leak.get("unseen")) else {}

    @property
    def looked_for_leaks(self) -> bool:
        """Whether the worker has looked for them: it does when all answers are there."""
        return self._worker_report is not None

    @property
    def settled(self) -> bool:
        """Whether the report knows all answers."""
        return not self.stale

    # -- what is shown ---------------------------------------------------------------------------------------------
    def label(self, name: str, width: int = 24) -> str:
        """Arm NAME in at most WIDTH cells; the run itself is `tuned`, its checkpoints `tuned@STEP`."""
        return one_line(self.own_as(name, "tuned"), width)

    def own_as(self, name: str, own: str) -> str:
        """NAME with OWN for the run's own name, before a step or examples, too."""
        mine, rest = name[: len(self.run.name)], name[len(self.run.name) :]
        return f"{own}{rest}" if mine == self.run.name and rest[:1] in ("", "@", "+") else name

    def trained(self, name: str) -> str:
        """Of which step the model of arm NAME is where that isn't the end of its training, as the report tells."""
        for entry in (self.report or {}).get("arms", ()):
            if entry["name"] == name:
                return one_line(trained_text(entry.get("trained")), 60)
        return ""

    def stored_label(self, name: str, width: int = 24) -> str:
        """`label`, with what its weights are quantised to: `base, in nf4`. The worker's report alone tells that."""
        entries = (self._worker_report or {}).get("arms", ())
        found = next((quantised(entry) for entry in entries if entry["name"] == name), "")
        return f"{self.label(name, width)}, in {found}" if found else self.label(name, width)

    def differently_stored(self) -> list[str]:
        """What to tell where the weights of the pair in view are stored in two ways."""
        entries = [entry for entry in (self._worker_report or {}).get("arms", ()) if entry["name"] in (self.a, self.b)]
        return differently_stored(entries, self.a)

    def title(self, metric: str, width: int = 24) -> str:
        """METRIC as people call it, in at most WIDTH cells where it is one of their own."""
        return title(metric, (self.report or {}).get("titles"), width)

    def differences(self) -> list[dict[str, Any]]:
        """The report's differences, b minus a."""
        return self._against(self.a, self.b, "differences")

    def categories(self) -> list[dict[str, Any]]:
        """The report's categories, a against b."""
        return self._against(self.a, self.b, "categories")

    def against(self, name: str) -> list[dict[str, Any]]:
        """The report's differences, arm NAME minus a."""
        return self._against(self.a, name, "differences")

    def _against(self, a: str, b: str, what: str) -> list[dict[str, Any]]:
        found = (oriented(entry, a, b) for entry in (self.report or {}).get(what, ()))
        return [entry for entry in found if entry is not None]

    def metrics(self, arm: str) -> dict[str, float]:
        """The metrics of ARM over all rows."""
        for entry in (self.report or {}).get("arms", ()):
            if entry["name"] == arm:
                return dict(entry["metrics"])
        return {}

    def scores(self) -> dict[int, Mapping[str, Mapping[str, Any]]]:
        """The scores of every row the report knows: row to arm to metric."""
        return {entry["row"]: entry["arms"] for entry in (self.report or {}).get("per_row", ())}


def first_pair(report: Mapping[str, Any], run: str) -> tuple[str, str]:
    """The pair of arms of REPORT that is looked at first: RUN against the base, else the last against the first."""
    try:
        names = [str(arm["name"]) for arm in report["arms"]]
    except (KeyError, TypeError):
        return BASE, run
    if len(names) < 2:
        return BASE, run
    first = report.get("reference") if report.get("reference") in names else names[0]
    return str(first), run if run in names and run != first else next(name for name in reversed(names) if name != first)


def usable(value: Any, a: str, b: str) -> bool:
    """Whether VALUE is a report with the arms A and B in it: one of another version, or torn, is none."""
    if not isinstance(value, dict):
        return False
    try:
        names = {arm["name"] for arm in value["arms"]}
        pairs = any({entry["a"], entry["b"]} == {a, b} for entry in value["differences"])
        rows = all(isinstance(entry["row"], int) and {a, b} <= entry["arms"].keys() for entry in value["per_row"])
        whole = all(key in value for key in ("rows", "categories", "identical", "gain"))
    except (KeyError, TypeError, AttributeError):
        return False
    return {a, b} <= names and pairs and rows and whole
