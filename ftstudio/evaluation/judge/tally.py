"""Both orders of every row made one verdict, and how far such verdicts can be believed."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ftstudio.data.words import length
from ftstudio.evaluation import statistics
from ftstudio.evaluation.judge.asking import Choice
from ftstudio.evaluation.power import more_rows


@dataclass(frozen=True)
class Said:
    """What the judge said of a row with one of the two arms shown `first`; `choice` None: it couldn't be read."""

    row: int
    first: str
    choice: Choice | None


def tally(
    names: tuple[str, str],
    said: Sequence[Said],
    outputs: Mapping[int, tuple[str, str]],
    votes: Mapping[int, int] | None = None,
) -> dict[str, Any]:
    """The verdict on the pair NAMES (a, b) from what was SAID of OUTPUTS (the answers of a and b by row).

    A row is a win of b (or a loss) where both orders say so, else a tie; equal answers are `alike` and not asked; rows
    with an order that couldn't be read are `unreadable` and count for nothing. In the result

    - `rate` = wins / (wins + losses) with Wilson's interval, `p` of the exact sign test, `verdict` on b;
    - `win_rate` counts a tie as half (over all judged rows, alike ones left out);
    - `flips`: share of the rows whose verdict changed with the order; `first`: how often, where one was preferred, it
      was the one shown first (0.5: no bias of position);
    - `longer`: how often, where one won, it was the longer answer; `length_controlled`: the `win_rate` that is left at
      equal length (logistic regression on tanh of the difference in words, as in AlpacaEval 2, Dubois et al. 2024);
    - `agreement` with VOTES of people (1: b, -1: a, 0: neither), over rows where both prefer one;
    - `per_row`: `a`, `b` or `tie`, by the row's number as text (for JSON).
    """
    a, b = names
    by_row: dict[int, dict[str, Choice | None]] = {}
    for one in said:
        by_row.setdefault(one.row, {})[one.first] = one.choice
    asked = {row: both for row, both in by_row.items() if set(both) == {a, b} and row in outputs}
    readable = {row: both for row, both in asked.items() if None not in both.values()}
    signs = {row: _signs(both, a, b) for row, both in readable.items()}
    results = {row: one if one == other else 0 for row, (one, other) in signs.items()}
    wins, losses = (sum(value == sign for value in results.values()) for sign in (1, -1))
    n = wins + losses
    low, high = statistics.wilson(wins, n)
    p = statistics.mcnemar(losses, wins)
    longer, words = _longer(results, outputs), {row: length(y) - length(x) for row, (x, y) in outputs.items()}
    singles = [choice for both in readable.values() for choice in both.values() if choice != "tie"]
    return {
        "a": a, "b": b, "rows": len(readable), "wins": wins, "losses": losses,
        "ties": len(results) - n, "alike": sum(x == y for x, y in outputs.values()),
        "unreadable": len(asked) - len(readable),
        "rate": wins / n if n else None, "low": low, "high": high, "p": p,
        "win_rate": (wins + (len(results) - n) / 2) / len(results) if results else None,
        "verdict": _verdict(wins, losses, p), "needed": _needed(results),
        "flips": _share([one != other for one, other in signs.values()]),
        "first": _share([choice == "first" for choice in singles]),
        "longer": longer,
        "length_controlled": length_controlled(results, words),
        "agreement": _agreement(results, votes or {}),
        "per_row": {str(row): {1: "b", -1: "a", 0: "tie"}[value] for row, value in sorted(results.items())},
    }  # fmt: skip


def _signs(both: Mapping[str, Choice | None], a: str, b: str) -> tuple[int, int]:
    """What each order says: 1 for b, -1 for a, 0 for a tie; a shown first comes first."""
    value = {"first": -1, "second": 1, "tie": 0}
    return value[str(both[a])], -value[str(both[b])]


def _verdict(wins: int, losses: int, p: float) -> str:
    if wins + losses < statistics.FEWEST:
        return f"too few rows ({statistics.FEWEST - wins - losses} more needed)"
    return ("better" if wins > losses else "worse") if p < statistics.ALPHA else statistics.UNCLEAR


def _needed(results: Mapping[int, int]) -> int | None:
    """About how many more rows would tell, see `power.more_rows`."""
    values = list(results.values())
    n = len(values)
    if n < 2:
        return None
    mean = sum(values) / n
    error = math.sqrt(sum((value - mean) ** 2 for value in values) / (n - 1) / n)
    return more_rows(mean, mean - 1.96 * error, mean + 1.96 * error, n)


def _share(found: Sequence[bool]) -> dict[str, Any]:
    low, high = statistics.wilson(sum(found), len(found))
    return {"share": sum(found) / len(found) if found else None, "n": len(found), "low": low, "high": high}


def _longer(results: Mapping[int, int], outputs: Mapping[int, tuple[str, str]]) -> dict[str, Any]:
    found = []
    for row, sign in results.items():
        step = length(outputs[row][1]) - length(outputs[row][0])
        if sign and step:
            found.append((step > 0) == (sign > 0))
    return _share(found)


def length_controlled(results: Mapping[int, int], words: Mapping[int, float]) -> dict[str, float] | None:
    """The win rate of b at equal length, `{rate, low, high}`; None with under 20 rows or lengths that never differ.

    RESULTS: 1, -1, or 0 for a tie (half a win), by row; WORDS: how much longer b's answer is. The regression has a
    weak prior (ridge) on the slope, so that perfect separation has a finite answer.
    """
    import numpy as np

    rows = list(results)
    steps = np.asarray([float(words[row]) for row in rows])
    if len(rows) < statistics.FEWEST or not steps.std():
        return None
    wins = np.asarray([(results[row] + 1) / 2 for row in rows])
    design = np.stack([np.ones(len(rows)), np.tanh(steps / steps.std())], axis=1)
    ridge = np.diag([0.02, 0.5])
    weights = np.zeros(2)
    for _ in range(50):
        share = 1 / (1 + np.exp(-design @ weights))
        curve = design.T @ (design * (share * (1 - share))[:, None]) + ridge
        step = np.linalg.solve(curve, design.T @ (wins - share) - ridge @ weights)
        weights = weights + step
        if np.abs(step).max() < 1e-9:
            break
    error = math.sqrt(float(np.linalg.inv(curve)[0, 0]))
    low, middle, high = (1 / (1 + math.exp(-(float(weights[0]) + z * error))) for z in (-1.96, 0.0, 1.96))
    return {"rate": middle, "low": low, "high": high}


def _agreement(results: Mapping[int, int], votes: Mapping[int, int]) -> dict[str, Any] | None:
    both = [(results[row], votes[row]) for row in results if row in votes]
    if not both:
        return None
    return _share([x == y for x, y in both if x and y]) | {"votes": len(both)}
