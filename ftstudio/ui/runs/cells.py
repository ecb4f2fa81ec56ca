"""A run's cells in the table."""

from __future__ import annotations

import time

from ftstudio.core.text import clean, duration, number
from ftstudio.ui.runs.catalogue import Summary
from ftstudio.ui.shell.strip import MARKS
from ftstudio.ui.text.table import Cells, Column

INKS = {
    "running": "good", "done": "good", "failed": "bad", "interrupted": "warn", "paused": "warn", "stopped": "warn",
    "collapsed": "bad",
}  # fmt: skip

COLUMNS = (
    Column("state", 13),
    Column("run", 0, "ends"),
    Column("task", 8, least=70, most=23),
    Column("method", 7),
    Column("model", 22, least=130),
    Column("step", 9, "right", least=90),
    Column("loss", 6, "right"),
    Column("eval", 6, "right"),
    Column("took", 7, "right", least=98),
    Column("age", 4, "right", least=64),
)


def cells_of(summary: Summary, now: float | None = None) -> Cells:
    """In the order of `COLUMNS`."""
    state = summary.word
    return (
        (f"{MARKS.get(state, '·')} {state or 'reading'}", INKS.get(state, "dim")),
        clean(summary.name, 80),
        summary.task or "–",
        summary.method or "–",
        model_name(summary.model) or "–",
        steps(summary.step, summary.total_steps),
        _loss(summary.loss),
        _loss(summary.eval_loss),
        duration(summary.seconds),
        age(summary.started, now),
    )


def model_name(model: str) -> str:
    """The last part of a path or hub id, which tells models apart."""
    return model.rstrip("/").rpartition("/")[2] or model


def steps(step: int, total: int | None) -> str:
    """`412/1200`, in thousands where that is too long."""
    text = f"{step}/{total}" if total else str(step)
    if len(text) <= 9:
        return text
    return f"{_thousands(step)}/{_thousands(total)}" if total else _thousands(step)


def _thousands(count: int) -> str:
    for size, unit in ((1_000_000, "M"), (1000, "k")):
        if count >= size:
            return f"{count / size:.3g}{unit}"[:5]
    return str(count)


def _loss(value: float | None) -> str:
    return number(value) if value is None or value < 100 else f"{value:.3g}"


def age(started: float | None, now: float | None = None) -> str:
    """How long ago, in one unit; it changes once a minute at most, so that an idle screen writes nothing."""
    if started is None:
        return "–"
    seconds = max(0.0, (time.time() if now is None else now) - started)
    for size, unit in ((86400, "d"), (3600, "h"), (60, "m")):
        if seconds >= size:
            return f"{seconds // size:.0f}{unit}"
    return "now"
