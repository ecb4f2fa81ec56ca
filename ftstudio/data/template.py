"""From an example to the text a model reads, cut into what is trained and what is not."""

from __future__ import annotations

import contextlib
import difflib
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from ftstudio.core.errors import UsageError
from ftstudio.data.chat import ChatTemplate, Segment, as_messages, mentions
from ftstudio.data.example import BadRow, Example, Turn
from ftstudio.data.said import shared
from ftstudio.data.sandbox import compile_template, variables_of
from ftstudio.data.shape import Shape
from ftstudio.data.tokenizer import Tokenizer

NAMES = ("alpaca", "chat", "plain", "text")

# The prompts of Stanford Alpaca (tatsu-lab/stanford_alpaca, train.py), with the line break after "Response:" that
# later trainers write, so that prompt and answer never share a token.
_ALPACA = (
    "Below is an instruction that describes a task{}. Write a response that appropriately completes the request.\n\n"
)
_ALPACA_INPUT = _ALPACA.format(", paired with an input that provides further context")
_ALPACA_ALONE = _ALPACA.format("")
_MARK = "\ue000\ue001\ue000"  # private use: where the completion stands in a Jinja template

Unread = Literal["tools", "calls", "thoughts"]
Writer = Callable[[Example], list[Segment]]


def _running(example: Example) -> list[Segment]:
    return [Segment(turn.content, turn.role == "text") for turn in example.messages]


@dataclass(frozen=True)
class Template:
    """How examples are written. `name` is alpaca, chat, plain, text or jinja; `note` is what a person should know.

    `variables` are the names a Jinja string uses. `adds_special`: the tokenizer adds its own special tokens (begin of
    text); chat templates write them themselves. `marked`: it says itself what is trained, and no end token is added.
    `reads_tools`, `reads_calls`, `reads_thoughts`: it writes the tools of a row, calls of them in a form of its own
    (else as JSON), and what was thought before an answer.
    `only_last`: of a conversation's answers the last one alone is trained.
    """

    name: str
    writer: Writer
    prompter: Writer
    adds_special: bool = True
    note: str = ""
    texter: Writer = _running
    variables: frozenset[str] = frozenset()
    marked: bool = False
    reads_tools: bool = False
    reads_calls: bool = False
    reads_thoughts: bool = False
    only_last: bool = False

    @staticmethod
    def resolve(name: str | Sequence[str] | None, tokenizer: Tokenizer | None, shape: Shape | None) -> Template:
        """The template NAME (alpaca, chat, plain, text or a Jinja string, or several), or the usual one for SHAPE.

        None: messages and ShareGPT → chat, Alpaca → alpaca, text → text, prompt/completion → chat where the tokenizer
        has a chat template, else plain. Raises UsageError for an unknown name or a faulty Jinja string.
        """
        if name is not None and not isinstance(name, str):
            return _several([Template.resolve(one, tokenizer, shape) for one in name])
        if name is not None and ("{{" in name or "{%" in name):
            return _jinja(name, shape)
        chosen = name if name is not None else default_name(tokenizer, shape)
        if chosen == "chat":
            return _chat(tokenizer)
        if chosen == "alpaca":
            return _turnwise("alpaca", _alpaca)
        if chosen == "plain":
            return _turnwise("plain", _plain)
        if chosen == "text":
            return _turnwise("text", _plain, "All of the text is trained.")
        near = difflib.get_close_matches(chosen, NAMES, n=1)
        hint = f"Did you mean {near[0]}?" if near else "Use alpaca, chat, plain, or a Jinja string with {{ prompt }}."
        raise UsageError(f"There is no template {chosen!r}.", hint)

    def segments(self, example: Example, *, for_generation: bool = False) -> list[Segment]:
        """The text of EXAMPLE in pieces; FOR_GENERATION only up to where the last assistant turn is to be written.

        Raises BadRow where the template can't write this example.
        """
        if example.is_text:
            return [] if for_generation else _join(self.texter(example))
        last = example.answer_at + 1  # turns after the last answer teach nothing
        if last < len(example.messages):
            example = replace(example, messages=example.messages[:last])
        if for_generation:
            return self._asked(example)
        found = _join(self.writer(example))
        if not all(turn.learnt for turn in example.messages):
            found = _but_read(found, example)
        if self.only_last:
            return _trained_from(found, _whole(self._asked(example)))
        return found

    def _asked(self, example: Example) -> list[Segment]:
        """What stands before the last answer: cut where training cuts, so that the ids are the same."""
        with contextlib.suppress(BadRow):
            whole = _join(self.writer(example))
            if self.marked and (found := _up_to_mark(whole, _whole(self.prompter(example)))):
                return found
            trained = [place for place, part in enumerate(whole) if part.trained]
            answers = sum(turn.role == "assistant" for turn in example.messages)
            if trained and (example.reference or len(trained) == answers):
                return whole[: trained[-1]]
        return _join(self.prompter(example))  # an empty answer leaves no trace to cut at

    def unread(self, example: Example) -> list[Unread]:
        """What of EXAMPLE isn't written, or not in a form of the model's own."""
        found: list[Unread] = []
        if example.tools and not self.reads_tools and not example.is_text:
            found.append("tools")
        if not self.reads_calls and any(turn.calls for turn in example.messages):
            found.append("calls")
        if not self.reads_thoughts and any(turn.thought for turn in example.messages):
            found.append("thoughts")
        return found

    def answer(self, example: Example, ends: Sequence[str]) -> str:
        """What is to be written at the end of EXAMPLE, without the end token (one of ENDS) it is written with."""
        before = len(self.text(example, for_generation=True))
        text = self.text(example)[before:].strip()
        return next((text.removesuffix(end) for end in ends if end and text.endswith(end)), text).strip()

    def text(self, example: Example, *, for_generation: bool = False) -> str:
        """The text of EXAMPLE as one string."""
        return _whole(self.segments(example, for_generation=for_generation))


