"""What a check is called, what it looks for, and what it found."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from ftstudio.core.errors import UsageError
from ftstudio.data.example import Example

Severity = Literal["error", "warning", "note"]

CHECKS = {
    "unreadable": "lines of the file that are no rows",
    "ragged": "rows that had to be mended: too few cells, a quote that never closes, a picture that is missing",
    "unusable": "rows that the mapping or the template can't use",
    "unlearnable": "what the task can't learn: no labels, one label only, scores out of range",
    "empty": "nothing to ask or nothing to learn",
    "further_instances": "nested answers after the first, which are not used",
    "exact_duplicate": "the same prompt and answer again",
    "near_duplicate": "rows nearly equal to an earlier one: 70 % of their runs of five characters are shared",
    "semantic_duplicate": "rows that mean what an earlier one means: a cosine of 0.95 by the bundled embedding",
    "exact_leak": "prompts that also stand in the held-out rows",
    "ngram_leak": "prompts that share 30 % of their runs of eight words with held-out rows",
    "near_leak": "prompts nearly equal to a held-out one: 70 % of their runs of five characters are shared",
    "semantic_leak": "prompts that mean what a held-out one means, numbers set aside: a cosine of 0.95",
    "conflicting_answers": "the same prompt with different answers",
    "cut_by_max_length": "rows longer than max_length",
    "all_labels_masked": "rows of which nothing would be trained",
    "end_not_learnt": "rows after which the model isn't taught to stop",
    "boundary_merge": "prompt and answer would share a token",
    "double_start": "rows that begin with two start tokens, one by the template and one by the text",
    "role_order": "turns of one role in a row, or a system message late",
    "last_turn": "conversations that don't end with an answer",
    "special_tokens": "the text holds special tokens of the tokenizer",
    "template_variable": "the template names what no row has",
    "template_text": "the chat template drops or changes what stands in the turns",
    "unread_parts": "tools, calls of them or reasoning, for which the template has no place",
    "label_imbalance": "a label with less than a tenth of an even share of the rows",
    "label_spelling": "labels that differ in case, space or form only, or look like several in one text",
    "label_noise": "rows of one label each, which a quick classifier, trained on the others, confidently contradicts",
    "mojibake": "garbled characters, such as Ã© for é",
    "language": "another language than nearly all other rows",
    "personal_data": "e-mail addresses, phone, card and account numbers; masked wherever rows are shown",
    "secrets": "keys and passwords; masked wherever rows are shown",
    "outlier": "the one in a hundred rows that is least like any other",
}

OF_ENCODED = (
    "unusable", "cut_by_max_length", "all_labels_masked", "end_not_learnt", "boundary_merge", "double_start",
    "unread_parts",
)  # fmt: skip
"""Checks of rows in tokens; `unusable` ones are partly found without."""
OF_TOKENIZER = (*OF_ENCODED[1:], "special_tokens")
"""Checks that find nothing without a tokenizer."""
CUT = "cut_by_max_length"
OF_HELD_OUT = ("exact_leak", "ngram_leak", "near_leak", "semantic_leak")
"""Checks that find nothing without held-out rows."""
FINAL = ("unlearnable",)
"""Checks whose errors can't be accepted: with such rows no run of the task can begin."""
BY_TASK = ("unusable", "unlearnable", "label_spelling")
"""Checks that a task makes."""


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


class Looker(Protocol):
    """Looks at every row once, and tells what it found when all are seen."""

    def add(self, index: int, asked: str, answered: str, example: Example | None) -> None:
        """Row INDEX: what is asked, what is answered; EXAMPLE is None where it isn't known which column is what."""

    def checks(self) -> list[Check]:
        """What was found; may take its time. Raises Stopped."""


def names_of(wanted: str | Collection[str] | None) -> tuple[str, ...]:
    """The checks that WANTED names: None or `all` for all, `none`, or some (comma separated or a list)."""
    if wanted is None or wanted == "all":
        return tuple(CHECKS)
    names = [name.strip() for name in wanted.split(",")] if isinstance(wanted, str) else list(wanted)
    names = [name for name in names if name and name != "none"]
    for name in names:
        if name not in CHECKS:
            near = difflib.get_close_matches(name, CHECKS, n=1, cutoff=0.6)
            hint = f"Did you mean {near[0]}? " if near else ""
            raise UsageError(f"There is no check {name!r}.", f"{hint}Checks: {', '.join(CHECKS)}.")
    return tuple(names)


def blind(checks: Collection[str], *, model: bool, cut: bool, held_out: bool) -> dict[str, str]:
    """Those of CHECKS that can find nothing where there is no MODEL (its tokenizer), no CUT at a length, or no HELD_OUT
    rows: name → what they lack, in words."""
    lacking = {}
    for name in checks:
        if name in OF_TOKENIZER and not model:
            lacking[name] = "a tokenizer: --model MODEL" + (" --max-length N" if name == CUT and not cut else "")
        elif name == CUT and not cut:
            lacking[name] = "a length to cut at: --max-length N"
        elif name in OF_HELD_OUT and not held_out:
            lacking[name] = "held-out rows: --eval FILE"
    return lacking


def found(name: str, severity: Severity, rows: Sequence[int], text: str, **details: Any) -> Check:
    """A check that found ROWS."""
    return Check(name, severity, len(rows), tuple(rows), text, details)


def said(rows: Sequence[Any]) -> str:
    """How many ROWS there are, in words."""
    return "1 row" if len(rows) == 1 else f"{len(rows):,} rows"


def spread(count: int, most: int) -> int:
    """The step by which at most MOST of COUNT rows are taken, evenly spread."""
    return max(1, -(-count // most))


def of_some(looked: int, count: int) -> str:
    """Behind a sentence: how many of COUNT rows were LOOKED at, where that is not all."""
    return "" if looked >= count else f" {looked:,} of {count:,} rows were looked at, evenly spread."
