"""A tokenizer's own chat template, rendered in a sandbox, and which of its text the assistant wrote."""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ftstudio.data.example import BadRow, Turn
from ftstudio.data.said import Messages, said_in
from ftstudio.data.sandbox import compile_template, has_marks, marking, unmarked
from ftstudio.data.tool_calls import plain

PICTURE = "<image>"  # where a picture stands in a turn
Tools = Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class Segment:
    """A piece of the text a model reads; `trained`: the loss is taken on its tokens."""

    text: str
    trained: bool


class ChatTemplate:
    """A chat template with the special tokens it may write.

    `marked`: it says itself, by generation marks, what is trained. `reads_tools`, `reads_calls`, `reads_thoughts`:
    whether it has a place for tools, a form for calls of them, and one for what was thought before a turn.
    """

    def __init__(self, source: str, special_tokens: Mapping[str, str], end_texts: Sequence[str]) -> None:
        self.template, self.source = compile_template(source), source
        self.special, self.end_texts = dict(special_tokens), tuple(end_texts)
        self.marked = has_marks(source)
        self.reads_tools = mentions(source, "tools")
        self.reads_calls = mentions(source, "tool_calls")
        self.reads_thoughts = mentions(source, "reasoning_content") or mentions(source, "thinking")

    def render(self, messages: Messages, add_generation_prompt: bool = False, tools: Tools = ()) -> str:
        """The text of MESSAGES, which may call TOOLS. Raises BadRow where the template refuses them.

        Other forms are tried where it does: a system message before the first user message (Gemma, early Mistral), an
        empty text instead of none beside calls of tools (Qwen3), their arguments as JSON text (DeepSeek).
        """
        why = Exception()
        for form in _forms(messages):
            try:
                return self._render(form, add_generation_prompt, tools)
            except Exception as error:  # a template may raise anything
                why = error
        raise BadRow(f"the chat template refuses this conversation: {str(why)[:150]}") from why

    def _render(self, messages: Messages, add_generation_prompt: bool, tools: Tools) -> str:
        extra = {
            "tools": plain(tools) if tools else None, "documents": None, "add_generation_prompt": add_generation_prompt,
        }  # fmt: skip
        read: Any = messages
        seen = any(PICTURE in (message["content"] or "") for message in messages)
        if self._parts_only or (seen and self._knows_parts):
            read = [{**message, "content": parts_of(message["content"] or "")} for message in messages]
        return str(self.template.render(messages=read, **extra, **self.special))

    @functools.cached_property
    def _knows_parts(self) -> bool:
        """Whether the template writes pictures, as vision-language models' do."""
        return "image" in self.source and "type" in self.source

    @functools.cached_property
    def _parts_only(self) -> bool:
        """Whether it writes nothing of a message that isn't a list of parts."""
        if not self._knows_parts:
            return False
        told = {"tools": None, "documents": None, "add_generation_prompt": False, **self.special}
        try:
            return "qzx" not in str(self.template.render(messages=[{"role": "user", "content": "qzx"}], **told))
        except Exception:  # a template may raise anything on plain text; then parts are all it takes
            return True

    def segments(self, turns: Sequence[Turn], tools: Tools = ()) -> list[Segment]:
        """All of the conversation, with what the assistant wrote trained: what the template's generation marks enclose,
        else its turns up to the template's own end of turn."""
        messages = self._messages(turns)
        render: Callable[..., str] = functools.partial(self.render, tools=tools)
        whole = render(messages)
        spans = self._marks(whole, messages, tools) if self.marked else None
        if spans is None:
            spans = said_in(whole, messages, render, self._to_end)
        return list(_cut(whole, spans))

    def prompt(self, turns: Sequence[Turn], tools: Tools = ()) -> str:
        """The text up to where the assistant is to go on after TURNS."""
        return self.render(self._messages(turns), add_generation_prompt=True, tools=tools)

    def _messages(self, turns: Sequence[Turn]) -> Messages:
        return as_messages(turns, calls=self.reads_calls)

    def _marks(self, whole: str, messages: Messages, tools: Tools) -> list[tuple[int, int]] | None:
        """What the marks enclose in WHOLE, as transformers' `return_assistant_tokens_mask`, without the white space
        behind an end token. None where the template changes what it marks, so that they can't be told."""
        with marking():
            text, spans = unmarked(self.render(messages, tools=tools))
        if text != whole:
            return None
        return [(start, start + len(self._to_end(whole[start:end]))) for start, end in spans]

    def _to_end(self, text: str) -> str:
        """TEXT without the white space after its end token: generation stops there."""
        bare = text.rstrip()
        return bare if bare.endswith(self.end_texts) else text


def mentions(source: str, name: str) -> bool:
    """Whether the template SOURCE reads NAME."""
    return re.search(rf"\b{name}\b", source) is not None


def parts_of(text: str) -> list[dict[str, str]]:
    """TEXT as the parts a vision-language model's chat template reads: texts, and where a picture stands."""
    found: list[dict[str, str]] = []
    for place, piece in enumerate(text.split(PICTURE)):
        if place:
            found.append({"type": "image"})
        if piece:
            found.append({"type": "text", "text": piece})
    return found


def as_messages(turns: Sequence[Turn], *, calls: bool = True) -> Messages:
    """Turns as the dicts a chat template reads; without CALLS, those of tools are JSON in the content."""
    found: Messages = []
    for turn in turns:
        told = turn.told
        if turn.calls and not calls:
            told = {key: value for key, value in told.items() if key not in ("content", "tool_calls")}
        found.append({"role": turn.role, "content": turn.content, **told})
    return found


def _forms(messages: Messages) -> Iterator[Messages]:
    """MESSAGES, and the other forms in which a template that refuses them may take them."""
    forms = [messages]
    if any(message.get("tool_calls") for message in messages):
        filled = [{**message, "content": message["content"] or ""} for message in messages]
        forms += [filled, *([_texted(form) for form in (messages, filled)])]
    yield from forms
    if messages and messages[0]["role"] == "system":
        yield from map(_fold, forms)


def _texted(messages: Messages) -> Messages:
    """MESSAGES with the arguments of calls as JSON text."""
    found = []
    for message in messages:
        calls = [{**call, "function": dict(call["function"])} for call in message.get("tool_calls", ())]
        for call in calls:
            given = call["function"].get("arguments")
            if not isinstance(given, str):
                call["function"]["arguments"] = json.dumps(given, ensure_ascii=False)
        found.append({**message, "tool_calls": calls} if calls else message)
    return found


def _fold(messages: Messages) -> Messages:
    system, rest = messages[0]["content"], messages[1:]
    if rest and rest[0]["role"] == "user":
        return [{"role": "user", "content": f"{system}\n\n{rest[0]['content']}"}, *rest[1:]]
    return [{"role": "user", "content": system}, *rest]


def _cut(whole: str, spans: Sequence[tuple[int, int]]) -> Iterator[Segment]:
    place = 0
    for start, end in spans:
        if start > place:
            yield Segment(whole[place:start], False)
        if end > start:
            yield Segment(whole[start:end], True)
        place = end
    if place < len(whole):
        yield Segment(whole[place:], False)
