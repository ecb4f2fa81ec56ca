"""The held-out loss of every source of a mix, beside that of all rows: which part of the mix learns, which suffers."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ftstudio.engine.held_out import Rows

Measured = dict[str, Any]


def by_source(rows: Rows, sources: Sequence[str], measure: Callable[[Rows], Measured | None]) -> Measured | None:
    """What MEASURE gives for ROWS (`{loss, perplexity, rows, tokens}`), each row passed once, in groups of one source.

    SOURCES names the source of each row; with two or more of them the result has `sources`, their losses in nats a
    token, and `source_scores`, what else was measured of each (F1, bits a byte …) by metric and source. None where
    MEASURE was stopped.
    """
    names = list(dict.fromkeys(sources))
    if len(names) < 2 or len(sources) != len(rows):
        return measure(rows)
    losses: dict[str, float] = {}
    scores: dict[str, dict[str, float]] = {}
    total, tokens, written = 0.0, 0, 0.0
    for name in names:
        found = measure([rows[place] for place, source in enumerate(sources) if source == name])
        if found is None:
            return None
        losses[name] = found["loss"]
        for metric, value in found.items():
            if metric not in ("loss", "rows", "tokens", "perplexity") and isinstance(value, (int, float)):
                scores.setdefault(metric, {})[name] = float(value)
        if found["tokens"]:
            total += found["loss"] * found["tokens"]
            tokens += int(found["tokens"])
            if found.get("bits_per_byte"):  # bytes of its texts, told by the two
                written += found["loss"] * found["tokens"] / math.log(2) / found["bits_per_byte"]
    mean = total / tokens if tokens else float("nan")
    told: Measured = {"loss": mean, "rows": len(rows), "tokens": tokens, "sources": losses}
    if scores:
        told["source_scores"] = scores
    if found is not None and "perplexity" in found:
        if written:
            told["bits_per_byte"] = total / math.log(2) / written
        return told | {"perplexity": math.exp(min(mean, 700))}
    whole = measure(rows)  # a task's scores (F1 …) are no means of those of its sources
    return None if whole is None else whole | told
