"""The part of a plan about rows: labels that have too few, held-out rows that can't be used, enough to judge by."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ftstudio.core.errors import StudioError
from ftstudio.core.text import number, one_line
from ftstudio.data.checks.tokens import blank_line
from ftstudio.data.example import BadRow
from ftstudio.engine.compatibility import Problem
from ftstudio.engine.left_out import left_out
from ftstudio.engine.materials import Materials
from ftstudio.tasks.base import Task
from ftstudio.tasks.token_classification import TokenClassification

FEW = 5  # rows of a label below which a classifier hardly learns it
LOOKED_AT = 10_000  # training rows whose lengths are looked at, at most
ASKED = 1_000  # held-out rows that are looked at, at most


def unusable(materials: Materials) -> list[tuple[int, str]]:
    """The first held-out rows that can't be answered: (number in their file, why)."""
    held_out = materials.held_out
    found: list[tuple[int, str]] = []
    if held_out is None:
        return found
    for row in range(min(len(held_out), ASKED)):
        if blank_line(held_out, row):
            continue
        try:
            example = materials.held_out_shape.example(held_out[row])
            if not materials.task.usable(example):
                found.append((held_out.origin_of(row), materials.why_not(example)))
            else:
                materials.prompt(example)  # a picture that is there may be broken
        except BadRow as error:
            found.append((held_out.origin_of(row), str(error)))
    return found


def labels_of(task: Task) -> dict[str, Any] | None:
    """What TASK found of labels, scores or tags: {text, …what it keeps of them}; None where it has none."""
    text = task.told()
    facts = {key: value for key, value in task.facts.items() if key != "examples"}
    return {"text": text, **facts} if text else None


def rare_labels(task: Task) -> list[Problem]:
    """Labels of TASK's rows that have too few of them to be learnt."""
    examples = task.facts.get("examples")
    if isinstance(examples, Mapping):
        counts, wanted = {name: len(rows) for name, rows in examples.items()}, int(task.options.shots)
        what, hint = f"fewer than the {wanted} examples asked for", "Add some, or lower options.shots."
    elif isinstance(task, TokenClassification) and task.facts.get("types"):
        counts, wanted = task.entities(), FEW
        what, hint = f"under {FEW} entities", "Add rows with them, or map their tags to another type."
    else:
        names, numbers = task.facts.get("labels") or (), task.facts.get("counts") or ()
        counts, wanted = dict(zip(names, numbers, strict=False)), FEW
        what, hint = (
            f"under {FEW} rows",
            "Add rows of them, or map them to another label; few-shot-classification wants 8.",
        )
    few = sorted((name for name, count in counts.items() if count < wanted), key=lambda name: counts[name])
    if not few:
        return []
    some = ", ".join(f"{one_line(name, 24)!r} {counts[name]}" for name in few[:4])
    more = f" and {len(few) - 4} more" if len(few) > 4 else ""
    kind = "types" if task.facts.get("types") else "labels"
    text = f"{len(few)} of {len(counts)} {kind} have {what} ({some}{more}): they are hardly learnt."
    return [Problem("warning", text, "data.train", hint)]


def held_out(materials: Materials) -> list[Problem]:
    """Whether there is enough of MATERIALS to judge by."""
    if materials.held_out is None:
        text = "no rows are held out: there is no evaluation, and nothing to compare on."
        return [Problem("warning", text, "data.eval", "Set data.eval to a fraction such as 0.1, or to a file.")]
    problems = []
    bad = unusable(materials)
    if len(bad) == min(len(materials.held_out), ASKED):
        try:
            materials.examples(1)
        except StudioError as error:  # as training refuses it
            return [Problem.of(error, "data.eval")]
    if bad:
        what = "1 held-out row" if len(bad) == 1 else f"{number(len(bad))} held-out rows"
        text = f"{what} can't be used: {left_out(bad)}."
        problems.append(Problem("warning", text, "data.eval", "Look at them: screen Data, or `ftstudio data`."))
    if len(materials.held_out) - len(bad) < 20:
        text = f"only {len(materials.held_out) - len(bad)} rows are held out: under 20, no verdict is given."
        problems.append(Problem("warning", text, "data.eval", "Hold out more rows."))
    return problems
