"""One file a task: columns, rows to tokens, what it predicts and how that is scored."""

from __future__ import annotations

import difflib
import importlib

from ftstudio.core.errors import UsageError
from ftstudio.tasks.base import Task

_TASKS = {"sft": ("ftstudio.tasks.sft", "Sft")}


def names() -> list[str]:
    """The names of all tasks."""
    return list(_TASKS)


def get(name: str) -> Task:
    """The task NAME. Raises UsageError for an unknown one."""
    if name not in _TASKS:
        near = difflib.get_close_matches(name, _TASKS, n=1)
        hint = f"Did you mean {near[0]}?" if near else f"Tasks: {', '.join(_TASKS)}."
        raise UsageError(f"There is no task {name!r}.", hint)
    module, kind = _TASKS[name]
    task: Task = getattr(importlib.import_module(module), kind)()
    return task
