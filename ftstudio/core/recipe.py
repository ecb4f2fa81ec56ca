"""The recipe: one immutable YAML file that says what is trained, on what, how and how it is judged.

`None` means "inherit": the engine resolves it for the model and machine at hand and writes the value it chose, with
everything else, into the run's own recipe. What the settings of a method are is known in `methods/`; its models are
handed in by whoever loads a recipe, and so are those of a task's options, so that this file stays below them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag, field_validator, model_validator

from ftstudio.core.architecture import Architecture
from ftstudio.core.limits import Limits
from ftstudio.core.reading import Reading
from ftstudio.core.serving import Judge, Server
from ftstudio.core.watch import Watch, adopted


class Part(BaseModel):
    """A section of the recipe: frozen, and strict about names."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True, allow_inf_nan=False)


class Method(BaseModel):
    """Which weights learn. The settings beside `name` are the method's own, checked against its model."""

    model_config = ConfigDict(frozen=True, extra="allow")
    name: str = Field("lora", description="lora, qlora, adapter, prompt, freeze or full")

    @property
    def settings(self) -> dict[str, Any]:
        """The settings beside the name."""
        return dict(self.model_extra or {})


class Columns(Part):
    """Which column of the data plays which part. All left out: guessed, and shown before use."""

    prompt: str | None = Field(None, description="the column the model is given")
    completion: str | None = Field(None, description="the column it learns to write")
    input: str | None = Field(None, description="extra input beside the prompt (Alpaca)")
    system: str | None = Field(None, description="a system message")
    messages: str | None = Field(None, description="a column of chat turns (OpenAI or ShareGPT)")
    text: str | None = Field(None, description="a lone text column, all of it trained; or the text that is labelled")
    label: str | None = Field(None, description="the label of a text")
    tokens: str | None = Field(None, description="a list of words")
    tags: str | None = Field(None, description="a list with the tag of each word")
    sentence1: str | None = Field(None, description="the first text of a pair")
    sentence2: str | None = Field(None, description="the second text of a pair")
    negative: str | None = Field(None, description="a text that doesn't belong to the first of the pair")
    score: str | None = Field(None, description="how similar a pair is")
    source: str | None = Field(None, description="the text to translate or sum up")
    target: str | None = Field(None, description="its translation or summary")
    image: str | None = Field(None, description="the picture, or a list of pictures")
    tools: str | None = Field(None, description="the tools a conversation may call")


class Source(Part):
    """One of several sources of training rows."""

    path: str = Field(description="file, folder, hub id or `name@version`")
    weight: float | None = Field(None, gt=0, description="its share of an epoch, against the weights of the others")
    cap: int | None = Field(None, ge=1, description="use at most N of its rows, drawn by the seed")
    name: str | None = Field(None, description="how it is called in reports (default: the file's name)")
    instruction: str | None = Field(
        None, min_length=1, description="what stands before each of its prompts: tells the tasks of a mix apart"
    )
    split: str | None = Field(None, description="the split of a hub dataset (default: train)")
    reading: Reading | None = Field(None, description="how the file is read; detected when left out")
    columns: Columns | None = Field(None, description="its column mapping, where it isn't that of the others")


class Mix(Part):
    """How much of each source an epoch holds. Left out: all rows of all sources, or as their weights say."""

    temperature: float | None = Field(
        None, gt=0, description="shares as row counts to the power of 1/T: 1 as they are, more evens them out"
    )
    rows: int | None = Field(
        None, ge=1, description="rows of an epoch, without the replay (default: as many as need none twice)"
    )


class Replay(Part):
    """General text that is trained along, against forgetting. Never held out."""

    path: str = Field(description="file, folder, hub id or `name@version`")
    share: float = Field(0.05, gt=0, lt=1, description="its share of the rows of an epoch")
    split: str | None = Field(None, description="the split of a hub dataset (default: train)")
    reading: Reading | None = Field(None, description="how the file is read; detected when left out")
    columns: Columns | None = Field(None, description="its column mapping; guessed when left out")


class SplitBy(Part):
    """What the split into training, held-out and test rows respects."""

    stratify: str | None = Field(None, description="a column whose values every part has in the same shares")
    group: str | None = Field(None, description="a column whose equal values stay on one side, such as the user")
    leak_aware: bool = Field(False, description="near duplicates stay on one side")
    near: float = Field(0.7, gt=0, le=1, description="how alike near duplicates are (Jaccard of character runs)")


