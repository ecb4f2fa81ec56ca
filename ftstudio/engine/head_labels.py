"""The labels that a classifier's or tagger's head was made for, and its outputs brought into the order of the data's.

A head's row i scores the i-th label of the model's config.json. It is kept where those labels are the data's, whatever
their order; else what its outputs mean has nothing to do with the data, and the last layer is drawn anew.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from ftstudio.core.text import one_line
from ftstudio.engine import heads
from ftstudio.methods import anatomy, architecture
from ftstudio.tasks.base import Head

_UNNAMED = re.compile(r"LABEL_(\d+)")  # what transformers writes where nobody named the labels
_ENDS = {
    "sequence-classification": "ForSequenceClassification",
    "token-classification": "ForTokenClassification",
}
_SHOWN = 4


def named(labels: Any) -> tuple[str, ...]:
    """The names in LABELS (`id2label` of a configuration) in the order of the outputs; empty where it is none."""
    if not isinstance(labels, Mapping):
        return ()
    found = {str(key): str(name) for key, name in labels.items()}
    places = [str(place) for place in range(len(found))]
    return tuple(found[place] for place in places) if all(place in found for place in places) else ()


def unnamed(names: Sequence[str]) -> bool:
    """Whether NAMES are LABEL_0, LABEL_1 …: they say nothing."""
    return bool(names) and all(_UNNAMED.fullmatch(name) for name in names)


def places(there: Sequence[str], wanted: Sequence[str]) -> list[int] | None:
    """Which output of a head for the labels THERE scores each of those WANTED; None where they are others.

    Case, and blanks or underscores, make no other label, unless THERE tells labels apart by them. Labels without a
    name (LABEL_0 …) are those of data whose labels are numbers.
    """
    if len(there) != len(wanted):
        return None
    for key in (str, _alike, _number):
        mine, other = [key(name) for name in there], [key(name) for name in wanted]
        if len(set(mine)) == len(mine) and set(mine) == set(other):
            return [mine.index(name) for name in other]
    return None


def _alike(name: str) -> str:
    return re.sub(r"[\s_]+", "_", name.strip().casefold())


def _number(name: str) -> str:
    match = _UNNAMED.fullmatch(name)
    return match[1] if match else name


def fit(model: Any, there: Sequence[str], head: Head) -> str:
    """Bring the outputs of MODEL's head, made for the labels THERE, into the order of HEAD's; draw the last layer anew
    by HEAD's seed where they are others. What was done in a sentence; empty where nothing was, and for a head that was
    in no file."""
    if head.kind not in heads.NEW or head.problem == "regression":
        return ""
    name, layer = last_layer(model, len(head.labels))
    if f"{name}.weight" in model.ftstudio_missing:
        return ""
    if f"{name}.weight" in model.ftstudio_other or layer is None:
        return told(there, head.labels)
    order = places(there, head.labels)
    if order == list(range(len(head.labels))):
        return ""
    if order is None:
        architecture.draw(model, [layer], head.seed)
    else:
        _ordered(layer, order)
    return told(there, head.labels)


def last_layer(model: Any, outputs: int) -> tuple[str, Any]:
    """(name, module) of the layer of MODEL's head that gives as many OUTPUTS; ("", None) where there is none."""
    found: tuple[str, Any] = ("", None)
    for top, part in anatomy.head(model).items():
        for name, module in part.named_modules(prefix=top):
            if anatomy.is_linear(module) and anatomy.widths(module)[1] == outputs:
                found = (name, module)
    return found


def _ordered(layer: Any, order: Sequence[int]) -> None:
    """Bring the outputs of the linear LAYER into ORDER."""
    import torch

    with torch.no_grad():
        outputs = 1 if type(layer).__name__ == "Conv1D" else 0
        places = torch.tensor(order, device=layer.weight.device)
        layer.weight.copy_(layer.weight.index_select(outputs, places))
        if layer.bias is not None:
            layer.bias.copy_(layer.bias[places])


def told(there: Sequence[str], wanted: Sequence[str]) -> str:
    """What becomes of a head for the labels THERE where those WANTED are asked for; without them, what is known."""
    if not wanted:
        return f"Its head knows the labels {_some(there)}: it is kept where yours are the same, else drawn anew."
    order = places(there, wanted)
    if order is not None:
        own = order == list(range(len(wanted)))
        how = "it is kept" if own else "it is kept, with its outputs in the order of yours"
        return f"Its head knows your {len(wanted)} labels: {how}."
    if unnamed(there):
        what = f"The {len(there)} labels of its head have no names (LABEL_0 …): what they mean can't be told"
    else:
        what = f"Its head knows the labels {_some(there)}; yours are {_some(wanted)}"
    return f"{what}. Its last layer is drawn anew."


def of_file(config: Mapping[str, Any], head: Head) -> str:
    """What becomes of the head that a model of CONFIG (its config.json) brings, for HEAD; empty where it brings none of
    that kind."""
    made, end = config.get("architectures"), _ENDS.get(head.kind)
    if end is None or not isinstance(made, list) or not any(str(name).endswith(end) for name in made):
        return ""
    there = named(config.get("id2label", {0: "LABEL_0", 1: "LABEL_1"}))  # these two are transformers' own
    if len(there) < 2 or head.problem == "regression":
        return ""
    known = len(head.labels) > 1
    return told(there, head.labels if known else ()) if known or not unnamed(there) else ""


def _some(names: Sequence[str]) -> str:
    text = ", ".join(one_line(name, 24) for name in names[:_SHOWN])
    return f"{text} and {len(names) - _SHOWN} more" if len(names) > _SHOWN else text
