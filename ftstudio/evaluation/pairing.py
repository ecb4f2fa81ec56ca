"""One pair of arms: every difference and every category, from the same resamples of the rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ftstudio.evaluation import metrics as m
from ftstudio.evaluation import statistics
from ftstudio.evaluation.categories import Categorised
from ftstudio.evaluation.power import missing, more_rows
from ftstudio.evaluation.scoring import Scores

if TYPE_CHECKING:
    import numpy as np

# every other metric is better when higher
BETTER: Mapping[str, bool | None] = {
    "length": None,
    "absolute_error": False,
    "ter": False,
    "perplexity": False,
    "bits_per_byte": False,
    "brier": False,
    "ece": False,
}
# The calibration error says nothing of how often an arm is right: one that is sure of nothing, and right as rarely, has
# none. So it is told, and never decides which arm is better; the Brier score, a proper one, may.
NOT_DECIDING = ("ece",)
# what doesn't decide beside another: most words are of no entity, so that a model which finds none is right about them
BESIDE = {"tag_accuracy": "entity_f1"}


def pair(
    names: tuple[str, str],
    scores: tuple[Sequence[Scores], Sequence[Scores]],
    corpus: Mapping[str, tuple[Any, Any]],
    present: Sequence[int],
    categorised: tuple[Categorised, Categorised],
    settings: tuple[Sequence[str], int, int],
    better: Mapping[str, bool | None] = BETTER,
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The differences and the categories of the pair of arms NAMES, from one pass of resampling per set of rows.

    SCORES are both arms' scores by row, CORPUS both arms' counts of the PRESENT rows by corpus metric, SETTINGS the
    metrics, the number of resamples and the seed, BETTER which are better when lower (False), or neither (None).
    Categories come with `p_holm`, corrected for their number (None where too few rows changed to matter), and are
    called better or worse only where it is under 0.05.
    """
    wanted, resamples, seed = settings
    work = _Resampling(resamples, seed)
    _add(work, scores, corpus, present, wanted)
    entries = [_category(names, name, *categorised, work) for name in categorised[0].rows]
    work.run()
    found = _measured(work, names, corpus, wanted, better)
    correct(found)
    for entry in entries:
        if entry["n"]:
            low, high = statistics.interval(work.means(f"category {entry['name']}"))
            entry["low"], entry["high"] = float(low[0]), float(high[0])
            entry["verdict"] = statistics.verdict(entry["low"], entry["high"], entry["n"], False)
    # Corrected for those that could differ at all: fewer than six changed rows never reach p = 0.05 (Tarone 1990).
    # What only hints at rows to look at is no verdict on an arm, and costs the others nothing.
    hints = {name for name, category in categorised[0].categories.items() if category.hint}
    judged = [
        entry for entry in entries if len(entry["fixed"]) + len(entry["broke"]) >= 6 and entry["name"] not in hints
    ]
    for entry, p in zip(judged, statistics.holm([entry["p"] for entry in judged]), strict=True):
        entry["p_holm"] = p
    for entry in entries:
        p = entry["p_holm"]
        if entry["name"] in hints:
            entry["verdict"] = "not judged"
        elif entry["n"] >= statistics.FEWEST and (p is None or p >= statistics.ALPHA):
            entry["verdict"] = "no clear difference"
    return found, entries


def differences(
    names: tuple[str, str],
    scores: tuple[Sequence[Scores], Sequence[Scores]],
    corpus: Mapping[str, tuple[Any, Any]],
    present: Sequence[int],
    settings: tuple[Sequence[str], int, int],
    better: Mapping[str, bool | None] = BETTER,
) -> list[dict[str, Any]]:
    """The differences of a pair as `pair` finds them, without categories, and not corrected yet (see `correct`)."""
    wanted, resamples, seed = settings
    work = _Resampling(resamples, seed)
    _add(work, scores, corpus, present, wanted)
    work.run()
    return _measured(work, names, corpus, wanted, better)


