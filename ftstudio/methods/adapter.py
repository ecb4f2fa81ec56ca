"""Additive adapters: IA3's scales, and the bottleneck layers of Houlsby and Pfeiffer. The base stays as it is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from ftstudio.core.errors import StudioError
from ftstudio.methods import targets as chosen
from ftstudio.methods.base import Encode, Method, Settings

if TYPE_CHECKING:
    from torch import nn

# what key and value projections are called, fused ones too; IA3 scales keys, values and the inner feed-forward
_KEYS_VALUES = frozenset({
    "k_proj", "v_proj", "key", "value", "k", "v", "k_lin", "v_lin", "key_proj", "value_proj", "qkv_proj", "c_attn",
    "query_key_value", "Wqkv", "kv_proj", "kv_b_proj", "att_proj", "qkv",
})  # fmt: skip


class AdapterSettings(Settings):
    """Settings of additive adapters."""

    kind: Literal["pfeiffer", "houlsby", "ia3"] = Field(
        "pfeiffer",
        description="pfeiffer: a bottleneck after each feed-forward; houlsby: after attention too; ia3: learnt scales",
    )
    reduction: int = Field(16, ge=1, le=512, description="bottleneck: the layer's width is divided by this")
    activation: Literal["relu", "gelu", "silu", "tanh"] = Field(
        "relu", description="bottleneck: what lies between its two matrices"
    )
    dropout: float = Field(0.0, ge=0, lt=1, description="bottleneck: share of its inputs dropped while training")
    part: chosen.Part = Field("language", description="of a model with eyes or ears: language, vision or both")
    modules_to_save: tuple[str, ...] = Field(
        (), description="modules that learn whole and are saved with the adapter, such as [embed_tokens, lm_head]"
    )

    def idle(self) -> Mapping[str, str]:
        """See Settings."""
        if self.kind != "ia3":
            return {}
        return dict.fromkeys(("reduction", "activation", "dropout"), "bottlenecks (kind: pfeiffer or houlsby)")


class Adapter(Method):
    """New small layers, or scales, inside every layer."""

    name = "adapter"
    title = "Adapter: small new layers inside each layer learn"
    changes = (
        "Adds a small layer behind each sublayer (Houlsby, Pfeiffer), or scales keys, values and feed-forward (IA3)."
    )
    choose = (
        "Where LoRA isn't enough of a change: bottlenecks are not linear. IA3 for very little data: it has the fewest "
        "weights of all but soft prompts."
    )
    costs = "Saves as a few MB (IA3: KB) beside the untouched base; bottlenecks make every answer a little slower."
    limits = (
        "Bottlenecks can't be merged into the base, and only this studio loads them (peft has none of its own).",
        "IA3 needs key and value projections it knows by name.",
    )
    learning_rate = 1e-4
    adapter = True
    forgets = "little"
    model: ClassVar[type[Settings]] = AdapterSettings

    def rate(self, settings: Any) -> float:
        """IA3's scales want more (3e-3 in Liu et al. 2022)."""
        return 3e-3 if settings.kind == "ia3" else self.learning_rate

    def mergeable(self, settings: Any) -> bool:
        """Scales are; a bottleneck isn't linear."""
        return bool(settings.kind == "ia3")

    def apply(self, model: nn.Module, settings: Any, encode: Encode | None = None) -> nn.Module:
        """MODEL wrapped by peft, only the new weights set to learn; at the start it says what the base says.

        Random initial values are drawn from torch's global generator. Raises StudioError where there is no place.
        """
        from peft import get_peft_model

        config = _ia3(model, settings) if settings.kind == "ia3" else _bottleneck(model, settings)
        try:
            return get_peft_model(model, config)  # type: ignore[arg-type,no-any-return]
        except (ValueError, TypeError, NotImplementedError) as error:
            text = " ".join(str(error).split())[:160]
            raise StudioError(
                f"method.kind: {settings.kind} can't go into {type(model).__name__} ({text}).", "Use method lora."
            ) from error


def _bottleneck(model: nn.Module, settings: AdapterSettings) -> Any:
    from ftstudio.methods import anatomy
    from ftstudio.methods.bottleneck import BottleneckConfig

    places = {
        name: width
        for name, _, width, attention in anatomy.outputs(model)
        if (settings.kind == "houlsby" or not attention) and settings.part in ("both", anatomy.side(name))
    }
    if not places:
        raise StudioError(
            f"method.kind: no place for a bottleneck was found in {type(model).__name__}.",
            "Use kind: houlsby, or method lora.",
        )
    return BottleneckConfig(
        target_modules=list(places),
        widths=places,
        reduction=settings.reduction,
        activation=settings.activation,
        dropout=settings.dropout,
        modules_to_save=chosen.modules(model, settings.modules_to_save) or None,
        task_type=anatomy.task_type(model),
    )


def _ia3(model: nn.Module, settings: AdapterSettings) -> Any:
    """Keys and values by name; of each feed-forward the inputs of its last layer."""
    from peft import IA3Config

    from ftstudio.methods import anatomy

    on = ("language", "vision") if settings.part == "both" else (settings.part,)
    attention = [
        name
        for name in anatomy.linear_layers(model)
        if name.rpartition(".")[2] in _KEYS_VALUES and anatomy.side(name) in on
    ]
    if not attention:
        last = sorted({name.rpartition(".")[2] for name in anatomy.linear_layers(model)})
        raise StudioError(
            f"method.kind: ia3 finds no key and value projections in {type(model).__name__} ({', '.join(last[:12])}).",
            "Use kind: pfeiffer, or method lora.",
        )
    forward = [
        name
        for name, module, _, inside in anatomy.outputs(model)
        if not inside and anatomy.is_linear(module) and anatomy.side(name) in on
    ]
    linear = anatomy.linear_layers(model)
    return IA3Config(
        target_modules=[*attention, *forward],
        feedforward_modules=forward,
        fan_in_fan_out=any(type(linear[name]).__name__ == "Conv1D" for name in (*attention, *forward)),
        modules_to_save=chosen.modules(model, settings.modules_to_save) or None,
        task_type=anatomy.task_type(model),
    )