class Data(Part):
    """Where the rows come from and how they become tokens."""

    train: Annotated[
        Annotated[str, Tag("str")] | Annotated[tuple[Source, ...], Tag("list")],
        Discriminator(lambda value: "list" if isinstance(value, (list, tuple)) else "str"),
    ] = Field(
        description="file, hub id or `name@version`; `demo` is the bundled dataset; or a list of {path, weight, cap}"
    )
    mix: Mix | None = Field(None, description="how much of each source an epoch holds")
    replay: Replay | None = Field(None, description="general text that is trained along, against forgetting")
    eval: float | str | None = Field(
        0.1, description="held-out rows: a fraction of the training rows, a file, or null for none"
    )
    test: float | str | None = Field(
        None,
        description="rows for the very end, neither trained nor looked at before: a fraction, a file, or null; "
        "`compare RUN --on test` scores them",
    )
    split_by: SplitBy | None = Field(None, description="what the split respects: strata, groups, near duplicates")
    parted_as: str | None = Field(
        None,
        description="what data.train was repaired from (file or `name@version`): its rows, not the repaired ones, are "
        "parted by data.eval and data.test, so that the same ones stay held out",
    )
    split: str | None = Field(None, description="the split of a hub dataset (default: train)")
    reading: Reading | None = Field(
        None, description="how the file is read (encoding, delimiter, header, unit, …); detected when left out"
    )
    columns: Columns | None = Field(None, description="column mapping; guessed when left out")
    template: (
        Annotated[
            Annotated[str, Tag("str")] | Annotated[tuple[str, ...], Field(min_length=1), Tag("list")],
            Discriminator(lambda value: "list" if isinstance(value, (list, tuple)) else "str"),
        ]
        | None
    ) = Field(
        None, description="alpaca, chat, plain, or a Jinja string; a list: one of them a row; guessed when left out"
    )
    max_length: int | None = Field(None, ge=8, description="tokens a row may have; longer rows are cut, and counted")
    accepted: tuple[str, ...] = Field(
        (), description="checks whose errors don't stop a run, by name, such as unreadable (`ftstudio data` lists them)"
    )
    limit: int | None = Field(None, ge=1, description="use only the first N training rows")
    seed: int | None = Field(
        None, ge=0, description="of which rows are held out, answered and drawn; default: training.seed"
    )

    @field_validator("train", mode="before")
    @classmethod
    def _short(cls, value: Any) -> Any:
        """A list may hold plain paths; one of them alone is that path."""
        if not isinstance(value, (list, tuple)):
            return value
        if not value:
            raise ValueError("a list of sources must not be empty")
        return [{"path": item} if isinstance(item, str) else item for item in value]

    @property
    def source(self) -> str:
        """What the rows come from, for people: the path, or those of all sources."""
        return self.train if isinstance(self.train, str) else " + ".join(source.path for source in self.train)

    @property
    def addresses(self) -> tuple[str, ...]:
        """The paths of all sources, in their order; those of the replay aren't among them."""
        return (self.train,) if isinstance(self.train, str) else tuple(source.path for source in self.train)

    @property
    def first(self) -> str:
        """The path of the only or first source."""
        return self.train if isinstance(self.train, str) else self.train[0].path

    @field_validator("eval", "test")
    @classmethod
    def _fraction(cls, value: float | str | None) -> float | str | None:
        if isinstance(value, (int, float)) and not isinstance(value, bool) and not 0 < value < 1:
            raise ValueError("a fraction between 0 and 1 (such as 0.1), or a path")
        return value


Attention = Literal["auto", "sdpa", "eager", "flash_attention_2", "flash_attention_3"]


