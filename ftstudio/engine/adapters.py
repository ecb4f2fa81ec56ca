"""Adapters put on a base, switched off, and taken off again, so that the base is the very same afterwards."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ftstudio.core import files
from ftstudio.core.errors import StudioError


@contextlib.contextmanager
def off(model: Any) -> Iterator[Any]:
    """The peft MODEL without its adapter: the base, where the method left that alone.

    peft's own way fails for soft prompts on models that write nothing, and leaves a head that learnt beside the prompt
    switched on.
    """
    if not model.active_peft_config.is_prompt_learning:
        with model.disable_adapter():
            yield model
        return
    base, names = model.base_model, ("forward", "prepare_inputs_for_generation")
    whole = [part for part in base.modules() if hasattr(part, "modules_to_save") and hasattr(part, "enable_adapters")]
    for name in names:
        if hasattr(base, name):
            model.__dict__[name] = getattr(base, name)
    for part in whole:
        part.enable_adapters(False)
    before, model._adapters_disabled = model._adapters_disabled, True
    try:
        yield model
    finally:
        for name in names:
            model.__dict__.pop(name, None)
        for part in whole:
            part.enable_adapters(True)
        model._adapters_disabled = before


def take_off(model: Any) -> Any:
    """The base under the peft MODEL, as it was before any adapter was put on.

    peft's `unload` leaves modules that learnt whole in place of the base's own: those go back first.
    """
    soft = model.active_peft_config.is_prompt_learning
    base = model.get_base_model()
    for name, part in list(base.named_modules()):
        if hasattr(part, "modules_to_save") and hasattr(part, "original_module"):
            owner, _, last = name.rpartition(".")
            setattr(base.get_submodule(owner), last, part.original_module)
    if soft:  # nothing else lies in the base
        return base
    return model.unload()


def kind_of(folder: Path, name: str) -> str:
    """peft's kind of the adapter in FOLDER. Raises StudioError for one that only fits the base it changed."""
    config = files.read_json(folder / "adapter_config.json")
    config = config if isinstance(config, dict) else {}
    kind = str(config.get("peft_type") or "")
    if kind == "BOTTLENECK":
        import ftstudio.methods.bottleneck  # noqa: F401  (makes it known to peft)
    if str(config.get("init_lora_weights")).lower().startswith(("pissa", "olora")):
        raise StudioError(
            f"{name}: a checkpoint that began as {config['init_lora_weights']} fits only the base it changed.",
            "Resume the run; the model it saves at its end lies over the untouched base.",
        )
    return kind
