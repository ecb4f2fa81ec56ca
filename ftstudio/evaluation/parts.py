"""Parts of the rows that may behave differently: by source, length, label, category, a column of the data."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from ftstudio.core.text import one_line
from ftstudio.data.words import length
from ftstudio.evaluation import statistics
from ftstudio.evaluation.categories import every

MOST = 20  # different values of a column that parts the rows
FEWEST = 2  # rows that a value has on average
_LABEL = 5  # words of a label at most
SOURCE = "_source"  # the column of a mix that names where a row is from
CATEGORY = "error category"
LEAK, TRAINED = "leak", "in training"  # rows that stand in the training rows: no verdict on those
SLICED_ROWS = 4_000_000  # resampled values a slice costs at most: 10,000 samples of 400 rows


@dataclass(frozen=True)
class Facts:
    """What is known of a row besides its answers: texts, the row of the data as it is, its error categories."""

    prompt: str
    reference: str | None
    columns: Mapping[str, Any] = field(default_factory=dict)
    categories: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Part:
    """The ROWS whose BY (`source`, `prompt length`, a column's name, …) is VALUE."""

    by: str
    value: str
    rows: tuple[int, ...]


def parts_of(facts: Mapping[int, Facts], leaked: Collection[int] = ()) -> list[Part]:
    """All parts of the rows in FACTS, way by way. What gives all rows the same value, or nearly each its own, isn't
    one; a row may be in several parts by its error categories. Where LEAKED rows stand in the training rows, those that
    don't come first of all: they alone tell what was learnt."""
    if not facts:
        return []
    found = []
    if any(row in leaked for row in facts):
        found.append(Part(LEAK, "not in training", tuple(row for row in facts if row not in leaked)))
        found.append(Part(LEAK, TRAINED, tuple(row for row in facts if row in leaked)))
    found += _grouped("source", {row: fact.columns.get(SOURCE) for row, fact in facts.items()})
    label = {
        row: fact.reference
        for row, fact in facts.items()
        if fact.reference is not None and length(fact.reference[:200]) <= _LABEL
    }
    if len(label) == len(facts):
        found += _grouped("label", label)
    texts = {row: fact.prompt for row, fact in facts.items()}
    found += _bands("prompt length", {row: length(text) for row, text in texts.items()})
    references = {row: length(fact.reference) for row, fact in facts.items() if fact.reference is not None}
    found += _bands("reference length", references)
    known = every()
    by_category: dict[str, list[int]] = {}
    for row, fact in facts.items():
        for name in fact.categories:
            by_category.setdefault(name, []).append(row)
    for name in sorted(by_category, key=lambda name: (-len(by_category[name]), name)):
        title = known[name].category.title if name in known else name
        found.append(Part(CATEGORY, title, tuple(by_category[name])))
    names = dict.fromkeys(name for fact in facts.values() for name in fact.columns if name != SOURCE)
    for name in names:
        values = {row: fact.columns.get(name) for row, fact in facts.items()}
        if all(isinstance(value, str | int | bool | None) for value in values.values()):
            found += _unlike(_grouped(one_line(name, 40), values), found)
    return found


def _grouped(by: str, values: Mapping[int, Any]) -> list[Part]:
    """Rows of equal VALUES, the greatest group first; none where there are too few or too many groups."""
    texts = {row: one_line(value, 60) for row, value in values.items() if value is not None and str(value).strip()}
    counts = Counter(texts.values())
    if not 2 <= len(counts) <= MOST or len(texts) < FEWEST * len(counts):
        return []
    return [
        Part(by, value, tuple(row for row, text in texts.items() if text == value))
        for value, _ in sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))
    ]


def _unlike(parts: list[Part], known: Sequence[Part]) -> list[Part]:
    """PARTS by a column; none where those of KNOWN by label or source are the same, renamed where the name is taken."""
    ways = {part.by for part in known}
    if parts and {part.rows for part in parts} in [
        {part.rows for part in known if part.by == way} for way in ("label", "source")
    ]:
        return []
    return [Part(f"column {part.by}", part.value, part.rows) if part.by in ways else part for part in parts]


def _bands(by: str, lengths: Mapping[int, int]) -> list[Part]:
    """Three bands of about as many rows each, in words; fewer where many rows are of one length."""
    order = sorted(lengths.values())
    if len(order) < 6 or order[0] == order[-1]:
        return []
    edges = sorted({order[len(order) // 3], order[2 * len(order) // 3]} - {order[0]})
    limits = [order[0], *edges, order[-1] + 1]
    found = []
    for low, high in pairwise(limits):
        rows = tuple(row for row, value in lengths.items() if low <= value < high)
        text = f"{low} word{'' if low == 1 else 's'}" if low == high - 1 else f"{low:,} – {high - 1:,} words"
        found += [Part(by, text, rows)] if rows else []
    return found if len(found) > 1 else []


def totals(
    parts: Sequence[Part], before: Mapping[int, float], after: Mapping[int, float], *, seed: int = 0
) -> list[dict[str, Any]]:
    """Of each of PARTS the means of BEFORE and AFTER (a metric by row), their difference with its paired bootstrap
    interval, p (sign-flip) and Holm's p over the parts of the same way, and the verdict; `n` rows have both.

    Better and worse are said only where Holm's p is below 0.05, too: among many parts some look good by chance. Parts
    by error category get no verdict: rows chosen for an arm's errors look better in the other one though nothing had
    changed (regression to the mean); nor do rows that stand in the training rows.
    """
    found: list[dict[str, Any]] = []
    for part in parts:
        rows = [row for row in part.rows if row in before and row in after]
        entry: dict[str, Any] = {"by": part.by, "value": part.value, "n": len(rows), "rows": list(part.rows)}
        if rows:
            a, b = [before[row] for row in rows], [after[row] for row in rows]
            samples = max(1000, min(statistics.RESAMPLES, SLICED_ROWS // len(rows)))
            difference, low, high, p = statistics.paired(a, b, resamples=samples, seed=seed)
            entry |= {
                "a": sum(a) / len(a), "b": sum(b) / len(b), "difference": difference, "low": low, "high": high, "p": p,
                "verdict": statistics.verdict(low, high, len(rows)),
            }  # fmt: skip
        else:
            entry |= dict.fromkeys(("a", "b", "difference", "low", "high", "p")) | {"verdict": "not judged"}
        found.append(entry | {"p_holm": None})
    for group in _ways(found):
        if group[0]["by"] == CATEGORY:
            for entry in group:
                entry["verdict"] = "not judged"
            continue
        for entry in group:
            if (entry["by"], entry["value"]) == (LEAK, TRAINED):
                entry["verdict"] = "not judged"
        judged = [entry for entry in group if entry["n"] >= statistics.FEWEST and entry["verdict"] != "not judged"]
        for entry, corrected in zip(judged, statistics.holm([entry["p"] for entry in judged]), strict=True):
            entry["p_holm"] = corrected
            if corrected >= 0.05:
                entry["verdict"] = "no clear difference"
    return found


def _ways(entries: Iterable[dict[str, Any]]) -> list[list[dict[str, Any]]]:
    found: dict[str, list[dict[str, Any]]] = {}
    for entry in entries:
        found.setdefault(entry["by"], []).append(entry)
    return list(found.values())
