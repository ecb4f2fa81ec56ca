"""Which columns play which part: recognised from names and first rows, or mapped by the person."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ftstudio.core.errors import UsageError
from ftstudio.data.dataset import Dataset, Row
from ftstudio.data.example import BadRow, Example, Turn, text_of, turns_of

SHAPES = ("alpaca", "prompt-completion", "messages", "sharegpt", "preference", "instances", "text")
ROLES = ("prompt", "completion", "input", "system", "messages", "text")

_PAIRS = [
    ("prompt", "completion"),
    ("question", "answer"),
    ("instruction", "output"),
    ("instruction", "response"),
    ("input", "output"),
    ("source", "target"),
    ("prompt", "response"),
    ("query", "response"),
    ("question", "response"),
    ("input", "target"),
    ("inputs", "targets"),
    ("prompt", "output"),
    ("prompt", "answer"),
    ("query", "answer"),
    ("question", "output"),
    ("instruction", "completion"),
    ("instruction", "answer"),
    ("input", "response"),
    ("article", "summary"),
    ("document", "summary"),
    ("article", "highlights"),
    ("dialogue", "summary"),
    ("text", "summary"),
    ("src", "tgt"),
]
_SYSTEM = ("system", "system_prompt")
_INPUT = ("input", "context")


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
        return _READERS[self.name](self, row)

    def cell(self, row: Row, role: str) -> str:
        """The text of ROLE's column in ROW; empty where there is no such column or value."""
        return text_of(row.get(self.columns.get(role, "")))


def _need(shape: Shape, row: Row, role: str) -> str:
    name = shape.columns[role]
    if name not in row:
        raise BadRow(f"there is no {name!r} in this row")
    return text_of(row[name])


def _system(shape: Shape, row: Row) -> tuple[Turn, ...]:
    text = shape.cell(row, "system")
    return (Turn("system", text),) if text.strip() else ()


def _pair(shape: Shape, row: Row) -> Example:
    prompt, extra, answer = _need(shape, row, "prompt"), shape.cell(row, "input"), _need(shape, row, "completion")
    return _asked(shape, row, prompt, extra, answer)


def _asked(shape: Shape, row: Row, prompt: str, extra: str, answer: str) -> Example:
    whole = f"{prompt}\n{extra}" if extra.strip() else prompt
    system = _system(shape, row)
    fields = {
        **row,
        "prompt": whole,
        "completion": answer,
        "instruction": prompt,
        "input": extra,
        "output": answer,
        "system": system[0].content if system else "",
    }
    return Example((*system, Turn("user", whole), Turn("assistant", answer)), fields)


def _instances(shape: Shape, row: Row) -> Example:
    inner = row.get(shape.columns["completion"])
    if not isinstance(inner, list) or not inner or not isinstance(inner[0], Mapping):
        raise BadRow(f"{shape.columns['completion']!r} holds no answers")
    return _asked(
        shape, row, _need(shape, row, "prompt"), text_of(inner[0].get("input")), text_of(inner[0].get("output"))
    )


def _chat(shape: Shape, row: Row) -> Example:
    name = shape.columns["messages"]
    if name not in row:
        raise BadRow(f"there is no {name!r} in this row")
    turns = turns_of(row[name])
    if "completion" in shape.columns:
        chosen = row.get(shape.columns["completion"])
        answers = (Turn("assistant", text_of(chosen)),) if isinstance(chosen, str) else turns_of(chosen)
        turns = (*turns, *answers[-1:])
    if turns[0].role != "system":
        turns = (*_system(shape, row), *turns)
    if not any(turn.role == "assistant" for turn in turns):
        raise BadRow("no assistant turn: there is nothing to learn")
    example = Example(turns)
    fields = {
        **row,
        "messages": [{"role": turn.role, "content": turn.content} for turn in turns],
        "prompt": example.prompt,
        "completion": example.reference or "",
    }
    return Example(turns, fields)


def _text(shape: Shape, row: Row) -> Example:
    text = _need(shape, row, "text")
    return Example((Turn("text", text),), {**row, "text": text})


_READERS = {
    "alpaca": _pair,
    "prompt-completion": _pair,
    "instances": _instances,
    "messages": _chat,
    "sharegpt": _chat,
    "preference": _chat,
    "text": _text,
}


def recognise(dataset: Dataset, columns: Mapping[str, str | None] | None = None) -> Shape:
    """How DATASET's rows are meant. COLUMNS (role → column) overrides what the names suggest.

    Raises UsageError where a named column is missing or nothing is recognised, with the columns there are.
    """
    given = {role: name for role, name in (columns or {}).items() if name}
    if given:
        return _mapped(dataset, given)
    names = {_key(name): name for name in reversed(dataset.names)}
    rows = [dataset[index] for index in range(min(20, len(dataset)))]
    for guess in (_guess_chat, _guess_nested, _guess_alpaca, _guess_pair, _guess_text):
        found = guess(names, rows, dataset)
        if found is not None:
            return found
    have = ", ".join(dataset.names[:12])
    hint = "Set data.columns, e.g. {prompt: question, completion: answer} or {text: body}."
    raise UsageError(f"{dataset.source}: no known set of columns among {have}.", hint)


def _key(name: str) -> str:
    return name.strip().lower().replace(" ", "_").replace("-", "_")


def _shape(dataset: Dataset, name: str, columns: dict[str, str], why: str) -> Shape:
    unused = tuple(column for column in dataset.names if column not in columns.values())
    return Shape(name, columns, why, unused)


