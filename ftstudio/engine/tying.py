"""Weights that a model uses in several places (its token embeddings and its head), once an adapter made them differ."""

from __future__ import annotations

from typing import Any


def untie(model: Any) -> bool:
    """Give every place of MODEL weights of its own, where some that it declares as one are one no more; whether they
    were.

    Saved as they are, the file would hold one of them, and reading it back would put that into all places. Left alone
    where they still are one.
    """
    from torch import nn

    pairs = list(_declared(model))
    if all(_weight(model, one) is _weight(model, other) for one, other in pairs):
        return False
    seen: set[int] = set()
    for name in dict.fromkeys(name for pair in pairs for name in pair):
        weight = _weight(model, name)
        if weight.data_ptr() in seen:
            owner, _, last = name.rpartition(".")
            setattr(model.get_submodule(owner), last, nn.Parameter(weight.detach().clone(), weight.requires_grad))
        seen.add(weight.data_ptr())
    for config in {id(part.config): part.config for part in model.modules() if hasattr(part, "config")}.values():
        if getattr(config, "tie_word_embeddings", False):
            config.tie_word_embeddings = False
    return True


def _declared(model: Any) -> Any:
    """Pairs of full names of weights that MODEL and its parts declare to be one."""
    for prefix, part in model.named_modules():
        declared = getattr(part, "_tied_weights_keys", None)
        for one, other in declared.items() if isinstance(declared, dict) else ():
            names = [f"{prefix}.{name}" if prefix else name for name in (one, other)]
            if all(_weight(model, name) is not None for name in names):
                yield names[0], names[1]


def _weight(model: Any, name: str) -> Any:
    """The weight NAME of MODEL; None where it has none (the declared names may be patterns)."""
    try:
        return model.get_parameter(name)
    except AttributeError:
        return None