class Training(Part):
    """How long, how fast, how much at once."""

    epochs: float | None = Field(None, gt=0, description="passes over the data, or give steps (default: 3 epochs)")
    steps: int | None = Field(None, ge=1, description="optimiser steps instead of epochs")
    learning_rate: float | None = Field(
        None, gt=0, le=1, description="peak learning rate; the default suits the method: 2e-4 for lora, 2e-5 for full"
    )
    scheduler: Literal["linear", "cosine", "constant"] = Field("cosine", description="shape of the learning rate")
    warmup: float = Field(0.03, ge=0, description="share of the steps (below 1) or number of steps of warm-up")
    batch_size: int = Field(8, ge=1, description="rows a forward pass (micro-batch)")
    batch_tokens: int | None = Field(
        None, ge=8, description="instead of batch_size: as many rows of like length as these tokens hold"
    )
    gradient_accumulation: int = Field(1, ge=1, description="micro-batches an optimiser step")
    precision: Literal["auto", "fp32", "bf16", "fp16"] = Field("auto", description="arithmetic of the forward pass")
    weight_decay: float = Field(0.0, ge=0, description="AdamW's decoupled weight decay")
    max_grad_norm: float = Field(1.0, gt=0, description="gradients are clipped to this norm")
    optimizer: Literal["adamw", "adamw_8bit", "paged_adamw_8bit"] = Field(
        "adamw", description="the optimiser; 8-bit states take a quarter of the memory, paged ones leave a full GPU"
    )
    gradient_checkpointing: bool | None = Field(
        None, description="recompute activations: less memory, about 30 % slower (default: where memory asks for it)"
    )
    attention: Attention = Field(
        "auto", description="auto (the fastest that is the same), sdpa, eager, flash_attention_2 or flash_attention_3"
    )
    compile: bool = Field(
        False, description="compile the layers with torch.compile: minutes at the start, then faster steps on a GPU"
    )
    shard: bool = Field(
        False,
        description="with several processes: weights, gradients and optimiser states lie in parts on the GPUs (FSDP)",
    )
    save_steps: int = Field(200, ge=1, description="steps between checkpoints")
    save_best: bool = Field(
        True,
        description="a checkpoint, too, where the held-out loss is the lowest so far and saving takes no longer than "
        "the evaluation did, or than 5 % of the time trained since the last checkpoint; with early stopping "
        "(watch.eval_rising: stop) always",
    )
    keep_checkpoints: int = Field(2, ge=1, description="how many of the last checkpoints stay, beside the best")
    seed: int = Field(0, ge=0, description="of weights, order, dropout and the split")
    device: Literal["auto", "cpu", "cuda"] = Field("auto", description="where to train")
    watch: Watch = Field(default_factory=Watch, description="what is done when something goes wrong while it trains")

    @model_validator(mode="after")
    def _one_length(self) -> Training:
        if self.epochs is not None and self.steps is not None:
            raise ValueError("give epochs or steps, not both")
        return self

    @model_validator(mode="after")
    def _shardable(self) -> Training:
        if self.shard and self.optimizer != "adamw":
            raise ValueError("shard needs the optimizer adamw: bitsandbytes' 8-bit states can't lie in parts")
        if self.shard and self.compile:
            raise ValueError("give shard or compile, not both: compiled layers don't fetch the parts of their weights")
        if self.shard and self.precision == "fp16":
            raise ValueError("shard needs bf16 or fp32: the loss scaling of fp16 doesn't know weights in parts")
        return self


class Format(Part):
    """The contract an answer must keep; the error category `format` counts those that break it."""

    regex: str | None = Field(None, description="the whole answer must match")
    json_schema: dict[str, Any] | None = Field(None, description="the answer must be JSON of this schema")
    labels: tuple[str, ...] | None = Field(None, min_length=1, description="the answer must be one of these")

    @field_validator("regex")
    @classmethod
    def _compiles(cls, value: str | None) -> str | None:
        if value is not None:
            try:
                re.compile(value)
            except re.error as error:
                raise ValueError(f"not a regular expression: {error}") from error
        return value

    @field_validator("json_schema")
    @classmethod
    def _is_schema(cls, value: dict[str, Any] | None) -> dict[str, Any] | None:
        if value is not None:
            from jsonschema import SchemaError
            from jsonschema.validators import validator_for

            try:
                validator_for(value).check_schema(value)
            except SchemaError as error:
                at = "".join(f" at {part!r}" for part in list(error.path)[-1:])
                raise ValueError(f"no JSON Schema: {error.message}{at}") from error
        return value


TEXT_METRICS = ("rouge", "similarity", "bleu", "exact", "numeric", "token_f1", "edit", "chrf", "ter")
LABEL_METRICS = ("accuracy", "f1", "f1_micro", "mcc", "brier", "ece", "spearman", "pearson", "absolute_error")
TAG_METRICS = ("entity_f1", "entity_precision", "entity_recall", "entity_f1_macro", "tag_accuracy", "masked_accuracy")
LIKELIHOOD_METRICS = ("bits_per_byte", "perplexity")
RANK_METRICS = ("mrr@10", "recall@10")
METRICS = (*TEXT_METRICS, *LABEL_METRICS, *TAG_METRICS, *RANK_METRICS, *LIKELIHOOD_METRICS)


