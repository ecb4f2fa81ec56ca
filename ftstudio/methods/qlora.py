"""QLoRA: LoRA over a base whose frozen weights take 4 or 8 bits (Dettmers et al. 2023, 2022)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from ftstudio.core.errors import StudioError
from ftstudio.methods.base import Encode, Quantisation
from ftstudio.methods.lora import Lora, LoraSettings
from ftstudio.methods.refusals import Facts, Refusal

if TYPE_CHECKING:
    from torch import nn


class QloraSettings(LoraSettings):
    """Settings of QLoRA: LoRA's, and how the base is quantised."""

    quantisation: Literal["nf4", "fp4", "int8"] = Field(
        "nf4", description="how base weights are stored: nf4 suits normally spread ones, fp4, or int8 (8 bits)"
    )
    double_quantisation: bool = Field(True, description="quantise the scales too: saves 0.4 bits a weight")
    compute: Literal["auto", "fp32", "bf16", "fp16"] = Field(
        "auto", description="what weights are unpacked to; auto is the precision of the training"
    )

    def idle(self) -> Mapping[str, str]:
        """See Settings."""
        four = "4 bits (quantisation: nf4 or fp4)"
        return dict.fromkeys(("double_quantisation", "compute"), four) if self.quantisation == "int8" else {}


class Qlora(Lora):
    """Low-rank adapters over a 4-bit or 8-bit base."""

    name = "qlora"
    title = "QLoRA: LoRA over a 4-bit base"
    changes = "LoRA with the base weights stored in 4 bits (or 8), which stay as they are."
    choose = (
        "For models that don't fit otherwise: an 8B model trains in about 10 GB. Where plain LoRA fits, it is faster."
    )
    costs = "A quarter of the memory of bf16 for the base (half with int8); each pass pays for unpacking."
    limits = (
        "The adapter belongs to the quantised base: merge it into the original weights, never into the quantised ones.",
        "Layers that are no plain linear ones (such as fused experts) stay as they are, and take their full memory.",
        "pissa and olora can't start on quantised weights, DoRA not on int8.",
    )
    model = QloraSettings

    def quantisation(self, settings: Any) -> Quantisation:
        """As the settings say."""
        compute = None if settings.compute == "auto" else settings.compute
        if settings.quantisation == "int8":
            return Quantisation(kind="int8", double=False)
        return Quantisation(kind=settings.quantisation, double=settings.double_quantisation, compute=compute)

    def refusals(self, settings: Any, facts: Facts) -> list[Refusal]:
        """What bitsandbytes and peft can't do together."""
        found = super().refusals(settings, facts)
        if settings.quantisation == "int8" and settings.dora:
            text = "DoRA doesn't run on int8 weights."
            found.append(Refusal("method.dora", text, "Use quantisation: nf4, or dora: false."))
        if settings.compute == "fp16" and facts.device == "cpu":
            text = "fp16 needs a GPU: on the CPU 4-bit weights are unpacked to fp32 or bf16."
            found.append(Refusal("method.compute", text, "Set method.compute to auto."))
        return found

    def apply(self, model: nn.Module, settings: Any, encode: Encode | None = None) -> nn.Module:
        """Like LoRA's; refuses a base that holds no quantised layer, where it would silently be plain LoRA."""
        from ftstudio.methods import anatomy

        if not anatomy.on_meta(model) and not any(anatomy.is_quantised(module) for module in model.modules()):
            bits = 8 if settings.quantisation == "int8" else 4
            raise StudioError(
                f"No layer of {type(model).__name__} could be quantised to {bits} bits.", "Use method lora instead."
            )
        return super().apply(model, settings)
