"""Which few layers of a model tell of all.

Layers may differ: windows beside whole attention, states beside attention, experts beside one dense block, as a dozen
names in configurations say. So the layers themselves are asked, of a model without weights: alike are those that have
the same modules, shapes and settings.
"""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn

NUMBERS = ("idx", "index", "layer_id", "block_id", "layer_number")  # parts of names that count layers: no difference


@dataclass(frozen=True)
class More:
    """The base with one more layer of a KIND, the second, by their `places`; `times`: how many more there are."""

    kind: int
    places: tuple[int, ...]
    times: int


@dataclass(frozen=True)
class Few:
    """Places of the layers that are followed: `base`, and `more`, nothing where that is all layers. `kinds` of all."""

    base: tuple[int, ...]
    more: tuple[More, ...]
    kinds: tuple[int, ...]


def whole(kinds: Sequence[int]) -> Few:
    """All layers of KINDS are followed."""
    return Few(tuple(range(len(kinds))), (), tuple(kinds))


def few(kinds: Sequence[int]) -> Few:
    """What is followed of layers of KINDS, all of them where that costs no more.

    The first layer (while the embeddings learn it is still there) and the last of each kind, before which most lies.
    """
    last = {kind: place for place, kind in enumerate(kinds)}
    base = tuple(sorted({0, *last.values()}))
    there, based = Counter(kinds), Counter(kinds[place] for place in base)
    more = tuple(
        More(kind, (base[0], list(kinds).index(kind), *base[1:]), times)
        for kind in last
        if (times := there[kind] - based[kind])
    )
    followed = len(base) + sum(len(one.places) for one in more)
    return Few(base, more, tuple(kinds)) if followed < len(kinds) else whole(kinds)


def kinds_of(model: Any) -> tuple[int, ...]:
    """The kind of each layer of MODEL, numbered as they come. Raises AttributeError where its layers can't be told."""
    facts = [_facts(layer) for layer in layers_of(model, _text(model).num_hidden_layers)]
    counting = {
        name
        for name in {name for one in facts for name in one}
        if len({value - place if type(value := one[name]) is int else None
                for place, one in enumerate(facts) if name in one} - {None}) == 1
        and len({one[name] for one in facts if name in one}) > 1
    }  # fmt: skip
    numbers: dict[Any, int] = {}
    return tuple(
        numbers.setdefault(frozenset((name, one[name]) for name in one.keys() - counting), len(numbers))
        for one in facts
    )


def _facts(layer: nn.Module) -> dict[tuple[str, str], Any]:
    """What tells LAYER from others: its modules, the shapes of its weights, its settings that are no measures."""
    found: dict[tuple[str, str], Any] = {}
    for where, module in layer.named_modules():
        found[where, ""] = type(module)
        for name, weight in (*module._parameters.items(), *module._buffers.items()):
            found[where, name] = None if weight is None else (weight.shape, weight.dtype)
        for name, value in vars(module).items():
            if isinstance(value, (bool, int, str)) and not any(part in name for part in NUMBERS):
                found[where, name] = value
    return found


def only(config: Any, places: tuple[int, ...], kinds: Sequence[int], make: Callable[[Any], Any]) -> Any:
    """The model that MAKE gives of CONFIG, with the layers at PLACES alone; KINDS of all its layers. CONFIG stays."""
    if len(places) == len(kinds):
        return make(config)
    if len(set(kinds)) == 1:  # no need to make all of them
        return make(_cut(config, range(len(places))))
    model = make(config)
    layers = layers_of(model, len(kinds))
    parent, name = next(
        (module, name) for module in model.modules() for name, child in module.named_children() if child is layers
    )
    cut = _cut(model.config, places)
    # one configuration for all of the model: by it attention is chosen later on
    known: dict[int, Any] = {id(model.config): cut, id(_text(model)): cut.get_text_config()}
    setattr(parent, name, nn.ModuleList([copy.deepcopy(layers[place], dict(known)) for place in places]))
    for module in model.modules():
        if id(getattr(module, "config", None)) in known:
            module.config = known[id(module.config)]
    return model


def _cut(config: Any, places: Sequence[int]) -> Any:
    """A copy of CONFIG with the layers at PLACES. Raises AttributeError where its layers can't be counted."""
    config = copy.deepcopy(config)
    text = config.get_text_config()
    count = text.num_hidden_layers
    if count < len(places):
        raise AttributeError("fewer layers than that")
    for name in [name for name in dir(text) if "layer" in name]:
        values = getattr(text, name, None)
        if isinstance(values, (list, tuple)) and len(values) == count:
            _put(text, name, [values[place] for place in places])
    text.num_hidden_layers = len(places)
    return config


def _put(config: Any, name: str, value: Any) -> None:
    """Set NAME of CONFIG, even where its class works it out (Jamba)."""
    kind = type(config)
    if isinstance(getattr(kind, name, None), property):
        config.__class__ = type(kind.__name__, (kind,), {name: value})
    else:
        setattr(config, name, value)


def _text(model: Any) -> Any:
    return model.config.get_text_config()


def layers_of(model: Any, count: int) -> nn.ModuleList:
    """The decoder layers of MODEL: its first list of COUNT modules of one kind."""
    lists = [module for module in model.modules() if isinstance(module, nn.ModuleList) and len(module) == count]
    found = next((one for one in lists if "Layer" in type(one[0]).__name__), lists[0] if lists else None)
    if found is None:
        raise AttributeError("its layers can't be told")
    return found
