"""Held-out rows that stand in the training rows: on those a good score proves nothing.

Exact: the same prompt (white space, case and Unicode form set aside). Near: at least 30 % of the row's runs of eight
words (prompt and reference) stand in one training row; runs that many training rows have, such as a shared
instruction, don't count.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ftstudio.data.normal import normal
from ftstudio.data.words import split

GRAM = 8  # words
SHARE = 0.3  # of a row's grams
FEWEST = 4  # grams below which a row is only looked for as a whole
USUAL = 0.005  # share of the training rows from which a gram is nobody's own …
USUAL_ROWS = 5  # … and at least so many rows
SHOWN = 50  # pairs kept
NOTHING = "on those a good score proves nothing"


@dataclass(frozen=True)
class Leak:
    """Held-out `row` stands in training row `training`; `how` is `exact` or `near`, `share` of its grams."""

    row: int
    training: int
    how: str
    share: float


def find(
    held_out: Sequence[tuple[int, str, str]],
    training: Iterable[tuple[int, str, str]],
    should_stop: Callable[[], bool] | None = None,
) -> list[Leak]:
    """The HELD_OUT rows (number, prompt, reference) that stand in TRAINING, at most one leak a row, exact ones first.

    TRAINING is read once. Ends early, with what was found, where SHOULD_STOP says so.
    """
    prompts = {normal(prompt): row for row, prompt, _ in held_out if prompt.strip()}
    same = {row: key for row, prompt, _ in held_out if (key := normal(prompt))}
    grams = {row: _grams(f"{prompt} {reference}") for row, prompt, reference in held_out}
    owners: dict[int, list[int]] = {}
    for row, own in grams.items():
        for gram in own:
            owners.setdefault(gram, []).append(row)
    exact: dict[str, int] = {}
    seen: Counter[int] = Counter()
    met: list[tuple[int, frozenset[int]]] = []
    count = 0
    for number, prompt, answer in training:
        count += 1
        if should_stop is not None and count % 256 == 0 and should_stop():
            break
        key = normal(prompt)
        if key in prompts:
            exact.setdefault(key, number)
        shared = frozenset(gram for gram in _grams(f"{prompt} {answer}") if gram in owners)
        seen.update(shared)
        if len(shared) >= FEWEST:
            met.append((number, shared))
    usual = max(USUAL_ROWS, USUAL * count)
    common = {gram for gram, times in seen.items() if times > usual}
    best: dict[int, tuple[float, int]] = {}
    for number, shared in met:
        hits = Counter(row for gram in shared - common for row in owners[gram])
        for row, times in hits.items():
            size = len(grams[row] - common)
            share = times / size if size >= FEWEST else 0.0
            if share >= SHARE and share > best.get(row, (0.0, 0))[0]:
                best[row] = (share, number)
    found = [Leak(row, exact[key], "exact", 1.0) for row, key in same.items() if key in exact]
    known = {leak.row for leak in found}
    near = [Leak(row, number, "near", share) for row, (share, number) in best.items() if row not in known]
    return found + sorted(near, key=lambda leak: -leak.share)


def told(found: Sequence[Leak], rows: int, kind: str = "held-out") -> dict[str, Any]:
    """FOUND among ROWS rows of a KIND (held-out, test), for a report: `{rows, exact, near, share, pairs, words}`."""
    words = f"{_stand(found, rows, kind)}: {NOTHING}" if found else f"no {kind} row stands in the training rows"
    exact, near = _split(found)
    return {
        "rows": sorted(leak.row for leak in found),
        "exact": len(exact),
        "near": len(near),
        "share": len(found) / rows if rows else 0.0,
        "pairs": [
            {"row": leak.row, "training": leak.training, "how": leak.how, "share": leak.share} for leak in found[:SHOWN]
        ],
        "words": words,
    }


def told_by_run(
    found: Mapping[str, Sequence[Leak]],
    rows: int,
    kind: str = "held-out",
    *,
    bases: Sequence[str] = (),
    unseen: Sequence[tuple[str, str]] = (),
) -> dict[str, Any]:
    """The same of the leaks FOUND in the training rows of several runs by name, each row counted once. Those of BASES
    trained what others are built on; UNSEEN are more of them that couldn't be looked into, with the reason.

    Where it isn't about one run alone there are also `runs` `[{run, base, rows, exact, near, share, pairs, words}]`,
    each pair names its `run`, and `unseen` is `[{run, reason}]`.
    """
    each = {name: told(some, rows, kind) for name, some in found.items()}
    if len(each) == 1 and not unseen:
        return next(iter(each.values()))
    exact, near = (
        dict.fromkeys(leak.row for some in found.values() for leak in some if leak.how == how)
        for how in ("exact", "near")
    )
    every = sorted({*exact, *near})
    named = {name: f"{name}, which another is built on" if name in bases else name for name in (*found, *dict(unseen))}
    said = [_stand(some, rows, kind, f" of {named[name]}") for name, some in found.items() if some]
    words = f"{'; '.join(said)}: {NOTHING}" if said else f"no {kind} row stands in the training rows"
    clean = [name for name, some in found.items() if not some]
    if said and clean:
        words += f"; none stands in those of {', '.join(clean)}"
    for name, reason in unseen:
        words += f"; those of {name}, which another is built on, can't be looked into: {reason.rstrip('.')}"
    return {
        "rows": every,
        "exact": len(exact),
        "near": len(every) - len(exact),
        "share": len(every) / rows if rows else 0.0,
        "pairs": [{**pair, "run": name} for name, one in each.items() for pair in one["pairs"]][:SHOWN],
        "words": words,
        "runs": [{"run": name, "base": name in bases, **one} for name, one in each.items()],
        "unseen": [{"run": name, "reason": reason} for name, reason in unseen],
    }


def _split(found: Sequence[Leak]) -> tuple[list[Leak], list[Leak]]:
    return [leak for leak in found if leak.how == "exact"], [leak for leak in found if leak.how == "near"]


def _stand(found: Sequence[Leak], rows: int, kind: str, whose: str = "") -> str:
    """How many of ROWS stand in the training rows, in words; WHOSE these are."""
    counts = zip(map(len, _split(found)), ("exactly", "nearly"), strict=True)
    how = ", ".join(f"{count} {word}" for count, word in counts if count)
    return f"{len(found)} of {rows} {kind} rows stand in the training rows{whose} ({how})"


def _grams(text: str) -> frozenset[int]:
    words = split(normal(text))
    return frozenset(hash(tuple(words[start : start + GRAM])) for start in range(len(words) - GRAM + 1))