def default_name(tokenizer: Tokenizer | None, shape: Shape | None) -> str:
    """The usual template for SHAPE."""
    if shape is None:
        return "plain"
    if shape.name in ("messages", "sharegpt", "preference"):
        return "chat"
    if shape.name in ("alpaca", "instances"):
        return "alpaca"
    if shape.name == "text":
        return "text"
    return "chat" if tokenizer is not None and tokenizer.chat_template else "plain"


def _join(segments: Sequence[Segment]) -> list[Segment]:
    """SEGMENTS without empty ones, neighbours of a kind made one."""
    found: list[Segment] = []
    for segment in segments:
        if not segment.text:
            continue
        if found and found[-1].trained == segment.trained:
            found[-1] = Segment(found[-1].text + segment.text, segment.trained)
        else:
            found.append(segment)
    return found


def _split(segments: Sequence[Segment], place: int) -> tuple[list[Segment], list[Segment]]:
    """SEGMENTS up to the character PLACE, and from there on."""
    before, after = [], []
    for segment in segments:
        cut = min(max(0, place), len(segment.text))
        before.append(replace(segment, text=segment.text[:cut]))
        after.append(replace(segment, text=segment.text[cut:]))
        place -= len(segment.text)
    return _join(before), _join(after)


def _trained_from(segments: Sequence[Segment], prompt: str) -> list[Segment]:
    """SEGMENTS with nothing trained of what they begin with like PROMPT."""
    before, after = _split(segments, shared(_whole(segments), prompt))
    return _join([*(replace(segment, trained=False) for segment in before), *after])


def _but_read(segments: Sequence[Segment], example: Example) -> list[Segment]:
    """SEGMENTS with nothing trained of the answers of EXAMPLE that are only read. Raises BadRow."""
    answers = [turn for turn in example.messages if turn.role == "assistant"]
    trained = [place for place, segment in enumerate(segments) if segment.trained]
    if len(trained) != len(answers):
        raise BadRow(
            f"{len(answers)} answers are written in {len(trained)} pieces: which has the weight 0 can't be told"
        )
    read = {place for place, turn in zip(trained, answers, strict=True) if not turn.learnt}
    return _join([replace(part, trained=part.trained and place not in read) for place, part in enumerate(segments)])


