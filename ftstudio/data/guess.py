"""Which columns are a conversation, a prompt with its answer, or running text: told by names and first rows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ftstudio.data.columns import Look, key
from ftstudio.data.example import transcript
from ftstudio.data.shape import Shape, shaped
from ftstudio.data.shape_rows import is_squad_answer
from ftstudio.data.tool_calls import tools_of

_PAIRS = [
    ("prompt", "completion"),
    ("question", "answer"),
    ("question", "answers"),
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


_CHATS = ("messages", "conversations", "conversation", "chat", "dialog", "turns")
_TOOLS = ("tools", "functions")


def guess_examples(look: Look) -> Shape | None:
    """The shape of prompts with answers, conversations or running text; None where it is none of these."""
    for guess in (guess_chat, guess_chosen, guess_nested, guess_alpaca, guess_pair, guess_text):
        found = guess(look)
        if found is not None:
            return found
    return None


def _with_system(look: Look, columns: dict[str, str]) -> dict[str, str]:
    system = look.find(_SYSTEM)
    return {**columns, "system": system} if system else columns


def guess_chat(look: Look) -> Shape | None:
    """OpenAI messages or ShareGPT turns, with the tools they may call, or with a chosen and a rejected answer."""
    for name in _CHATS:
        column = look.names.get(name)
        if column is None:
            continue
        form = next((form for row in look.first if (form := chat_form(row.get(column)))), None)
        if form is None:
            continue
        columns = _with_system(look, {"messages": column})
        chosen = look.names.get("chosen")
        if chosen and "rejected" in look.names:
            why = f"a conversation in {column!r} with a chosen and a rejected answer: the chosen one is learnt"
            return shaped(look, "preference", {**columns, "completion": chosen}, why)
        kind = "OpenAI messages (role/content)" if form == "messages" else "ShareGPT turns (from/value)"
        why = f"{kind} in {column!r}"
        tools = look.find(_TOOLS)
        if tools is not None and any(_are_tools(row.get(tools)) for row in look.first):
            columns["tools"], why = tools, f"{why}, with the tools in {tools!r}"
        return shaped(look, form, columns, why)
    return None


def _are_tools(value: Any) -> bool:
    try:
        tools_of(value)
    except ValueError:
        return False
    return True


def chat_form(value: Any) -> str | None:
    """`messages` or `sharegpt`, where VALUE is a list of such turns."""
    if not isinstance(value, list) or not value or not isinstance(value[0], Mapping):
        return None
    if "from" in value[0]:
        return "sharegpt"
    return "messages" if "role" in value[0] else None


def guess_chosen(look: Look) -> Shape | None:
    """Pairs of a chosen and a rejected answer: to a prompt, or each with its whole conversation."""
    chosen, prompt = look.names.get("chosen"), look.find(("prompt", "question", "instruction", "input"))
    if chosen is None or "rejected" not in look.names:
        return None
    values = [row.get(chosen) for row in look.first if row.get(chosen)]
    form = next((form for value in values if (form := chat_form(value))), None)
    if prompt is not None and (_in_turns(look, prompt) or (form is not None and not any(map(_has_question, values)))):
        return _chat_pair(
            look, prompt, chosen, f"the conversation in {prompt!r} with preferred answers: {chosen!r} is learnt"
        )
    if form is not None or any(transcript(value) for value in values):
        why = f"preferred and rejected conversations: the one in {chosen!r} is learnt"
        return shaped(look, "preference", _with_system(look, {"messages": chosen}), why)
    if prompt is None or not isinstance(next(iter(values), None), str):
        return None
    why = f"{prompt!r} with preferred answers: {chosen!r} is learnt"
    return shaped(look, "prompt-completion", _with_system(look, {"prompt": prompt, "completion": chosen}), why)


def _in_turns(look: Look, name: str) -> bool:
    """Whether the column NAME holds conversations rather than texts."""
    return any(chat_form(row.get(name)) for row in look.first)


def _has_question(value: Any) -> bool:
    """Whether VALUE, a list of turns, holds what the user asked and not the answer alone."""
    turns = value if isinstance(value, list) else []
    return any(isinstance(turn, Mapping) and turn.get("role", turn.get("from")) in ("user", "human") for turn in turns)


def _chat_pair(look: Look, prompt: str, answer: str, why: str) -> Shape:
    """The turns in PROMPT, gone on with by those (or the text) in ANSWER."""
    columns = _with_system(look, {"messages": prompt, "completion": answer})
    tools = look.find(_TOOLS)
    if tools is not None and any(_are_tools(row.get(tools)) for row in look.first):
        columns, why = {**columns, "tools": tools}, f"{why}, with the tools in {tools!r}"
    return shaped(look, "preference", columns, why)


def guess_nested(look: Look) -> Shape | None:
    """Self-instruct: answers nested under `instances`."""
    column, prompt = look.names.get("instances"), look.names.get("instruction")
    if column is None or prompt is None or not any(isinstance(row.get(column), list) for row in look.first):
        return None
    why = f"{prompt!r} with input and output nested under {column!r} (self-instruct); the first of them is used"
    return shaped(look, "instances", {"prompt": prompt, "completion": column}, why)


def guess_alpaca(look: Look) -> Shape | None:
    """Alpaca: instruction, input and output."""
    prompt, extra = look.names.get("instruction"), look.find(_INPUT)
    answer = look.find(("output", "response", "completion", "answer"))
    if prompt is None or answer is None or (extra is None and key(answer) != "output"):
        return None
    columns = {"prompt": prompt, "completion": answer}
    if extra is not None:
        columns["input"] = extra
    used = ", ".join(repr(name) for name in columns.values())
    return shaped(look, "alpaca", _with_system(look, columns), f"Alpaca columns {used}")


def guess_pair(look: Look) -> Shape | None:
    """A prompt and its completion, by many names; a question may have a context."""
    for prompt, answer in _PAIRS:
        if prompt in look.names and answer in look.names:
            if _in_turns(look, look.names[prompt]) or _in_turns(look, look.names[answer]):
                names = look.names[prompt], look.names[answer]
                return _chat_pair(look, *names, f"conversations in {names[0]!r} that go on in {names[1]!r}")
            columns = {"prompt": look.names[prompt], "completion": look.names[answer]}
            why = f"columns {columns['prompt']!r} → {columns['completion']!r}"
            if answer == "answers" and not any(is_squad_answer(row.get(columns["completion"])) for row in look.first):
                continue
            if prompt == "question" and "context" in look.names:
                columns["input"], why = look.names["context"], f"{why}, asked about {look.names['context']!r}"
            return shaped(look, "prompt-completion", _with_system(look, columns), why)
    return None


def guess_text(look: Look) -> Shape | None:
    """A text column, or the only column there is."""
    column = look.find(("text", "content"))
    if column is None and len(look.columns) == 1 and look.dataset.columns[0].type == "text":
        column = look.columns[0]
    if column is None:
        return None
    if not isinstance(next((row[column] for row in look.first if row.get(column) is not None), None), str):
        return None
    alone = len(look.columns) == 1
    why = f"{'a lone' if alone else 'no prompt and completion, but a'} column {column!r}: all of its text is trained"
    return shaped(look, "text", {"text": column}, why)
