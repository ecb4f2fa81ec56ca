"""What every method tells about itself, and how it changes a loaded model."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import BaseModel, ConfigDict, ValidationError

from ftstudio.core.errors import UsageError

if TYPE_CHECKING:
    from torch import nn


class Settings(BaseModel):
    """A method's settings in the recipe: frozen, and strict about names."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True, allow_inf_nan=False)


class Quantisation(BaseModel):
    """How the frozen base weights are stored (bitsandbytes, 4 bits a weight). Part of a loaded model's identity."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    kind: str = "nf4"
    double: bool = True


class Method(ABC):
    """One family of "which weights learn". Importing it never imports torch; `apply` does."""

    name: ClassVar[str]
    title: ClassVar[str]
    """One short line for a list."""
    help: ClassVar[str]
    """Two or three sentences: what it does, when to choose it, what it costs."""
    limits: ClassVar[tuple[str, ...]]
    """What it cannot do, each a sentence."""
    learning_rate: ClassVar[float]
    """Peak learning rate where the recipe names none."""
    adapter: ClassVar[bool]
    """True where the base weights stay untouched, so that base and tuned answer from one load of them."""
    model: ClassVar[type[Settings]]
    """The settings beside `name` in the recipe."""

    def settings(self, values: dict[str, Any] | None = None) -> Any:
        """VALUES as this method's settings, defaults filled in. Raises UsageError."""
        try:
            return self.model.model_validate(values or {})
        except ValidationError as error:
            first = error.errors()[0]
            key = ".".join(("method", *(str(part) for part in first["loc"])))
            known = ", ".join(self.model.model_fields) or "none"
            raise UsageError(f"{key}: {first['msg'].lower()}.", f"Settings of {self.name}: {known}.") from error

    def quantisation(self, settings: Any) -> Quantisation | None:
        """How the base weights are to be loaded; None keeps them as they are."""
        return None

    def check(self, settings: Any, *, device: str, precision: str) -> None:
        """Raise StudioError where this method with SETTINGS cannot work on DEVICE (cpu or cuda) in PRECISION."""
        del settings, device, precision  # nothing is impossible unless a method says so

    @abstractmethod
    def apply(self, model: nn.Module, settings: Any) -> nn.Module:
        """MODEL with exactly the weights that learn set to learn. Raises StudioError for impossible pairs."""
