"""LoRA: two small matrices beside each chosen linear layer learn, the base stays as it is (Hu et al. 2021)."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field, field_validator

from ftstudio.core.errors import StudioError
from ftstudio.methods.base import Method, Settings

if TYPE_CHECKING:
    from torch import nn


class LoraSettings(Settings):
    """Settings of LoRA."""

    r: int = Field(16, ge=1, le=1024, description="rank: how much can be learnt (and how big the adapter gets)")
    alpha: float = Field(32, gt=0, description="the update is scaled by alpha / r (alpha / √r with rslora)")
    dropout: float = Field(0.05, ge=0, lt=1, description="share of the adapter's inputs dropped while training")
    targets: Literal["all-linear", "attention"] | tuple[str, ...] = Field(
        "all-linear", description="layers that get an adapter: all-linear, attention, or names such as [q_proj, v_proj]"
    )
    rslora: bool = Field(False, description="rank-stabilised scaling alpha / √r: for ranks of 64 and more")
    dora: bool = Field(False, description="learn direction and magnitude apart (DoRA): often better, slower")

    @field_validator("targets")
    @classmethod
    def _some(cls, value: str | tuple[str, ...]) -> str | tuple[str, ...]:
        if not value:
            raise ValueError("name at least one layer, or all-linear")
        return value


class Lora(Method):
    """Low-rank adapters on linear layers."""

    name = "lora"
    title = "LoRA: small adapters learn, the base stays"
    help = (
        "Trains about 1 % as many weights as the model has, beside its linear layers. Keeps most of what the base "
        "knows, saves as a few MB, and base and tuned answer from one load. The right first choice."
    )
    limits = (
        "Can't add new tokens to the vocabulary.",
        "Learns less new knowledge than full fine-tuning on large data.",
    )
    learning_rate = 2e-4
    adapter = True
    model: ClassVar[type[Settings]] = LoraSettings

    def apply(self, model: nn.Module, settings: Any) -> nn.Module:
        """MODEL wrapped by peft, only the adapter's weights set to learn; its update is zero at the start.

        Random initial values are drawn from torch's global generator: seed it first for a repeatable run.
        """
        from peft import LoraConfig, get_peft_model

        config = LoraConfig(
            r=settings.r,
            lora_alpha=settings.alpha,
            lora_dropout=settings.dropout,
            target_modules=targets(model, settings.targets),
            use_rslora=settings.rslora,
            use_dora=settings.dora,
            bias="none",
            task_type=peft_type(model),
            modules_to_save=list(getattr(model, "ftstudio_head", ())) or None,  # a new head learns whole
        )
        there = sorted({name.rpartition(".")[2] for name in _linear_layers(model)})
        try:
            return get_peft_model(model, config)  # type: ignore[arg-type]
        except (ValueError, TypeError, NotImplementedError) as error:  # layers that peft can't put an adapter on
            raise refused(error, model, there) from error


def peft_type(model: nn.Module) -> str:
    """peft's task type for MODEL: it decides what the wrapper's forward pass takes."""
    name = type(model).__name__
    if name.endswith("ForSequenceClassification"):
        return "SEQ_CLS"
    if name.endswith("ForTokenClassification"):
        return "TOKEN_CLS"
    if getattr(getattr(model, "config", None), "is_encoder_decoder", False):
        return "SEQ_2_SEQ_LM"
    return "CAUSAL_LM" if hasattr(model, "prepare_inputs_for_generation") else "FEATURE_EXTRACTION"


def refused(error: Exception, model: nn.Module, there: list[str]) -> StudioError:
    """What peft's refusal of MODEL's layers means to a person; THERE are the names of its linear layers."""
    text = " ".join(str(error).split())
    if "dropout" in text:
        what = f"method.dropout: the layers of {type(model).__name__} that LoRA goes on allow no dropout"
        return StudioError(
            f"{what} ({text[:120]}).", "Set method.dropout to 0, or name other layers in method.targets."
        )
    what = f"method.targets: LoRA can't go on these layers of {type(model).__name__}"
    return StudioError(f"{what} ({text[:160]}).", f"Name others of its linear layers: {', '.join(there[:12])}.")


def targets(model: nn.Module, wanted: str | tuple[str, ...]) -> str | list[str]:
    """The layers of MODEL that WANTED names, as peft takes them. Raises StudioError naming the nearest layers."""
    linear = _linear_layers(model)
    if wanted == "all-linear":
        return linear if getattr(model, "ftstudio_head", ()) else "all-linear"
    if wanted == "attention":
        found = sorted({name for name in linear if any("attn" in p or "attention" in p for p in name.split("."))})
        if not found:
            raise StudioError(
                f"No attention layers were found in {type(model).__name__}.", "Use targets: all-linear, or name layers."
            )
        return found
    names = {part for name in linear for part in (name, name.rpartition(".")[2])}
    for name in wanted:
        if name not in names and not any(layer.endswith(f".{name}") for layer in linear):
            last = sorted({layer.rpartition(".")[2] for layer in linear})
            near = difflib.get_close_matches(name, last, 1, 0.4)
            hint = f"Did you mean {near[0]!r}? " if near else ""
            raise StudioError(
                f"method.targets: the model has no linear layer {name!r}.", f"{hint}It has: {', '.join(last)}."
            )
    return list(wanted)


def _linear_layers(model: nn.Module) -> list[str]:
    """Names of the linear layers (also quantised ones, and GPT-2's Conv1D) but the output head."""
    from torch import nn

    head = model.get_output_embeddings() if hasattr(model, "get_output_embeddings") else None
    whole = tuple(getattr(model, "ftstudio_head", ()))

    def learns_whole(name: str) -> bool:
        return any(name == one or name.startswith(f"{one}.") for one in whole)

    return [
        name
        for name, module in model.named_modules()
        if module is not head
        and not learns_whole(name)
        and (isinstance(module, nn.Linear) or type(module).__name__ == "Conv1D")
    ]
