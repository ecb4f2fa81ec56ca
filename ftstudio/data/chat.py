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
PICTURE = "<image>"  # where a picture stands in a turn


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
        self.template, self.source = compile_template(source), source
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
        read: Any = messages
        if self._parts_only or (any(PICTURE in message["content"] for message in messages) and self._knows_parts):
            read = [{**message, "content": parts_of(message["content"])} for message in messages]
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
        """Where in WHOLE (from AFTER on) the assistant message at PLACE is written, its end of turn included.

        Found by rendering the messages before it with the generation prompt, and those up to it. Templates that write
        earlier turns differently once others follow (Qwen3 drops their reasoning) are searched for its content.
        """
        upto = self.render(messages[: place + 1])
        content = messages[place]["content"].strip()
        start = self._start(whole, upto, messages, place, after)
        if whole.startswith(upto):
            return start, start + len(self._to_end(upto[start:]))
        found = whole.find(content, start)
        if found < 0 or not content:
            raise BadRow("the chat template doesn't write all assistant turns")
        tail = self._to_end(upto[upto.rfind(content) + len(content) :])
        end = found + len(content)
        return start, end + len(tail) if whole.startswith(tail, end) else end

    def _start(self, whole: str, upto: str, messages: Messages, place: int, after: int) -> int:
        content = messages[place]["content"].strip()
        before = self._asked(messages[:place])
        if before and whole.startswith(before):
            return len(before)
        if not place:  # an answer that comes first; hardly a template renders no messages at all
            found = upto.rfind(content) if content else -1
            return found if found >= 0 and whole.startswith(upto[:found]) else 0
        earlier = self.render(messages[:place])
        if not whole.startswith(earlier):
            found = whole.find(content, after) if content else -1
            if found < 0:
                raise BadRow("the chat template doesn't write all assistant turns")
            return found
        # the generation prompt holds more than what is written before an answer: a thought it opens, say
        shared = _shared(whole, before)
        found = whole.find(content, len(earlier)) if content else -1
        if 0 <= found <= shared:
            return found
        line = max(whole.rfind("\n", 0, shared), whole.rfind(">", 0, shared)) + 1
        return max(line, len(earlier))

    def _asked(self, messages: Messages) -> str:
        try:
            return self.render(messages, add_generation_prompt=True)
        except BadRow:
            if messages:
                raise
            return ""

    def _to_end(self, text: str) -> str:
        """TEXT without the white space after its end token: generation stops there."""
        bare = text.rstrip()
        return bare if bare.endswith(self.end_texts) else text


def _shared(a: str, b: str) -> int:
    """How many characters A and B begin with alike."""
    return next((place for place, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))


def parts_of(text: str) -> list[dict[str, str]]:
    """TEXT as the parts a vision-language model's chat template reads: texts, and where a picture stands."""
    found: list[dict[str, str]] = []
    for place, piece in enumerate(text.split(PICTURE)):
        if place:
            found.append({"type": "image"})
        if piece:
            found.append({"type": "text", "text": piece})
    return found


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
