"""What a task is: the parts it needs, how rows become a model's inputs, what head answers, and how that is judged.

A task is light until it meets a model: importing one never imports torch, so that a wizard lists all of them at once.
Its last methods (`collate` and those after it) run inside the engine, where torch is loaded.

A task that writes text (`generates`) answers by decoding; any other one by a single pass, read by `predictions`.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple, Self

from pydantic import BaseModel, ConfigDict, ValidationError

from ftstudio.core.errors import UsageError
from ftstudio.data.dataset import Cancel, Dataset, Progress
from ftstudio.data.encode import Encoded
from ftstudio.data.encoded_set import EncodedSet, Stats
from ftstudio.data.example import Example
from ftstudio.data.shape import Shape
from ftstudio.data.template import Template
from ftstudio.data.tokenizer import Tokenizer
from ftstudio.data.view import TokenView, token_view

if TYPE_CHECKING:
    import torch

Row = Mapping[str, Any]
"""One row as a model reads it: `input_ids`, `labels` (a label for each id, or one value), what else the task needs."""

Kind = Literal[
    "causal-lm", "masked-lm", "seq2seq-lm", "sequence-classification", "token-classification", "encoder",
    "image-text-to-text",
]  # fmt: skip


@dataclass(frozen=True)
class Head:
    """What kind of model a task needs. Part of a loaded model's identity.

    `labels` in the order of the head's outputs. `problem`: transformers' `problem_type` of a sequence classifier.
    `seed` draws the weights of a head that the model doesn't bring. `pooling`: how an encoder's tokens become one
    vector (empty: as its folder says, else their mean).
    """

    kind: Kind = "causal-lm"
    labels: tuple[str, ...] = ()
    problem: str = ""
    seed: int = 0
    pooling: str = ""


@dataclass(frozen=True)
class Role:
    """A part that a column can play, with the sentence a wizard shows under it."""

    name: str
    help: str
    required: bool = False


@dataclass(frozen=True)
class Prompt:
    """What a model is fed for a row: `ids` (int token ids), their `text`, the `reference` answer, the `row` that a task
    which doesn't write text collates, and `state`: what else its answer depends on, such as files that the row only
    names."""

    ids: list[int]
    text: str
    reference: str | None
    row: Row | None = None
    state: str = ""

    @property
    def identity(self) -> Sequence[int] | str:
        """What an answer is remembered by: the ids, or what the row holds but its labels, and `state`."""
        if self.row is None:
            return self.ids
        known = {key: value for key, value in self.row.items() if key != "labels" and not callable(value)}
        return json.dumps(known, default=str) + self.state


@dataclass(frozen=True)
class Predicted:
    """What a pass says about a row: the answer as text, and what stands behind it (probabilities, tags …), as JSON."""

    text: str
    extra: Mapping[str, Any] = field(default_factory=dict)


class Doubt(NamedTuple):
    """Something in a recipe that may not be meant: its `key`, a sentence, and the way out (`hint`)."""

    key: str
    text: str
    hint: str


class Options(BaseModel):
    """A task's own settings, `options` in the recipe: frozen, and strict about names."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True, allow_inf_nan=False)