def _find(names: Mapping[str, str], wanted: Sequence[str]) -> str | None:
    return next((names[name] for name in wanted if name in names), None)


def _with_system(names: Mapping[str, str], columns: dict[str, str]) -> dict[str, str]:
    system = _find(names, _SYSTEM)
    return {**columns, "system": system} if system else columns


def _guess_chat(names: Mapping[str, str], rows: Sequence[Row], dataset: Dataset) -> Shape | None:
    for name in ("messages", "conversations", "conversation", "chat", "dialog", "turns"):
        column = names.get(name)
        if column is None:
            continue
        form = next((form for row in rows if (form := _chat_form(row.get(column)))), None)
        if form is None:
            continue
        chosen = names.get("chosen")
        if chosen and "rejected" in names:
            mapping = {"messages": column, "completion": chosen}
            why = f"a conversation in {column!r} with a chosen and a rejected answer: the chosen one is learnt"
            return _shape(dataset, "preference", _with_system(names, mapping), why)
        kind = "OpenAI messages (role/content)" if form == "messages" else "ShareGPT turns (from/value)"
        return _shape(dataset, form, _with_system(names, {"messages": column}), f"{kind} in {column!r}")
    return None


def _chat_form(value: Any) -> str | None:
    if not isinstance(value, list) or not value or not isinstance(value[0], Mapping):
        return None
    if "from" in value[0]:
        return "sharegpt"
    return "messages" if "role" in value[0] else None


def _guess_nested(names: Mapping[str, str], rows: Sequence[Row], dataset: Dataset) -> Shape | None:
    column, prompt = names.get("instances"), names.get("instruction")
    if column is None or prompt is None or not any(isinstance(row.get(column), list) for row in rows):
        return None
    why = f"{prompt!r} with input and output nested under {column!r} (self-instruct); the first of them is used"
    return _shape(dataset, "instances", {"prompt": prompt, "completion": column}, why)


def _guess_alpaca(names: Mapping[str, str], rows: Sequence[Row], dataset: Dataset) -> Shape | None:
    prompt, extra = names.get("instruction"), _find(names, _INPUT)
    answer = _find(names, ("output", "response", "completion", "answer"))
    if prompt is None or answer is None or (extra is None and _key(answer) != "output"):
        return None
    columns = {"prompt": prompt, "completion": answer}
    if extra is not None:
        columns["input"] = extra
    used = ", ".join(repr(name) for name in columns.values())
    return _shape(dataset, "alpaca", _with_system(names, columns), f"Alpaca columns {used}")


def _guess_pair(names: Mapping[str, str], rows: Sequence[Row], dataset: Dataset) -> Shape | None:
    for prompt, answer in _PAIRS:
        if prompt in names and answer in names:
            columns = {"prompt": names[prompt], "completion": names[answer]}
            why = f"columns {names[prompt]!r} → {names[answer]!r}"
            return _shape(dataset, "prompt-completion", _with_system(names, columns), why)
    if "prompt" in names and "chosen" in names and isinstance(rows[0].get(names["chosen"]), str):
        columns = {"prompt": names["prompt"], "completion": names["chosen"]}
        why = f"{names['prompt']!r} with preferred answers: {names['chosen']!r} is learnt"
        return _shape(dataset, "prompt-completion", _with_system(names, columns), why)
    return None


def _guess_text(names: Mapping[str, str], rows: Sequence[Row], dataset: Dataset) -> Shape | None:
    column = _find(names, ("text", "content"))
    if column is None and len(dataset.columns) == 1 and dataset.columns[0].type == "text":
        column = dataset.columns[0].name
    if column is None or not isinstance(next((row[column] for row in rows if row.get(column) is not None), None), str):
        return None
    alone = len(dataset.columns) == 1
    why = f"{'a lone' if alone else 'no prompt and completion, but a'} column {column!r}: all of its text is trained"
    return _shape(dataset, "text", {"text": column}, why)


def _mapped(dataset: Dataset, given: dict[str, str]) -> Shape:
    for role, name in given.items():
        if role not in ROLES:
            near = difflib.get_close_matches(role, ROLES, n=1)
            hint = f"Did you mean {near[0]}?" if near else f"Parts are: {', '.join(ROLES)}."
            raise UsageError(f"data.columns has no part {role!r}.", hint)
        if name not in dataset.names:
            near = difflib.get_close_matches(name, dataset.names, n=1, cutoff=0.5)
            have = f"There are: {', '.join(dataset.names[:12])}{', …' if len(dataset.names) > 12 else ''}."
            hint = f"Did you mean {near[0]!r}? {have}" if near else have
            raise UsageError(f"{dataset.source} has no column {name!r} (data.columns.{role}).", hint)
    why = "mapped by you: " + ", ".join(f"{role} = {name}" for role, name in given.items())
    if "messages" in given:
        rows = (dataset[index].get(given["messages"]) for index in range(min(20, len(dataset))))
        form = next((form for value in rows if (form := _chat_form(value))), "messages")
        return _shape(dataset, form, given, why)
    if "text" in given:
        return _shape(dataset, "text", given, why)
    for role in ("prompt", "completion"):
        if role not in given:
            message = f"data.columns names no {role}."
            raise UsageError(message, "Name prompt and completion, or messages, or text.")
    classic = (_key(given["prompt"]), _key(given["completion"])) == ("instruction", "output")
    alpaca = "input" in given or classic
    return _shape(dataset, "alpaca" if alpaca else "prompt-completion", given, why)