def _up_to_mark(segments: Sequence[Segment], prompt: str) -> list[Segment]:
    """SEGMENTS up to where what is trained goes on behind PROMPT; empty where they don't begin with it.

    A mark may begin before the end of the generation prompt (it encloses the header), or behind it.
    """
    if not _whole(segments).startswith(prompt):
        return []
    place, end = 0, len(prompt)
    for segment in segments:
        if segment.trained and place + len(segment.text) > end:
            return _split(segments, max(place, end))[0]
        place += len(segment.text)
    return _split(segments, end)[0]


def _whole(segments: Sequence[Segment]) -> str:
    return "".join(segment.text for segment in segments)


def _before_answer(example: Example) -> Sequence[Turn]:
    return example.messages[: example.answer_at]


# Turn by turn: a head (system message), then for every turn what stands before its content and after it.


def _turnwise(name: str, write: Callable[[Example, Sequence[Turn], bool], list[Segment]], note: str = "") -> Template:
    return Template(
        name,
        writer=lambda example: write(example, example.messages, False),
        prompter=lambda example: write(example, _before_answer(example), True),
        note=note,
    )


def _plain(example: Example, turns: Sequence[Turn], open_end: bool) -> list[Segment]:
    found: list[Segment] = []
    for place, turn in enumerate(turns):
        if place:
            found.append(Segment("\n", False))
        found.append(Segment(turn.content, turn.role == "assistant"))
    if open_end and turns:
        found.append(Segment("\n", False))
    return found


def _alpaca(example: Example, turns: Sequence[Turn], open_end: bool) -> list[Segment]:
    extra = str(example.fields.get("input") or "")
    single = sum(turn.role == "user" for turn in example.messages) == 1 and "instruction" in example.fields
    with_input = single and bool(extra.strip())
    system = "".join(turn.content + "\n\n" for turn in turns if turn.role == "system")
    head = system or (_ALPACA_INPUT if with_input else _ALPACA_ALONE)
    found = [Segment(head, False)]
    rest = [turn for turn in turns if turn.role != "system"]
    for place, turn in enumerate(rest):
        if turn.role == "assistant":
            found += [Segment("### Response:\n", False), Segment(turn.content, True)]
            if place < len(rest) - 1 or open_end:
                found.append(Segment("\n\n", False))
        elif with_input:
            asked = str(example.fields["instruction"])
            found.append(Segment(f"### Instruction:\n{asked}\n\n### Input:\n{extra}\n\n", False))
        else:
            title = "Input" if turn.role == "tool" else "Instruction"
            found.append(Segment(f"### {title}:\n{turn.content}\n\n", False))
    if open_end:
        found.append(Segment("### Response:\n", False))
    return found


_TITLES = {"system": "System", "user": "User", "assistant": "Assistant", "tool": "Tool"}


def _generic(example: Example, turns: Sequence[Turn], open_end: bool) -> list[Segment]:
    found: list[Segment] = []
    for place, turn in enumerate(turns):
        gap = "\n\n" if place else ""
        found.append(Segment(f"{gap}{_TITLES[turn.role]}:\n", False))
        found.append(Segment(turn.content, turn.role == "assistant"))
    if open_end:
        gap = "\n\n" if turns else ""
        found.append(Segment(f"{gap}Assistant:\n", False))
    return found


