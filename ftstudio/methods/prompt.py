"""Soft prompts: a few learnt vectors before every row, the model untouched."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field, model_validator

from ftstudio.core.errors import StudioError
from ftstudio.methods.base import Encode, Method, Settings
from ftstudio.methods.refusals import Facts, Refusal

if TYPE_CHECKING:
    from torch import nn

KINDS = {"prompt": "prompt tuning", "prefix": "prefix tuning", "p-tuning": "p-tuning"}


class PromptSettings(Settings):
    """Settings of soft prompts."""

    kind: Literal["prompt", "prefix", "p-tuning"] = Field(
        "prompt",
        description="prompt: vectors before the row; prefix: keys and values in every layer; p-tuning: by an encoder",
    )
    tokens: int = Field(20, ge=1, le=1000, description="how many learnt vectors stand before every row")
    init_text: str | None = Field(
        None, description="prompt: begin from the embeddings of this text, such as an instruction (default: of words)"
    )
    projection: bool = Field(False, description="prefix: make keys and values by a small network, steadier to train")
    encoder: Literal["mlp", "lstm"] = Field("mlp", description="p-tuning: the network that makes the vectors")
    width: int | None = Field(
        None, ge=1, description="prefix with projection, p-tuning: width of that network (default: the model's)"
    )

    @model_validator(mode="after")
    def _fits(self) -> PromptSettings:
        if self.init_text is not None and self.kind != "prompt":
            raise ValueError(f"init_text is for kind: prompt, not {self.kind}")
        if self.projection and self.kind != "prefix":
            raise ValueError(f"projection is for kind: prefix, not {self.kind}")
        return self

    def idle(self) -> Mapping[str, str]:
        """See Settings."""
        found = {} if self.kind == "p-tuning" else {"encoder": "kind: p-tuning"}
        if self.kind == "prompt" or (self.kind == "prefix" and not self.projection):
            found["width"] = "kind: p-tuning, and prefix with projection"
        if self.kind != "prompt":
            found["init_text"] = "kind: prompt"
        if self.kind != "prefix":
            found["projection"] = "kind: prefix"
        return found


class Prompt(Method):
    """Learnt vectors before every row."""

    name = "prompt"
    title = "Soft prompt: learnt vectors before every row"
    changes = (
        "Puts learnt vectors before every row (or keys and values into every layer); the model itself is untouched."
    )
    choose = (
        "For steering a large model by very few weights, many tasks over one model; small models learn little by it."
    )
    costs = "Saves as KB; a row is a little longer, and batches are padded. Learns slowly: give it more epochs."
    limits = (
        "Takes its vectors from the tokens that the model can read at once.",
        "Can't be merged into the base, and batches can't go without padding.",
        "prefix doesn't go with gradient checkpointing; no kind with masked language models, embeddings or pictures; "
        "tags only with prefix; no classifier made of an encoder-decoder.",
        "p-tuning and projection learn through a network much larger than what is saved: only checkpoints hold it.",
        "Where rows are longer than a sliding window (Gemma 3, Mistral), prefix answers those of unlike length apart.",
    )
    learning_rate = 3e-2
    adapter = True
    forgets = "least"
    model: ClassVar[type[Settings]] = PromptSettings

    def rate(self, settings: Any) -> float:
        """Few numbers that start far off want a high one; those that a network makes a lower."""
        if settings.kind == "prompt":
            return self.learning_rate
        return 1e-2 if settings.kind == "prefix" and not settings.projection else 1e-3

    def soft_tokens(self, settings: Any) -> int:
        """All of them."""
        return int(settings.tokens)

    def mergeable(self, settings: Any) -> bool:
        """There is no weight to add them to."""
        return False

    def refusals(self, settings: Any, facts: Facts) -> list[Refusal]:
        """What peft has no soft prompts for."""
        found = []
        other = "Use method lora or adapter."
        if settings.kind == "prefix" and facts.checkpointing:
            text = "prefix tuning fails with gradient checkpointing: recomputed layers lose its keys and values."
            hint = "Set training.gradient_checkpointing to false, or method.kind to prompt."
            found.append(Refusal("training.gradient_checkpointing", text, hint))
        if facts.task in ("masked-lm", "embedding", "few-shot-classification"):
            text = f"soft prompts would stand among the tokens that {facts.task} works on; peft has none for it."
            found.append(Refusal("method", text, other))
        if facts.task == "token-classification" and settings.kind != "prefix":
            text = "a soft prompt before the row would be labelled, too."
            found.append(Refusal("method.kind", text, "Set method.kind to prefix, or use method lora."))
        if facts.task == "text-classification" and facts.encoder_decoder:
            text = (
                "peft has no soft prompts for an encoder-decoder that classifies: it has two stacks to put them into."
            )
            found.append(Refusal("method", text, f"{other[:-1]}; or take an encoder or a decoder for model."))
        if facts.task == "image-text-to-text" or facts.sees:
            text = (
                "soft prompts are put in place of token ids, and with those the places of the pictures would be lost."
            )
            found.append(Refusal("method", text, other))
        return found

    def apply(self, model: nn.Module, settings: Any, encode: Encode | None = None) -> nn.Module:
        """MODEL wrapped by peft, only the soft prompt set to learn. Raises StudioError for kinds peft has none for.

        Random values are drawn from torch's global generator. `prompt` begins from the embeddings of `init_text`, by
        ENCODE, repeated or cut to its length; without a text, from those of tokens drawn at random.
        """
        from peft import get_peft_model

        from ftstudio.methods import anatomy

        kind = anatomy.task_type(model)
        if kind is None:
            raise StudioError(
                f"method.kind: peft has no soft prompts for {type(model).__name__}.", "Use method lora or adapter."
            )
        try:
            wrapped: Any = get_peft_model(model, _config(settings, kind, model))  # type: ignore[arg-type]
        except (ValueError, TypeError, KeyError, NotImplementedError, AttributeError) as error:
            text = " ".join(str(error).split())[:160]
            raise StudioError(
                f"method.kind: {KINDS[settings.kind]} doesn't go with {type(model).__name__} ({text}).",
                "Use method lora.",
            ) from error
        if settings.kind == "prompt" and not anatomy.on_meta(model):
            _begin(wrapped, settings, encode)
        return wrapped  # type: ignore[no-any-return]


def _config(settings: PromptSettings, kind: str, model: nn.Module) -> Any:
    from peft import PrefixTuningConfig, PromptEncoderConfig, PromptTuningConfig

    from ftstudio.methods import targets

    common: dict[str, Any] = {"task_type": kind, "num_virtual_tokens": settings.tokens}
    new = targets.modules(model, ())
    if new:
        common["modules_to_save"] = new
    if settings.kind == "prompt":
        return PromptTuningConfig(**common)
    if settings.kind == "prefix":
        return PrefixTuningConfig(prefix_projection=settings.projection, encoder_hidden_size=settings.width, **common)
    return PromptEncoderConfig(
        encoder_reparameterization_type=settings.encoder.upper(), encoder_hidden_size=settings.width, **common
    )


def _begin(wrapped: Any, settings: PromptSettings, encode: Encode | None) -> None:
    """Begin from words: a soft prompt that starts from random numbers learns more slowly (Lester et al. 2021)."""
    import torch

    from ftstudio.methods import anatomy

    words = anatomy.input_embeddings(wrapped.get_base_model()).weight
    soft = wrapped.prompt_encoder[wrapped.active_adapter].embedding.weight
    if settings.init_text is not None:
        ids = list(encode(settings.init_text)) if encode is not None else []
        if not ids:
            raise StudioError("method.init_text holds no token.", "Write an instruction, or leave it out.")
        chosen = torch.tensor([ids[place % len(ids)] for place in range(len(soft))])
    else:
        chosen = torch.randint(0, len(words), (len(soft),))
    with torch.no_grad():
        soft.copy_(words[chosen.to(words.device)].to(soft.dtype))
