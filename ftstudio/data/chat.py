"""A tokenizer's own chat template, rendered in a sandbox, and which of its text the assistant wrote."""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from ftstudio.core.errors import UsageError
from ftstudio.data.example import BadRow, Turn

Messages = list[dict[str, str]]


@dataclass(frozen=True)
class Segment:
    """A piece of the text a model reads; `trained`: the loss is taken on its tokens."""

    text: str
    trained: bool


@functools.lru_cache(maxsize=64)
def compile_template(source: str) -> Any:
    """SOURCE as a jinja2 template in the sandbox that transformers uses too (`chat_template_utils.py`): immutable,
    blocks trimmed, loop controls, `tojson`, `raise_exception`, `strftime_now`, `{% generation %}` passed through.

    Raises UsageError where it is no valid template.
    """
    import jinja2
    import jinja2.ext
    import jinja2.sandbox

    class Generation(jinja2.ext.Extension):
        """`{% generation %}…{% endgeneration %}` marks what an assistant says; here its body is simply written."""

        tags = {"generation"}

        def parse(self, parser: Any) -> Any:
            next(parser.stream)
            return parser.parse_statements(("name:endgeneration",), drop_needle=True)

    def raise_exception(message: str) -> None:
        raise jinja2.exceptions.TemplateError(message)

    def tojson(value: Any, ensure_ascii: bool = False, indent: Any = None, **rest: Any) -> str:
        return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, **rest)

    environment = jinja2.sandbox.ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[Generation, jinja2.ext.loopcontrols]
    )
    environment.filters["tojson"] = tojson
    environment.globals["raise_exception"] = raise_exception
    environment.globals["strftime_now"] = lambda form: datetime.now().strftime(form)
    try:
        return environment.from_string(source)
    except jinja2.TemplateSyntaxError as error:
        message = f"The template is not valid Jinja: {error.message} (line {error.lineno})."
        raise UsageError(message, "Check braces and tags, e.g. {{ prompt }}.") from error


def variables_of(source: str) -> frozenset[str]:
    """The names that the template SOURCE uses but doesn't set itself."""
    import jinja2.meta

    environment = compile_template(source).environment
    return frozenset(jinja2.meta.find_undeclared_variables(environment.parse(source))) - set(environment.globals)


class ChatTemplate:
    """A chat template with the special tokens it may write."""

    def __init__(self, source: str, special_tokens: Mapping[str, str], end_texts: Sequence[str]) -> None:
        self.template = compile_template(source)
        self.special, self.end_texts = dict(special_tokens), tuple(end_texts)

    def render(self, messages: Messages, add_generation_prompt: bool = False) -> str:
        """The text of MESSAGES. Raises BadRow where the template refuses them.

        A system message that the template refuses is put before the first user message (Gemma, early Mistral).
        """
        try:
            return self._render(messages, add_generation_prompt)
        except Exception as first:
            why = first
            if messages and messages[0]["role"] == "system":
                folded = _fold(messages)
                try:
                    return self._render(folded, add_generation_prompt)
                except Exception as second:
                    why = second
            raise BadRow(f"the chat template refuses this conversation: {str(why)[:150]}") from why

    def _render(self, messages: Messages, add_generation_prompt: bool) -> str:
        extra = {"tools": None, "documents": None, "add_generation_prompt": add_generation_prompt}
        return str(self.template.render(messages=messages, **extra, **self.special))

    def segments(self, turns: Sequence[Turn]) -> list[Segment]:
        """All of the conversation, with what the assistant wrote (up to the template's own end of turn) trained."""
        messages = as_messages(turns)
        whole = self.render(messages)
        spans: list[tuple[int, int]] = []
        for place, turn in enumerate(turns):
            if turn.role == "assistant":
                spans.append(self._span(whole, messages, place, spans[-1][1] if spans else 0))
        return list(_cut(whole, spans))

    def prompt(self, turns: Sequence[Turn]) -> str:
        """The text up to where the assistant is to go on after TURNS."""
        return self.render(as_messages(turns), add_generation_prompt=True)

    def _span(self, whole: str, messages: Messages, place: int, after: int) -> tuple[int, int]:
        """Where in WHOLE the assistant message at PLACE is written, its end of turn included.

        Found by rendering the messages before it with the generation prompt, and those up to it. Templates that write
        earlier turns differently once others follow (Qwen3 drops their reasoning) are searched for its content.
        """
        before = self.render(messages[:place], add_generation_prompt=True) if place else self._opening(messages)
        upto = self.render(messages[: place + 1])
        content = messages[place]["content"].strip()
        if not whole.startswith(before):
            before = self.render(messages[:place]) if place else ""
            if not whole.startswith(before) or not content:
                start = whole.find(content, after) if content else -1
                if start < 0:
                    raise BadRow("the chat template doesn't write all assistant turns")
                before = whole[:start]
        start = len(before)
        if whole.startswith(upto):
            end = start + len(self._to_end(upto[start:]))
            return start, max(start, end)
        found = whole.find(content, start)
        if found < 0:
            raise BadRow("the chat template doesn't write all assistant turns")
        tail = upto[upto.rfind(content) + len(content) :] if content else ""
        tail = self._to_end(tail)
        end = found + len(content)
        return start, end + len(tail) if whole.startswith(tail, end) else end

    def _opening(self, messages: Messages) -> str:
        """What stands before an assistant message that comes first: templates rarely render no messages at all."""
        try:
            return self._render([], True)
        except Exception:
            whole = self.render(messages[:1])
            place = whole.find(messages[0]["content"].strip())
            return whole[: max(0, place)]

    def _to_end(self, text: str) -> str:
        """TEXT without the white space after its end token: generation stops there."""
        bare = text.rstrip()
        return bare if bare.endswith(self.end_texts) else text


def as_messages(turns: Sequence[Turn]) -> Messages:
    """Turns as the dicts a chat template reads."""
    return [{"role": turn.role, "content": turn.content} for turn in turns]


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