def _add(
    work: _Resampling,
    scores: tuple[Sequence[Scores], Sequence[Scores]],
    corpus: Mapping[str, tuple[Any, Any]],
    present: Sequence[int],
    wanted: Sequence[str],
) -> None:
    """Give WORK what is to be resampled of the metrics WANTED."""
    for name in wanted:
        if name not in m.CORPUS_METRICS:
            rows = [index for index in range(len(scores[0])) if all(name in arm[index] for arm in scores)]
            work.add(name, rows, [[scores[1][index][name] - scores[0][index][name]] for index in rows])
    for name, (a, b) in corpus.items():
        work.add(name, present, [[*a[index], *b[index]] for index in range(len(present))])


def _measured(
    work: _Resampling,
    names: tuple[str, str],
    corpus: Mapping[str, tuple[Any, Any]],
    wanted: Sequence[str],
    better: Mapping[str, bool | None],
) -> list[dict[str, Any]]:
    """The differences in the metrics WANTED, from what WORK has resampled."""
    found = []
    for name in wanted:
        if name in m.CORPUS_METRICS:
            entry = _corpus_difference(names, name, work, better.get(name, True)) if name in corpus else None
        else:
            entry = _row_difference(names, name, work, better.get(name, True))
        if entry is not None:
            found.append(entry | {"better": better.get(name, True)})
    return found


def correct(differences: Sequence[dict[str, Any]]) -> None:
    """Give DIFFERENCES their `p_holm`, corrected over those that have a good end; a verdict needs both the interval
    and that p. `needed` rows more would tell, see `power.more_rows` (0 where it is told)."""
    judged = [entry for entry in differences if entry["better"] is not None]
    for entry in differences:
        entry["p_holm"] = entry["p"]
    for entry, p in zip(judged, statistics.holm([entry["p"] for entry in judged]), strict=True):
        entry["p_holm"] = p
    for entry in differences:
        if entry["n"] >= statistics.FEWEST and entry["p_holm"] >= statistics.ALPHA:
            entry["verdict"] = statistics.UNCLEAR
        told = entry["verdict"] in ("better", "worse", "greater", "smaller")
        numbers = (entry["difference"], entry["low"], entry["high"], entry["n"])
        entry["needed"] = 0 if told else more_rows(*numbers)


@dataclass(frozen=True)
class Decision:
    """What the differences of a pair say together.

    `verdict`: better, worse, mixed, no clear difference, too few, or not judged. `told`: the differences that say so,
    the surest first (of a mixed one the surest of each side); without any the one that is looked at first.
    `needed`: rows more that would tell, where known.
    """

    verdict: str
    told: tuple[Mapping[str, Any], ...] = ()
    needed: int | None = None


def decide(differences: Sequence[Mapping[str, Any]]) -> Decision:
    """The one decision on a pair of arms from its corrected DIFFERENCES: `better` and `worse` where a metric says so
    after Holm's correction and none the opposite, `mixed` where both are said; NOT_DECIDING are passed over, and
    what stands BESIDE another."""
    names = {entry["metric"] for entry in differences}
    aside = {*NOT_DECIDING, *(name for name, other in BESIDE.items() if other in names)}
    judged = [entry for entry in differences if entry["better"] is not None and entry["metric"] not in aside]
    if not judged:
        return Decision("not judged")
    enough = [entry for entry in judged if entry["n"] >= statistics.FEWEST]
    first = min(enough or judged, key=_aside)
    told = sorted((entry for entry in judged if entry["verdict"] in ("better", "worse")), key=_surest)
    if told:
        sides = dict.fromkeys(entry["verdict"] for entry in told)
        leading = [next(entry for entry in told if entry["verdict"] == side) for side in sides]
        others = [entry for entry in told if not any(entry is one for one in leading)]
        return Decision("mixed" if len(sides) > 1 else told[0]["verdict"], (*leading, *others))
    if first["n"] < statistics.FEWEST:
        return Decision(first["verdict"], (first,), statistics.FEWEST - first["n"])
    known = [missing(entry) for entry in enough]
    needed = min((count for count in known if count is not None), default=None)
    return Decision(statistics.UNCLEAR, (first,), needed)


