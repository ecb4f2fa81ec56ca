"""Checks of rows by the task that they are wanted for: what it can't learn, before a model is at hand. No torch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ftstudio import tasks
from ftstudio.core.errors import Stopped, StudioError
from ftstudio.core.text import one_line
from ftstudio.data import looked
from ftstudio.data.checks.found import Check, Severity, found, said, spread
from ftstudio.data.dataset import Cancel, Dataset, Progress
from ftstudio.data.encoded_set import EncodedSet
from ftstudio.data.example import BadRow, Example
from ftstudio.data.labels import MULTI
from ftstudio.data.shape import Shape
from ftstudio.data.template import Template
from ftstudio.data.tokenizer import Tokenizer
from ftstudio.tasks.base import Task
from ftstudio.tasks.label_words import joined_doubts, spelling_doubts

_REASONS = 3
DECODED = 2_000  # pictures that are decoded whole, evenly spread; of the others the head is read
IN_WINDOWS = ("causal-lm", "masked-lm")
_UNTOLD = ("sft", "causal-lm", "masked-lm")  # what they can't learn is known once the rows are tokens


def checks_of(
    task: Task,
    dataset: Dataset,
    shape: Shape,
    sure: bool = True,
    *,
    progress: Progress | None = None,
    cancel: Cancel | None = None,
) -> list[Check]:
    """What TASK can't learn of DATASET's rows, mapped by SHAPE: nothing to tell apart (`unlearnable`), rows without a
    label or text, broken or missing pictures (`unusable`). Warnings only where it isn't SURE that they are wanted for
    this task; where it is, rows of another shape are `unlearnable` too. Raises Stopped."""
    severity: Severity = "error" if sure else "warning"
    if shape.name not in task.shapes:
        text = one_line(f"for {task.name}: it can't learn from such rows ({shape.name}: {shape.why}).", 400)
        return [Check("unlearnable", severity, len(dataset), (), text)] if sure else []
    if task.name in _UNTOLD:
        return []
    try:
        bound = task.bound(task.options.model_dump(), task.survey(dataset, shape, cancel=cancel))
    except Stopped:
        raise
    except StudioError as error:
        text = one_line(f"for {task.name}: {error.message} {error.hint}".strip(), 400)
        return [Check("unlearnable", severity, len(dataset), (), text)]
    folders = [Path(), *([dataset.path.parent] if dataset.path is not None else [])]
    step = spread(len(dataset), DECODED)
    bad, reasons = [], dict[str, None]()
    for row in range(len(dataset)):
        if cancel is not None and row % 256 == 0 and cancel():
            raise Stopped("Stopped while checking the rows.")
        if progress is not None and row % 1024 == 0:
            progress(row, len(dataset))
        try:
            example = shape.example(dataset[row])
        except BadRow:
            continue  # told by the checks of all tasks
        fault = _picture(example, folders, row % step == 0) if shape.name == "image-text" else bound.fault(example)
        if fault:
            bad.append(row)
            reasons[one_line(fault, 80)] = None
    more = "; …" if len(reasons) > _REASONS else ""
    text = f"{said(bad)} unusable for {task.name}: {'; '.join(list(reasons)[:_REASONS])}{more}."
    if shape.name == "image-text":
        severity = "error"  # a picture that isn't there is none for any task
    return [*_spelling(bound), *([found("unusable", severity, bad, text)] if bad else [])]


def by_name(name: str, dataset: Dataset, shape: Shape, sure: bool) -> list[Check]:
    """`checks_of` the task NAME with its usual options. Raises UsageError for an unknown one, Stopped."""
    return checks_of(tasks.get(name), dataset, shape, sure)


def encode_by(
    name: str,
    dataset: Dataset,
    shape: Shape,
    template: Template,
    tokenizer: Tokenizer,
    max_length: int | None,
    *,
    progress: Progress | None = None,
    cancel: Cancel | None = None,
) -> EncodedSet | None:
    """DATASET in tokens as the task NAME reads running text: in windows, of which none is cut and each document has its
    end. None for tasks whose rows are prompt and answer. Raises UsageError where TOKENIZER doesn't serve, Stopped."""
    if name not in IN_WINDOWS or shape.name not in tasks.get(name).shapes:
        return None
    return tasks.get(name).encode_dataset(
        dataset, shape, template, tokenizer, max_length, progress=progress, cancel=cancel
    )


def _spelling(task: Task) -> list[Check]:
    """Labels of TASK that may not be meant as they are written."""
    if "text-label" not in task.shapes:
        return []
    names, counts = task.facts.get("labels") or (), task.facts.get("counts") or ()
    doubts = [*([] if task.facts.get("problem") == MULTI else joined_doubts(names)), *spelling_doubts(names, counts)]
    text = " ".join(f"{doubt.text[:1].upper()}{doubt.text[1:]} {doubt.hint}" for doubt in doubts)
    return [Check("label_spelling", "warning", len(names), (), text)] if doubts else []


def _picture(example: Example, folders: Sequence[Path], whole: bool) -> str:
    """Why a picture of EXAMPLE can't be shown to a model; empty where all can. Only the head is read if not WHOLE."""
    try:
        pictures = looked.sources(example, folders)
        for one in pictures:
            looked.load(one, whole)
        looked.placed(example, len(pictures))
    except BadRow as error:
        return str(error)
    except ImportError:
        return ""  # Pillow isn't installed: `doctor` tells
    return ""
