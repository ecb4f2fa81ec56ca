"""What is wrong with a dataset before a model is trained on it, as a list to act on."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, Literal

from ftstudio.core.errors import Stopped, UsageError
from ftstudio.data.asked import Asked
from ftstudio.data.dataset import Cancel, Dataset, Progress
from ftstudio.data.encoded_set import EncodedSet
from ftstudio.data.example import BadRow, Example
from ftstudio.data.normal import digest, prompt_key, row_key
from ftstudio.data.shape import Shape
from ftstudio.data.template import Template
from ftstudio.data.tokenizer import Tokenizer

Severity = Literal["error", "warning", "note"]

CHECKS = {
    "unreadable": "lines of the file that are no rows",
    "ragged": "rows that had to be mended: too few cells, a quote that never closes, a picture that is missing",
    "unusable": "rows that the mapping or the template can't use",
    "empty": "nothing to ask or nothing to learn",
    "further_instances": "nested answers after the first, which are not used",
    "exact_duplicate": "the same prompt and answer again",
    "exact_leak": "prompts that also stand in the held-out rows",
    "conflicting_answers": "the same prompt with different answers",
    "cut_by_max_length": "rows longer than max_length",
    "all_labels_masked": "rows of which nothing would be trained",
    "end_not_learnt": "rows after which the model isn't taught to stop",
    "boundary_merge": "prompt and answer would share a token",
    "role_order": "turns of one role in a row, or a system message late",
    "last_turn": "conversations that don't end with an answer",
    "special_tokens": "the text holds special tokens of the tokenizer",
    "template_variable": "the template names what no row has",
}


@dataclass(frozen=True)
class Check:
    """What one check found. `rows` are row numbers of the dataset (line numbers of the file for `unreadable` and
    `ragged`), `text` is one sentence."""

    name: str
    severity: Severity
    count: int
    rows: tuple[int, ...]
    text: str
    details: dict[str, Any] = field(default_factory=dict)

    def plain(self, limit: int = 1000) -> dict[str, Any]:
        """For JSON: at most LIMIT rows are listed, `count` is exact."""
        found = {"name": self.name, "severity": self.severity, "count": self.count, "rows": list(self.rows[:limit])}
        return {**found, "text": self.text, **self.details}


def names_of(wanted: str | Collection[str] | None) -> tuple[str, ...]:
    """The checks that WANTED names: None or `all` for all, `none`, or some (comma separated or a list)."""
    if wanted is None or wanted == "all":
        return tuple(CHECKS)
    names = [name.strip() for name in wanted.split(",")] if isinstance(wanted, str) else list(wanted)
    names = [name for name in names if name and name != "none"]
    for name in names:
        if name not in CHECKS:
            raise UsageError(f"There is no check {name!r}.", f"Checks: {', '.join(CHECKS)}.")
    return tuple(names)


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


def run_checks(
    dataset: Dataset,
    shape: Shape | None,
    *,
    template: Template | None = None,
    tokenizer: Tokenizer | None = None,
    encoded: EncodedSet | None = None,
    max_length: int | None = None,
    held_out: Dataset | None = None,
    held_out_shape: Shape | None = None,
    only: str | Collection[str] | None = None,
    progress: Progress | None = None,
    cancel: Cancel | None = None,
) -> list[Check]:
    """The checks that found something, errors first. ENCODED (of the same dataset) serves those on tokens; HELD_OUT
    is what must not be in DATASET. ONLY names the checks wanted. Raises Stopped when CANCEL says so."""
    wanted = names_of(only)
    found = _of_file(dataset)
    if shape is None and "exact_duplicate" in wanted:
        found.append(_copies(dataset, cancel))
    if shape is not None and wanted:
        gathered = _gather(dataset, shape, tokenizer, progress, cancel)
        found += _of_examples(gathered, dataset, shape)
        if held_out is not None:
            found += _leaks(gathered, held_out, held_out_shape or shape, cancel)
        if template is not None:
            found += _of_template(template, dataset, shape)
    if encoded is not None:
        found += _of_tokens(encoded, max_length, {check.name: set(check.rows) for check in found})
    rank = {"error": 0, "warning": 1, "note": 2}
    kept = [check for check in found if check.count and check.name in wanted]
    return sorted(kept, key=lambda check: (rank[check.severity], list(CHECKS).index(check.name)))


def _check(name: str, severity: Severity, rows: Sequence[int], text: str, **details: Any) -> Check:
    return Check(name, severity, len(rows), tuple(rows), text, details)


def _of_file(dataset: Dataset) -> list[Check]:
    gone = [problem for problem in dataset.problems if not problem.kept]
    short = [problem for problem in dataset.problems if problem.kept]
    count, mended = dataset.unread, dataset.aside.kept if dataset.aside is not None else len(short)
    found = []
    if gone:
        text = f"{count:,} unreadable, left out; line {gone[0].line}: {gone[0].reason}."
        lines = tuple(problem.line for problem in gone)
        reasons = [{"line": problem.line, "reason": problem.reason} for problem in gone[:20]]
        found.append(Check("unreadable", "error", count, lines, text, {"lines": reasons}))
    if short:
        text = f"{mended:,} mended and kept; line {short[0].line}: {short[0].reason}."
        found.append(Check("ragged", "warning", mended, tuple(problem.line for problem in short), text))
    return found


def _copies(dataset: Dataset, cancel: Cancel | None) -> Check:
    """Equal rows, where it isn't known which column is what."""
    seen: set[bytes] = set()
    copies = []
    for index, row in enumerate(dataset.iter(cancel=cancel)):
        key = row_key(row, None)
        if key in seen:
            copies.append(index)
        seen.add(key)
    return _check("exact_duplicate", "warning", copies, f"{_rows(copies)} repeating an earlier one.")


