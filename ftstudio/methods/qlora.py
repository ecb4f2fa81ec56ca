"""QLoRA: LoRA over a base whose frozen weights take 4 bits (Dettmers et al. 2023)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from ftstudio.core.errors import StudioError
from ftstudio.methods.base import Quantisation
from ftstudio.methods.lora import Lora, LoraSettings

if TYPE_CHECKING:
    from torch import nn


class QloraSettings(LoraSettings):
    """Settings of QLoRA: LoRA's, and how the base is quantised."""

    quantisation: Literal["nf4", "fp4"] = Field("nf4", description="4-bit type: nf4 suits normally spread weights")
    double_quantisation: bool = Field(True, description="quantise the scales too: saves 0.4 bits a weight")


class Qlora(Lora):
    """Low-rank adapters over a 4-bit base."""

    name = "qlora"
    title = "QLoRA: LoRA over a 4-bit base"
    help = (
        "LoRA with the base weights stored in 4 bits: a quarter of the memory of bf16, so that an 8B model trains in "
        "about 10 GB. Each pass pays for unpacking; where plain LoRA fits, LoRA is faster."
    )
    limits = (
        "The adapter belongs to the 4-bit base: merge it into the original weights, never into the 4-bit ones.",
        "Layers that are no plain linear ones (such as fused experts) stay as they are, and take their full memory.",
    )
    model = QloraSettings

    def quantisation(self, settings: Any) -> Quantisation:
        """4 bits, of the settings' kind."""
        return Quantisation(kind=settings.quantisation, double=settings.double_quantisation)

    def apply(self, model: nn.Module, settings: Any) -> nn.Module:
        """Like LoRA's; refuses a base that holds no 4-bit layer, where it would silently be plain LoRA."""
        if not any(type(module).__name__ == "Linear4bit" for module in model.modules()):
            raise StudioError(
                f"No layer of {type(model).__name__} could be quantised to 4 bits.", "Use method lora instead."
            )
        return super().apply(model, settings)
