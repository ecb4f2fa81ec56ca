"""How a row of each shape becomes an example."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ftstudio.data.dataset import Row
from ftstudio.data.example import BadRow, Example, Turn, text_of, transcript, turns_of
from ftstudio.data.label_cells import listed
from ftstudio.data.tool_calls import tools_of

if TYPE_CHECKING:
    from ftstudio.data.shape import Shape


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
    known = row[shape.columns["completion"]]
    if is_squad_answer(known):
        answer = text_of(known["text"][0]) if known["text"] else ""
    return _asked(shape, row, prompt, extra, answer)


def is_squad_answer(value: Any) -> bool:
    """Whether VALUE is `{"text": [...], "answer_start": [...]}`: SQuAD's answers as the hub has them, the first counts;
    none where the question has no answer."""
    return isinstance(value, Mapping) and "answer_start" in value and isinstance(value.get("text"), (list, tuple))


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
    return Example((*system, Turn("user", whole), Turn("assistant", answer)), fields, _tools(shape, row))


def _tools(shape: Shape, row: Row) -> tuple[dict[str, Any], ...]:
    """The tools that may be called in ROW. Raises BadRow."""
    if "tools" not in shape.columns:
        return ()
    try:
        return tools_of(row.get(shape.columns["tools"]))
    except ValueError as error:
        raise BadRow(f"{shape.columns['tools']!r}: {error}") from None


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
    if "completion" in shape.columns:
        turns = _continued(row[name], row.get(shape.columns["completion"]))
    else:
        turns = transcript(row[name]) or turns_of(row[name])
    if turns[0].role != "system":
        turns = (*_system(shape, row), *turns)
    if not any(turn.role == "assistant" for turn in turns):
        raise BadRow("no assistant turn: there is nothing to learn")
    example = Example(turns)
    fields = {
        **row,
        "messages": [{"role": turn.role, "content": turn.content, **turn.told} for turn in turns],
        "prompt": example.prompt,
        "completion": example.reference or "",
    }
    tools = _tools(shape, row)
    if "tools" in shape.columns:
        fields["tools"] = list(tools)
    return Example(turns, fields, tools)


def _continued(asked: Any, answer: Any) -> tuple[Turn, ...]:
    """The turns of ASKED (or the text of a question) and, after them, the turns or the text of ANSWER; what ANSWER
    repeats of the conversation before its last turn is left out."""
    turns = transcript(asked) or _question(asked)
    if isinstance(answer, str) and not transcript(answer):
        return (*turns, Turn("assistant", text_of(answer)))
    answers = transcript(answer) or turns_of(answer)
    return (*turns, *(answers if answers[0].role == "assistant" else answers[-1:]))


def _question(asked: Any) -> tuple[Turn, ...]:
    """The turns in ASKED; text that is no list of turns is what the user asked."""
    try:
        return turns_of(asked)
    except BadRow:
        if not isinstance(asked, str):
            raise
        return (Turn("user", text_of(asked)),)


def _text(shape: Shape, row: Row) -> Example:
    text = _need(shape, row, "text")
    return Example((Turn("text", text),), {**row, "text": text})


def _labelled(shape: Shape, row: Row) -> Example:
    text, label = _need(shape, row, "text"), _need(shape, row, "label")
    given = {**row, "text": text, "label": label, "raw_label": row[shape.columns["label"]]}
    return _asked(shape, given, text, "", label)


def as_list(value: Any) -> list[Any] | None:
    """VALUE as a list where it is one, or is written as one in a table's cell (by JSON, Python or numpy)."""
    if isinstance(value, str):
        try:
            return listed(value)
        except BadRow:
            return None
    return list(value) if isinstance(value, (list, tuple)) else None


def _tagged(shape: Shape, row: Row) -> Example:
    tokens, tags = (as_list(row.get(shape.columns[role])) for role in ("tokens", "tags"))
    if tokens is None or tags is None:
        raise BadRow(f"{shape.columns['tokens' if tokens is None else 'tags']!r} holds no list")
    if len(tokens) != len(tags):
        raise BadRow(f"{len(tokens)} tokens but {len(tags)} tags")
    text = " ".join(map(text_of, tokens))
    return Example((Turn("text", text),), {**row, "text": text, "tokens": list(tokens), "tags": list(tags)})


def label_role(shape: Shape) -> str | None:
    """The part of SHAPE whose cells are what examples have as `raw_label`: label, or score of a pair; None: none."""
    roles = {"text-label": ("label",), "sentence-pair": ("score", "label")}.get(shape.name, ())
    return next((role for role in roles if role in shape.columns), None)


def _two(shape: Shape, row: Row) -> Example:
    first, second = _need(shape, row, "sentence1"), _need(shape, row, "sentence2")
    role = label_role(shape)
    if role is None:
        return _asked(shape, {**row, "sentence1": first, "sentence2": second}, first, "", second)
    answer = _need(shape, row, role)
    given = {**row, "sentence1": first, "sentence2": second, "raw_label": row[shape.columns[role]]}
    return _asked(shape, given, first, second, answer)


def _three(shape: Shape, row: Row) -> Example:
    texts = {role: _need(shape, row, role) for role in ("sentence1", "sentence2", "negative")}
    wrong = row[shape.columns["negative"]]
    several = [text_of(one) for one in wrong] if isinstance(wrong, (list, tuple)) else [texts["negative"]]
    return _asked(shape, {**row, **texts, "negatives": several}, texts["sentence1"], "", texts["sentence2"])


def _translated(shape: Shape, row: Row) -> Example:
    source, target = _side(shape, row, "source"), _side(shape, row, "target")
    return _asked(shape, {**row, "source": source, "target": target}, source, "", target)


def _side(shape: Shape, row: Row, role: str) -> str:
    """The text of ROLE; of several references (a list) the first; `translation.de` is the `de` of an object."""
    name = shape.columns[role]
    if name in row:
        value = row[name]
        if is_squad_answer(value):
            value = list(value["text"])[:1]
        if role == "target" and isinstance(value, (list, tuple)) and value and isinstance(value[0], str):
            return text_of(value[0])
        return text_of(value)
    outer, _, inner = name.rpartition(".")
    value = row.get(outer)
    if not isinstance(value, Mapping) or inner not in value:
        raise BadRow(f"there is no {name!r} in this row")
    return text_of(value[inner])


def _picture(shape: Shape, row: Row) -> Example:
    value: Any = row.get(shape.columns["image"])
    if value is None or value == [] or value == "":
        raise BadRow(f"there is no picture in {shape.columns['image']!r}")
    if "messages" in shape.columns:
        example = _chat(shape, row)
    elif "prompt" in shape.columns:
        example = _pair(shape, row)
    else:
        example = _asked(shape, row, "<image>", "", _need(shape, row, "text"))
    pictures = value if isinstance(value, (list, tuple)) else [value]
    return replace(example, fields={**example.fields, "images": list(pictures)})


READERS: dict[str, Callable[[Shape, Row], Example]] = {
    "alpaca": _pair,
    "prompt-completion": _pair,
    "instances": _instances,
    "messages": _chat,
    "sharegpt": _chat,
    "preference": _chat,
    "text": _text,
    "text-label": _labelled,
    "tokens-tags": _tagged,
    "sentence-pair": _two,
    "triplet": _three,
    "source-target": _translated,
    "image-text": _picture,
}
