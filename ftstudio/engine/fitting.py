"""Metrics that suit the answers to be judged: a preset for labels may meet a column of numbers, whose accuracy is 0 for
the best of models and the worst."""

from __future__ import annotations

from collections.abc import Sequence

from ftstudio.evaluation.metrics import FAMILIES
from ftstudio.tasks.base import Task


def unfit(names: Sequence[str], task: Task) -> list[str]:
    """Those of NAMES that say nothing about answers to the data that TASK is bound to."""
    off = set(task.unfit())
    return [name for name in names if set(FAMILIES.get(name, (name,))) <= off]


def fitting(names: Sequence[str], task: Task) -> tuple[str, ...]:
    """NAMES without the unfit ones; the task's own metrics too where none is left that judges an answer by itself."""
    left = tuple(name for name in names if name not in unfit(names, task))
    return left if set(left) & set(task.metrics()) else (*task.metrics(), *left)


def told(asked: Sequence[str], kept: Sequence[str]) -> str:
    """What became of the metrics that the recipe ASKED for where other ones are KEPT; empty where they are the same."""
    gone = [name for name in asked if name not in kept]
    if not gone:
        return ""
    new = [name for name in kept if name not in asked]
    instead = f" and {', '.join(new)} measured instead" if new else ""
    says = "says" if len(gone) == 1 else "say"
    return f"{', '.join(gone)} {says} nothing about answers like these: left out{instead} (evaluation.metrics)."
