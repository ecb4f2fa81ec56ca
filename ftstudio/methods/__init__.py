"""How a loaded model is changed before training, one file a family. Importing this never imports torch."""

from __future__ import annotations

import difflib
from collections.abc import Mapping

from pydantic import BaseModel

from ftstudio.core.errors import UsageError
from ftstudio.methods.adapter import Adapter
from ftstudio.methods.base import Method, Quantisation, Settings
from ftstudio.methods.freeze import Freeze
from ftstudio.methods.full import Full
from ftstudio.methods.lora import Lora
from ftstudio.methods.prompt import Prompt
from ftstudio.methods.qlora import Qlora
from ftstudio.methods.refusals import Facts, Refusal, refuse

__all__ = ["Facts", "Method", "Quantisation", "Refusal", "Settings", "get", "models", "names", "refuse"]

_METHODS: dict[str, Method] = {
    method.name: method for method in (Lora(), Qlora(), Adapter(), Prompt(), Freeze(), Full())
}


def names() -> tuple[str, ...]:
    """Names of all methods, in the order the wizard shows them."""
    return tuple(_METHODS)


def get(name: str) -> Method:
    """The method called NAME. Raises UsageError naming the nearest."""
    try:
        return _METHODS[name]
    except KeyError:
        near = difflib.get_close_matches(name, _METHODS, 1, 0.4)
        hint = f"Did you mean {near[0]!r}? " if near else ""
        raise UsageError(f"There is no method {name!r}.", f"{hint}There are: {', '.join(_METHODS)}.") from None


def models() -> Mapping[str, type[BaseModel]]:
    """The settings model of each method, for checking recipes and drawing forms."""
    return {name: method.model for name, method in _METHODS.items()}
