"""What can't go together, told before anything is loaded: task × method × quantisation × option × architecture."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ftstudio.methods.base import Method


@dataclass(frozen=True)
class Refusal:
    """The recipe's `key` that is at fault, the reason as a sentence, and the way out."""

    key: str
    text: str
    hint: str = ""


@dataclass(frozen=True)
class Facts:
    """What a recipe, its model's config.json and the machine say; what isn't known is left at its default.

    `architecture` is the class that was saved, `kind` the config's model_type, `sees` whether it takes pictures or
    sound beside text. `context` and `max_length` are in tokens.
    """

    task: str = "sft"
    architecture: str = ""
    kind: str = ""
    encoder_decoder: bool = False
    sees: bool = False
    checkpointing: bool = False
    device: str = "cpu"
    precision: str = "fp32"
    optimizer: str = "adamw"
    context: int | None = None
    max_length: int | None = None

    @classmethod
    def of(cls, task: str, config: Mapping[str, Any], **more: Any) -> Facts:
        """The facts of a model's CONFIG (its config.json) for TASK, and MORE of them."""
        names = config.get("architectures")
        first = names[0] if isinstance(names, list) and names and isinstance(names[0], str) else ""
        return cls(
            task=task,
            architecture=first,
            kind=str(config.get("model_type") or ""),
            encoder_decoder=bool(config.get("is_encoder_decoder")),
            sees=any(isinstance(config.get(key), Mapping) for key in ("vision_config", "audio_config")),
            **more,
        )


CAUSAL = ("sft", "causal-lm")
"""Tasks whose model writes token after token, with nothing but text before it."""


def refuse(method: Method, settings: Any, facts: Facts) -> list[Refusal]:
    """Everything that speaks against training by METHOD with SETTINGS where FACTS hold; empty where nothing does."""
    found = list(method.refusals(settings, facts))
    for name, what in settings.told_in_vain().items():
        default = type(settings).model_fields[name].default
        way = "Leave it out" if default is None else f"Leave it out, or at {default}"
        found.append(Refusal(f"method.{name}", f"{name} is for {what}: here it would do nothing.", f"{way}."))
    soft = method.soft_tokens(settings)
    if soft and facts.context is not None and facts.max_length is not None and facts.max_length + soft > facts.context:
        text = (
            f"{facts.max_length} tokens a row and {soft} learnt ones are more than the {facts.context} the model reads."
        )
        found.append(Refusal("data.max_length", text, f"Set data.max_length to {facts.context - soft} or less."))
    return found
