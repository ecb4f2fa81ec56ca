"""Rows put to the checks: those of the rows alone, through a tokenizer and against held-out rows, and by a task."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

from ftstudio.core.errors import UsageError
from ftstudio.core.text import one_line
from ftstudio.data.checks import Check, merged, names_of, run_checks
from ftstudio.data.checks.found import BY_TASK, OF_ENCODED
from ftstudio.data.dataset import Cancel, Dataset, Progress
from ftstudio.data.encoded_set import EncodedSet, encode_dataset
from ftstudio.data.meant import Meant
from ftstudio.data.shape import Shape, recognise
from ftstudio.data.template import Template
from ftstudio.data.tokenizer import Tokenizer

Encode = Callable[..., EncodedSet | None]
"""`encode_by` of `tasks.checked`: a task's rows in tokens where it reads them in a way of its own, else None."""
ByTask = Callable[[str, Dataset, Shape, bool], list[Check]]
"""The checks of a task: its name, the rows, how they are mapped, whether a person named it."""


@dataclass(frozen=True)
class Examined:
    """What the checks found; the template and, where some needed them, the tokens that they looked through."""

    checks: list[Check]
    template: Template | None = None
    encoded: EncodedSet | None = None


def examine(
    dataset: Dataset,
    meant: Meant,
    *,
    columns: Mapping[str, str | None] | None = None,
    tokenizer: Tokenizer | None = None,
    template: str | None = None,
    max_length: int | None = None,
    held_out: Dataset | None = None,
    only: str | Collection[str] | None = None,
    by_task: ByTask | None = None,
    encode: Encode | None = None,
    whole: bool = False,
    progress: Progress | None = None,
    cancel: Cancel | None = None,
) -> Examined:
    """The checks ONLY names (None: all), made of DATASET's rows as they are MEANT, which COLUMNS said; HELD_OUT rows
    are mapped alike. ENCODE brings rows into tokens as their task does. WHOLE: all rows, whether or not a check looks
    at their tokens. Raises UsageError for a faulty TEMPLATE or check, and for held-out rows without such columns;
    Stopped when CANCEL says so."""
    wanted, shape = names_of(only), meant.shape
    encoded, chosen, other = None, None, None
    if shape is not None:
        chosen = Template.resolve(template, tokenizer, shape)
        if tokenizer is not None and (whole or set(wanted) & set(OF_ENCODED)):
            rows = (dataset, shape, chosen, tokenizer, max_length)
            if encode is not None and meant.task is not None:
                encoded = encode(meant.task, *rows, progress=progress, cancel=cancel)
            if encoded is None:
                encoded = encode_dataset(*rows, progress=progress, cancel=cancel)
        if held_out is not None:
            other = mapped_alike(held_out, columns, meant.task)
    found = run_checks(
        dataset, shape, template=chosen, tokenizer=tokenizer, encoded=encoded, max_length=max_length,
        held_out=held_out, held_out_shape=other, only=wanted, progress=progress, cancel=cancel,
    )  # fmt: skip
    return Examined(with_task(found, dataset, meant, wanted, by_task), chosen, encoded)


def mapped_alike(held_out: Dataset, columns: Mapping[str, str | None] | None, task: str | None) -> Shape:
    """How HELD_OUT rows are mapped: by COLUMNS where they have those, else as TASK wants them. Raises UsageError."""
    try:
        return recognise(held_out, columns, task)
    except UsageError:
        return recognise(held_out, None, task)


def with_task(
    found: list[Check], dataset: Dataset, meant: Meant, wanted: Collection[str], by_task: ByTask | None
) -> list[Check]:
    """What was FOUND, and what the task can't learn. Rows without the columns of a task that a person named are an
    error whatever checks are WANTED: none of them was made of what the task would read."""
    if meant.shape is None:
        if not meant.named:
            return found
        why = meant.why_not.removeprefix(f"{dataset.source}: ")
        text = one_line(why if f"for {meant.task}" in why else f"for {meant.task}: {why}", 600)
        return merged(found, [Check("unlearnable", "error", len(dataset), (), text)])
    if by_task is None or meant.task is None or not set(BY_TASK) & set(wanted):
        return found
    mine = by_task(meant.task, dataset, meant.shape, meant.named)
    return merged(found, [check for check in mine if check.name in wanted])
