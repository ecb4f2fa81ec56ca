"""Supervised fine-tuning: a prompt, and the completion the model is to write."""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar, Literal

from pydantic import Field

from ftstudio.data.dataset import Cancel, Dataset, Progress
from ftstudio.data.encode import Encoded, encode, end_ids, prompt_ids
from ftstudio.data.encoded_set import EncodedSet, encode_dataset
from ftstudio.data.example import BadRow, Example
from ftstudio.data.shape import Shape
from ftstudio.data.template import Template
from ftstudio.data.tokenizer import Tokenizer
from ftstudio.data.view import TokenView
from ftstudio.tasks.base import Kind, Options, Prompt, Role, Row, Task


class SftOptions(Options):
    """Options of supervised fine-tuning."""

    train_on: Literal["all", "last"] = Field(
        "all", description="which assistant turns of a conversation are learnt: all of them, or the last one alone"
    )


class Sft(Task):
    """Prompt → completion, conversations, and running text, for causal language models."""

    name = "sft"
    title = "Supervised fine-tuning (prompt → completion)"
    help = (
        "The model reads a prompt and learns to write the completion. Only the completion and its end token are "
        "trained; in a conversation, every assistant turn is, or the last. A dataset of nothing but text trains on all "
        "of it. Use it to teach a format, a style, or how to answer your kind of question."
    )
    answers = "a text, written token by token"
    example: ClassVar[tuple[tuple[str, str], ...]] = (
        ("prompt", "Which lift is broken?"),
        ("completion", "Lift B since May."),
        ("→", "Lift B since May."),
    )
    roles: ClassVar[tuple[Role, ...]] = (
        Role("prompt", "what the model is given"),
        Role("completion", "what it learns to write"),
        Role("input", "extra input beside the prompt (Alpaca)"),
        Role("system", "a system message that comes first"),
        Role("messages", "a column of chat turns, instead of prompt and completion"),
        Role("tools", "the tools that a conversation may call: a list of them, or JSON text of one"),
        Role("text", "running text, instead of all others: all of it is trained"),
    )
    shapes: ClassVar[tuple[str, ...]] = (
        "alpaca", "prompt-completion", "instances", "messages", "sharegpt", "preference", "text", "text-label",
        "sentence-pair", "source-target",
    )  # fmt: skip
    default_template = None  # by the shape of the data: see Template.resolve
    templates: ClassVar[tuple[str, ...]] = ("chat", "alpaca", "plain")
    generates = True
    kind: ClassVar[Kind] = "causal-lm"
    default_metrics: ClassVar[tuple[str, ...]] = ("rouge", "similarity")
    error_categories = ()  # all
    options_model: ClassVar[type[Options]] = SftOptions

    def written(self, template: Template) -> Template:
        """TEMPLATE as this task uses it: with what its options train."""
        return replace(template, only_last=self.options.train_on == "last")

    def encode(
        self, example: Example, template: Template, tokenizer: Tokenizer, max_length: int | None = None
    ) -> Encoded:
        """See `data.encode`: prompt ids as generation is fed, labels on completions and their end."""
        return encode(example, self.written(template), tokenizer, max_length)

    def rows_of(
        self, example: Example, template: Template, tokenizer: Tokenizer, max_length: int | None = None
    ) -> list[Row]:
        """One row, where anything of it is trained."""
        item = self.encode(example, template, tokenizer, max_length)
        return [{"input_ids": item.input_ids, "labels": item.labels}] if item.trained else []

    def encode_dataset(
        self,
        dataset: Dataset,
        shape: Shape,
        template: Template,
        tokenizer: Tokenizer,
        max_length: int | None = None,
        *,
        progress: Progress | None = None,
        cancel: Cancel | None = None,
    ) -> EncodedSet:
        """See `data.encoded_set`."""
        return encode_dataset(
            dataset, shape, self.written(template), tokenizer, max_length, progress=progress, cancel=cancel
        )

    def view(
        self, dataset: Dataset, row: int, shape: Shape, template: Template, tokenizer: Tokenizer, max_length: int | None
    ) -> TokenView:
        """Row ROW of DATASET in tokens, for a person."""
        return super().view(dataset, row, shape, self.written(template), tokenizer, max_length)

    def prompt(
        self, example: Example, template: Template, tokenizer: Tokenizer, max_length: int | None = None
    ) -> Prompt:
        """The prompt of the last assistant turn, which is the reference; calls of tools and reasoning as the template
        writes them.

        Running text has no prompt: its first half in tokens is one, and the second half the reference (a language
        model's continuation). MAX_LENGTH counts for running text only: a prompt is never cut, since that would ask
        something else. Raises BadRow where the template can't write it or the text has fewer than two tokens.
        """
        if example.is_text:
            return self._continuation(example, template, tokenizer, max_length)
        segments = template.segments(example, for_generation=True)
        text = "".join(segment.text for segment in segments)
        return Prompt(prompt_ids(segments, template, tokenizer), text, self.wanted(example, template, tokenizer))

    def wanted(self, example: Example, template: Template, tokenizer: Tokenizer) -> str | None:
        """The last assistant turn as a model that has learnt it writes it; None where there is none."""
        if any(turn.calls or turn.thought for turn in example.messages[example.answer_at :][:1]):
            return template.answer(example, tokenizer.end_texts)
        return example.reference

    def _continuation(
        self, example: Example, template: Template, tokenizer: Tokenizer, max_length: int | None
    ) -> Prompt:
        text = "".join(segment.text for segment in template.segments(example))
        ids, spans = tokenizer.encode_with_offsets(text)
        ids, spans = ids[:max_length], spans[:max_length]
        if len(ids) < 2:
            raise BadRow("the text is too short to be continued")
        half = (len(ids) + 1) // 2
        place = spans[half][0] if spans[half][1] else len(tokenizer.decode(ids[:half]))
        prefix = [] if tuple(ids[: len(tokenizer.prefix)]) == tokenizer.prefix else list(tokenizer.prefix)
        end = spans[-1][1] or len(text)
        return Prompt([*prefix, *ids[:half]], text[:place], text[place:end])

    def end_ids(self, template: Template, tokenizer: Tokenizer) -> tuple[int, ...]:
        """The model's end tokens and the one that ends a turn in its chat template."""
        return end_ids(template, tokenizer)
