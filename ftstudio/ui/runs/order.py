"""In which order the runs are listed. One that lacks the figure gone by stands last, either way round. No widgets."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from ftstudio.ui.runs.catalogue import Summary

STATES = (
    "running",
    "paused",
    "queued",
    "interrupted",
    "failed",
    "collapsed",
    "stopped",
    "done",
)  # what wants a look first


@dataclass(frozen=True)
class Order:
    """By what it goes, in words, and the figure of a run that it goes by."""

    by: str
    of: Callable[[Summary], Any]


def _state(row: Summary) -> int | None:
    return STATES.index(row.word) if row.word in STATES else None


ORDERS = (
    Order("", lambda row: None),  # the newest first, as they come
    Order("held-out loss", lambda row: row.eval_loss),
    Order("loss", lambda row: row.loss),
    Order("name", lambda row: row.name.lower()),
    Order("state", _state),
    Order("time taken", lambda row: row.seconds),
)


def ordered(rows: Sequence[Summary], order: Order, *, turned: bool) -> list[Summary]:
    """ROWS, the newest first, by ORDER, the least first; TURNED: the other way round."""
    if not order.by:
        return [*reversed(rows)] if turned else [*rows]
    known = [row for row in rows if order.of(row) is not None]
    known.sort(key=order.of, reverse=turned)  # alike, the newest stays first
    return known + [row for row in rows if order.of(row) is None]


def said(order: Order, *, turned: bool) -> str:
    """In words, beside how many there are; empty for the usual order."""
    if not order.by:
        return "the oldest first" if turned else ""
    return f"by {order.by}{', turned' if turned else ''}"
