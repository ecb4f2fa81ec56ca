"""What every method tells about itself, and how it changes a loaded model."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from ftstudio.core.errors import StudioError, UsageError

if TYPE_CHECKING:
    from torch import nn

    from ftstudio.methods.refusals import Facts, Refusal

Encode = Callable[[str], Sequence[int]]
"""Text to token ids, without special tokens."""
Forgetting = Literal["least", "little", "some", "most"]


class Settings(BaseModel):
    """A method's settings in the recipe: frozen, and strict about names."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True, allow_inf_nan=False)

    def idle(self) -> Mapping[str, str]:
        """Those of these settings that do nothing beside the others, each with what it is for ("kind: prefix")."""
        return {}

    def told_in_vain(self) -> Mapping[str, str]:
        """Those that are `idle` and were set all the same: to something else than their default or nothing."""
        fields, found = type(self).model_fields, self.idle()
        return {
            key: what for key, what in found.items() if getattr(self, key) not in (fields[key].default, False, None)
        }


class Quantisation(BaseModel):
    """How the frozen base weights are stored (bitsandbytes): `nf4` and `fp4` take 4 bits a weight, `int8` 8.

    `compute` is the precision they are unpacked to (fp32, bf16, fp16); None: the training's own. Part of a loaded
    model's identity.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    kind: str = "nf4"
    double: bool = True
    compute: str | None = None


class Method(ABC):
    """One family of "which weights learn". Importing it never imports torch; `apply` does."""

    name: ClassVar[str]
    title: ClassVar[str]
    """One short line for a list."""
    changes: ClassVar[str]
    """What it changes."""
    choose: ClassVar[str]
    """When to choose it."""
    costs: ClassVar[str]
    """What it costs: memory, disk, time."""
    limits: ClassVar[tuple[str, ...]]
    """What it cannot do, each a sentence."""
    learning_rate: ClassVar[float]
    """Peak learning rate where the recipe names none: see also `rate`."""
    adapter: ClassVar[bool]
    """True where what was learnt is saved beside the base weights, so that both answer from one load of them."""
    forgets: ClassVar[Forgetting]
    """How much of what the base knew is at risk."""
    model: ClassVar[type[Settings]]
    """The settings beside `name` in the recipe."""

    @property
    def help(self) -> str:
        """What it changes, when to choose it and what it costs."""
        return f"{self.changes} {self.choose} {self.costs}"

    def settings(self, values: dict[str, Any] | None = None) -> Any:
        """VALUES as this method's settings, defaults filled in. Raises UsageError."""
        try:
            return self.model.model_validate(values or {})
        except ValidationError as error:
            first = error.errors()[0]
            key = ".".join(("method", *(str(part) for part in first["loc"])))
            known = ", ".join(self.model.model_fields) or "none"
            raise UsageError(f"{key}: {first['msg'].lower()}.", f"Settings of {self.name}: {known}.") from error

    def rate(self, settings: Any) -> float:
        """The peak learning rate that suits SETTINGS where the recipe names none."""
        return self.learning_rate

    def quantisation(self, settings: Any) -> Quantisation | None:
        """How the base weights are to be loaded; None keeps them as they are."""
        return None

    def alters_base(self, settings: Any) -> bool:
        """Whether the base weights themselves are changed while training: it then trains a copy of its own."""
        return not self.adapter

    def tells_layers_apart(self, settings: Any) -> bool:
        """Whether what it does to a layer depends on the layer's number, so that a model of fewer layers isn't changed
        as the whole one is."""
        return False

    def soft_tokens(self, settings: Any) -> int:
        """How many learnt tokens stand before every row, and take from the model's context."""
        return 0

    def mergeable(self, settings: Any) -> bool:
        """Whether what was learnt can be added into the base weights."""
        return True

    def check(self, settings: Any, *, device: str, precision: str) -> None:
        """Raise StudioError where this method with SETTINGS cannot work on DEVICE (cpu or cuda) in PRECISION."""
        del settings, device, precision  # nothing is impossible unless a method says so

    def refusals(self, settings: Any, facts: Facts) -> list[Refusal]:
        """What of SETTINGS can't go with FACTS, each with its key, the reason and the way out."""
        return []

    @abstractmethod
    def apply(self, model: nn.Module, settings: Any, encode: Encode | None = None) -> nn.Module:
        """MODEL with exactly the weights that learn set to learn. Raises StudioError for impossible pairs.

        ENCODE turns text into tokens, for methods that begin from a text. A model without weights (on torch's meta
        device) is changed the same, for counting.
        """

    def rates(self, model: nn.Module, settings: Any) -> Mapping[str, float]:
        """Names of weights whose learning rate is another one, with the factor to it."""
        return {}

    def finish(self, model: nn.Module, settings: Any, folder: Path) -> None:
        """Bring what was saved of MODEL in FOLDER into the form that lies over the untouched base."""
        del model, settings, folder  # most are saved in that form


def refuse_quantised(model: nn.Module, what: str) -> None:
    """Raise StudioError where MODEL's weights are quantised: they can't learn."""
    if getattr(model, "is_loaded_in_4bit", False) or getattr(model, "is_loaded_in_8bit", False):
        raise StudioError(f"{what} can't train quantised weights.", "Use method qlora, or load the model unquantised.")