def _surest(entry: Mapping[str, Any]) -> tuple[float, bool]:
    """The order of differences that say something."""
    return (entry["p_holm"], _aside(entry))


def _aside(entry: Mapping[str, Any]) -> bool:
    """Whether another metric says the same as ENTRY's better: of the ROUGE kinds ROUGE-L is the one to look at."""
    return entry["metric"] in ("rouge1", "rouge2")


def overall(
    names: tuple[str, str], differences: Sequence[Mapping[str, Any]], titles: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """The one verdict on the pair of arms NAMES, as `decide` finds it: `{a, b, verdict, metric, needed, words}`.

    `metric` is the one that decided, else the one to look at first. TITLES are those of the person's own metrics.
    """
    a, b = names
    found = decide(differences)
    if not found.told:
        some = any(entry["metric"] in NOT_DECIDING for entry in differences)
        why = "what was measured doesn't say which is better" if some else "the rows have no reference"
        return {"a": a, "b": b, "verdict": "not judged", "metric": None, "needed": None,
                "words": f"{b} and {a} can't be judged: {why}"}  # fmt: skip
    chosen = found.told[0]
    n, metric = chosen["n"], chosen["metric"]
    title = m.title(metric, titles)
    figures = f"{title} {chosen['difference']:+.3g} [{chosen['low']:+.3g}, {chosen['high']:+.3g}], {n} rows"
    if n < statistics.FEWEST:
        words = f"no verdict on {n} rows: {found.needed} more are needed"
    elif found.verdict == "mixed":
        words = f"{b} is better than {a} in some metrics and worse in others ({figures})"
    elif found.verdict in ("better", "worse"):
        words = f"{b} is {found.verdict} than {a} ({figures})"
    else:
        way = f"need about {found.needed:,} more rows" if found.needed else "as good as no difference"
        words = f"can't tell {b} and {a} apart: {way} ({figures})"
    return {"a": a, "b": b, "verdict": found.verdict, "metric": metric, "needed": found.needed, "words": words}


class _Resampling:
    """Collects columns of values by the rows that have them, and resamples each set of rows once for all."""

    def __init__(self, resamples: int, seed: int) -> None:
        self.resamples, self.seed = resamples, seed
        self.values: dict[str, np.ndarray] = {}
        self._rows: dict[tuple[int, ...], list[str]] = {}
        self._sums: dict[str, np.ndarray] = {}

    def add(self, name: str, rows: Sequence[int], values: Sequence[Sequence[float]]) -> None:
        """Take in the VALUES (rows, columns) that ROWS have under NAME; nothing where there are no rows."""
        import numpy as np

        if rows:
            self.values[name] = np.asarray(values, dtype=np.float64)
            self._rows.setdefault(tuple(rows), []).append(name)

    def run(self) -> None:
        """Resample."""
        import numpy as np

        for names in self._rows.values():
            together = np.concatenate([self.values[name] for name in names], axis=1)
            sums = statistics.resampled_sums(together, self.resamples, self.seed)
            start = 0
            for name in names:
                width = self.values[name].shape[1]
                self._sums[name] = sums[:, start : start + width]
                start += width

    def sums(self, name: str) -> np.ndarray:
        """The sums of the columns under NAME: (resamples, columns)."""
        return self._sums[name]

    def means(self, name: str) -> np.ndarray:
        """Their means."""
        return self._sums[name] / len(self.values[name])


def _row_difference(pair: tuple[str, str], name: str, work: _Resampling, better: bool | None) -> dict[str, Any] | None:
    """Mean difference of a row metric with interval and p; None where no row has it."""
    if name not in work.values:
        return None
    values = work.values[name]
    low, high = (float(bound[0]) for bound in statistics.interval(work.means(name)))
    if name in m.RIGHT_OR_WRONG and bool((values == values.round()).all()):
        p = statistics.mcnemar(int((values < 0).sum()), int((values > 0).sum()))
    else:
        p = float(statistics.sign_flip(values, work.resamples, work.seed)[0])
    word = statistics.verdict(low, high, len(values), better)
    return statistics.Difference(*pair, name, float(values.mean()), low, high, p, len(values), word).to_dict()


def _corpus_difference(pair: tuple[str, str], name: str, work: _Resampling, better: bool | None) -> dict[str, Any]:
    """Paired bootstrap of a corpus metric (Koehn 2004): interval, and p as in sacrebleu's paired test."""
    import numpy as np

    metric = m.corpus_metric(name)
    both, sums = work.values[name], work.sums(name)
    half = both.shape[1] // 2
    samples = metric.score(sums[:, half:]) - metric.score(sums[:, :half])
    total = both.sum(axis=0, keepdims=True)
    observed = float(metric.score(total[:, half:])[0] - metric.score(total[:, :half])[0])
    low, high = (float(bound) for bound in statistics.interval(samples))
    beyond = np.abs(samples - samples.mean()) >= abs(observed) - 1e-9
    p = float((beyond.sum() + 1) / (len(samples) + 1))
    word = statistics.verdict(low, high, len(both), better)
    return statistics.Difference(*pair, name, observed, low, high, p, len(both), word).to_dict()


def _category(pair: tuple[str, str], name: str, a: Categorised, b: Categorised, work: _Resampling) -> dict[str, Any]:
    """A category before and after, over the rows judged in both; its interval comes from WORK later."""
    known = a.categories | b.categories
    title = known[name].title if name in known else name
    reason = _reason(pair, a.reasons.get(name, ""), b.reasons.get(name, ""))
    skip = a.unjudged.get(name, frozenset()) | b.unjudged.get(name, frozenset())
    order = [prediction.row for prediction in a.predictions]
    rows = [] if reason else [row for row in order if row not in skip]
    if not rows:
        return _unjudged(pair, name, title, reason or "no row could be judged in both")
    in_a, in_b = set(a.rows[name]), set(b.rows[name])
    work.add(f"category {name}", rows, [[(row in in_b) - (row in in_a)] for row in rows])
    count_a, count_b = (sum(row in found for row in rows) for found in (in_a, in_b))
    only_a, only_b = in_a - in_b, in_b - in_a
    fixed, broke = [row for row in rows if row in only_a], [row for row in rows if row in only_b]
    return {
        "name": name,
        "title": title,
        "a": count_a / len(rows),
        "b": count_b / len(rows),
        "difference": (count_b - count_a) / len(rows),
        "low": 0.0,
        "high": 0.0,
        "p": statistics.mcnemar(len(fixed), len(broke)),
        "p_holm": None,
        "n": len(rows),
        "count_a": count_a,
        "count_b": count_b,
        "fixed": fixed,
        "broke": broke,
        "verdict": "",
        "arms": list(pair),
        "reason": "",
    }


def _reason(pair: tuple[str, str], a: str, b: str) -> str:
    """Why a category can't be compared, from why it couldn't be judged in either arm; with the arm, where the other
    could, or had another reason."""
    if a == b:
        return a
    return "; ".join(f"{arm}: {reason}" for arm, reason in zip(pair, (a, b), strict=True) if reason)


def _unjudged(pair: tuple[str, str], name: str, title: str, reason: str) -> dict[str, Any]:
    numbers = dict.fromkeys(("a", "b", "difference", "low", "high", "p", "p_holm"))
    counts = {"n": 0, "count_a": 0, "count_b": 0, "fixed": [], "broke": []}
    last = {"verdict": "not judged", "arms": list(pair), "reason": reason}
    return {"name": name, "title": title, **numbers, **counts, **last}