class Evaluation(Part):
    """How the model is judged while it learns and after."""

    every: int = Field(50, ge=1, description="steps between evaluations on the held-out rows")
    metrics: tuple[str, ...] = Field(
        ("rouge", "similarity"),
        description="rouge, similarity, bleu, chrf, exact, numeric, token_f1, edit, ter; labels: accuracy, ece …; "
        "tags: entity_f1 …; search: mrr@10 …; text: bits_per_byte; own:NAME (metrics/NAME.py there), evaluate:NAME",
    )
    samples: int = Field(4, ge=0, description="held-out prompts answered at every evaluation")
    rows: int = Field(200, ge=1, description="held-out rows answered by `errors` and `compare`, at most")
    max_new_tokens: int | None = Field(
        None, ge=1, description="tokens an answer may have; default: twice the longest reference, at most 256"
    )
    temperature: float = Field(0.0, ge=0, description="0 is greedy, the same answer every time")
    top_p: float = Field(1.0, gt=0, le=1, description="sample from the likeliest tokens that make up this probability")
    repeats: int = Field(1, ge=1, le=20, description="answers a row and arm, where they are sampled (temperature > 0)")
    arms: tuple[str, ...] | None = Field(
        None,
        description="what `compare` sets side by side, two to four: base, base+3shot, base+3near, base+row4, tuned, "
        "tuned@STEP, RUN, file:PATH, http://HOST/v1#MODEL; default base and tuned",
    )
    server: Server = Field(default_factory=Server, description="how arms that are servers are asked")
    judge: Judge | None = Field(None, description="a model that says which of two answers is better; default none")
    similarity: str = Field("auto", description="auto, minilm, static, or a sentence-transformers folder or hub id")
    format: Format | None = Field(None, description="the contract an answer must keep")
    categories: Limits = Field(default_factory=Limits, description="from where on an answer counts as an error")
    forgetting: bool = Field(
        True, description="measure what was lost off the task: bits a byte of general text, questions, neutral prompts"
    )

    @field_validator("arms")
    @classmethod
    def _arms(cls, value: tuple[str, ...] | None) -> tuple[str, ...] | None:
        if value is not None:
            from ftstudio.core.arm import parse_all
            from ftstudio.core.errors import UsageError

            try:
                parse_all(value)
            except UsageError as error:
                raise ValueError(str(error)) from error
        return value

    @field_validator("metrics")
    @classmethod
    def _known(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for name in value:
            if name not in METRICS and not re.fullmatch(r"(own|evaluate):\S+", name):
                raise ValueError(
                    f"no metric named {name!r}; there are {', '.join(METRICS)}, own:NAME and evaluate:NAME"
                )
        return value


class Recipe(Part):
    """Task + model + method + data + training + evaluation."""

    task: str = Field("sft", description="what is learnt: sft (prompt → completion), text-classification, …")
    options: dict[str, Any] = Field(default_factory=dict, description="the task's own settings")
    model: str = Field(description="hub id or folder; `run:NAME` is what a run made; `demo` is the bundled one")
    architecture: Architecture = Field(
        default_factory=Architecture, description="changes to the model beside the method: new tokens, fewer layers"
    )
    method: Method = Field(default_factory=lambda: Method(name="lora"))
    data: Data
    training: Training = Field(default_factory=Training)
    evaluation: Evaluation = Field(default_factory=Evaluation)
    name: str | None = Field(None, description="how runs of this recipe are called (default: data and method)")
    resolved: dict[str, Any] | None = Field(None, description="written by the studio: versions, data hash, choices")

    @model_validator(mode="before")
    @classmethod
    def _adopted(cls, values: Any) -> Any:
        return adopted(values)

    @field_validator("method", mode="before")
    @classmethod
    def _short(cls, value: Any) -> Any:
        """`method: lora` is short for `method: {name: lora}`."""
        return {"name": value} if isinstance(value, str) else value

    @property
    def rows_seed(self) -> int:
        """What decides which rows are held out, answered and drawn."""
        return self.training.seed if self.data.seed is None else self.data.seed

    def with_changes(self, changes: Mapping[str, Any]) -> Recipe:
        """A new recipe in which the dotted keys of CHANGES have new values. Raises pydantic's ValidationError."""
        tree = self.model_dump(mode="json")
        for key, value in changes.items():
            put(tree, key, value)
        return Recipe.model_validate(tree)

    def plain(self, *, defaults: bool = False) -> dict[str, Any]:
        """As plain values for YAML or JSON; without DEFAULTS only what was set."""
        tree = self.model_dump(mode="json", exclude_unset=not defaults)
        if not defaults:
            tree = {key: value for key, value in tree.items() if value is not None}
        return tree


def put(tree: dict[str, Any], key: str, value: Any) -> None:
    """Set the dotted KEY in nested dictionaries, making those in between."""
    *path, last = key.split(".")
    for part in path:
        below = tree.get(part)
        if not isinstance(below, dict):
            below = tree[part] = {}
        tree = below
    tree[last] = value


MethodModels = Mapping[str, type[BaseModel]]
TaskModels = Mapping[str, type[BaseModel]]
