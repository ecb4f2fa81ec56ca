"""The checks in one pass over the rows: what is wrong with a dataset before a model is trained on it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from ftstudio.data.asked import Asked
from ftstudio.data.checks.found import Check, Looker, Severity, found, said
from ftstudio.data.checks.leaks import asked_of
from ftstudio.data.dataset import Cancel, Dataset, Progress
from ftstudio.data.example import BadRow, Example, text_of
from ftstudio.data.normal import digest, prompt_key, row_key
from ftstudio.data.shape import Shape
from ftstudio.data.tokenizer import Tokenizer


@dataclass
class _Found:
    """Row numbers gathered in one pass over the examples."""

    bad: list[int] = field(default_factory=list)
    reasons: list[str] = field(default_factory=list)
    empty: list[int] = field(default_factory=list)
    copies: list[int] = field(default_factory=list)
    order: list[int] = field(default_factory=list)
    last: list[int] = field(default_factory=list)
    special: list[int] = field(default_factory=list)
    further: list[int] = field(default_factory=list)
    asked: Asked = field(default_factory=Asked)


def unmapped(
    dataset: Dataset, lookers: Sequence[Looker], copies: list[int], progress: Progress | None, cancel: Cancel | None
) -> list[Check]:
    """What can be told of rows where it isn't known which column is what; COPIES takes up those that repeat."""
    seen: set[bytes] = set()
    for index, row in enumerate(dataset.iter(cancel=cancel)):
        if progress is not None and index % 1024 == 0:
            progress(index, len(dataset))
        key = row_key(row, None)
        if key in seen:
            copies.append(index)
        seen.add(key)
        if lookers:
            text = "\n".join(text_of(value) for value in row.values())
            for looker in lookers:
                looker.add(index, text, "", None)
    return [found("exact_duplicate", "warning", copies, f"{said(copies)} repeating an earlier one.")]


def mapped(
    dataset: Dataset,
    shape: Shape,
    lookers: Sequence[Looker],
    copies: list[int],
    *,
    tokenizer: Tokenizer | None = None,
    progress: Progress | None = None,
    cancel: Cancel | None = None,
) -> list[Check]:
    """What can be told of rows that SHAPE maps; LOOKERS see every row that has something to ask and to learn."""
    gathered = _gather(dataset, shape, lookers, tokenizer, progress, cancel)
    copies += gathered.copies
    return _of_examples(gathered, dataset, shape)


def _gather(
    dataset: Dataset,
    shape: Shape,
    lookers: Sequence[Looker],
    tokenizer: Tokenizer | None,
    progress: Progress | None,
    cancel: Cancel | None,
) -> _Found:
    found = _Found()
    marks = tokenizer.end_texts if tokenizer is not None else ()
    for index, row in enumerate(dataset.iter(cancel=cancel)):
        if progress is not None and index % 1024 == 0:
            progress(index, len(dataset))
        try:
            example = shape.example(row)
        except BadRow as error:
            found.bad.append(index)
            if str(error) not in found.reasons and len(found.reasons) < 5:
                found.reasons.append(str(error))
            continue
        _look(found, index, example, marks)
        if shape.name == "instances" and len(row[shape.columns["completion"]]) > 1:
            found.further.append(index)
        if index in found.empty[-1:]:
            continue
        answer = b"" if example.is_text else digest([example.reference or ""])
        if found.asked.add(prompt_key(example), answer, index):
            found.copies.append(index)
        if lookers:
            asked, reference = asked_of(example), "" if example.is_text else example.reference or ""
            for looker in lookers:
                looker.add(index, asked, reference, example)
    return found


def _look(found: _Found, index: int, example: Example, marks: Sequence[str]) -> None:
    turns = example.messages
    if example.is_text:
        missing = not any(turn.content.strip() for turn in turns)
    else:
        asked = turns[: example.answer_at]
        answered = (example.reference or "").strip() or example.fields.get("raw_label") == []  # none of the labels fits
        missing = not answered or not any(turn.content.strip() for turn in asked)
    if missing:
        found.empty.append(index)
    talk = [turn.role for turn in turns]
    said = talk[1:] if talk[0] == "system" else talk
    if "system" in said or any(a == b and a != "tool" for a, b in pairwise(said)):
        found.order.append(index)
    if not example.is_text and talk[-1] != "assistant":
        found.last.append(index)
    if marks and any(mark in turn.content for turn in turns for mark in marks):
        found.special.append(index)


def _of_examples(seen: _Found, dataset: Dataset, shape: Shape) -> list[Check]:
    text_only = shape.name == "text"
    clash = seen.asked.conflicts()
    conflicting = sorted(index for rows in clash for index in rows)
    blank: Severity = "note" if dataset.format == "text" and text_only else "warning"
    what = "without text" if text_only else "with an empty prompt or an empty answer"
    checks = [
        found("unusable", "error", seen.bad, f"{said(seen.bad)} unusable: {'; '.join(seen.reasons)}."),
        found("empty", blank, seen.empty, f"{said(seen.empty)} {what}."),
        found(
            "exact_duplicate",
            blank,
            seen.copies,
            f"{said(seen.copies)} repeating an earlier one (case and white space aside).",
        ),
        found(
            "further_instances",
            "warning",
            seen.further,
            f"{said(seen.further)} with more than one instance: only the first is used.",
        ),
        found(
            "conflicting_answers",
            "warning",
            conflicting,
            f"{said(conflicting)} whose prompt has different answers ({len(clash):,} prompts).",
            groups=clash[:50],
        ),
        found(
            "role_order",
            "warning",
            seen.order,
            f"{said(seen.order)} with two turns of one role in succession, or a late system message.",
        ),
        found(
            "last_turn",
            "warning",
            seen.last,
            f"{said(seen.last)} not ending with an answer: what follows the last one is left out.",
        ),
        found(
            "special_tokens",
            "warning",
            seen.special,
            f"{said(seen.special)} with special tokens in the text; the model would read them as such.",
        ),
    ]
    return checks