def _gather(
    dataset: Dataset, shape: Shape, tokenizer: Tokenizer | None, progress: Progress | None, cancel: Cancel | None
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
    return found


def _look(found: _Found, index: int, example: Example, marks: Sequence[str]) -> None:
    turns = example.messages
    if example.is_text:
        missing = not any(turn.content.strip() for turn in turns)
    else:
        asked = turns[: example.answer_at]
        missing = not (example.reference or "").strip() or not any(turn.content.strip() for turn in asked)
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


def _of_examples(found: _Found, dataset: Dataset, shape: Shape) -> list[Check]:
    text_only = shape.name == "text"
    clash = found.asked.conflicts()
    conflicting = sorted(index for rows in clash for index in rows)
    blank: Severity = "note" if dataset.format == "text" and text_only else "warning"
    what = "without text" if text_only else "with an empty prompt or an empty answer"
    checks = [
        _check("unusable", "error", found.bad, f"{_rows(found.bad)} unusable: {'; '.join(found.reasons)}."),
        _check("empty", blank, found.empty, f"{_rows(found.empty)} {what}."),
        _check(
            "exact_duplicate",
            blank,
            found.copies,
            f"{_rows(found.copies)} repeating an earlier one (case and white space aside).",
        ),
        _check(
            "further_instances",
            "warning",
            found.further,
            f"{_rows(found.further)} with more than one instance: only the first is used.",
        ),
        _check(
            "conflicting_answers",
            "warning",
            conflicting,
            f"{_rows(conflicting)} whose prompt has different answers ({len(clash):,} prompts).",
            groups=clash[:50],
        ),
        _check(
            "role_order",
            "warning",
            found.order,
            f"{_rows(found.order)} with two turns of one role in succession, or a late system message.",
        ),
        _check(
            "last_turn",
            "warning",
            found.last,
            f"{_rows(found.last)} not ending with an answer: what follows the last one is left out.",
        ),
        _check(
            "special_tokens",
            "warning",
            found.special,
            f"{_rows(found.special)} with special tokens in the text; the model would read them as such.",
        ),
    ]
    return checks


def _leaks(found: _Found, held_out: Dataset, shape: Shape, cancel: Cancel | None) -> list[Check]:
    train: set[int] = set()
    other: list[int] = []
    for index, row in enumerate(held_out.iter()):
        if cancel is not None and index % 256 == 0 and cancel():
            raise Stopped("Stopped while looking for leaks.")
        try:
            rows = found.asked.rows(prompt_key(shape.example(row)))
        except BadRow:
            continue
        if rows:
            train.update(rows)
            other.append(index)
    text = f"{_rows(sorted(train))} whose prompt is also held out ({len(other):,} held-out rows would prove nothing)."
    return [_check("exact_leak", "error", sorted(train), text, held_out_rows=other[:1000])]


def _of_template(template: Template, dataset: Dataset, shape: Shape) -> list[Check]:
    if not template.variables:
        return []
    known: set[str] = set(dataset.names)
    for index in range(min(20, len(dataset))):
        try:
            known |= set(shape.example(dataset[index]).fields)
        except BadRow:
            continue
    gone = sorted(template.variables - known - {"messages", "prompt", "completion"})
    if not gone:
        return []
    text = f"The template names {', '.join(gone)}, which no row has."
    return [Check("template_variable", "error", len(gone), (), text, {"variables": gone})]


def _of_tokens(encoded: EncodedSet, max_length: int | None, known: dict[str, set[int]]) -> list[Check]:
    table = encoded.table
    cut = [row for row, lost in enumerate(table["lost_completion"]) if lost or table["lost_prompt"][row]]
    lost, whole = encoded.stats.lost_completion, sum(table["completion"])
    gone = set(encoded.all_masked)
    merged = [row for row, flag in enumerate(table["merged"]) if flag]
    cut_rows = set(cut)
    open_end = [row for row in encoded.rows if not table["ends"][row] and row not in cut_rows]
    share = 100 * lost / max(1, whole)
    skip = known.get("unusable", set())
    unusable = [(row, why) for row, why in encoded.excluded if row not in gone and row not in skip]
    checks = [
        _check("unusable", "error", [row for row, _ in unusable], _unusable_text(unusable)),
        _check(
            "cut_by_max_length",
            "warning",
            cut,
            f"{_rows(cut)} longer than {max_length} tokens: {lost:,} trained tokens ({share:.1f} %) are lost.",
            lost_tokens=encoded.stats.lost,
            lost_trained=lost,
        ),
        _check(
            "all_labels_masked",
            "error",
            encoded.all_masked,
            f"{_rows(encoded.all_masked)} that would train nothing, left out; raise max_length, or drop them.",
        ),
        _check(
            "end_not_learnt",
            "warning",
            open_end,
            f"{_rows(open_end)} not ending with an end token: the model isn't taught to stop.",
        ),
        _check(
            "boundary_merge",
            "note",
            merged,
            f"{_rows(merged)} where prompt and answer would share a token; the answer is tokenised on its own there.",
        ),
    ]
    return checks


def _unusable_text(unusable: Sequence[tuple[int, str]]) -> str:
    return f"{_rows(unusable)} unusable: {unusable[0][1]}." if unusable else ""


def _rows(found: Sequence[Any]) -> str:
    return "1 row" if len(found) == 1 else f"{len(found):,} rows"