def _chat(tokenizer: Tokenizer | None) -> Template:
    if tokenizer is None or not tokenizer.chat_template:
        note = "The tokenizer has no chat template: turns are written as 'User:' and 'Assistant:'."
        return _turnwise("chat", _generic, note)
    usual, other = (
        ChatTemplate(source, tokenizer.special_tokens, tokenizer.end_texts)
        for source in (tokenizer.chat_template, tokenizer.tool_template or tokenizer.chat_template)
    )

    def of(example: Example) -> ChatTemplate:
        return other if example.tools else usual

    return Template(
        "chat",
        writer=lambda example: of(example).segments(example.messages, example.tools),
        prompter=lambda example: [Segment(of(example).prompt(_before_answer(example), example.tools), False)],
        adds_special=False,
        note=_unended(usual),
        marked=usual.marked,
        reads_tools=other.reads_tools,
        reads_calls=other.reads_calls,
        reads_thoughts=other.reads_thoughts and usual.reads_thoughts,
    )


def _unended(chat: ChatTemplate) -> str:
    """What a person should know of generation marks that enclose no end of turn."""
    if not chat.marked:
        return ""
    with contextlib.suppress(BadRow):
        probe = chat.segments((Turn("user", "a"), Turn("assistant", "b")))
        said = [segment.text for segment in probe if segment.trained]
        if said and not said[-1].endswith(chat.end_texts):
            return (
                "The chat template's generation marks leave out the end of the assistant's turn: the model isn't "
                "taught to stop."
            )
    return ""


def _several(made: Sequence[Template]) -> Template:
    """One of MADE for each example, told by what it asks: the same in training, in answers and in every epoch. Raises
    UsageError for templates that can't go together."""
    if len({one.adds_special for one in made}) > 1:
        raise UsageError(
            "data.template: a chat template writes its own special tokens, the others don't: they can't be mixed.",
            "Take chat alone, or several of the others.",
        )
    if len(made) < 2:
        return made[0]

    def of(example: Example) -> Template:
        asked = example.prompt.encode("utf-8", "surrogatepass")
        return made[zlib.crc32(asked) % len(made)]

    return Template(
        "several",
        writer=lambda example: of(example).writer(example),
        prompter=lambda example: of(example).prompter(example),
        adds_special=made[0].adds_special,
        note=f"{len(made)} templates are used: which one a row has follows from what it asks.",
        texter=lambda example: of(example).texter(example),
        variables=frozenset().union(*(one.variables for one in made)),
        marked=all(one.marked for one in made),
        reads_tools=all(one.reads_tools for one in made),
        reads_calls=all(one.reads_calls for one in made),
        reads_thoughts=all(one.reads_thoughts for one in made),
    )


def _jinja(source: str, shape: Shape | None) -> Template:
    """A Jinja string over the row: what stands before the completion is prompt, the completion and the rest trained."""
    template = compile_template(source)
    answer_names = {"completion", "output"}
    if shape is not None and shape.name in ("alpaca", "prompt-completion"):
        answer_names.add(shape.columns["completion"])

    def fill(values: dict[str, Any]) -> str:
        try:
            return str(template.render(**values))
        except Exception as error:
            raise BadRow(f"the template can't be filled: {str(error)[:150]}") from error

    def parts(example: Example) -> tuple[str, str, str]:
        answer = example.reference or ""
        turns = as_messages(example.messages)
        if example.answer_at < len(turns):
            turns[example.answer_at] = {"role": "assistant", "content": _MARK}
        values = {"prompt": example.prompt, **example.fields, "messages": turns}
        text = fill(values | dict.fromkeys(answer_names, _MARK))
        before, mark, after = text.partition(_MARK)
        if not mark:
            raise BadRow("the template doesn't write the completion: it needs {{ completion }}")
        return before, answer, after.replace(_MARK, answer)

    def write(example: Example) -> list[Segment]:
        before, answer, after = parts(example)
        return [Segment(before, False), Segment(answer + after, True)]

    return Template(
        "jinja",
        writer=write,
        prompter=lambda example: [Segment(parts(example)[0], False)],
        texter=lambda example: [Segment(fill(dict(example.fields)), True)],
        variables=variables_of(source),
        reads_tools="tools" in variables_of(source),
        reads_calls=mentions(source, "tool_calls"),
        reads_thoughts=mentions(source, "reasoning_content") or mentions(source, "thinking"),
    )