class Task(ABC):
    """A task: what is learnt from which columns.

    `options` are its settings, `facts` what `survey` found in the data (label names …): a run's recipe keeps both, so
    that its model is built the same again. `tasks.of(recipe)` gives a task with both; `tasks.get(name)` one without.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    help: ClassVar[str]
    answers: ClassVar[str]
    """What its answer to a row is, in a few words."""
    example: ClassVar[tuple[tuple[str, str], ...]]
    """A row as it may look, (role, value) each; and what the model answers, under `→`."""
    roles: ClassVar[tuple[Role, ...]]
    shapes: ClassVar[tuple[str, ...]]
    """Shapes of rows (data.shape) that it can learn from."""
    default_template: ClassVar[str | None] = None
    templates: ClassVar[tuple[str, ...]] = ()
    """Templates a person may choose; none where the task writes its inputs itself."""
    default_metrics: ClassVar[tuple[str, ...]]
    error_categories: ClassVar[tuple[str, ...]]
    """Categories whose detectors make sense of its answers; those of written text where none is named."""
    epochs: ClassVar[float] = 3.0
    """Passes over the rows where the recipe names no length."""
    usual_length: ClassVar[int] = 1024
    """Tokens a row may have where neither recipe nor model say."""
    generates: ClassVar[bool] = False
    """Whether it answers by writing tokens; else one pass answers."""
    likelihood: ClassVar[bool] = False
    """Whether a comparison also measures how well each arm expects the held-out texts."""
    rows_alike: ClassVar[bool] = False
    """Whether every row counts the same in its loss, however long it is: then rows of like length may share a batch."""
    kind: ClassVar[Kind]
    options_model: ClassVar[type[Options]] = Options

    def __init__(self, options: Options | None = None, facts: Mapping[str, Any] | None = None) -> None:
        self.options: Any = options if options is not None else self.options_model()
        self.facts: Mapping[str, Any] = facts or {}

    def bound(self, options: Mapping[str, Any] | None = None, facts: Mapping[str, Any] | None = None) -> Self:
        """This task with OPTIONS (as the recipe has them) and FACTS. Raises UsageError for options it doesn't have."""
        try:
            checked = self.options_model.model_validate(dict(options or {}))
        except ValidationError as error:
            first = error.errors()[0]
            key = ".".join(("options", *(str(part) for part in first["loc"])))
            known = ", ".join(self.options_model.model_fields) or "none"
            raise UsageError(f"{key}: {first['msg'].lower()}.", f"Options of {self.name}: {known}.") from error
        return type(self)(checked, facts)

    # -- rows (light) --------------------------------------------------------------------------------------------
    def survey(self, dataset: Dataset, shape: Shape, *, cancel: Cancel | None = None) -> dict[str, Any]:
        """What must be known of DATASET before a model can be built, as JSON. Raises StudioError for rows that can't
        be learnt from, naming them."""
        return {}

    def told(self) -> str:
        """What `facts` say of the labels, scores or tags that are learnt, in a line; empty where there are none."""
        return ""

    def head(self, seed: int = 0) -> Head:
        """The kind of model it needs; SEED draws a new head."""
        return Head(self.kind)

    def written(self, template: Template) -> Template:
        """TEMPLATE as this task uses it."""
        return template

    def usable(self, example: Example) -> bool:
        """Whether EXAMPLE can be answered and judged."""
        return not self.fault(example)

    def fault(self, example: Example) -> str:
        """Why EXAMPLE can't be answered and judged, in a few words; empty where it can."""
        answered = example.is_text or example.answer_at < len(example.messages)
        return "" if answered else "it has no answer to be held against"

    @abstractmethod
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
        """All rows as a model reads them, with the account of what is cut and left out."""

    @abstractmethod
    def rows_of(
        self, example: Example, template: Template, tokenizer: Tokenizer, max_length: int | None = None
    ) -> list[Row]:
        """EXAMPLE as what a held-out loss is measured on: usually one row; none where nothing is learnt from it.

        Raises BadRow where it can't be used."""

    @abstractmethod
    def prompt(
        self, example: Example, template: Template, tokenizer: Tokenizer, max_length: int | None = None
    ) -> Prompt:
        """What the model is fed to answer EXAMPLE. Raises BadRow."""

    def doubts(self, tokenizer: Tokenizer) -> list[Doubt]:
        """What a person should think over before training on ids of TOKENIZER with these options."""
        return []

    def unlearnt(self, encoded: EncodedSet) -> list[Doubt]:
        """What of ENCODED, its training rows, is there and yet not learnt, beside what max_length cuts off."""
        return []

    def end_ids(self, template: Template, tokenizer: Tokenizer) -> tuple[int, ...]:
        """The ids at which generation stops."""
        return tuple(tokenizer.eos_ids)

    def writing(self) -> dict[str, Any]:
        """How answers are written, beside what the recipe's evaluation says: fields of `engine.generation.Decoding`."""
        return {}

    def view(
        self, dataset: Dataset, row: int, shape: Shape, template: Template, tokenizer: Tokenizer, max_length: int | None
    ) -> TokenView:
        """Row ROW of DATASET in tokens, for a person."""
        return token_view(dataset, row, shape, template, tokenizer, max_length)

    # -- what it knows beside the row at hand ------------------------------------------------------------------------
    def grounded(
        self,
        train: Dataset,
        shape: Shape,
        held_out: Callable[[], Sequence[Example]],
        tokenizer: Tokenizer,
        max_length: int | None,
        seed: int,
        folders: Sequence[Path] = (),
    ) -> Self:
        """This task with what it needs of the rows beside the one at hand: what is searched, the few examples that a
        head is fitted on. TRAIN are the training rows, HELD_OUT gives those that are answered and compared, FOLDERS are
        those that the data lie in."""
        return self

    def marks(self) -> dict[str, Any]:
        """What answers depend on of that, as JSON: answers under other marks are others."""
        return {}

    def fitted(self, model: Any, pad_id: int = 0, saved: Path | None = None) -> Self:
        """This task, ready to read what MODEL says. SAVED: the folder that a tuned MODEL was saved in."""
        return self

    def hollow(self) -> Self:
        """This task as a step of it weighs before anything is known: with zeros for what `fitted` finds."""
        return self

    def beside(self, prompts: Sequence[Prompt], width: int) -> dict[str, Any]:
        """What a model that writes is given beside the ids of PROMPTS, padded on the left to WIDTH: tensors by name."""
        return {}

    def finish(self, model: Any, folder: Path) -> None:
        """Save in FOLDER, beside the weights of MODEL, what else its answers need. Called on a fitted task."""
        del model, folder  # most need nothing

    @property
    def divisible(self) -> bool:
        """Whether a batch's loss is the sum over rows, whoever shares the batch. Where it isn't, batches are mixed at
        random, and taken in parts only with the gradients of the whole (`engine.together`)."""
        return True

    @property
    def ranked_by(self) -> tuple[str, ...]:
        """Scores of the held-out rows that say which of several models is the best where a batch isn't `divisible`, so
        that losses of other batch sizes are other losses: the finest first; higher is better in all."""
        return ()

    @property
    def chunk(self) -> int | None:
        """Rows that are looked at at once where a batch isn't `divisible`; None: all of it."""
        return None

    def texts_apart(self, rows: Sequence[Row]) -> Sequence[Sequence[int]]:
        """Of ROWS that are held against each other the numbers of the texts of each: rows that share one should not
        meet in a batch. Empty where that doesn't matter."""
        return ()

    def phases(self) -> dict[str, str]:
        """What is done, step by step, in a few words: `pairs` made before the model is loaded, `training`, and a `head`
        fitted after it. Only `training` where that is all."""
        return {}

    def metrics(self) -> tuple[str, ...]:
        """The metrics that fit these data, where the recipe names none."""
        return self.default_metrics

    def unfit(self) -> tuple[str, ...]:
        """The metrics that say nothing about answers to these data, such as accuracy about numbers."""
        return ()

    def categories(self) -> tuple[str, ...]:
        """The error categories that make sense of its answers to these data; none named: those of written text."""
        return self.error_categories

    # -- batches (with torch) --------------------------------------------------------------------------------------
    def collate(self, rows: Sequence[Row], pad_id: int, multiple: int = 1) -> dict[str, Any]:
        """A padded batch: `inputs` (what the model is called with), `targets` (-100 where nothing is asked; as many
        entries as the loss is summed over), `lengths` of the rows, and `tokens`, how many ids are no padding. All
        tensors, lists and tuples in it begin with the rows, so that it can be taken in parts (`engine.collate.split`).
        Only `places` does not: where `targets` [rows, longest] ask for something, as numbers within rows × longest."""
        raise NotImplementedError(f"{self.name} has no batches of its own")

    def outputs(self, model: Any, inputs: Mapping[str, Any]) -> Any:
        """What MODEL says on a batch's INPUTS."""
        return model(**inputs)

    def losses(self, outputs: Any, batch: Mapping[str, Any]) -> torch.Tensor | None:
        """The loss of every target of BATCH, [rows] or [rows, targets of each] in 32 bits, 0 where it is -100: minus
        the log of the probability of what is right, in nats. None where a row has none of its own: see `unmapped`."""
        return None

    def weighed(self, losses: torch.Tensor, batch: Mapping[str, Any]) -> torch.Tensor:
        """LOSSES of the targets of BATCH as they count in what is learnt."""
        return losses

    def loss(self, outputs: Any, batch: Mapping[str, Any]) -> torch.Tensor:
        """The loss of BATCH in nats, summed over its targets that aren't -100; a scalar in 32 bits."""
        each = self.losses(outputs, batch)
        if each is None:
            raise NotImplementedError(f"{self.name} has no loss of its own")
        return self.weighed(each, batch).sum()

    def unmapped(self) -> str:
        """Why its rows have no place on the map of training dynamics (core.dynamics), in a sentence; empty where they
        have: what is right of a row then has a probability."""
        return ""

    def numbers(self, outputs: Any) -> torch.Tensor:
        """OUTPUTS as one tensor, by which two models are compared: logits, or embeddings."""
        found: torch.Tensor = outputs.logits
        return found

    def predictions(self, outputs: Any, batch: Mapping[str, Any]) -> list[Predicted]:
        """The answers that OUTPUTS give, row by row. For tasks that don't write text."""
        return []

    def scores(self, predicted: Sequence[Predicted], rows: Sequence[Row]) -> dict[str, float]:
        """Metrics of the PREDICTED answers to held-out ROWS (in the same order), told at every evaluation."""
        return {}


PARTED = "ftstudio_parted"
"""What a model is marked with while its weights lie in parts on several processes."""


def parted(model: Any) -> bool:
    """Whether each pass through MODEL waits for one of every other process, so that all have to make the same ones,
    through the same layers, whatever is in their batches."""
    return bool(getattr(model, PARTED, False))


__all__ = [
    "PARTED", "Doubt", "Encoded", "EncodedSet", "Head", "Kind", "Options", "Predicted", "Prompt", "Role", "Row",
    "Stats", "Task", "parted",
]  # fmt: skip
