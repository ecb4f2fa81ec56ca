"""What a task is: the parts it needs, how its rows become tokens, and what a wizard tells about it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from ftstudio.data.dataset import Cancel, Dataset, Progress
from ftstudio.data.encode import Encoded
from ftstudio.data.encoded_set import EncodedSet, Stats
from ftstudio.data.example import Example
from ftstudio.data.shape import Shape
from ftstudio.data.template import Template
from ftstudio.data.tokenizer import Tokenizer


@dataclass(frozen=True)
class Role:
    """A part that a column can play, with the sentence a wizard shows under it."""

    name: str
    help: str
    required: bool = False


@dataclass(frozen=True)
class Prompt:
    """What generation is fed for a row: `ids` (int token ids), their `text`, and the `reference` answer."""

    ids: list[int]
    text: str
    reference: str | None


class Task(Protocol):
    """A task: what is learnt from which columns."""

    name: str
    title: str
    help: str
    roles: tuple[Role, ...]
    default_template: str | None
    templates: tuple[str, ...]
    default_metrics: tuple[str, ...]
    error_categories: tuple[str, ...]

    def encode(
        self, example: Example, template: Template, tokenizer: Tokenizer, max_length: int | None = None
    ) -> Encoded:
        """One example as ids and labels. Raises BadRow where the template can't write it."""

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
        """All rows as ids and labels, with the account of what is cut and left out."""

    def generation_prompt(
        self, example: Example, template: Template, tokenizer: Tokenizer, max_length: int | None = None
    ) -> Prompt:
        """What the model is fed to answer EXAMPLE: exactly the ids that precede its answer in training."""

    def end_ids(self, template: Template, tokenizer: Tokenizer) -> tuple[int, ...]:
        """The ids at which generation stops."""


__all__ = ["Encoded", "EncodedSet", "Prompt", "Role", "Stats", "Task"]
