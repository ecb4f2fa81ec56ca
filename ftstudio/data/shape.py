"""Which columns play which part: recognised from names and rows, or mapped by the person."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ftstudio.core.errors import UsageError
from ftstudio.data.columns import Look, key
from ftstudio.data.dataset import Dataset, Row
from ftstudio.data.example import Example, text_of
from ftstudio.data.shape_rows import READERS, label_role

SHAPES = tuple(READERS)
ROLES = (
    "prompt", "completion", "input", "system", "messages", "text", "label", "tokens", "tags", "sentence1", "sentence2",
    "negative", "score", "source", "target", "image", "tools",
)  # fmt: skip
LABELLED = ("text", "sentence1", "sentence2")  # parts that a label is told of


@dataclass(frozen=True)
class Shape:
    """How rows of a dataset become examples. `columns` maps roles (`ROLES`) to column names, `why` says what led to
    it, `unused` lists the other columns."""

    name: str
    columns: Mapping[str, str]
    why: str
    unused: tuple[str, ...] = ()

    def example(self, row: Row) -> Example:
        """ROW as an example. Raises BadRow where it has not what the mapping needs."""
        return READERS[self.name](self, row)

    def cell(self, row: Row, role: str) -> str:
        """The text of ROLE's column in ROW; empty where there is no such column or value."""
        return text_of(row.get(self.columns.get(role, "")))

    @property
    def label_columns(self) -> tuple[str, ...]:
        """The column that labels or scores are in; none where there are none."""
        role = label_role(self)
        return () if role is None else (self.columns[role],)

    def label(self, row: Row) -> Any:
        """The label or score of ROW as its cell holds it, which is its example's `raw_label`; None where there is none.
        A whole example takes ten times as long."""
        return next((row.get(column) for column in self.label_columns), None)

    def asks(self, row: Row) -> bool:
        """Whether ROW, of texts or pairs that are labelled, has a text, which its label is of; true of other shapes."""
        texts = [self.columns[role] for role in LABELLED if role in self.columns]
        return not texts or (all(name in row for name in texts) and any(text_of(row[name]).strip() for name in texts))


def shaped(look: Look, name: str, columns: Mapping[str, str], why: str) -> Shape:
    """The shape NAME over the columns that LOOK has seen."""
    used = {column.rpartition(".")[0] if column not in look.columns else column for column in columns.values()}
    return Shape(name, dict(columns), why, tuple(column for column in look.columns if column not in used))


@dataclass(frozen=True)
class Suggestion:
    """A task that the rows suit, and how they are mapped for it."""

    task: str
    shape: Shape


def suggest(dataset: Dataset) -> list[Suggestion]:
    """The tasks that DATASET's rows suit, the likeliest first; empty where nothing is recognised."""
    from ftstudio.data.guess_tasks import suggestions

    return suggestions(Look(dataset))


def recognise(dataset: Dataset, columns: Mapping[str, str | None] | None = None, task: str | None = None) -> Shape:
    """How DATASET's rows are meant. COLUMNS (role → column) overrides what the names suggest.

    TASK says what they are wanted for; None or `sft`: prompts with answers, conversations or running text where that
    is what they look like. Raises UsageError where a named column is missing or nothing is recognised, with the
    columns there are.
    """
    given = {role: name for role, name in (columns or {}).items() if name}
    if given:
        return _mapped(dataset, given)
    from ftstudio.data.guess import guess_examples
    from ftstudio.data.guess_tasks import suggestions, why_not

    look = Look(dataset)
    if task in (None, "sft") and (found := guess_examples(look)) is not None:
        return found
    others = suggestions(look)
    wanted = ("sft",) if task is None else (task,)
    for suggestion in others:
        if suggestion.task in wanted:
            return suggestion.shape
    have = ", ".join(dataset.names[:12])
    why, hint = why_not(look, task or "sft")
    if why:
        raise UsageError(f"{dataset.source}: no columns for {task}: {why}.", hint)
    if others:
        likely = others[0]
        message = f"{dataset.source}: no columns for {task or 'sft'} among {have}."
        raise UsageError(message, f"It looks like {likely.task}: {likely.shape.why}. Or set data.columns.")
    hint = "Set data.columns, e.g. {prompt: question, completion: answer} or {text: body}."
    raise UsageError(f"{dataset.source}: no known set of columns among {have}.", hint)


def _mapped(dataset: Dataset, given: dict[str, str]) -> Shape:
    from ftstudio.data.guess import chat_form

    for role, name in given.items():
        if role not in ROLES:
            near = difflib.get_close_matches(role, ROLES, n=1)
            hint = f"Did you mean {near[0]}?" if near else f"Parts are: {', '.join(ROLES)}."
            raise UsageError(f"data.columns has no part {role!r}.", hint)
        if name not in dataset.names and not (role in ("source", "target") and _is_inside(dataset, name)):
            near = difflib.get_close_matches(name, dataset.names, n=1, cutoff=0.5)
            have = f"There are: {', '.join(dataset.names[:12])}{', …' if len(dataset.names) > 12 else ''}."
            hint = f"Did you mean {near[0]!r}? {have}" if near else have
            raise UsageError(f"{dataset.source} has no column {name!r} (data.columns.{role}).", hint)
    why = "mapped by you: " + ", ".join(f"{role} = {name}" for role, name in given.items())
    look = Look(dataset)
    if "prompt" in given and any(chat_form(row.get(given["prompt"])) for row in look.first):
        _complete(given, ("prompt", "completion"))
        given = {("messages" if role == "prompt" else role): name for role, name in given.items()}
    return shaped(look, _name_of(look, given), given, why)


def _is_inside(dataset: Dataset, name: str) -> bool:
    """Whether NAME is `translation.de`: a part of the objects in a column."""
    outer, _, inner = name.rpartition(".")
    if outer not in dataset.names:
        return False
    values = [dataset[index].get(outer) for index in range(min(20, len(dataset)))]
    return any(isinstance(value, Mapping) and inner in value for value in values)


def _name_of(look: Look, given: Mapping[str, str]) -> str:
    """The shape that the roles in GIVEN make. Raises UsageError where one is missing."""
    from ftstudio.data.guess import chat_form

    if "image" in given:
        return "image-text"
    if "messages" in given:
        values = (row.get(given["messages"]) for row in look.first)
        return next((form for value in values if (form := chat_form(value))), "messages")
    if "negative" in given:
        _complete(given, ("sentence1", "sentence2"))
        return "triplet"
    for roles, name in _MAPPED.items():
        if any(role in given for role in roles):
            _complete(given, roles)
            return name
    if "text" in given:
        return "text-label" if "label" in given else "text"
    _complete(given, ("prompt", "completion"))
    classic = (key(given["prompt"]), key(given["completion"])) == ("instruction", "output")
    return "alpaca" if "input" in given or classic else "prompt-completion"


_MAPPED = {
    ("tokens", "tags"): "tokens-tags",
    ("sentence1", "sentence2"): "sentence-pair",
    ("source", "target"): "source-target",
}


def _complete(given: Mapping[str, str], roles: Sequence[str]) -> None:
    for role in roles:
        if role not in given:
            hint = f"Name {roles[0]} and {roles[1]}"
            more = ", or messages, or text" if roles[0] == "prompt" else ""
            raise UsageError(f"data.columns names no {role}.", f"{hint}{more}.")
